/*
 * First touch: check, then commit. Frames and zeroes come first. Then the 512 words are made BUSY in
 * ascending order by compare-exchanges that expect "none"; the first that fails, because a page is there or
 * somebody is bringing it in, undoes those before it, and the fault goes on with one page of 4 KiB. Nobody
 * waits while holding BUSY, so two CPUs that do this at once cannot block each other. From the 512th on,
 * nothing can fail.
 *
 * Words are published and frames listed before the large leaf is there, so an evictor may take one of the
 * pages in between; the fault sees that by the invalidate sequence and leaves the range to 4 KiB faults.
 */
#include "mm/huge.h"

#include "arch/hal.h"
#include "lib/string.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/limits.h"
#include "mm/notifier.h"
#include "mm/space.h"
#include "mm/trace.h"

a64 *huge_words(struct space *s, gfn_t first)
{
	const struct slot *slot = gfnmap_slot(s, first);

	if (!slot || first.v - slot->base.v + TABLE_PAGES > slot->npages)
		return NULL;
	return &slot->word[first.v - slot->base.v];
}

static bool untouched(const a64 *word)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		if (a64_load(&word[i]))
			return false;
	return true;
}

/* All 512 words, or none. */
static bool take_words(a64 *word)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		u64 none = 0;

		if (gfnmap_busy_try(&word[i], &none))
			continue;
		while (i--)
			gfnmap_busy_end(&word[i], 0);
		return false;
	}
	return true;
}

/* The words are BUSY, the frames held and zeroed. */
static void install(struct space *s, gfn_t first, a64 *word, u32 head, bool dirty)
{
	for (u32 i = 0; i < TABLE_PAGES; i++) {
		frame_give(head + i, FRAME_GUEST, s->id, gfn_add(first, i));
		a64_store(&frame_at(head + i)->copy, dirty ? 0 : gfn_word(GFN_ZERO, 0));
		frame_state_change(head + i, 0, dirty ? FRAME_DIRTY : 0);
		a64_count(&s->resident, 1);
		balloon_touched(s, gfn_add(first, i));
		gfnmap_busy_end(&word[i], gfn_word(GFN_RESIDENT, head + i));
		gen_insert(&s->lru, head + i, GEN_ENTER_FRESH);
	}
	a64_count(&s->stats.first_touch_total, TABLE_PAGES);
}

static bool bring_in(struct space *s, gfn_t first, u32 head, bool dirty)
{
	bool done;
	a64 *word;

	epoch_enter();
	word = huge_words(s, first);
	done = word && take_words(word);
	if (done)
		install(s, first, word, head, dirty);
	epoch_exit();
	return done;
}

/* Worth trying? Racy; bring_in() decides. */
static bool fits(struct space *s, gfn_t first)
{
	const a64 *word;
	bool fits;

	epoch_enter();
	word = huge_words(s, first);
	fits = word && untouched(word) && !balloon_any(s, first, TABLE_PAGES);
	epoch_exit();
	return fits;
}

u32 huge_bring_in(struct space *s, gfn_t first, bool dirty)
{
	u32 head;

	DEBUG_ASSERT(!epoch_active());
	if (!a32_load(&s->wants_huge) || a32_load(&s->dying) || !limits_room(s, TABLE_PAGES) ||
	    !fits(s, first))
		return FRAME_NONE;
	head = frame_alloc_huge();
	if (head == FRAME_NONE)
		return FRAME_NONE;
	for (u32 i = 0; i < TABLE_PAGES; i++)
		memset(frame_ptr(head + i), 0, PAGE_SIZE);
	if (bring_in(s, first, head, dirty)) {
		trace_event(TRACE_FAULT, s->id, first, TRACE_FAULT_HUGE | dirty, head);
		return head;
	}
	for (u32 i = 0; i < TABLE_PAGES; i++)
		frame_free(head + i);
	return FRAME_NONE;
}

void huge_ask(struct space *s, gfn_t g)
{
	struct gen_batch batch = {.promoted = 0};
	u64 visited = 0;

	if (!age_block(s, huge_first(g), TABLE_PAGES, &batch, &visited))
		return;
	if (batch.promoted) {
		a64_count(&s->stats.promoted_total, batch.promoted);
		gen_batch_flush(&s->lru, &batch);
	}
	if (frame_free_count() < frame_marks.min)
		notifier_split(s, g);
}
