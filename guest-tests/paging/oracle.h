/*
 * The oracle: follows a script that has run, operation by operation, in the model, and FAILs if an outcome is
 * none of those that the architecture allows.
 *
 * What a processor may have cached: any complete translation that was current at some time since the last
 * flush (CR3 load, or INVLPG of that page). Where the tables have changed since, the outcome by an older
 * translation is allowed as well, and whether Accessed and Dirty were set in the new path is left open until
 * memory shows it. Entries that are not present, or have reserved bits, are never cached. (SDM vol. 3, 4.10;
 * APM vol. 2, 5.5.)
 *
 * Stricter than the architecture: nothing is accessed speculatively. That is so for the emulators and for the
 * hypervisor, which must not invent accesses.
 */
#pragma once

#include "guest-tests/paging/trip.h"
#include "guest-tests/paging/walk.h"

#define UNSURE_MAX 1024
#define SHOTS_MAX  64

struct oracle {
	const struct world *world;
	struct state state;
	struct journal journal;
	struct {
		u64 at;
		unsigned version; /* changes that came before it */
	} invlpg[SHOTS_MAX];
	unsigned invlpg_count;
	struct
	{ /* `bits` of the entry at `at` may be either, or (alternative) the word be `bits` */
		u64 at, bits;
		bool alternative;
	} unsure[UNSURE_MAX];
	unsigned unsure_count;
	bool racing; /* any version since the flush may be the current one, see multi.c */
	/* where we are */
	u64 seed, step;
	const struct op *script;
	/* what has been seen */
	u64 accesses, faults, stale, spurious, checked;
};

void oracle_init(struct oracle *oracle, const struct world *world, u64 seed);
/* State at the beginning of a trip; all translations are flushed. */
void oracle_begin(struct oracle *oracle, const struct trip *trip, u64 step);
void oracle_apply(struct oracle *oracle, const struct op *op);
/* A STORE or RMW of another CPU, at the same time as the operations that follow until `racing` is reset: before and
 * after it are both current for them. One at a time: a walk may see the halves of two. */
void oracle_race(struct oracle *oracle, const struct op *op);
/* All translations may be forgotten from here on. */
void oracle_flush(struct oracle *oracle);
/* Compares all frames of the test with the model. */
void oracle_compare(struct oracle *oracle);
