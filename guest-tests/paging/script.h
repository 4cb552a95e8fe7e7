/*
 * Random scripts. They depend on the generator's numbers alone, not on the state of the tables: hot places are
 * so few that most operations meet the work of others.
 */
#pragma once

#include "guest-tests/paging/trip.h"
#include "guest-tests/paging/world.h"

#define RECENT 8

struct script {
	const struct world *world;
	struct rng rng;
	struct op ops[TRIP_OPS_MAX];
	unsigned count;
	u64 cr0, cr3, cr4;  /* as the operations so far leave them */
	u64 recent[RECENT]; /* addresses of accesses */
};

/* Empties the script; the numbers are those of (seed, step). Random CR0, CR3 and CR4. */
void script_begin(struct script *script, const struct world *world, u64 seed, u64 step);
/* Adds `count` random operations. */
void script_random(struct script *script, unsigned count);
/* Adds accesses of hot places only, and one change of a table entry. */
void script_accesses(struct script *script, unsigned count);
void script_change(struct script *script);
/* One table entry of everything that level 1 has, and addresses behind them: more than a thousand aliases
 * of one frame, read, and gone again. */
void script_storm(struct script *script, unsigned round);
struct op *script_add(struct script *script, unsigned kind, u64 at, u64 value);
/* EFER for the run: NXE as the world says; LME and LMA only in long mode. */
u64 script_efer(const struct script *script);
void script_end(struct script *script);
