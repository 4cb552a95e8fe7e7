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

static bool zap_page(struct space *s, gfn_t g, struct gen_batch *batch)
{
	struct notifier_zap zap;
	u64 word;
	u32 frame;

	if (!gfnmap_busy_resident(s, g, &word))
		return false;
	frame = gfn_word_frame(word);
	notifier_zap(s, g, &zap);
	if (zap.dirty)
		fault_drop_copy(s, frame);
	if (zap.young)
		(void)gen_promote(&s->lru, frame, s->id, batch);
	gfnmap_busy_give(s, g, word);
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
