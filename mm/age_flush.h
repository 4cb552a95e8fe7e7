/*
 * Exactness as a choice. Hardware does not mark a page again through a translation that it has cached, so
 * after a pass hot pages look old until their translations leave the TLB. policy.flush says what is done:
 *
 *   none      nothing: eviction's shootdowns, exits and the TLB's size bound the error
 *   per-pass  a flush generation is raised after every pass
 *   sampled   ... after one pass in AGE_FLUSH_SAMPLE; what the passes behind flushes find more than the
 *             others is an estimate of what is missed
 *
 * Nobody waits for such a flush, since nothing is reused because of it. A vCPU honours it at its next entry
 * anyway; one that has not left its guest AGE_FLUSH_GRACE_NS later, or when the next pass begins, is kicked.
 * What it touches in between through old translations is not seen: that is how exact per-pass is.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

struct space;
struct space_stats;

#define AGE_FLUSH_SAMPLE   8u
#define AGE_FLUSH_GRACE_NS 1000000ull

/* Used by who makes a generation, and by who kicks. Two may overlap: then a pass is counted as another. */
struct age_flush {
	a64 gen; /* the flush generation that the last pass asked for; 0: none */
	a64 due_ns; /* when those are kicked that have not honoured it; ~0: all have, or nobody was asked */
	a32 passes;         /* that could have been flushed, in the mode `sampled` */
	a32 flushed;        /* the last pass was */
	a64 visited, young; /* the space's counters when the last pass ended */
};
void age_flush_init(struct age_flush *f);

/* A pass ended: counts what it found, and flushes if it is time to. The space's counters have its share. */
void age_flush_after(struct space *s);
/* A pass begins: whoever has not honoured the last one's flush is kicked. Does not wait. */
void age_flush_before(struct space *s);
/* Kicks in all spaces those whose grace is over. When to call again, ~0 if there is nobody left. */
u64 age_flush_poll(u64 now_ns);

/*
 * Of a thousand pages that were touched, how many did passes without a flush before them miss? From the
 * samples; 0 while there are none of either kind. Not exact: the guest may do different things in different
 * passes, and evictions flush too.
 */
unsigned age_false_old_permille(const struct space_stats *stats);
