/* Aging: produces generations by walking the spaces' second-level tables through the notifiers. */
#pragma once

#include "lib/types.h"

struct space;
struct gen_batch;

extern const bool age_built; /* false: nothing is ever harvested (mm/no_aging.c) */

struct age_result {
	bool produced;
	u64 visited; /* entries read in the tables that were harvested */
	u64 young, promoted;
	u64 tables;          /* harvested: a table is 512 pages, or what a slot has of them */
	u64 upper;           /* entries above them that were asked whether it is worth while */
	u64 skipped_nonleaf; /* tables left out because such an entry said no */
	u64 skipped_bloom;   /* ... because the last walk found them sparse */
	u64 ns;
};
/*
 * Harvests npages <= 512 pages from `first` on through the fast path and promotes those found young; size
 * changes go to `batch`. Returns how many were young. Lockless; enters the epoch by itself.
 */
u64 age_block(struct space *s, gfn_t first, unsigned npages, struct gen_batch *batch, u64 *visited);
/* The same for NOTIFIER_* flags of the caller's: CLEAR, and whatever else it wants. */
u64 age_harvest(struct space *s, gfn_t first, unsigned npages, unsigned flags,
                struct gen_batch *batch, u64 *visited);
/* Promotes the pages that have their bits set; returns how many those are. Inside an epoch section. */
u64 age_promote(struct space *s, gfn_t first, unsigned npages, const u64 *young,
                struct gen_batch *batch);
/* One young page for each cache line of entries: worth a visit. */
static inline bool age_dense(u64 young, u64 pages)
{
	return young * 8 >= pages;
}
#define AGE_LOOK_AROUND 64u /* pages, aligned: they share a table */
/*
 * The evictor found page g young, and `young` are the NOTIFIER_* bits of the answer: its neighbours may be
 * young as well, and what says so is in the cache now. Harvests them through the fast path and promotes
 * what it finds, if policy.lookaround allows it. Its neighbours are the pages that the guest says belong to it
 * (mm/hint.h), else those of its window, which ends with the slot; if the window is dense, the next walk is told to
 * visit the table. Does nothing if it has none. Not under a lock.
 */
void age_look_around(struct space *s, gfn_t g, unsigned young);
/*
 * Harvests the Accessed bits of the whole space, table by table and without a lock, then makes a new
 * youngest generation, unless somebody else superseded `max_seq` meanwhile. Not in an epoch section, no
 * lock held. A space none of whose vCPUs ran since is not walked, nor are tables that cannot have anything
 * young in them (mm/walk.c), unless `force` is set: then all are, whatever filters say. Without POLICY_WALK, or with WALK_OFF for the space,
 * the generation is made and nothing is harvested, forced or not. Nothing is done with policy.twolist, which has no generations. Several CPUs that age a space at the same time share its tables among them.
 */
struct age_result age_space(struct space *s, u64 max_seq, bool force);
