/*
 * A pass over a space harvests every 512-page block, then makes the new generation. Walkers of the same
 * pass take blocks from one cursor, so that two of them cost one walk; the pass a cursor belongs to stands
 * in its upper half, so that a late walker of an old pass takes nothing from the new one.
 *
 *   walk_cursor   63:24 max_seq that the pass supersedes   23:0 next block
 *
 * Whoever finds no block left advances the generation, even if another walker still works on its last
 * block: what that one promotes goes to the newest generation all the same.
 */
#include "mm/age.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/space.h"

#define BLOCK_BITS 24
#define BLOCK_MASK BITS(BLOCK_BITS - 1, 0)
#define BLOCK_END  BIT(BLOCK_BITS - 1)

/* Promotes the frame that a gfn has now, if it has one. Inside an epoch section. */
static void age_promote(struct space *s, gfn_t g, struct gen_batch *batch)
{
	const a64 *where = gfnmap_word(s, g);
	/* ord M5: the frame's owner stands before the word names it; pairs with ord M4 */
	u64 word = where ? a64_load_acquire(where) : 0;

	if (gfn_word_tag(word) == GFN_RESIDENT)
		gen_promote(&s->lru, gfn_word_frame(word), s->id, batch);
}

u64 age_block(struct space *s, gfn_t first, unsigned npages, struct gen_batch *batch, u64 *visited)
{
	u64 bitmap[NOTIFIER_WORDS] = {0}, young = 0;

	for (unsigned i = 0; i < npages; i++)
		bitmap[i / 64] |= BIT(i % 64);
	epoch_enter();
	if (notifier_age(s, first, npages, bitmap, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, visited)) {
		for (unsigned w = 0; w < NOTIFIER_WORDS; w++) {
			for (u64 left = bitmap[w]; left; left &= left - 1, young++) {
				unsigned bit = (unsigned)__builtin_ctzll(left);

				age_promote(s, gfn_add(first, w * 64 + bit), batch);
			}
		}
	}
	epoch_exit();
	return young;
}

/* --- look-around ----------------------------------------------------------------------------------- */

/* Whether the answer `young` is a reason: seeds 001 and 003 differ about it. */
static bool look_around_wanted(const struct space *s, unsigned young)
{
	u32 rule = a32_load(&policy.lookaround);

	if (!policy_has(POLICY_CORE) || !(young & NOTIFIER_WAS_FAST))
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

void age_look_around(struct space *s, gfn_t g, unsigned young)
{
	struct gen_batch batch = {.promoted = 0};
	u64 visited = 0;
	unsigned npages;
	gfn_t first;

	if (!look_around_wanted(s, young))
		return;
	npages = look_around_window(s, g, &first);
	if (npages <= 1)
		return;
	(void)age_block(s, first, npages, &batch, &visited);
	a64_count(&s->stats.lookarounds_total, 1);
	if (!batch.promoted)
		return;
	a64_count(&s->stats.promoted_total, batch.promoted);
	a64_count(&s->stats.lookaround_promoted_total, batch.promoted);
	gen_batch_flush(&s->lru, &batch);
}

/* --- the walk -------------------------------------------------------------------------------------- */

/* Bounds of the n-th block of the space: a table's worth of pages, cut to its slot. */
static bool block_bounds(struct space *s, u64 n, gfn_t *first, unsigned *npages)
{
	const struct slots *slots = gfnmap_slots(s);

	for (u32 i = 0; i < slots->nr; i++) {
		u64 start = slots->slot[i].base.v, end = start + slots->slot[i].npages;
		u64 table = start / TABLE_PAGES + n;
		u64 nblocks = (end + TABLE_PAGES - 1) / TABLE_PAGES - start / TABLE_PAGES;

		if (n >= nblocks) {
			n -= nblocks;
			continue;
		}
		start = max_of(start, table * TABLE_PAGES);
		end = min_of(end, (table + 1) * TABLE_PAGES);
		*first = gfn(start);
		*npages = (unsigned)(end - start);
		return true;
	}
	return false;
}

/* The next block of the pass that nobody took yet; false at the end or when the pass is history. */
static bool block_take(struct space *s, u64 max_seq, u64 *block)
{
	u64 cursor = a64_load(&s->walk_cursor), next;

	do {
		u64 pass = cursor >> BLOCK_BITS;

		if (pass > max_seq)
			return false;
		next = pass == max_seq ? cursor + 1 : (max_seq << BLOCK_BITS) + 1;
	} while (!a64_cas(&s->walk_cursor, &cursor, next));
	*block = (next & BLOCK_MASK) - 1;
	return true;
}

/* Leaves nothing to walk in this pass, for its other walkers. */
static void pass_end(struct space *s, u64 max_seq)
{
	u64 cursor = a64_load(&s->walk_cursor);

	while (cursor >> BLOCK_BITS == max_seq &&
	       !a64_cas(&s->walk_cursor, &cursor, max_seq << BLOCK_BITS | BLOCK_END))
		;
}

/* One block; false when there is none left. */
static bool age_next(struct space *s, u64 max_seq, bool force, struct gen_batch *batch,
                     struct age_result *result)
{
	unsigned npages;
	gfn_t first;
	u64 block;

	if (!block_take(s, max_seq, &block))
		return false;
	/* Only the walker that opens the pass asks: the answer is good for one. */
	if (!block && !s->ops->ran(s) && !force) {
		pass_end(s, max_seq);
		return false;
	}
	if (!block_bounds(s, block, &first, &npages))
		return false;
	result->young += age_block(s, first, npages, batch, &result->visited);
	return true;
}

static void age_walk(struct space *s, u64 max_seq, bool force, struct age_result *result)
{
	struct gen_batch batch = {.promoted = 0};
	bool more = true;

	while (more && a64_load(&s->lru.max_seq) == max_seq && !a32_load(&s->dying)) {
		epoch_enter();
		more = age_next(s, max_seq, force, &batch, result);
		epoch_exit();
		if (more && batch.promoted < GEN_MAX_BATCH)
			continue;
		result->promoted += batch.promoted;
		gen_batch_flush(&s->lru, &batch);
	}
	if (batch.promoted) {
		result->promoted += batch.promoted;
		gen_batch_flush(&s->lru, &batch);
	}
}

static void age_count(struct space *s, const struct age_result *r)
{
	struct space_stats *stats = &s->stats;

	a64_count(&stats->passes_total, r->produced);
	a64_count(&stats->visited_total, r->visited);
	a64_count(&stats->young_total, r->young);
	a64_count(&stats->promoted_total, r->promoted);
	a64_count(&stats->aging_ns_total, r->ns);
}

struct age_result age_space(struct space *s, u64 max_seq, bool force)
{
	struct age_result result = {.produced = false};
	u64 start = hal_time_ns();

	DEBUG_ASSERT(!epoch_active());
	if (a64_load(&s->lru.max_seq) != max_seq)
		return result;
	if (notifier_any_fast(s))
		age_walk(s, max_seq, force, &result);
	result.produced = !a32_load(&s->dying) && gen_advance(&s->lru, max_seq);
	if (result.produced)
		a64_store(&s->walk_seq, max_seq);
	result.ns = hal_time_ns() - start;
	age_count(s, &result);
	return result;
}
