/*
 * Which second-level tables are worth a walk: a pair of Bloom filters per space. The walk of a generation
 * reads one of them and fills the other for the next; the evictor's look-around fills the one that the
 * next walk will read.
 *
 * A filter belongs to the generation that a walk supersedes, and knows it by its number. What it says
 * about any other generation is that everything may be in it: before the first walk, after generations
 * that were made without one, and without memory.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

#define BLOOM_BITS    15u /* a filter has 2^15 bits: one page */
#define BLOOM_FILTERS 2u
#define BLOOM_WORDS   ((1u << BLOOM_BITS) / 64)

struct bloom {
	a64 *words;             /* BLOOM_FILTERS filters of BLOOM_WORDS words; NULL: no memory */
	a64 seq[BLOOM_FILTERS]; /* the generation that each is for; ~0: none yet */
};

/*
 * Takes BLOOM_FILTERS pages from hal_pages; without them everything passes, which costs walks and nothing
 * else. Undone by bloom_destroy(), when nobody can be using it any more.
 */
void bloom_init(struct bloom *f);
void bloom_destroy(struct bloom *f);

/*
 * Empties the filter that generation `seq` uses and gives it to that generation. Once per generation, by
 * whoever opens the walk before it: bloom_reset(f, max_seq + 1).
 */
void bloom_reset(struct bloom *f, u64 seq);
/*
 * May the table be in the filter of generation `seq`? True if no filter is for it. `key` is the number of a
 * table in its space: gfn / 512. Lockless, any context.
 */
bool bloom_test(const struct bloom *f, u64 seq, u64 key);
/*
 * Puts a table into the filter of generation `seq`; nothing happens if no filter is for it, as all tables
 * pass then. Lockless, any context. Returns whether it was not in there before (false positives count as
 * in there), for statistics.
 */
bool bloom_add(struct bloom *f, u64 seq, u64 key);
