/* The walk of a pass: which tables of a space are harvested, and by whom. */
#pragma once

#include "lib/types.h"

struct space;
struct age_result;

#define WALK_TAKE 8u /* tables that a walker takes at a time */

/* Is there anything to walk for? By the capabilities and the space's mode. */
bool walk_wanted(const struct space *s);
/*
 * Harvests what is left of the pass that supersedes `max_seq`, together with whoever else walks it, and
 * adds to `result`. Ends early when the generation is made meanwhile. Not in an epoch section, no lock held.
 */
void walk_space(struct space *s, u64 max_seq, bool force, struct age_result *result);
/*
 * Before the generation of a walked pass is made: the flush of WALK_ACCURATE, waited for. Not in an epoch section,
 * no lock held.
 */
void walk_settle(struct space *s);
