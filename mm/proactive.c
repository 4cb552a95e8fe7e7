#include "mm/proactive.h"

#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/space.h"
#include "mm/twolist.h"

enum proactive_result proactive_age(struct space *s, u64 max_gen, u32 swappiness, bool force)
{
	u64 max_seq = a64_load(&s->lru.max_seq);

	if (swappiness > POLICY_SWAPPINESS_MAX || max_gen > max_seq || twolist_on())
		return PROACTIVE_INVALID;
	if (max_gen < max_seq || !age_space(s, max_gen, force).produced)
		return PROACTIVE_EXISTS;
	return PROACTIVE_DONE;
}

/* One chunk of at most GEN_BATCH frames from generations <= newest. */
static struct evict_result evict_chunk(struct space *s, u64 newest, u32 swappiness)
{
	const struct evict_request request = {1, (int)swappiness, newest, GEN_BATCH};

	return evict_space(s, request);
}

enum proactive_result proactive_evict(struct space *s, u64 min_gen, u32 swappiness, u64 nr,
                                      u64 *freed)
{
	/* What comes back to an old generation meanwhile does not prolong it. */
	u64 budget = gen_total(&s->lru) + GEN_BATCH, scanned = 0;
	struct evict_result r = {.scanned = 1};

	*freed = 0;
	if (swappiness > POLICY_SWAPPINESS_MAX || min_gen > a64_load(&s->lru.max_seq) - GEN_MIN)
		return PROACTIVE_INVALID;
	while (*freed < nr && scanned < budget && r.scanned && !a32_load(&s->dying)) {
		r = evict_chunk(s, min_gen, swappiness);
		*freed += r.freed;
		scanned += r.scanned;
		reclaim_yield();
	}
	return PROACTIVE_DONE;
}

/* What a slot has of one table, the first of those that reach beyond *at; false if there is none. */
static bool next_block(struct space *s, u64 *at, unsigned *npages)
{
	const struct slots *slots = gfnmap_slots(s);

	for (u32 i = 0; i < slots->nr; i++) {
		u64 base = slots->slot[i].base.v, end = base + slots->slot[i].npages;

		if (end <= *at)
			continue;
		*at = max_of(*at, base);
		end = min_of(end, (*at / TABLE_PAGES + 1) * TABLE_PAGES);
		*npages = (unsigned)(end - *at);
		return true;
	}
	return false;
}

enum proactive_result proactive_clear_references(struct space *s, u64 *young)
{
	struct gen_batch batch = {.promoted = 0};
	unsigned npages = 0;
	bool more = true;
	u64 visited = 0;

	*young = 0;
	if (twolist_on())
		return PROACTIVE_INVALID;
	for (u64 at = 0; more && !a32_load(&s->dying); at += npages) {
		epoch_enter();
		more = next_block(s, &at, &npages);
		if (more)
			*young += age_harvest(s, gfn(at), npages, NOTIFIER_CLEAR, &batch, &visited);
		epoch_exit();
		a64_count(&s->stats.promoted_total, batch.promoted);
		gen_batch_flush(&s->lru, &batch);
		reclaim_yield();
	}
	a64_count(&s->stats.visited_total, visited);
	a64_count(&s->stats.young_total, *young);
	flush_wait(s, flush_request(s));
	return PROACTIVE_DONE;
}

static u64 reclaim_from_one(struct space *s, u64 nr, int swappiness)
{
	u64 freed = 0, got;
	bool more = true;

	while (freed < nr && more) {
		more = reclaim_self(s, swappiness, &got);
		freed += got;
		reclaim_yield();
	}
	return freed;
}

enum proactive_result proactive_reclaim(struct space *s, u64 bytes, u32 swappiness, u64 *freed)
{
	u64 nr = bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0);

	*freed = 0;
	if (swappiness > POLICY_SWAPPINESS_MAX)
		return PROACTIVE_INVALID;
	*freed = s ? reclaim_from_one(s, nr, (int)swappiness) : reclaim_asked(nr, (int)swappiness);
	return *freed < nr ? PROACTIVE_AGAIN : PROACTIVE_DONE;
}
