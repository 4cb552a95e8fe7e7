/*
 * What a page holds: every word is a function of its address, the round and the seed, and of how
 * well the page shall pack. Three kinds of pages, chosen by hash:
 *   zero       all words 0
 *   same       one word throughout
 *   patterned  lines of 64 bytes that differ in a counter only (LZ4 packs them about 10:1), with
 *              `noise` percent of the page, in one run, incompressible
 * Every word of a patterned page depends on page, round and seed; the counter gives each line its
 * place.
 */
#pragma once

#include "guest-tests/lib/types.h"

struct pattern {
	u64 seed;
	unsigned noise_words; /* of the 512 of a patterned page */
	unsigned zero, same;  /* percent of pages */
};

/* From the arguments noise= (or share=, the same), zero=, same=, seed=. */
void pattern_init(struct pattern *pattern, u64 noise, u64 zero, u64 same);
void pattern_fill(const struct pattern *pattern, u64 *page, u64 round);
/* FAILs the guest with address, expected and found if a word is wrong. */
void pattern_check(const struct pattern *pattern, const u64 *page, u64 round);
/* Whether the page is one of the all-zero ones in this round. */
bool pattern_is_zero(const struct pattern *pattern, const u64 *page, u64 round);
