/*
 * The dirty log of a space: which pages were written since they were last asked for. A bit for each page, in its slot.
 *
 * Three ways to know of a write; in each of them the MMU's entry is the truth until somebody reads the log:
 *
 *   PROTECT   W in an entry means written. Reading takes W; the next write faults and has it back, without a lock
 *   BITS      Dirty in an entry means written. Reading clears it; needs MMUs with Dirty bits
 *   HARDWARE  as BITS, and the CPU writes down for each vCPU in which entries it sets Dirty (PML): reading looks at
 *             those pages only. What it writes down is heat for the policy, too
 *
 * What is read is exact: a reading (sync, then take) has every page whose write was over when it began and is in no
 * earlier reading; what is written later is in a later one, and perhaps in this one as well, if it happened meanwhile.
 * What an entry says is not lost with it: a zap notes it (hv/mmu/tdp_log.c). The hypervisor's own writes, and giving a
 * page back (it is zero then), are noted by who makes them. What is noted has bits of its own until it is collected:
 *
 *	sync, take					write
 *	----------					-----
 *	a the entries: to "not written", into the log	1 the entry says written, or
 *	b MMU lock, write side				2 a zap, read side: the entry is gone, then it is noted
 *	c what was noted, into the log
 *	d flush
 *	e bits of the log taken
 *
 * A write before a is found there if its entry is; if it was zapped before, the zap's read section is over at b, and it
 * is noted at c. A write between a and d may go through what a TLB still had of an entry that a or a zap has changed;
 * afterwards none can. So nothing comes into the log between d and e, and whoever looks at the contents of what he took
 * sees all writes that no later reading will have. (Were what a zap notes taken at e at once, a write through a TLB that
 * the zap's own flush has not reached yet would be in no reading: model_explore_log found that.)
 *
 * HARDWARE has no a, but d before b as well: vCPUs leave, and what was written down for them is noted; of the pages found
 * at c, and of these only, Dirty is cleared. A zap between the two finds Dirty, and notes the page again: it is in the
 * next reading as well, written or not.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct space;

enum dirty_log_mode {
	DIRTY_LOG_OFF,
	DIRTY_LOG_PROTECT,
	DIRTY_LOG_BITS,
	DIRTY_LOG_HARDWARE,
	DIRTY_LOG_MODES,
};
extern const char *const dirty_log_names[]; /* by mode, then NULL */

/* In struct space. */
struct dirty_log {
	a32 mode;           /* changes in the hands of who has it */
	a32 taken;          /* by who starts, stops or synchronises */
	a64 reported_total; /* pages */
	a64 hardware_total; /* pages that the CPU wrote down */
};

/*
 * Switches it on; nothing counts as written then. False, and nothing changed: it is on already, an MMU of the space
 * cannot tell, or hardware does not log. Larger translations are split, and none are made while it is on. No lock held,
 * not in an epoch section; waits for a flush, and for who reads it.
 */
bool dirty_log_start(struct space *s, enum dirty_log_mode mode) must_check;
void dirty_log_stop(struct space *s);
/*
 * Collects the pages first .. first + n - 1 into the bitmap, and gets ready for their next write. Without a log:
 * nothing. Context as start.
 */
void dirty_log_sync(struct space *s, gfn_t first, u64 npages);
/*
 * Takes what was collected of n <= 512 pages: bit i = page first + i, (n + 63) / 64 words. Returns how many. Any
 * context but under the epoch's callbacks.
 */
u64 dirty_log_take(struct space *s, gfn_t first, unsigned npages, u64 *bitmap);

/* The same for all pages. */
void dirty_log_sync_all(struct space *s);
/*
 * Takes the first run of pages from *from on that was collected, in one slot: *from becomes its first page. Returns how
 * many; 0 if there is none. Context as take.
 */
u64 dirty_log_next(struct space *s, gfn_t *from);

/* The page was written past the MMUs' entries, or will not be found in one any more. Any context; lockless. */
void dirty_log_mark(struct space *s, gfn_t g);
/*
 * What the CPU wrote down for a vCPU: guest-physical addresses. They count as written at the next sync, and for the
 * policy as seen accessed and dirty now. By the vCPU that is about to leave its guest, before it says so; no lock held.
 */
void dirty_log_hardware(struct space *s, const u64 *address, unsigned n);
