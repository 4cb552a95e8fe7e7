/*
 * The order of a collapse, and what each step is good for:
 *
 *   look              words, pins, young: nothing is changed
 *   isolate x 512     each in the moment in which its word is BUSY and so names the frame for sure. From
 *                     here on no evictor can take one, no pin succeeds, who drops a page waits
 *   invalidate_begin  no fault installs a translation of the range
 *   zap x 512         Dirty goes into the state words (I8), as in an eviction; the words stay resident
 *   shoot down        no TLB can reach the pages: their contents stand still, no bit is set any more
 *   copy              unless the frames are in place; then the words get their new frames, all 512 made BUSY
 *                     first (check, then commit)
 *   map               one large leaf in the place of the table (MMU lock, write side)
 *   invalidate_end
 *   relist
 *   shoot down        paging-structure caches may have the table: after this, and a grace period for agers
 *   free              that are inside it, the table and the old frames go
 *
 * An eviction opens its bracket after zap and flush are over; this one holds faults of 2 MiB off for the time
 * of one shootdown. A shootdown waits for CPUs in the guest only, and one whose fault is held off leaves and
 * enters again, so nobody waits in a circle. It is done seldom.
 *
 * What can stop it after the zap: nothing in place; with a copy, a word that somebody has BUSY; no page for a
 * table. The pages are then resident and not mapped, and faults map them one by one.
 *
 * A space whose MMU has no Dirty bits is only collapsed where every page counts as dirty: the large leaf lets
 * all of them be written.
 */
#include "mm/collapse.h"

#include "arch/hal.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/huge.h"
#include "mm/notifier.h"
#include "mm/space.h"
#include "mm/trace.h"

/* State that goes along when a page moves to another frame. */
#define MOVES (FRAME_REFS | FRAME_REFERENCED | FRAME_WORKINGSET | FRAME_DIRTY | FRAME_UNPACKABLE)

struct range {
	struct space *space;
	gfn_t first;
	u32 frame[TABLE_PAGES]; /* of the pages now */
	u32 head;               /* of the frames they shall have */
	bool in_place;
};

/* --- look ------------------------------------------------------------------------------------------ */

/* The frames of 512 resident pages that no large leaf maps. Racy: what counts is found out later. */
static enum collapse_result read_frames(struct range *r)
{
	enum collapse_result result = COLLAPSE_DONE;
	const a64 *word;

	epoch_enter();
	word = huge_words(r->space, r->first);
	for (unsigned i = 0; word && i < TABLE_PAGES && result == COLLAPSE_DONE; i++) {
		u64 now = a64_load(&word[i]);

		r->frame[i] = gfn_word_frame(now);
		if (gfn_word_tag(now) != GFN_RESIDENT || now & GFN_BUSY)
			result = COLLAPSE_UNFIT;
		else if (a64_load(&frame_at(r->frame[i])->state) & FRAME_PINS)
			result = COLLAPSE_PINNED;
	}
	epoch_exit();
	return word ? result : COLLAPSE_UNFIT;
}

static void judge_place(struct range *r)
{
	r->in_place = frame_huge_head(r->frame[0]) == r->frame[0];
	for (unsigned i = 1; i < TABLE_PAGES; i++)
		r->in_place &= r->frame[i] == r->frame[0] + i;
}

static bool may_be_written(const struct range *r)
{
	if (notifiers_know_dirty(r->space))
		return true;
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		if (!(a64_load(&frame_at(r->frame[i])->state) & FRAME_DIRTY))
			return false;
	return true;
}

/* One question for each page: an MMU may stop at the first young one that it is asked for. */
static bool is_hot(const struct range *r)
{
	unsigned young = 0;

	for (unsigned i = 0; i < TABLE_PAGES && young < COLLAPSE_YOUNG; i++)
		young += notifier_age_one(r->space, gfn_add(r->first, i),
		                          NOTIFIER_TEST | NOTIFIER_FAST_ONLY) != 0;
	return young == COLLAPSE_YOUNG;
}

