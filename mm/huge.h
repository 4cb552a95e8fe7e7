/*
 * 2 MiB mappings, as far as mm has a part in them.
 *
 * To mm a page is 4 KiB, whatever maps it: each of 512 has its gfn word, its frame with its own flags, its
 * place in the generations, and is evicted by itself. A huge mapping is a property of a second-level table
 * (one large leaf) and of where the frames lie (one behind the other from a multiple of 2 MiB on), no more.
 * FRAME_HUGE on the head, the first of the 512, says that a large leaf maps them.
 *
 * What differs is what is known: one Accessed bit for 512. So the bit is harvested for all of them at once
 * (huge_ask()), and whoever takes one of the 512 away has the leaf split into 512 first (notifier.h: zap
 * does so by itself).
 *
 *   none x 512 --first touch, memory is plenty--> one large leaf --zap of one; sampled--> 512 leaves
 *                                                              ^                             |
 *                                                              +---- collapse.h: enough hot -+
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct space;

/* Of a gfn: the first one of its 2 MiB. */
static inline gfn_t huge_first(gfn_t g)
{
	return gfn(align_down(g.v, (u64)TABLE_PAGES));
}

/*
 * First touch of 512 pages at once: if the space wants it, all of `first`'s 2 MiB lie in one slot, none of
 * the pages was ever touched or is in somebody's hands, and memory is plenty, they become resident in 512
 * frames in one piece, zeroed (I9): returns the first frame. Else nothing changes: FRAME_NONE. `dirty`: the
 * MMU will not be able to tell whether a page was written, or one is about to be. No lock held, not in an
 * epoch section. As after fault_bring_in(), an evictor may have taken a page again already: the caller holds
 * an invalidate_seq() from before, and looks at all 512.
 */
u32 huge_bring_in(struct space *s, gfn_t first, bool dirty) must_check;

/* The words of 512 pages that lie in one slot, or NULL. Inside an epoch section. */
a64 *huge_words(struct space *s, gfn_t first);

/*
 * For an evictor that isolated a frame of a large leaf, before it asks about the frame: harvests the leaf's
 * one bit for all 512. The frame itself is told by FRAME_SEEN. If the leaf was young though memory is
 * nearly used up, it is split, so that what is cold in it can be told from what is hot next time.
 */
void huge_ask(struct space *s, gfn_t g);
