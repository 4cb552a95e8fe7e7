/*
 * A pass over a space harvests its tables (mm/walk.c), then makes the new generation. Here: what is done
 * with one block of pages, and when the evictor looks around.
 */
#include "mm/age.h"

#include "arch/hal.h"
#include "lib/profile.h"
#include "mm/age_flush.h"
#include "mm/bloom.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/hint.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/space.h"
#include "mm/trace.h"
#include "mm/twolist.h"
#include "mm/walk.h"

const bool age_built = true;

u64 age_promote(struct space *s, gfn_t first, unsigned npages, const u64 *young,
                struct gen_batch *batch)
{
	const struct slot *slot = gfnmap_slot(s, first);
	u64 at;

	if (!slot)
		return 0;
	/* Another slot may stand there by now, and end earlier. */
	at = first.v - slot->base.v;
	npages = (unsigned)min_of((u64)npages, slot->npages - at);
	return gen_promote_block(&s->lru, &slot->word[at], npages, young, s->id, batch);
}

/* Leaves those set whose frame is of the clean type. Inside an epoch section. */
static void keep_clean(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	for (unsigned w = 0; w < (npages + 63) / 64; w++) {
		for (u64 left = bitmap[w]; left; left &= left - 1) {
			unsigned bit = (unsigned)__builtin_ctzll(left);
			const a64 *where = gfnmap_word(s, gfn_add(first, w * 64 + bit));
			u64 word = where ? a64_load_acquire(where) : 0; /* ord M5 */

			if (gfn_word_tag(word) != GFN_RESIDENT ||
			    a64_load(&frame_at(gfn_word_frame(word))->state) & FRAME_DIRTY)
				bitmap[w] &= ~BIT(bit);
		}
	}
}

/*
 * Dirty comes along with Accessed: a page that is listed as clean and was written since leaves that list, and
 * its copy goes, so that the controller weighs what an eviction would really cost. If the page is being
 * changed by somebody just now, the zap finds its Dirty bit, or a later harvest does.
 */
static void transfer_dirty(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	epoch_enter();
	keep_clean(s, first, npages, bitmap);
	epoch_exit();
	notifier_dirty(s, first, npages, bitmap);
	for (unsigned w = 0; w < (npages + 63) / 64; w++)
		for (u64 left = bitmap[w]; left; left &= left - 1)
			if (fault_make_dirty(
			            s, gfn_add(first, w * 64 + (unsigned)__builtin_ctzll(left))) ==
			    FAULT_FIXED)
				a64_count(&s->stats.dirtied_total, 1);
}

u64 age_harvest(struct space *s, gfn_t first, unsigned npages, unsigned flags,
                struct gen_batch *batch, u64 *visited)
{
	u64 bitmap[NOTIFIER_WORDS] = {0}, young = 0;
	u32 clean = batch->clean;

	for (unsigned i = 0; i < npages; i += 64)
		bitmap[i / 64] = npages - i < 64 ? BIT(npages - i) - 1 : ~0ull;
	epoch_enter();
	if (notifier_age(s, first, npages, bitmap, flags, visited))
		young = age_promote(s, first, npages, bitmap, batch);
	epoch_exit();
	if (batch->clean != clean)
		transfer_dirty(s, first, npages, bitmap);
	return young;
}

u64 age_block(struct space *s, gfn_t first, unsigned npages, struct gen_batch *batch, u64 *visited)
{
	return age_harvest(s, first, npages, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, batch, visited);
}

/* --- look-around ----------------------------------------------------------------------------------- */

/* Whether the answer `young` is a reason: seeds 001 and 003 differ about it. */
static bool look_around_wanted(const struct space *s, unsigned young)
{
	u32 rule = a32_load(&policy.lookaround);

	if (!policy_has(POLICY_CORE) || twolist_on() || !(young & NOTIFIER_WAS_FAST))
		return false;
	return rule == POLICY_LOOK_ANY || (rule == POLICY_LOOK_ALL && notifier_all_fast(s));
}

