/*
 * Host frames that guests (and the packed pool) live in: one struct per frame, one state word that
 * changes by compare-exchange only, and the allocator with its watermarks and reserve.
 *
 * The frames are those of `[host] memory`, carved once at boot into a few physically contiguous
 * extents and numbered densely 0 .. frame_total() - 1. Nothing else of the machine is touched.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/epoch.h"

#define FRAME_NONE        0xffffffffu
#define FRAME_MAX_EXTENTS 16u

/*
 * The state word. Fields below FRAME_USE change by compare-exchange from any CPU (promotion runs
 * without a lock); the use changes only in the hands of the frame's one owner (I1).
 *
 *   0     free
 *   1     tested: on probation for the second time, from a generation; cleared with bit 2
 *   2     on probation: it hangs on that list, not on the one of a generation (mm/probation.h)
 *   4:3   refs: software accesses seen, makes the tier
 *   5     referenced: seen accessed once
 *   6     workingset: was promoted, or came back recently
 *   7     table: holds a table of a shadow MMU (use: held); see frame_make_table()
 *   8     isolated: in the hands of an evictor
 *   9     locked: was a guest's, waits for the grace period before it is free (use: held)
 *   10    huge: head (first) of 512 frames that one large leaf of a second-level table maps. Only the
 *         head says so; the other 511 are asked through it. Everything else in the word stays each
 *         frame's own, for a page is 4 KiB to mm whatever maps it
 *   11    unpackable: a store declined it, and nobody wrote since as far as we know
 *   13:12 use: enum frame_use
 *   14    seen: harvested as accessed while isolated; the evictor that has it is to know
 *   30:15 pins: device emulation or the hypervisor holds the contents; never evicted while > 0
 *   31    type: 0 clean (`copy` is valid: kept in a store, or all zero), 1 dirty (must be stored first).
 *         A guest's frame is dirty unless it has a copy. Changes with the frame off its list or under the
 *         lruvec lock only; an MMU with Dirty bits may know better, zap says so
 *   62:32 label: the low bits of the generation it was put into last. Its generation is that one, or the
 *         oldest of its type if that is younger (mm/gen.c); 0 on no list. Beside the type, because sizes
 *         are counted by both
 *   63    listed: it is on a list of its space's lruvec
 */
#define FRAME_TESTED      BIT(1)
#define FRAME_PROBATION   BIT(2)
#define FRAME_REFS        BITS(4, 3)
#define FRAME_REFS_SHIFT  3
#define FRAME_REFERENCED  BIT(5)
#define FRAME_WORKINGSET  BIT(6)
#define FRAME_TABLE       BIT(7)
#define FRAME_ISOLATED    BIT(8)
#define FRAME_LOCKED      BIT(9)
#define FRAME_HUGE        BIT(10)
#define FRAME_UNPACKABLE  BIT(11)
#define FRAME_USE         BITS(13, 12)
#define FRAME_USE_SHIFT   12
#define FRAME_SEEN        BIT(14)
#define FRAME_PIN_ONE     BIT(15)
#define FRAME_PINS        BITS(30, 15)
#define FRAME_DIRTY_SHIFT 31
#define FRAME_DIRTY       BIT(31)
#define FRAME_LABEL_SHIFT 32
#define FRAME_LABEL       BITS(62, 32)
#define FRAME_LISTED      BIT(63)

enum frame_use {
	FRAME_FREE,
	FRAME_GUEST,
	FRAME_POOL,
	FRAME_HELD /* allocated, not yet given a use */
};

struct frame {
	a64 state;
	u64 owner;   /* space id 63:48, gfn 47:0; written while held or free only */
	void *table; /* FRAME_TABLE: what the MMU that has it keeps about the table; else NULL */
	union {
		struct {
			u32 next; /* list links: frame numbers; lruvec lock, or the allocator's */
			u32 prev;
			/*
			 * Gfn-map word of a copy, 0 = none; valid while the frame is clean, else to be
			 * dropped. Owned by the CPU that has the gfn word BUSY, or by the evictor while the
			 * word is evicting.
			 */
			a64 copy;
		};
		struct epoch_node node; /* on its way to the allocator, through the epoch */
	};
};
_Static_assert(sizeof(struct frame) == 40,
               "hypervisor memory per guest frame is a promised figure");

struct frame_extent {
	pfn_t first;
	u64 nframes;
};

