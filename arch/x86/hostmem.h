/*
 * The machine's RAM as the hypervisor's own page allocator: hal_pages_alloc() and friends are
 * implemented here. Single pages come from a list in constant time, longer runs first fit from the
 * ranges. A free of something else than what was handed out panics.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct hostmem_extent {
	pfn_t first;
	u64 frames;
};

/*
 * Takes over `n` disjoint ascending extents. Boot CPU, once; memory above `reach` is not touched
 * (nor handed out) before hostmem_reach_all(), which the final page tables allow.
 */
void hostmem_init(const struct hostmem_extent *extents, unsigned n, hpa_t reach);
void hostmem_reach_all(void);
/* Gives a range that was withheld so far (boot modules) to the allocator. */
void hostmem_add(struct hostmem_extent extent);
/*
 * Takes `nframes` for good (the guests' frames), out of the biggest ranges and in as few extents as
 * possible, at most `max`. Returns how many frames it got; unused entries of out have 0 frames.
 * The frames are not zeroed.
 */
u64 hostmem_carve(u64 nframes, struct hostmem_extent *out, unsigned max) must_check;

/* Frames: under management and free now; handed out now; taken by hostmem_carve(). */
u64 hostmem_free_frames(void);
u64 hostmem_used_frames(void);
u64 hostmem_carved_frames(void);
