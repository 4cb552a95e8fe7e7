/*
 * The page that model_explore_log is about, to the hypervisor: its gfn word, its faults, the notifiers that reach the
 * TDP, invalidations and flushes. Part of that program, which has its sources before this, and says what is spoilt:
 * LOG_SPOILT(what).
 */
#pragma once

#include <string.h>

#include "hv/mmu/tdp.h"
#include "hv/mmu/tdp_huge.h"
#include "hv/mmu/tdp_iter.h"
#include "hv/mmu/tdp_ops.h"
#include "lib/hist.h"
#include "mm/dirty_log.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/space.h"
#include "tests/model/tdp_guest.h"

#ifndef LOG_SPOILT
#define LOG_SPOILT(what) false
#endif

#define GFN    gfn(5)
#define POISON 0xdeadu

static struct {
	struct space space;
	struct tdp tdp;
	a64 word;
	unsigned frame;
	u64 copy[VCPUS];
	bool copy_valid;
	u64 seq;
	unsigned in_progress;
	unsigned epochs[EXPLORER_ACTORS];
	a64 bits[2]; /* of the slot: written, written down */
	/* of the log */
	unsigned written,
	        reported; /* writes: all, and those that a reading has: its reader looks at the page then */
	unsigned vcpus_done, vcpus;
	unsigned flushes; /* that the log has asked for, since it was switched on */
	u64 down[VCPUS]; /* what hardware wrote down for each vCPU: one page, so one entry a stay */
} world;
static u64 frames[3][PAGE_SIZE / 8] aligned_to(PAGE_SIZE);
static a64 tables[4][TABLE_PAGES] aligned_to(PAGE_SIZE);

static const struct spte_format *scene_format;
static enum walker_kind scene_kind;
static enum dirty_log_mode scene_mode;
static bool scene_clean; /* the page has a copy */
static enum { EVICTED, TWO_WRITERS, STARTED, SCENES } scene_nr;

static enum gfn_tag tag(void)
{
	return gfn_word_tag(world.word.raw);
}
static bool busy(void)
{
	return world.word.raw & GFN_BUSY;
}
static void set_tag(enum gfn_tag to)
{
	world.word.raw = gfn_word(to, world.frame);
}

bool tdp_fault_huge(struct tdp *t, const struct tdp_access *a)
{
	(void)t, (void)a;
	return false;
}
void tdp_split_locked(struct tdp *t, gfn_t g)
{
	(void)t, (void)g;
	explorer_panic("split of what is not large");
}
void epoch_enter(void)
{
	world.epochs[explorer_self()]++;
}
void epoch_exit(void)
{
	world.epochs[explorer_self()]--;
}
bool epoch_active(void)
{
	return world.epochs[explorer_self()] != 0;
}
void hist_add(struct hist *h, u64 value)
{
	(void)h, (void)value;
}
pfn_t frame_pfn(u32 frame)
{
	return hal_ptr_pfn(frames[frame]);
}

/* --- gfn map, faults, notifiers --- */

static const struct slots the_slot = {
        .nr = 1,
        .slot = {{.base = {5}, .npages = 1, .dirty = &world.bits[0], .noted = &world.bits[1]}},
};

