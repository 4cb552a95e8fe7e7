/* Which VM has to go when nothing more can be packed. */
#pragma once

#include "lib/types.h"

/*
 * Id of the space with the largest excess over its share, 0 if none has anything. Its share of all frames is in
 * proportion to its pages; *held, in frames like *share, is what it has resident and its part of the pool. No lock held, not in an
 * epoch section.
 */
u16 victim_choose(u64 *share, u64 *held);
/*
 * Before that: copies that the pool keeps of resident pages save the next eviction some work; memory they save none.
 * Gives up those of some frames, from where the last call ended; false: there are none. Context as above.
 */
bool victim_copies_first(void);
