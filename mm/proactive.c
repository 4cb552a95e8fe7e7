#include "mm/proactive.h"

#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/gen.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/space.h"

/* Agings in a row without a frame: what was young at the first of them would be cold by now. */
#define FRUITLESS_AGINGS (GEN_MAX + 1u)

enum proactive_result proactive_age(struct space *s, u64 max_gen, u32 swappiness, bool force)
{
	u64 max_seq = a64_load(&s->lru.max_seq);

	if (swappiness > POLICY_SWAPPINESS_MAX || max_gen > max_seq)
		return PROACTIVE_INVALID;
	if (max_gen < max_seq || !age_space(s, max_gen, force).produced)
		return PROACTIVE_EXISTS;
	return PROACTIVE_DONE;
}

/* One chunk of at most GEN_BATCH frames from generations <= newest. */
static struct evict_result evict_chunk(struct space *s, u64 newest, u32 swappiness)
{
	const struct evict_request request = {1, (int)swappiness, newest};

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

/* One chunk from a space, after an aging if that is needed. Frames freed. */
static u64 reclaim_chunk(struct space *s, u64 left, u32 swappiness)
{
	const struct evict_request request = {min_of(left, (u64)GEN_BATCH), (int)swappiness,
	                                      EVICT_ANY_SEQ};
	u64 max_seq = a64_load(&s->lru.max_seq);
	struct evict_result r = evict_space(s, request);

	if (!r.freed && r.need_aging)
		(void)age_space(s, max_seq, false);
	epoch_poll();
	reclaim_yield();
	return r.freed;
}

/* A chunk from every space in turn. */
static u64 reclaim_round(u64 left, u32 swappiness)
{
	u64 freed = 0;

	for (u16 id = 1; id <= SPACE_MAX && freed < left; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		freed += reclaim_chunk(s, left - freed, swappiness);
		space_put(s);
	}
	return freed;
}

enum proactive_result proactive_reclaim(struct space *s, u64 bytes, u32 swappiness, u64 *freed)
{
	u64 nr = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
	unsigned fruitless = 0;

	*freed = 0;
	if (swappiness > POLICY_SWAPPINESS_MAX)
		return PROACTIVE_INVALID;
	while (*freed < nr && fruitless < FRUITLESS_AGINGS) {
		u64 got = s ? reclaim_chunk(s, nr - *freed, swappiness)
		            : reclaim_round(nr - *freed, swappiness);

		*freed += got;
		fruitless = got ? 0 : fruitless + 1;
	}
	return *freed < nr ? PROACTIVE_AGAIN : PROACTIVE_DONE;
}
