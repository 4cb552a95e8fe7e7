/* Log-scaled histogram of times: 8 steps per power of two, lockless counting, percentiles. */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

#define HIST_BUCKETS 320u

struct hist {
	a64 count[HIST_BUCKETS];
	a64 max;
	a64 total;
};

void hist_add(struct hist *h, u64 value);
/* Upper bound of the bucket in which the share lies; per_mille 500 = median. 0 when empty. */
u64 hist_percentile(const struct hist *h, unsigned per_mille);
/* Begins anew; what others add meanwhile may be lost or stay. */
void hist_clear(struct hist *h);
u64 hist_count(const struct hist *h);
