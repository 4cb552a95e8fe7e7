/*
 * Pressure: for how long vCPUs of a space waited because memory was short. Three sums, of which the last two
 * are what others call "some" and "full": shares of time, not of vCPUs.
 *
 *   stall_ns_total       every vCPU's waits added up
 *   stall_some_ns_total  time in which at least one waited
 *   stall_all_ns_total   ... in which as many waited as the space has vCPUs; a halted one counts as running
 *
 * Time is added whenever one begins or ends to wait, so what lasts is in the sums up to the last change.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

struct space;

struct stall {
	a64 word; /* 63:8 when their number changed, ns   7:0 how many wait */
};

/* One more waits; when it began, for stall_end(). Any context. At most 255 at a time. */
u64 stall_begin(struct space *s);
void stall_end(struct space *s, u64 began_ns);
