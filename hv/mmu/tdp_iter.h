/*
 * Finding entries in a TDP's tables.
 *
 *   gfn   35        27 26        18 17         9 8          0
 *        | level 4    | level 3    | level 2    | level 1    |    512 entries each
 *
 * Tables are added by compare-exchange at any time. A level-1 table is taken away by a collapse, under the
 * write side of the MMU lock, and freed after a grace period (tdp_huge.c); the others only with the whole
 * MMU. So a table that was found stays valid until the caller leaves its epoch section, or the MMU lock.
 * Entries are read once: `seen` is the value to judge and to expect in an exchange.
 */
#pragma once

#include "hv/mmu/tdp.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

#define TDP_LEVELS   4u
#define TDP_GFN_BITS (TDP_LEVELS * 9)

/* The place of an entry and what was read there. */
struct tdp_entry {
	a64 *at;
	u64 seen;
	unsigned level; /* 1 .. TDP_LEVELS */
};

/* Pages that one entry of a level maps. */
static inline u64 tdp_span(unsigned level)
{
	return 1ull << ((level - 1) * 9);
}
static inline unsigned tdp_index(gfn_t g, unsigned level)
{
	return (unsigned)(g.v >> ((level - 1) * 9)) % TABLE_PAGES;
}
static inline bool tdp_reaches(gfn_t g)
{
	return !(g.v >> TDP_GFN_BITS);
}

/*
 * Goes down towards the gfn until an entry that is no table: a leaf, or empty. In an epoch section
 * or with the MMU lock held. The gfn must be within tdp_reaches().
 */
struct tdp_entry tdp_find(const struct tdp *t, gfn_t g);
/* For who has no lock, and has to be in an epoch section. */
struct tdp_entry tdp_find_lockless(const struct tdp *t, gfn_t g);
/* The same, but no further down than `level`: the entry there may be a table. */
struct tdp_entry tdp_find_level(const struct tdp *t, gfn_t g, unsigned level);
/*
 * Builds the missing tables above the gfn's entry of a level (1, or 2 for a large leaf), as far as there is
 * nothing in their place. False: no memory. In an epoch section.
 */
bool tdp_build_to(struct tdp *t, gfn_t g, unsigned level) must_check;
static inline bool must_check tdp_build(struct tdp *t, gfn_t g)
{
	return tdp_build_to(t, g, 1);
}

/* Visits every entry of a range that is not empty, tables before what is below them. */
struct tdp_iter {
	const struct tdp *tdp;
	u64 pos, last; /* gfn of the entry (the first one in range, for a table), of the range's end
	                */
	a64 *table[TDP_LEVELS + 1];
	struct tdp_entry entry;
};
/*
 *	tdp_iter_start(&it, t, first, last);
 *	while (tdp_iter_next(&it))
 *		... it.entry, it.pos
 *
 * In one epoch section, or with the MMU lock held, from start to end.
 */
void tdp_iter_start(struct tdp_iter *it, const struct tdp *t, gfn_t first, gfn_t last);
bool tdp_iter_next(struct tdp_iter *it);
