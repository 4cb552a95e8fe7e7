/*
 * The classic pair of lists instead of generations, for comparison (policy.twolist): an active one and an
 * inactive one for each type, behind the same state words, the same lists of an lruvec and the same notifier.
 *
 *   - what comes in for the first time, or comes back late, enters the inactive list at its young end
 *   - the evictor takes from the other end; a page that the accurate question finds young goes back to the young
 *     end, marked referenced; found young a second time, it is activated
 *   - what comes back soon is activated at once: fewer pages were evicted or activated meanwhile than there are on
 *     the lists that it competes with (the refault distance)
 *   - where the inactive list is shorter than the active one (for memory of gigabytes: much shorter), pages from
 *     the old end of the active list go to the young end of the inactive one, referenced or not; asking each
 *     clears its Accessed bits, so that only what is touched again is found young
 *   - nothing is aged without need: no walks, no look-around, no new generations
 *
 * In terms of generations the window stands still: the active lists are those of the youngest generation, the
 * inactive ones those of the one before, which is the oldest. So all that lists, counts, moves or audits frames by
 * their generation does what it does. What needs the age of a page in time (min_ttl, working-set sizes) has no
 * answer here.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"
#include "mm/gen.h"
#include "mm/policy.h"

struct space;

/* The generations that stand for the two; they do not change while the policy is on. Any context. */
static inline u64 twolist_active(const struct lruvec *l)
{
	return a64_load(&l->max_seq);
}
static inline u64 twolist_inactive(const struct lruvec *l)
{
	return twolist_active(l) - 1;
}

/* Does this lruvec have two lists? Exact with its lock held; else it may be what was true a moment ago. */
static inline bool twolist_in(const struct lruvec *l)
{
	return unlikely(a32_load(&l->twolist));
}
/* Are all to have them? The two differ while somebody switches: mm/policy_switch.h. */
static inline bool twolist_on(void)
{
	return unlikely(a32_load(&policy.twolist));
}

/* Two lists for an lruvec that has no frames yet. */
void twolist_init(struct lruvec *l);
/*
 * How many frames the space may have: refault distances are kept in steps of a small part of that. Shadows of
 * before mean something else after a change. Any context, lockless.
 */
void twolist_set_memory(struct lruvec *l, u64 frames);
/*
 * Where a frame with this state word enters; *state gets the flags that go with it. lruvec lock held; what it says
 * goes for any state word, the caller exchanges it.
 */
u64 twolist_entry(const struct lruvec *l, enum gen_entry how, u64 *state);
/* gen_isolate() of this policy. lruvec lock held. */
void twolist_isolate_locked(struct lruvec *l, unsigned swappiness, struct gen_chunk *out);
/*
 * Deactivates at most GEN_BATCH pages of each type whose inactive list is too short. Before each chunk that an
 * evictor takes. Asks the MMUs: no lock held, not in an epoch section.
 */
void twolist_balance(struct space *s);

/* One more page was evicted, or activated. Lockless. */
void twolist_count(struct lruvec *l);
/* What an evicted page leaves of the count, in place of its generation: 12 bits are kept. Lockless. */
u64 twolist_stamp(const struct lruvec *l);
/*
 * How many pages were evicted or activated since that was left, in quarters of the lists that the page competes
 * with: below GEN_MAX, all of it would fit into memory together. Lockless.
 */
unsigned twolist_distance(const struct lruvec *l, u64 word);
