/*
 * What a fault finds in the gfn word, and what it does:
 *
 *   busy       somebody is bringing it in or dropping it            retry
 *   resident   another vCPU was first, or only the SPTE was missing  done
 *   evicting   an evictor has it in hand                             exchange it back: a rescue
 *   none       first touch                                           a zeroed frame (I9)
 *   away       refault                                               a frame and the store's copy, which is asked for
 *                                                                    first and waited for elsewhere if a disk has it
 *
 * The last two take a frame before they take the word, so that whoever has a word BUSY needs nothing from
 * anybody. The word is published before the frame is listed: an evictor cannot find a page whose word it
 * could not change.
 */
#include "mm/fault.h"

#include "arch/hal.h"
#include "lib/string.h"
#include "mm/balloon.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/guard.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/probation.h"
#include "mm/reclaim.h"
#include "mm/refault.h"
#include "mm/space.h"
#include "mm/stall.h"
#include "mm/store.h"
#include "mm/trace.h"
#include "mm/twolist.h"

#define TRIES 4u

/*
 * Below `min` the vCPU first makes room itself, but takes a frame of the reserve's upper part all the same if that
 * brought nothing (I10). If it may not, it has to wait for others to make room, and that it got nothing is no sign
 * that there is nothing. That others are about to lend theirs is another reason to wait (mm/balloon.h).
 */
u32 fault_frame(struct space *s)
{
	u32 frame = FRAME_NONE;
	bool refused = false;

	reclaim_before_fault(s);
	for (unsigned i = 0; i < TRIES && frame == FRAME_NONE; i++) {
		bool is_short = frame_free_count() < frame_marks.min;
		enum balloon_turn turn = balloon_turn(s);
		u64 freed = 0;

		is_short &= turn != BALLOON_FIRST;
		refused = is_short && !direct_take(s);
		if (refused)
			break;
		if (is_short)
			freed = reclaim_direct(s);
		if (!freed && frame_free_count() < frame_marks.min && turn == BALLOON_LAST)
			break;
		frame = frame_alloc(FRAME_FOR_FAULT);
		if (frame == FRAME_NONE && !freed)
			break;
	}
	if (reclaim_needed())
		reclaim_wake();
	if (refused) {
		a64_count(&s->stats.direct_refused_total, 1);
		return FRAME_NONE;
	}
	/* Frames in an evictor's hands, or waiting for a reader to leave, are on their way here. */
	if ((frame == FRAME_NONE && !evict_active() && !epoch_pending()) ||
	    reclaim_nothing_packable())
		reclaim_out_of_memory();
	return frame;
}

void fault_drop_copy(struct space *s, u32 frame)
{
	u64 copy = a64_load(&frame_at(frame)->copy);

	gen_make_dirty(&s->lru, frame);
	a64_store(&frame_at(frame)->copy, 0);
	if (copy)
		store_drop(copy);
}

/* Is there anything to change before an MMU that cannot tell lets the guest write? */
static bool must_make_dirty(u64 state)
{
	return !(state & FRAME_DIRTY) || state & FRAME_UNPACKABLE;
}

void fault_make_dirty_busy(struct space *s, u32 frame)
{
	if (must_make_dirty(a64_load(&frame_at(frame)->state)))
		fault_drop_copy(s, frame);
}

static enum fault_result make_dirty(struct space *s, a64 *where, u64 word)
{
	u32 frame = gfn_word_frame(word);

	if (!must_make_dirty(a64_load(&frame_at(frame)->state)))
		return FAULT_FIXED;
	if (!gfnmap_busy_try(where, &word))
		return FAULT_RETRY;
	fault_drop_copy(s, frame);
	gfnmap_busy_end(where, word);
	return FAULT_FIXED;
}

/* The page has a frame: resident, or evicting and rescued. Inside the epoch. */
static enum fault_result take_present(struct space *s, a64 *where, u64 word, bool drop,
                                      struct fault_page *out)
{
	u32 frame = gfn_word_frame(word);
	enum fault_result result = FAULT_FIXED;

	if (gfn_word_tag(word) == GFN_EVICTING) {
		/* ord M7: pairs with ord M6; one of rescue and evictor wins (I5) */
		if (!a64_cas(where, &word, gfn_word(GFN_RESIDENT, frame)))
			return FAULT_RETRY;
		a64_count(&s->stats.rescues_total, 1);
		trace_event(TRACE_RESCUE, s->id, frame_gfn(frame_at(frame)), 0, frame);
		word = gfn_word(GFN_RESIDENT, frame);
	}
	if (drop)
		result = make_dirty(s, where, word);
	out->frame = frame;
	out->clean = !(a64_load(&frame_at(frame)->state) & FRAME_DIRTY);
	return result;
}

