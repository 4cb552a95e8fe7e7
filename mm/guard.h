/*
 * Guard: where recency would have been the better choice, it rules for a while (policy.guard).
 *
 * That pages of one use go first (mm/probation.h) is bad where the set that is used moves: who is new has little
 * room, and those of the set before stay. How bad is known without a simulation: LRU would hold the youngest pages,
 * there or gone, as many as there are now. How old those are that are there, the sizes of generations tell; for those
 * that are gone, a count of their shadows by label. Counted from the youngest on, they make the cut: what is
 * younger LRU would have, what is older it would not.
 *
 *   loss   a page comes back that is younger than the cut: with LRU it would have been there
 *   gain   a page is seen used that is older than the cut: with LRU it would have come back
 *
 * Of pages with the label of the cut, those that are there count as the younger: where eviction goes by age that is
 * so, and then LRU has neither loss nor gain against itself.
 *
 * Both fall by half while as many pages come back as there are. When losses exceed gains by the slack, recency
 * rules: nobody enters on probation, who is there joins the generations, the oldest generation goes, promoted or
 * not, and who comes back is as young as it is. That lasts while GUARD_ROUNDS memories of pages come back, and twice
 * as long the next time. Then, as after GUARD_CALM memories without an alarm, there is trust, and more slack: probation
 * begins once more with all pages in generations, and if that alarmed again, recency would rule for good.
 *
 * The slack. Probation has losses at once, and its gains a lap later, where all memory is gone through again and
 * again: up to 1/50 of the pages the first time, then gains of a tenth and more. Where the set moves, losses pass 1/20
 * before as many pages have come back as there are, and reach 1/4; but where little comes back at all, they are small
 * for long. So the first slack is less than the former: an alarm for nothing costs GUARD_ROUNDS memories,
 * and seldom comes again.
 *
 * All of it changes under the lruvec lock; whether recency rules is read without.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

struct lruvec;

#define GUARD_LABELS 64u  /* generations whose pages are counted when they are gone: the youngest */
#define GUARD_ONE    256u /* a page, in sums of losses and gains */
#define GUARD_SLACK  80u  /* losses beyond gains that alarm: 1/80 of the pages, */
#define GUARD_TRUST  30u  /* ... and 1/30 where there is trust */
#define GUARD_ROUNDS 2u   /* memories for which recency rules, the first time, */
#define GUARD_MAX    8u   /* ... and at most */
#define GUARD_CALM   2u   /* memories without an alarm: then there is trust, and rounds are short */
#define GUARD_TICKS  16u  /* looks at all that, in each memory of pages that come back */

struct guard {
	s64 gone[GUARD_LABELS]; /* pages, by label modulo; < 0: labels that tell nothing, see inexact */
	u64 cut;                /* the youngest label of which LRU would not have all pages, */
	u32 here, away;         /* ... and the part it would have, of GUARD_ONE, of either kind */
	a32 rules;              /* recency does */
	u64 loss, gain;         /* GUARD_ONE for each page */
	u64 until_tick;         /* pages to come back */
	u32 ticks;              /* until there is trust, or recency ends */
	u32 rounds;
	bool trust;
	bool inexact; /* labels came round, or two lists left theirs: gone[] is not what a recount finds */
};

void guard_init(struct lruvec *l);
/* Does recency rule? Lockless: exact with the lruvec lock held. */
bool guard_rules(const struct lruvec *l);
/* There is a new generation. lruvec lock held. */
void guard_advance_locked(struct lruvec *l);
/* `n` pages went, with shadows that say this (gen_chunk.seen). Takes the lruvec lock. */
void guard_gone(struct lruvec *l, const u16 *seen, unsigned n);
/* The page of an away word comes back; whether that raised the alarm. Takes the lruvec lock. */
bool guard_came_back(struct lruvec *l, u64 word);
/* It does not: its memory is given up. Takes the lruvec lock. */
void guard_dropped(struct lruvec *l, u64 word);
/* `n` pages with a label were seen used. lruvec lock held. */
void guard_seen_locked(struct lruvec *l, u64 label, u64 n);
/* An evictor that had a page found it used; by what its shadow would have said. Takes the lruvec lock. */
void guard_kept(struct lruvec *l, u16 seen);
/* Index in gone[] of a page whose shadow has this generation; GUARD_LABELS: too old to be counted. lruvec lock held, or
 * nothing else at work. */
unsigned guard_index_locked(const struct lruvec *l, u64 seen);