static enum collapse_result look(struct range *r)
{
	enum collapse_result result;

	if (!notifier_may_map_huge(r->space))
		return COLLAPSE_UNFIT;
	result = read_frames(r);
	if (result != COLLAPSE_DONE)
		return result;
	judge_place(r);
	if (r->in_place && frame_is_huge(r->frame[0]))
		return COLLAPSE_UNFIT;
	if (!may_be_written(r))
		return COLLAPSE_UNFIT;
	return is_hot(r) ? COLLAPSE_DONE : COLLAPSE_COLD;
}

/* --- isolate --------------------------------------------------------------------------------------- */

/* The word is BUSY: the frame is the page's. False: an evictor has it, or somebody pinned it. */
static bool isolate_frame(struct space *s, u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state;

	if (!gen_remove(&s->lru, frame))
		return false;
	state = a64_load(&f->state);
	/* ord L1: who pinned it and let go has used it before (ord FR2) */
	while (!(state & FRAME_PINS) && !a64_cas(&f->state, &state, state | FRAME_ISOLATED))
		;
	if (!(state & FRAME_PINS))
		return true;
	gen_insert(&s->lru, frame, GEN_ENTER_UNPACKABLE);
	return false;
}

static bool isolate_page(struct range *r, unsigned i)
{
	u64 word = gfn_word(GFN_RESIDENT, r->frame[i]);
	bool done;
	a64 *where;

	epoch_enter();
	where = gfnmap_word(r->space, gfn_add(r->first, i));
	done = gfnmap_busy_try(where, &word);
	if (done) {
		done = isolate_frame(r->space, r->frame[i]);
		gfnmap_busy_end(where, word);
	}
	epoch_exit();
	return done;
}

static void relist(struct range *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		gen_insert(&r->space->lru, r->frame[i], GEN_ENTER_UNPACKABLE);
}

static bool isolate(struct range *r)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		if (isolate_page(r, i))
			continue;
		relist(r, i);
		return false;
	}
	return true;
}

/* --- move ------------------------------------------------------------------------------------------ */

static void unmap(struct range *r)
{
	struct space *s = r->space;
	struct notifier_zap zap;

	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		notifier_zap(s, gfn_add(r->first, i), &zap);
		if (zap.dirty)
			frame_state_change(r->frame[i], FRAME_UNPACKABLE, FRAME_DIRTY);
	}
	flush_wait(s, flush_request(s));
}

/* The word is BUSY, the contents have been copied. */
static void move_page(struct range *r, a64 *word, unsigned i)
{
	u32 from = r->frame[i], to = r->head + i;
	u64 state = a64_load(&frame_at(from)->state);

	frame_give(to, FRAME_GUEST, r->space->id, gfn_add(r->first, i));
	a64_store(&frame_at(to)->copy, a64_load(&frame_at(from)->copy));
	frame_state_change(to, 0, state & MOVES);
	gfnmap_busy_end(&word[i], gfn_word(GFN_RESIDENT, to));
	frame_retire(from);
	r->frame[i] = to;
}

static bool take_words(struct range *r, a64 *word)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		u64 now = gfn_word(GFN_RESIDENT, r->frame[i]);

		if (gfnmap_busy_try(&word[i], &now))
			continue;
		while (i--)
			gfnmap_busy_end(&word[i], gfn_word(GFN_RESIDENT, r->frame[i]));
		return false;
	}
	return true;
}

/* Unmapped, flushed, isolated: nobody writes to the old frames. */
static bool move(struct range *r)
{
	bool done;
	a64 *word;

	for (unsigned i = 0; i < TABLE_PAGES; i++)
		memcpy(frame_ptr(r->head + i), frame_ptr(r->frame[i]), PAGE_SIZE);
	epoch_enter();
	word = huge_words(r->space, r->first);
	done = take_words(r, word);
	for (unsigned i = 0; done && i < TABLE_PAGES; i++)
		move_page(r, word, i);
	epoch_exit();
	return done;
}

