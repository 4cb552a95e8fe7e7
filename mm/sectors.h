/* Which sectors of a disk are taken: a bit for each, and runs of them next fit. The user serialises everything. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define SECTORS_NONE (~0ull)
/* The longest run. */
#define SECTORS_RUN_MAX 64u

struct sectors {
	u64 *bits;
	u64 total, used;
	u64 next; /* where the next search begins */
};

/* All free. False: no memory for the bits. */
bool sectors_create(struct sectors *s, u64 total) must_check;
void sectors_destroy(struct sectors *s);
/* The first of n sectors in a row (1 .. SECTORS_RUN_MAX), taken from now on; SECTORS_NONE: there are none. */
u64 sectors_take(struct sectors *s, u32 n) must_check;
/* Gives back sectors that are taken, whatever run they were taken in. */
void sectors_give(struct sectors *s, u64 first, u32 n);
/* Are all of them taken? False also for what is no sector of the disk. */
bool sectors_taken(const struct sectors *s, u64 first, u32 n);
