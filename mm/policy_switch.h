/*
 * From generations to two lists and back, live, under load (policy.twolist).
 *
 * Because a frame older than the window's oldest generation counts as one of it (top of mm/gen.c), two lists are
 * what is left of up to four when the oldest are joined: no frame is visited, and none changes its state word. What
 * was in the youngest generation is active from then on, all else inactive, in the order in which it would have been
 * evicted. The way back is nothing but letting the window move again: two lists are generations already.
 *
 *   to two lists    each lruvec, under its lock: (1) no generation is made any more, (2) the oldest of both types are
 *                   joined until two are left. If labels have to be written anew, which is once in GEN_RELABEL
 *                   generations, that visits frames, at most GEN_MAX_BATCH for each hold of the lock. In between
 *                   faults and evictors find two lists and some older ones, from which nothing is taken yet.
 *   to generations  (1) the window moves again; births begin now, for nobody knows them
 *
 * Everybody who changes lists asks the lruvec and not the policy, under the lock that the switch holds (twolist_in());
 * who asks the policy only chooses what to try. Walkers that are at work promote to the youngest generation, as
 * ever. Pages that are away were marked by the other policy: until they came back, their distance is noise. It lets
 * a page enter younger than it should at worst.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct lruvec;

/* A part of the way; true: it is done. Takes the lruvec lock; after the first call the lruvec has the new policy. */
bool policy_switch_step(struct lruvec *l, bool twolist) must_check;
/*
 * policy.twolist and all spaces; nothing if it is so. One caller at a time; no lock held, not in an epoch section.
 * Spaces that are created meanwhile have either.
 */
void policy_switch(bool twolist);
