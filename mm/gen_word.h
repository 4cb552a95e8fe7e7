/* The part of a frame's state word that generations are made of; for mm/gen.c and mm/promote.c. */
#pragma once

#include "lib/types.h"
#include "mm/gen.h"
#include "mm/policy.h"

static inline enum gen_type state_type(u64 state)
{
	return state & FRAME_DIRTY ? GEN_DIRTY : GEN_CLEAN;
}

/* What a frame of this generation has in its word. */
static inline u64 state_label(u64 seq)
{
	return FRAME_LISTED | (seq << FRAME_LABEL_SHIFT & FRAME_LABEL);
}

static inline u64 state_unlisted(u64 state)
{
	return state & ~(FRAME_LISTED | FRAME_LABEL | FRAME_PROBATION | FRAME_TESTED);
}

static inline u64 state_listed(u64 state, u64 seq)
{
	return (state & ~(FRAME_LISTED | FRAME_LABEL)) | state_label(seq);
}

/* One more touch, where one counts for little and two for much; unless policy says that one is enough. */
static inline u64 state_touched(u64 state)
{
	if (state & (FRAME_REFERENCED | FRAME_WORKINGSET) || !a32_load(&policy.two_touch))
		return (state & ~(FRAME_REFERENCED | FRAME_REFS)) | FRAME_WORKINGSET;
	return state | FRAME_REFERENCED;
}

/* What is left of a promotion when its page has grown old: one touch. */
static inline u64 state_demoted(u64 state)
{
	return (state & ~FRAME_WORKINGSET) | FRAME_REFERENCED;
}

/*
 * Does this sighting, which makes `next` of the word, move the page to the youngest generation? Not the first
 * one: it takes two. But where the fault is no touch of its own, the first sighting is the access that was retried
 * after it, and says when the page was used; it does not say that it was used again, so that is all.
 */
static inline bool state_moves(u64 next)
{
	return next & FRAME_WORKINGSET || !a32_load(&policy.fault_touch);
}

/* Counts `n` frames to a generation of the window; the lruvec lock held, or nothing else can be at work. */
static inline void size_add(struct lruvec *l, u64 seq, enum gen_type type, s64 n)
{
	a64_count(&l->size[gen_index(seq)][type], (u64)n);
}

/* Of so many meetings of the evictor with unpackable pages, one makes it try again. */
#define GEN_UNPACKABLE_RETRY 16u

/*
 * A page that no store took is tried again now and then, for it may have been written since; every time
 * would mean to unmap and flush it for nothing at each turn of the window.
 */
static inline bool gen_unpackable_rests_locked(struct lruvec *l, u64 state)
{
	return state & FRAME_UNPACKABLE && ++l->unpackable_met % GEN_UNPACKABLE_RETRY;
}
