/*
 * The word is BUSY while its page is zapped: so no evictor gets hold of the page between the zap, which has
 * the Dirty bit, and the state word, which is told of it. An evictor that isolated the frame before finds the
 * word changed and lists the frame again.
 *
 * Waits for who has a word BUSY while it has none itself, and inside an invalidate bracket. Who has one waits
 * for locks and for an evictor at most (docs/locks.md), and neither of these waits for an invalidation to end.
 */
#include "mm/zap.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/space.h"

#define ZAP_CHUNK 64u /* pages in one invalidate bracket */

/* Makes the word of a resident page BUSY; false if the page is not resident. */
static bool take_word(struct space *s, gfn_t g, u64 *word)
{
	for (;; hal_pause()) {
		bool resident, taken = false;
		a64 *where;

		epoch_enter();
		where = gfnmap_word(s, g);
		*word = where ? a64_load_acquire(where) : 0; /* ord M5 */
		resident = gfn_word_tag(*word) == GFN_RESIDENT;
		if (resident)
			taken = gfnmap_busy_try(where, word);
		epoch_exit();
		if (!resident || taken)
			return taken;
	}
}

/* The slot stays as long as a word of it is BUSY. */
static void give_word(struct space *s, gfn_t g, u64 word)
{
	epoch_enter();
	gfnmap_busy_end(gfnmap_word(s, g), word);
	epoch_exit();
}

static bool zap_page(struct space *s, gfn_t g, struct gen_batch *batch)
{
	struct notifier_zap zap;
	u64 word;
	u32 frame;

	if (!take_word(s, g, &word))
		return false;
	frame = gfn_word_frame(word);
	notifier_zap(s, g, &zap);
	if (zap.dirty)
		fault_drop_copy(s, frame);
	if (zap.young)
		(void)gen_promote(&s->lru, frame, s->id, batch);
	give_word(s, g, word);
	return zap.mapped;
}

u64 zap_range(struct space *s, gfn_t first, u64 npages)
{
	struct gen_batch batch = {.promoted = 0};
	u64 zapped = 0;

	DEBUG_ASSERT(!epoch_active());
	for (u64 i = 0; i < npages; i += ZAP_CHUNK) {
		u64 n = min_of(npages - i, (u64)ZAP_CHUNK);
		gfn_t from = gfn_add(first, i), last = gfn_add(first, i + n - 1);

		invalidate_begin(s, from, last);
		for (u64 j = 0; j < n; j++)
			zapped += zap_page(s, gfn_add(from, j), &batch);
		invalidate_end(s, from, last);
	}
	a64_count(&s->stats.promoted_total, batch.promoted);
	gen_batch_flush(&s->lru, &batch);
	/* Even if nothing was mapped: another zap may not have been flushed yet. */
	flush_wait(s, flush_request(s));
	return zapped;
}