/* The aligned window around g, cut to its slot; 0 pages if there is no slot. */
static unsigned look_around_window(struct space *s, gfn_t g, gfn_t *first)
{
	u64 start = align_down(g.v, (u64)AGE_LOOK_AROUND), end = start + AGE_LOOK_AROUND;
	const struct slot *slot;
	unsigned npages = 0;

	epoch_enter();
	slot = gfnmap_slot(s, g);
	if (slot) {
		*first = gfn(max_of(start, slot->base.v));
		npages = (unsigned)(min_of(end, slot->base.v + slot->npages) - first->v);
	}
	epoch_exit();
	return npages;
}

/* The pages around g, if there are others than itself: returns how many were swept. */
static unsigned sweep_window(struct space *s, gfn_t g, struct gen_batch *batch)
{
	u64 visited = 0;
	unsigned npages;
	gfn_t first;

	npages = look_around_window(s, g, &first);
	if (npages <= 1)
		return 0;
	if (age_dense(age_block(s, first, npages, batch, &visited), npages))
		(void)bloom_add(&s->bloom, a64_load(&s->lru.max_seq), first.v / TABLE_PAGES);
	return npages;
}

/*
 * The pages that the guest says belong to g, wherever they are: returns how many were swept. Each by itself; so not
 * where one bit may stand for 512.
 */
static unsigned sweep_group(struct space *s, gfn_t g, struct gen_batch *batch)
{
	gfn_t page[HINT_GROUP];
	u64 visited = 0;
	unsigned npages;

	if (a32_load(&s->wants_huge))
		return 0;
	npages = hint_group(s, g, page);
	if (npages <= 1)
		return 0;
	for (unsigned i = 0; i < npages; i++)
		(void)age_block(s, page[i], 1, batch, &visited);
	a64_count(&s->stats.lookarounds_hinted_total, 1);
	return npages;
}

void age_look_around(struct space *s, gfn_t g, unsigned young)
{
	struct gen_batch batch = {.promoted = 0};
	unsigned npages;

	if (!look_around_wanted(s, young))
		return;
	npages = sweep_group(s, g, &batch);
	if (!npages)
		npages = sweep_window(s, g, &batch);
	if (!npages)
		return;
	a64_count(&s->stats.lookarounds_total, 1);
	trace_event(TRACE_LOOKAROUND, s->id, g, npages, batch.promoted);
	if (!batch.promoted)
		return;
	a64_count(&s->stats.promoted_total, batch.promoted);
	a64_count(&s->stats.lookaround_promoted_total, batch.promoted);
	gen_batch_flush(&s->lru, &batch);
}

/* --- the pass ---------------------------------------------------------------------------------------- */

static void age_count(struct space *s, const struct age_result *r)
{
	struct space_stats *stats = &s->stats;

	a64_count(&stats->passes_total, r->produced);
	a64_count(&stats->visited_total, r->visited);
	a64_count(&stats->young_total, r->young);
	a64_count(&stats->promoted_total, r->promoted);
	a64_count(&stats->aging_ns_total, r->ns);
	a64_count(&stats->tables_visited_total, r->tables);
	a64_count(&stats->tables_skipped_nonleaf_total, r->skipped_nonleaf);
	a64_count(&stats->tables_skipped_bloom_total, r->skipped_bloom);
}

struct age_result age_space(struct space *s, u64 max_seq, bool force)
{
	struct age_result result = {.produced = false};
	u64 start = hal_time_ns();

	DEBUG_ASSERT(!epoch_active());
	if (a64_load(&s->lru.max_seq) != max_seq || twolist_on())
		return result;
	profile_begin(PROFILE_AGE);
	age_flush_before(s);
	if (walk_wanted(s)) {
		walk_space(s, max_seq, force, &result);
		walk_settle(s);
	}
	profile_begin(PROFILE_LISTS);
	result.produced = !a32_load(&s->dying) && gen_advance(&s->lru, max_seq);
	profile_end(PROFILE_LISTS);
	if (result.produced)
		a64_store(&s->walk_seq, max_seq);
	result.ns = hal_time_ns() - start;
	age_count(s, &result);
	if (result.produced) {
		trace_event(TRACE_PASS, s->id, gfn(0), max_seq + 1,
		            (u32)result.young | result.visited << TRACE_PASS_VISITED);
		age_flush_after(s);
	}
	profile_end(PROFILE_AGE);
	return result;
}