/* Contents of the page, as `word` says, into a frame that is still nobody's (I9). */
static enum fault_result fill(u32 frame, u64 word)
{
	if (gfn_word_tag(word) == GFN_NONE) {
		memset(frame_ptr(frame), 0, PAGE_SIZE);
		return FAULT_FIXED;
	}
	switch (store_get(word & ~GFN_SHADOW, frame)) {
	case STORE_OK:
		return FAULT_FIXED;
	case STORE_WAIT:
		return FAULT_WAIT;
	default:
		return FAULT_BAD_PAGE;
	}
}

/*
 * The copy to keep with the frame, 0 = none: kept for a page that is only read, but not under pressure:
 * then its place in the pool is worth more than a cheap eviction later.
 */
static u64 copy_to_keep(u64 word, bool write)
{
	u64 copy = gfn_word_tag(word) == GFN_NONE ? gfn_word(GFN_ZERO, 0) : word & ~GFN_SHADOW;

	if (write ||
	    (gfn_word_tag(copy) == GFN_POOLED && reclaim_needed() && store_takes_frames(copy)))
		return 0;
	return copy;
}

/* What the refault shadow says: state bits to start with, and where the page enters. */
static enum gen_entry judge(struct space *s, u64 word, u64 *state)
{
	bool recent;

	if (gfn_word_tag(word) == GFN_NONE) {
		a64_count(&s->stats.first_touch_total, 1);
		return GEN_ENTER_FRESH;
	}
	a64_count(&s->stats.refaults_total, 1);
	a64_count(&s->stats.refault_distance_total[min_of(refault_distance(&s->lru, word),
	                                                  SPACE_DISTANCES - 1)],
	          1);
	a64_count(&s->stats.guard_refaults_total, guard_rules(&s->lru));
	a64_count(&s->stats.guard_alarms_total, guard_came_back(&s->lru, word));
	recent = refault_count(&s->lru, word);
	a64_count(&s->stats.refaults_recent_total, recent);
	if (probation_on(&s->lru) && probation_in_test(&s->lru, word)) {
		probation_came_back(&s->lru);
		return GEN_ENTER_REFAULT_HOT;
	}
	if (!recent)
		return GEN_ENTER_REFAULT;
	if (word & GFN_WORKINGSET || twolist_on())
		return GEN_ENTER_REFAULT_HOT;
	/* What software had seen of it. The youngest generation is worth more than that. */
	*state |= (word & GFN_TIER) >> GFN_TIER_SHIFT << FRAME_REFS_SHIFT;
	return GEN_ENTER_REFAULT;
}

/* `how` is what judge() said of the word. */
static void trace_arrival(struct space *s, gfn_t g, u64 word, enum gen_entry how, bool write,
                          u32 frame)
{
	u64 distance = refault_distance(&s->lru, word);
	u64 recent = distance < GEN_MAX ? TRACE_REFAULT_RECENT : 0;

	if (how == GEN_ENTER_FRESH)
		trace_event(TRACE_FAULT, s->id, g, write, frame);
	else
		trace_event(TRACE_REFAULT, s->id, g,
		            (word & (GFN_TAG | GFN_SHADOW)) | recent |
		                    (write ? TRACE_REFAULT_WRITE : 0) |
		                    distance << TRACE_REFAULT_DISTANCE,
		            frame);
}

/* The filled frame becomes the page's. The caller has the word BUSY; it is published and listed here. */
static void install(struct space *s, gfn_t g, a64 *where, u64 word, bool write,
                    struct fault_page *out)
{
	u64 copy = copy_to_keep(word, write), state = copy ? 0 : FRAME_DIRTY;
	enum gen_entry how = judge(s, word, &state);
	u32 frame = out->frame;

	frame_give(frame, FRAME_GUEST, s->id, g);
	a64_store(&frame_at(frame)->copy, copy);
	frame_state_change(frame, 0, state);
	out->clean = copy != 0;
	if (!copy && gfn_word_away(word))
		store_drop(word & ~GFN_SHADOW);
	if (space_counter(s, word))
		a64_count(space_counter(s, word), -1ull);
	a64_count(&s->resident, 1);
	if (gfn_word_tag(word) == GFN_NONE)
		balloon_touched(s, g);
	gfnmap_busy_end(where, gfn_word(GFN_RESIDENT, frame));
	gen_insert(&s->lru, frame, how);
	if (trace_on())
		trace_arrival(s, g, word, how, write, frame);
}

