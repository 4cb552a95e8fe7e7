/* Traces made from a seed. */
#pragma once

#include "tools/lab/lab.h"

struct lab_synth {
	const char *name, *about;
	u32 pages;
	void (*make)(struct lab_trace *t, u64 *seed);
};
extern const struct lab_synth lab_synths[];
extern const unsigned lab_nr_synths;

/* False if there is none of that name. The same seed gives the same trace; seed 0 counts as 1. */
bool lab_synth_make(const char *name, u64 seed, struct lab_trace *t);
/*
 * The same for what a guest touches: one of guest.h's names, or the guest's arguments themselves, `work=...`. Not among
 * lab_synths, for the means of reports are over those.
 */
bool lab_guest_make(const char *name, u64 seed, struct lab_trace *t);