static void free_new(const struct range *r)
{
	for (u32 i = 0; !r->in_place && i < TABLE_PAGES; i++)
		frame_free(r->head + i);
}

/* All frames isolated. Unmaps them and, if nothing comes between, maps them as one. */
static enum collapse_result remap(struct range *r)
{
	struct space *s = r->space;
	gfn_t last = gfn_add(r->first, TABLE_PAGES - 1);
	enum collapse_result result = COLLAPSE_DONE;
	void *table = NULL;

	invalidate_begin(s, r->first, last);
	unmap(r);
	if (!r->in_place && !move(r)) {
		free_new(r);
		result = COLLAPSE_RACED;
	} else if (!notifier_map_huge(s, r->first, frame_pfn(r->head), &table)) {
		result = COLLAPSE_NO_MEMORY;
	}
	invalidate_end(s, r->first, last);
	relist(r, TABLE_PAGES);
	if (table) {
		flush_wait(s, flush_request(s));
		notifier_free_table(s, table);
	}
	epoch_poll();
	return result;
}

/* --- the whole ------------------------------------------------------------------------------------- */

static enum collapse_result try_range(struct space *s, gfn_t first)
{
	struct range r = {.space = s, .first = first};
	enum collapse_result result;

	result = look(&r);
	if (result != COLLAPSE_DONE)
		return result;
	r.head = r.in_place ? r.frame[0] : frame_alloc_huge();
	if (r.head == FRAME_NONE)
		return COLLAPSE_NO_MEMORY;
	if (!isolate(&r)) {
		free_new(&r);
		return COLLAPSE_PINNED;
	}
	result = remap(&r);
	if (result == COLLAPSE_DONE)
		trace_event(TRACE_COLLAPSE, s->id, first, COLLAPSE_YOUNG, r.head);
	return result;
}

static void count(struct space *s, enum collapse_result result)
{
	struct space_stats *stats = &s->stats;

	a64_count(&stats->collapses_total, result == COLLAPSE_DONE);
	a64_count(&stats->collapses_cold_total, result == COLLAPSE_COLD);
	a64_count(&stats->collapses_pinned_total, result == COLLAPSE_PINNED);
}

enum collapse_result collapse_range(struct space *s, gfn_t first)
{
	enum collapse_result result;

	DEBUG_ASSERT(!epoch_active() && !(first.v % TABLE_PAGES));
	result = try_range(s, first);
	count(s, result);
	return result;
}

/* The n-th range of the space that lies in one slot; false past the last. */
static bool nth_range(struct space *s, u64 n, gfn_t *first)
{
	const struct slots *slots;
	bool found = false;

	epoch_enter();
	slots = gfnmap_slots(s);
	for (u32 i = 0; i < slots->nr && !found; i++) {
		u64 base = slots->slot[i].base.v;
		u64 start = align_up(base, (u64)TABLE_PAGES);
		u64 end = align_down(base + slots->slot[i].npages, (u64)TABLE_PAGES);
		u64 ranges = end > start ? (end - start) / TABLE_PAGES : 0;

		found = n < ranges;
		*first = gfn(start + n * TABLE_PAGES);
		n -= min_of(n, ranges);
	}
	epoch_exit();
	return found;
}

static void scan_space(struct space *s)
{
	unsigned done = 0;
	gfn_t first;

	for (unsigned i = 0; i < COLLAPSE_RANGES && done < COLLAPSE_MAX; i++) {
		if (a32_load(&s->dying))
			return;
		if (!nth_range(s, s->collapse_next, &first)) {
			s->collapse_next = 0;
			return;
		}
		s->collapse_next++;
		done += collapse_range(s, first) == COLLAPSE_DONE;
	}
}

void collapse_scan(void)
{
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		if (a32_load(&s->wants_huge))
			scan_space(s);
		space_put(s);
	}
}
