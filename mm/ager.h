/*
 * Aging one space all the time, for a declared share of a CPU (the duty): what an ager costs those who fault beside it
 * can only be compared at equal duties, and must say the duty that it really had.
 *
 * All tables are walked in each pass, whether that pays or not: passes without a walk would only contend for the lists.
 * A pass that took t is followed by a pause of t * (100 - duty) / duty; t includes what the pass waited. Who calls
 * ager_turn() again and again is the ager: hv has a thread for it, tests do it themselves.
 */
#pragma once

#include "lib/types.h"

struct space;

/* What the ager does with its share. */
enum ager_work {
	AGER_PASSES,
	AGER_BURNS, /* nothing, for as long: what is compared with where CPUs take turns, so that both have theirs */
	AGER_WORKS,
};

/* Since ager_set(). The pass that is being made is not in it; one that was made before may be. */
struct ager_result {
	u64 busy_ns, whole_ns, passes;
};

#define AGER_OFF (~0ull) /* nothing to do until ager_set() */

/* One space at a time: this one from now on. duty: 1 .. 100. Any thread, no lock at or above LOCK_SCHED. */
void ager_set(const struct space *s, unsigned duty, enum ager_work work);
/* Ends it, if it is this space's; what it was is told in either case, zeros if it was another's. The same context. */
struct ager_result ager_stop(const struct space *s);
/*
 * One pass, or nothing if there is nothing to do. Returns when the next is due, in ns of hal_time_ns(). The ager's
 * thread, no lock held, not in an epoch section.
 */
u64 ager_turn(void);
/* Called by ager_set(): a thread that was told AGER_OFF comes back. NULL: nobody. */
void ager_on_set(void (*wake)(void));