/* For whom a frame is taken: decides how deep into the reserve the allocator may go. */
enum frame_class {
	FRAME_FOR_CACHE, /* may fail early: leaves everything below the low watermark alone */
	FRAME_FOR_FAULT, /* a guest's page: may use all but the pool's reserve (I10) */
	FRAME_FOR_POOL,  /* lets an eviction finish: may take the last frame */
};

/* Free-frame marks, in frames; set by frame_init() from the total. */
struct frame_marks {
	u64 high;    /* background reclaim stops here */
	u64 low;     /* background reclaim starts below this */
	u64 min;     /* a faulting vCPU reclaims by itself below this */
	u64 reserve; /* kept for FRAME_FOR_POOL */
};
extern struct frame_marks frame_marks;

/* Once, boot CPU: takes the extents; allocates the frame array from hal_pages. False: no memory. */
bool frame_init(const struct frame_extent *extent, unsigned n) must_check;
#ifdef VARVE_HOST
/* Undoes frame_init(): each test starts from none. */
void frame_exit(void);
#endif
u64 frame_total(void);
/* Frames nobody has. Racy by nature. */
u64 frame_free_count(void);
u64 frame_pool_count(void);
/* Frames of guests that no store has declined yet: what could still be packed. Racy by nature. */
u64 frame_packable_count(void);
/* To be told by whoever changes a state word past frame_state_change(). */
void frame_count_unpackable(u64 from, u64 to);

/*
 * A frame in use FRAME_HELD, contents undefined (scrub before another owner sees it: I9), or
 * FRAME_NONE. Any context, takes LOCK_FRAME.
 */
u32 frame_alloc(enum frame_class class) must_check;
/*
 * 512 frames that lie one behind the other from a multiple of 2 MiB on, all FRAME_HELD: the number of the
 * first; the others follow. FRAME_NONE when there are none, or when that would leave less than 512 above
 * the high mark: huge mappings are for plenty. Each goes back, or to a guest, by itself.
 */
u32 frame_alloc_huge(void) must_check;
/* First of the 512 frames of the large leaf that could map this one; FRAME_NONE: an extent's ragged end. */
u32 frame_huge_head(u32 frame);
/* Is it one of 512 that a large leaf maps? Racy by nature unless the MMU's tables stand still. */
bool frame_is_huge(u32 frame);
/*
 * Gives a frame back. It must be on no list and unmapped; whoever had it mapped was flushed
 * and the grace period is over (I7): a guest's frame is taken from an epoch callback only (asserted).
 * Scrubbing is the next owner's business; debug builds poison.
 */
void frame_free(u32 frame);

/* frame_free() after the grace period. The frame is the epoch's from here on; it was flushed (I7). */
void frame_retire(u32 frame);
/* Changes bits of the state word that are no list's business (neither listed nor label): clears, then sets. */
void frame_state_change(u32 frame, u64 clear, u64 set);

struct frame *frame_at(u32 frame);
u32 frame_number(const struct frame *f);
pfn_t frame_pfn(u32 frame);
/* FRAME_NONE when the pfn is none of ours: callers filter before touching the frame array. */
u32 frame_of_pfn(pfn_t pfn);
void *frame_ptr(u32 frame);

/* FRAME_HELD -> use, with its owner. */
void frame_give(u32 frame, enum frame_use use, u16 space_id, gfn_t gfn);
/*
 * FRAME_HELD -> a table of a shadow MMU of the space, and back to held before it is freed or retired. It is
 * no guest's page: on no list, in no gfn map, and never chosen by an evictor; its MMU gives it back when asked
 * to shrink. `about` is the MMU's and constant in between. Counted in frame_table_count().
 */
void frame_make_table(u32 frame, u16 space_id, void *about);
void frame_unmake_table(u32 frame);
u64 frame_table_count(void);
static inline u16 frame_space_id(const struct frame *f)
{
	return (u16)(f->owner >> 48);
}
static inline gfn_t frame_gfn(const struct frame *f)
{
	return gfn(f->owner & BITS(47, 0));
}
static inline enum frame_use frame_use(u64 state)
{
	return (enum frame_use)((state & FRAME_USE) >> FRAME_USE_SHIFT);
}

/*
 * A pinned frame stays resident. pin fails when the frame is isolated or not a guest's. Lockless; inside
 * the epoch section in which the gfn word named the frame, and the word must still say so afterwards.
 * Who then writes through the pin calls fault_make_dirty() first: no Dirty bit tells of that write.
 */
bool frame_pin_try(u32 frame) must_check;
void frame_unpin(u32 frame);
/* Software access (device emulation, hypervisor copy): feeds referenced and the tier. Lockless. */
void frame_mark_accessed(u32 frame);
