/* Which VM has to go when nothing more can be packed. */
#pragma once

#include "lib/types.h"

/*
 * Id of the space with the largest excess over its share, 0 if none has anything. Its share of all frames is in
 * proportion to its pages; *held, in frames like *share, is what it has resident and its part of the pool. No lock held, not in an
 * epoch section.
 */
u16 victim_choose(u64 *share, u64 *held);