/* First touch or refault into the frame in `out`, which stays the caller's unless FIXED. */
static enum fault_result bring_in(struct space *s, gfn_t g, bool write, struct fault_page *out)
{
	const struct slot *slot = gfnmap_slot(s, g);
	enum fault_result result;
	a64 *where;
	u64 word;

	if (!slot || slot->closed)
		return FAULT_NO_SLOT;
	where = &slot->word[g.v - slot->base.v];
	word = a64_load(where);
	if (gfn_word_tag(word) == GFN_RESIDENT || !gfnmap_busy_try(where, &word))
		return FAULT_RETRY;
	result = fill(out->frame, word);
	if (result != FAULT_FIXED) {
		gfnmap_busy_end(where, word);
		return result;
	}
	install(s, g, where, word, write, out);
	return FAULT_FIXED;
}

static enum fault_result bring_in_new(struct space *s, gfn_t g, bool write, struct fault_page *out)
{
	u32 frame = fault_frame(s);
	enum fault_result result;

	if (frame == FRAME_NONE)
		return FAULT_NO_MEMORY;
	out->frame = frame;
	epoch_enter();
	result = bring_in(s, g, write, out);
	epoch_exit();
	if (result != FAULT_FIXED)
		frame_free(frame);
	else if (a64_load(&s->stats.evictions_total)) /* with memory to spare nobody is taken */
		probation_arrived(s, g);
	return result;
}

/*
 * The guest waits because memory is short: its page was taken, or one has to be taken for it. The share of time in
 * this state is what other systems call pressure; a first touch with memory to spare is none, and costs a test.
 */
static enum fault_result bring_in_counted(struct space *s, gfn_t g, u64 word, bool write,
                                          struct fault_page *out)
{
	bool stalls = gfn_word_away(word) || frame_free_count() < frame_marks.min ||
	              !limits_room(s, 1);
	u64 start = stalls ? stall_begin(s) : 0;
	enum fault_result result = bring_in_new(s, g, write, out);

	if (stalls)
		stall_end(s, start);
	return result;
}

enum fault_result fault_bring_in(struct space *s, gfn_t g, bool write, bool keep_copy,
                                 struct fault_page *out)
{
	enum fault_result result = FAULT_FIXED;
	bool present;
	a64 *where;
	u64 word;

	DEBUG_ASSERT(!epoch_active());
	if (a32_load(&s->dying))
		return FAULT_STOP_VM;
	epoch_enter();
	where = gfnmap_word(s, g);
	prefetch_write(where);
	/* ord M5: the frame's owner and contents stand before the word names it; pairs with ord M4 */
	word = where ? a64_load_acquire(where) : 0;
	present = gfn_word_tag(word) == GFN_RESIDENT || gfn_word_tag(word) == GFN_EVICTING;
	if (!where)
		result = FAULT_NO_SLOT;
	else if (word & GFN_BUSY)
		result = FAULT_RETRY;
	else if (present)
		result = take_present(s, where, word, write && !keep_copy, out);
	epoch_exit();
	if (result != FAULT_FIXED || present)
		return result;
	/* Before it has a frame: others have a use for it until the disk has answered. */
	if (gfn_word_away(word) && !store_ready(word & ~GFN_SHADOW))
		return FAULT_WAIT;
	return bring_in_counted(s, g, word, write, out);
}

enum fault_result fault_make_dirty(struct space *s, gfn_t g)
{
	enum fault_result result = FAULT_RETRY;
	a64 *where;
	u64 word;

	epoch_enter();
	where = gfnmap_word(s, g);
	word = where ? a64_load_acquire(where) : 0; /* ord M5 */
	if (!where)
		result = FAULT_NO_SLOT;
	else if (gfn_word_tag(word) == GFN_RESIDENT && !(word & GFN_BUSY))
		result = make_dirty(s, where, word);
	epoch_exit();
	return result;
}

enum fault_result fault_write_begin(struct space *s, gfn_t g, u64 *word)
{
	enum fault_result result = FAULT_RETRY;
	a64 *where;

	epoch_enter();
	where = gfnmap_word(s, g);
	/* Ordered by the exchange that makes it BUSY (ord M3). */
	*word = where ? a64_load(where) : 0;
	if (!where) {
		result = FAULT_NO_SLOT;
	} else if (gfn_word_tag(*word) == GFN_RESIDENT && gfnmap_busy_try(where, word)) {
		fault_make_dirty_busy(s, gfn_word_frame(*word));
		result = FAULT_FIXED;
	}
	epoch_exit();
	return result;
}

void fault_write_end(struct space *s, gfn_t g, u64 word)
{
	gfnmap_busy_give(s, g, word);
}
