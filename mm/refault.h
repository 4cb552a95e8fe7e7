/*
 * What pages that come back teach: the shadow an evicted page leaves in its gfn word, and the figures by
 * type and tier that the choice of what to evict next is made from.
 */
#pragma once

#include "lib/types.h"
#include "mm/gen.h"

/* Tier of a state word: 0 .. GEN_TIERS - 1. */
unsigned refault_tier(u64 state);
/* Shadow of a page evicted from generation `seq` of `type`, for an away word. */
u64 refault_shadow(u64 state, enum gen_type type, u64 seq);
/*
 * Generations between the one a page was evicted from and the youngest now, for an away word: at least
 * GEN_MIN for what comes back at once (policy.twolist: see twolist_distance()). Modulo 4096: who stays away for that many is taken for young again.
 */
unsigned refault_distance(const struct lruvec *l, u64 word);
/*
 * Counts the refault of an away word if it is recent: the generation it was evicted from could still be
 * there, in a window of GEN_MAX. Returns whether it is. Lockless.
 */
bool refault_count(struct lruvec *l, u64 word);

/* Moves the figures of the generation now evicted into the averages. lruvec lock held. */
void refault_fold_locked(struct lruvec *l, enum gen_type type);
/*
 * The type to evict from. Clean pages are the cheaper ones: clean, unless they come back more often than
 * dirty ones. `swappiness` says how much more: at half of POLICY_SWAPPINESS_MAX both count the same, at less
 * clean ones may come back more often. lruvec lock held.
 */
enum gen_type refault_choose_type_locked(const struct lruvec *l, unsigned swappiness);
/*
 * The highest tier of a type whose pages may be evicted: pages of a tier that comes back noticeably more
 * often than tier 0 are to be left for a generation. At most GEN_TIERS - 2: the last tier never goes at
 * once. lruvec lock held.
 */
unsigned refault_tier_limit_locked(const struct lruvec *l, enum gen_type type);
