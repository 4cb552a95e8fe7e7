/*
 * Probation: pages of one use go before those that proved worth keeping (policy.probation).
 *
 * A page that comes in, for the first time or again, hangs on a list of its own, first in, first out, beside those
 * of the generations, which are left to pages that were seen twice. Evictors take from its old end:
 *
 *   - a page that was seen used again there joins its generation
 *   - one that was not goes, however young it is: its generation says when it was used, not that it will be
 *   - a page that comes back within its test was there for too short a time: it joins the youngest generation at once, and the
 *     share of memory for pages on probation grows by PROBATION_GROWTH; with each page that goes at the end of its
 *     first probation the share shrinks by one. So it settles where one page of 1 + PROBATION_GROWTH comes back
 *     within its test, and what is used once, be it a scan or a loop that does not fit, has little of memory
 *   - when the list is shorter than its share, pages from the old end of the oldest generation go there: they are
 *     asked first, and again before they are taken
 *
 * The test. A page that comes back was last used more lately than the protected page that was made to leave last, so
 * the two had better changed places. Ages are exact, so that is a comparison of two labels; equal ones
 * decide for who is there. In a loop all are used equally often: those that are there stay and the others pass by, and part of the loop has no faults.
 *
 * The retried access. A fault leaves the Accessed bit set, so the first sighting tells nothing. With the fault of
 * PROBATION_RECENT pages later a page is asked once, by then its bit is clean, and what sets it is another use. An
 * evictor that meets a page whose first sighting is still to come takes it as not used.
 *
 * Labels tell only as much as there are generations, so evictors ask for one when a quarter of the pages was taken
 * since the last, whoever makes passes besides (PROBATION_PASSES).
 *
 * What is on probation belongs to the generation that its label says, as everybody does: ages and sizes are exact,
 * and pages on this list are counted in them. That a frame hangs here, its word says (FRAME_PROBATION). The list is
 * as an oldest one: no frame is older than min_seq, so I4 holds wherever they hang; but the window does not leave a
 * generation behind that still has frames here.
 *
 * Who asks for generations (last_seq) has the frames of this list sorted into theirs first, and then takes from those;
 * so do two lists, and who switches the setting off.
 */
#pragma once

#include "lib/types.h"
#include "mm/gen.h"
#include "mm/twolist.h"

struct space;

#define PROBATION_RECENT 2u /* faults after which a page that came in is asked for the first time */
#define PROBATION_GROWTH 3u /* pages, for one that came back within its test */
#define PROBATION_PASSES 4u /* generations asked for, while as many pages are taken as there are */
#define PROBATION_WINDOW 8u /* frames among which the one to leave the generations is chosen */
#define PROBATION_PART   20u /* of the pages of a space: its share is never less */

/* Not while recency rules (mm/guard.h). */
static inline bool probation_on(const struct lruvec *l)
{
	return a32_load(&policy.probation) && !twolist_on() && !guard_rules(l);
}

/* Does a page that enters this way start on probation? lruvec lock held. */
static inline bool probation_takes_locked(const struct lruvec *l, enum gen_entry how)
{
	return (how == GEN_ENTER_FRESH || how == GEN_ENTER_REFAULT) &&
	       a32_load(&policy.probation) && !twolist_in(l) && !guard_rules(l);
}
/* Are pages on probation to be taken first? lruvec lock held. */
bool probation_first_locked(const struct lruvec *l, u64 last_seq);
/*
 * gen_isolate() of pages on probation. Nothing looked at and no aging needed: there are none that the swappiness
 * allows, and it is for the generations to say. lruvec lock held.
 */
void probation_isolate_locked(struct lruvec *l, unsigned swappiness, struct gen_chunk *out);
/* Were enough taken for another generation? Asks once, and again if none is made. lruvec lock held. */
bool probation_pass_due_locked(struct lruvec *l);
/*
 * Takes the frames off the list, each to that of its generation; false when the budget ran out before the last.
 * lruvec lock held.
 */
bool probation_drain_locked(struct lruvec *l, unsigned *budget) must_check;

/* A page came back within its test, or left after its first probation: the share follows. Lockless. */
void probation_came_back(struct lruvec *l);
void probation_left(struct lruvec *l);
/* Was the page of an away word last used later than the protected page that left last? Lockless. */
bool probation_in_test(const struct lruvec *l, u64 word);

/* How many frames the list lacks, a chunk at most. lruvec lock held. */
unsigned probation_wanted_locked(struct lruvec *l);
struct probation_page {
	u32 frame;
	gfn_t g;
};
/* Who would be the next to leave the generations, of one list: at most n; returns how many. lruvec lock held. */
unsigned probation_next_locked(struct lruvec *l, unsigned n, struct probation_page *out);
/* The oldest protected frame goes on probation; false if there is none. lruvec lock held. */
bool probation_demote_locked(struct lruvec *l);

/*
 * Brings the list to its share, from the oldest generation, a chunk at most. Before each chunk that an evictor takes.
 * Asks the MMUs: no lock held, not in an epoch section.
 */
void probation_balance(struct space *s);
/* A fault brought the page in, of a space that pages are taken from: else a pass tells as much. Same context. */
void probation_arrived(struct space *s, gfn_t g);
