/*
 * Who reclaims, when and from whom: watermarks, the background loop, direct reclaim, and the choice of
 * the VM that has to go when nothing more can be packed.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"
#include "mm/space.h"

struct reclaim_ops {
	/* Wakes the thread that calls reclaim_background(). Any context. */
	void (*wake)(void);
	/*
	 * Nothing more can be packed: stop the guest of this space, with a line that says so. Returns at
	 * once; its memory comes back when its vCPUs have stopped.
	 */
	void (*out_of_memory)(struct space *victim, const char *why);
	/* The chance to let others run between chunks; NULL = none. Only called by threads that
	   reclaim in the background or on request. */
	void (*yield)(void);
};
void reclaim_init(const struct reclaim_ops *ops);
/* Lets others run, if the creator of the operations knows how. Thread, no lock held, not in an epoch section. */
void reclaim_yield(void);

/* Wakes the background thread, unless it found only a moment ago that there is nothing to be had. */
void reclaim_wake(void);
/* The victim named last has given everything back: another may be named. space_drain() says so. */
void reclaim_drained(const struct space *s);
/*
 * Is free memory below the low mark, or below the high one while writers wait for their pages to be packed?
 * Cheap; the fault path asks after each allocation and wakes.
 */
bool reclaim_needed(void);
/*
 * Nearly all that is resident has been declined by the stores, and there is no room: the little that can
 * still be packed comes and goes for ever, and nobody gets on. Cheap; the fault path asks.
 */
bool reclaim_nothing_packable(void);
/*
 * One round of the background thread: ages and evicts, fairly over all spaces in proportion to what
 * they hold above what they are promised, until the high mark or until no progress. Returns whether it is worth coming back soon.
 */
bool reclaim_background(void);
/* Regular aging without pressure, every `period_ns`; called by the background thread. */
void reclaim_age_periodic(u64 now_ns, u64 period_ns);
/*
 * A faulting vCPU helps itself: tries to free a chunk, from whomever the VM-LRU names. Returns frames
 * freed. If no page of a chunk had a copy, it asks the background thread to go on. No lock held.
 */
u64 reclaim_direct(struct space *for_whom);
/* Somebody asked for frames, without need. From all, as above; may take long, lets others run. */
u64 reclaim_asked(u64 frames, int swappiness);
/*
 * A chunk from one space, whatever it is promised, aged as often as it takes; *freed: frames. False: it has nothing more
 * to give. True without a frame: not known yet, for EVICT_DECLINED_MAX pages were packed in vain, and others may want
 * this CPU before the next call; that comes to an end. The caller
 * pinned the space or is one of its vCPUs. No lock held, not in an epoch section.
 */
bool reclaim_self(struct space *s, int swappiness, u64 *freed);
/* See reclaim_before_fault(). */
void reclaim_at_limit(struct space *s);
/*
 * Before a page of the space gets a frame: if that would exceed its limit, a chunk goes first. A limit is
 * exceeded by one page for each vCPU that faults at the same time, and by as much as no store takes; that
 * is counted (over_limit_total) and stops nobody, for memory is there. No lock held, not in an epoch section.
 */
static inline void reclaim_before_fault(struct space *s)
{
	u64 limit = a64_load(&s->limits.limit);

	if (unlikely(limit && a64_load(&s->resident) + a64_load(&s->tables) >= limit))
		reclaim_at_limit(s);
}
/* Brings spaces that are above a limit down to it. Background thread. */
void reclaim_limits(void);
/*
 * Direct reclaim got nothing and the reserve is used up: names the space with the largest excess over
 * its share and calls out_of_memory() once per victim, which is dying from then on. A space's share of
 * all frames is proportional to its pages; its excess is what it has resident, and its part of the pool,
 * beyond that. False: a victim is already on its way, or direct reclaim has not failed often enough in a
 * row to be sure: young pages everywhere are no proof that nothing can be packed, unless it stays so for
 * two seconds.
 */
bool reclaim_out_of_memory(void);
