/* A histogram with 16 steps per doubling: every figure read from it is within 6 percent. */
#pragma once

#include "guest-tests/lib/types.h"

#define HIST_STEPS 16
#define HIST_SLOTS (61 * HIST_STEPS)

struct hist {
	u64 count, max, sum;
	u32 slots[HIST_SLOTS];
};

void hist_add(struct hist *hist, u64 value);
/* Adds all of `from`. */
void hist_merge(struct hist *hist, const struct hist *from);
/* Lower bound of the slot below which `per_mille` thousandths of the values lie; the largest value
 * itself at 1000. 0 when empty. */
u64 hist_quantile(const struct hist *hist, u64 per_mille);
