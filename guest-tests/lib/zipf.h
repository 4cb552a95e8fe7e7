/*
 * Zipf-distributed ranks in integer arithmetic: rank r (from 1) has the weight r^-theta.
 *
 * The table holds groups of successive ranks with the sum of their weights: the first 32 ranks
 * alone, then 16 groups per doubling, in which the weight of the middle stands for all (an error
 * below a thousandth of the group). So it stays small for any number of keys.
 */
#pragma once

#include "guest-tests/lib/rng.h"
#include "guest-tests/lib/types.h"

#define ZIPF_GROUPS 1024

struct zipf {
	unsigned groups;
	u64 total;
	u64 first[ZIPF_GROUPS + 1]; /* first rank of each group, counted from 0 */
	u64 below[ZIPF_GROUPS];     /* weight of all groups before it */
};

/* theta in millionths, 0 (uniform) to 4000000; n from 1 to 2^27. */
void zipf_init(struct zipf *zipf, u64 n, u64 theta_micro);
/* A rank, 0 the most frequent. */
u64 zipf_next(const struct zipf *zipf, struct rng *rng);
