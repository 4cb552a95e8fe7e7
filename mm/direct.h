/*
 * How often faulting vCPUs may reclaim by themselves: `policy.direct_rate` chunks a second, all guests together.
 *
 * Without a bound, guests that all find memory short spend their time evicting each other's pages. With one,
 * each space has a share of the rate, by its weight, that nobody else can use up, and may have what is left of
 * the others' besides. A vCPU that may not reclaim waits for the background thread, and takes no frame
 * meanwhile: what is left below the min mark is for those who may.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct space;

#define DIRECT_RATE_MAX 1000000u

/* When what was taken will have been paid for, at the rate. Zero: nothing was taken. */
struct direct_bucket {
	a64 paid_ns;
};

/* Nothing has been taken from what all spaces have together. */
void direct_init(void);
/* May a vCPU of the space reclaim a chunk now? If so, that has been counted. Any context but an epoch section's. */
bool direct_take(struct space *s) must_check;
/* How often it may at this moment, of its own share; DIRECT_RATE_MAX if there is no bound. */
u64 direct_left(const struct space *s);