const struct slot *gfnmap_slot(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	return &the_slot.slot[0];
}
const struct slots *gfnmap_slots(struct space *s)
{
	(void)s;
	return &the_slot;
}
a64 *gfnmap_word(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	return &world.word;
}
/* The bit that said that something was written down. */
static void taken_late(struct space *s)
{
	if (LOG_SPOILT(NOTED_LATE) && dirty_log_mode(s) == DIRTY_LOG_HARDWARE)
		a64_store(&world.bits[1], 0);
}
static bool not_busy(void *arg)
{
	(void)arg;
	return !busy();
}
bool gfnmap_busy_resident(struct space *s, gfn_t g, u64 *word)
{
	(void)s, (void)g;
	explorer_yield();
	explorer_wait(not_busy, NULL);
	if (tag() != GFN_RESIDENT) {
		taken_late(s);
		return false;
	}
	*word = world.word.raw;
	if (!LOG_SPOILT(CLEAN_FREE))
		world.word.raw |= GFN_BUSY;
	return true;
}
void gfnmap_busy_give(struct space *s, gfn_t g, u64 word)
{
	(void)s, (void)g, (void)word;
	explorer_yield();
	world.word.raw &= ~GFN_BUSY;
}
void fault_make_dirty_busy(struct space *s, u32 frame)
{
	(void)s, (void)frame;
	explorer_yield();
	if (!LOG_SPOILT(CLEAN_UNTOLD))
		world.copy_valid = false;
}
enum fault_result fault_make_dirty(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	explorer_yield();
	if (tag() != GFN_RESIDENT || busy())
		return FAULT_RETRY;
	world.copy_valid = false;
	return FAULT_FIXED;
}
enum fault_result fault_write_begin(struct space *s, gfn_t g, u64 *word)
{
	(void)s, (void)g;
	explorer_yield();
	if (tag() != GFN_RESIDENT || busy())
		return FAULT_RETRY;
	*word = world.word.raw;
	world.copy_valid = false;
	world.word.raw |= GFN_BUSY;
	return FAULT_FIXED;
}
void fault_write_end(struct space *s, gfn_t g, u64 word)
{
	gfnmap_busy_give(s, g, word);
}
enum fault_result fault_bring_in(struct space *s, gfn_t g, bool write, bool keep_copy,
                                 struct fault_page *out)
{
	(void)s, (void)g;
	explorer_yield();
	if (busy())
		return FAULT_RETRY;
	if (tag() == GFN_POOLED) {
		memcpy(frames[world.frame], world.copy, sizeof(world.copy));
		world.copy_valid = true;
	}
	set_tag(GFN_RESIDENT);
	if (write && !keep_copy)
		world.copy_valid = false;
	*out = (struct fault_page){.frame = world.frame, .clean = world.copy_valid};
	return FAULT_FIXED;
}
bool gen_promote(struct lruvec *l, u32 frame, u16 space_id, struct gen_batch *b)
{
	(void)l, (void)frame, (void)space_id, (void)b;
	return false;
}
void gen_batch_flush(struct lruvec *l, struct gen_batch *b)
{
	(void)l, (void)b;
}
bool notifier_all_log(const struct space *s)
{
	(void)s;
	return true;
}
bool notifiers_know_dirty(const struct space *s)
{
	(void)s;
	return true;
}
void notifier_split(struct space *s, gfn_t g)
{
	(void)s, (void)g;
}

void notifier_dirty(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	(void)s;
	epoch_enter();
	tdp_dirty(&world.tdp.notifier, first, npages, bitmap);
	epoch_exit();
}
void notifier_log_protect(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	(void)s;
	memset(bitmap, 0, NOTIFIER_WORDS * sizeof(u64));
	epoch_enter();
	tdp_log_protect(&world.tdp.notifier, first, npages, bitmap);
	epoch_exit();
}
bool notifier_log_clean(struct space *s, gfn_t g)
{
	bool was;

	if (LOG_SPOILT(DIRTY_STAYS) && dirty_log_mode(s) == DIRTY_LOG_HARDWARE)
		return false;
	was = tdp_log_clean(&world.tdp.notifier, g);
	taken_late(s);
	return was;
}

/* --- invalidations and flushes --- */

static void write_section(unsigned seq, int in_progress)
{
	explorer_yield();
	explorer_wait(nobody, NULL);
	world.seq += seq;
	world.in_progress += (unsigned)in_progress;
}
u64 invalidate_seq(const struct space *s)
{
	(void)s;
	explorer_yield();
	return world.seq;
}
bool invalidate_retry(const struct space *s, u64 seq, gfn_t g)
{
	(void)s, (void)g;
	explorer_yield();
	return world.in_progress || world.seq != seq;
}
u64 flush_request(struct space *s)
{
	(void)s;
	return 0;
}
void flush_wait(struct space *s, u64 gen)
{
	(void)s, (void)gen;
	/* With PML a reading's first flush is to drain, its second to forget. */
	if (LOG_SPOILT(NO_DRAIN) && scene_mode == DIRTY_LOG_HARDWARE && world.flushes++ % 2 == 0)
		return;
	if (!LOG_SPOILT(NO_LOG_FLUSH))
		shootdown();
}
