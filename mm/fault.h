/*
 * Bringing a guest page in: the half of a second-level fault that knows the gfn map and no page
 * tables. hv/mmu calls it and then installs the translation.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct space;

enum fault_result {
	FAULT_FIXED,     /* resident: map `frame` */
	FAULT_RETRY,     /* raced somebody: start over (after hal_pause) */
	FAULT_NO_MEMORY, /* not one frame can be had: the caller yields, or the OOM policy speaks */
	FAULT_NO_SLOT,   /* no RAM there: a device or nothing */
	FAULT_BAD_PAGE,  /* the store returned bad data, or none: stop this VM, say so */
	FAULT_WAIT,      /* the page is on its way from a disk: let others run, start over */
	FAULT_STOP_VM,   /* the space is dying */
};

struct fault_page {
	u32 frame;
	/*
	 * A valid copy is still kept (or the page is all zero): as long as nobody writes, eviction costs
	 * nothing. MMUs without a Dirty bit map it read-only until the first write.
	 */
	bool clean;
};

/*
 * Makes the page resident: first touch (zeroed, I9), rescue, refault. A write drops the kept copy
 * unless the caller's MMU can tell later that nothing was written (`keep_copy`). No lock held, not in
 * an epoch section; may reclaim directly (long). The frame can be evicted again at once: the caller
 * holds an invalidate_seq() taken before and checks it under the MMU lock.
 */
enum fault_result fault_bring_in(struct space *s, gfn_t g, bool write, bool keep_copy,
                                 struct fault_page *out);
/*
 * A write to a page that was mapped as clean, on an MMU without Dirty bits: the copy is no longer
 * valid. RETRY if the page is not resident any more.
 */
enum fault_result fault_make_dirty(struct space *s, gfn_t g);
/*
 * A frame for what a fault of the space needs, a page or a table of an MMU; FRAME_NONE: not one can be had. May reclaim
 * directly (long), tables of the space's MMUs included. No lock held, not in an epoch section.
 */
u32 fault_frame(struct space *s) must_check;
/*
 * Its half for who found Dirty in a translation: the page is dirty and its copy, if any, is dropped. The caller
 * has the page's gfn word BUSY, and `frame` is what it names. Takes the lruvec lock.
 */
void fault_drop_copy(struct space *s, u32 frame);
/* The same unless it is dirty already, and known to be: nothing to change then. */
void fault_make_dirty_busy(struct space *s, u32 frame);
/*
 * For an MMU without Dirty bits that grants the first write to a page: as fault_make_dirty(), and until
 * fault_write_end() the page stays in its frame, for its word is BUSY. FAULT_FIXED: *word is the word without BUSY. In
 * between: nothing that waits for anybody.
 */
enum fault_result fault_write_begin(struct space *s, gfn_t g, u64 *word);
void fault_write_end(struct space *s, gfn_t g, u64 word);
