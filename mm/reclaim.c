/*
 * From whom: a lottery in which each space's chance is what it has resident, drawn from a sequence that
 * spreads evenly (multiples of the golden ratio), so that no space is hit twice in a row by bad luck. A
 * space that yields nothing passes the turn to the next.
 */
#include "mm/reclaim.h"

#include "arch/hal.h"
#include "lib/fmt.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/policy.h"
#include "mm/policy.h"
#include "mm/space.h"
#include "mm/store.h"

#define GOLDEN            0x9e3779b97f4a7c15ull
#define ROUNDS            (GEN_MAX + 1u) /* agings after which what was young at the start is cold */
#define OOM_PATIENCE      8u
#define OOM_FRUITLESS_NS  2000000000u /* no frame for so long: young pages are no excuse any more */
#define OOM_PACKABLE_PART 16u /* of all frames: fewer that can be packed are too few to live on */
#define QUIET_NS          10000000u /* pause of the background thread after a round in vain */

static const struct reclaim_ops *ops;
static a64 turns;
static a32 failures; /* direct reclaims in a row that found nothing to hope for */
static a32 victim;   /* id of the space that is being stopped, 0 = none */
static a64 quiet_until_ns;
static a64 fruitless_since_ns; /* direct reclaim frees nothing since then; 0: it does */

void reclaim_init(const struct reclaim_ops *reclaim_ops)
{
	ops = reclaim_ops;
	a32_store(&failures, 0);
	a32_store(&victim, 0);
	a64_store(&quiet_until_ns, 0);
	a64_store(&fruitless_since_ns, 0);
}

void reclaim_yield(void)
{
	if (ops && ops->yield)
		ops->yield();
}

bool reclaim_needed(void)
{
	return frame_free_count() < frame_marks.low;
}

void reclaim_wake(void)
{
	if (ops && hal_time_ns() >= a64_load(&quiet_until_ns))
		ops->wake();
}

/* Inside an epoch section. */
static u64 resident_of(u16 id)
{
	const struct space *s = space_at(id);

	return s && !a32_load(&s->dying) ? a64_load(&s->resident) : 0;
}

static u16 draw_space(void)
{
	u64 total = 0, point = a64_fetch_add(&turns, 1) * GOLDEN >> 32;
	u16 drawn = 1;

	epoch_enter();
	for (u16 id = 1; id <= SPACE_MAX; id++)
		total += resident_of(id);
	point = point * total >> 32;
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		u64 n = resident_of(id);

		if (point < n) {
			drawn = id;
			break;
		}
		point -= n;
	}
	epoch_exit();
	return drawn;
}

struct progress {
	u64 freed;
	bool hope; /* something moved: it may be worth trying again */
};

static void shrink_once(struct space *s, u64 target, struct progress *p)
{
	struct evict_result r = evict_space(s, evict_any(target));

	p->freed += r.freed;
	p->hope |= r.freed || r.rejected || r.sorted || r.protected_;
}

static void shrink(struct space *s, u64 target, struct progress *p)
{
	u64 max_seq = a64_load(&s->lru.max_seq);
	struct evict_result r = evict_space(s, evict_any(target));

	p->freed += r.freed;
	p->hope |= r.freed || r.rejected || r.sorted || r.protected_;
	if (r.freed >= target || !r.need_aging)
		return;
	p->hope |= age_space(s, max_seq, false).promoted != 0;
	if (!r.freed)
		shrink_once(s, target, p);
}

/* Frees up to `target` frames from the first space, by lot, that has any to give. */
static struct progress reclaim_some(u64 target)
{
	struct progress p = {.freed = 0};

	for (unsigned round = 0; round < ROUNDS && !p.freed; round++) {
		unsigned start = draw_space() - 1u;

		for (unsigned i = 0; i < SPACE_MAX && !p.freed; i++) {
			struct space *s = space_get_id((u16)((start + i) % SPACE_MAX + 1));

			if (!s)
				continue;
			shrink(s, target, &p);
			space_put(s);
		}
	}
	epoch_poll();
	return p;
}

/* Keeps the books that reclaim_out_of_memory() judges by. */
static void count_progress(const struct progress *p)
{
	u64 none = 0;

	if (p->hope)
		a32_store(&failures, 0);
	else
		a32_count(&failures, 1);
	if (p->freed)
		a64_store(&fruitless_since_ns, 0);
	else
		a64_cas(&fruitless_since_ns, &none, hal_time_ns());
}

bool reclaim_nothing_packable(void)
{
	return frame_free_count() < frame_marks.min &&
	       frame_packable_count() < frame_total() / OOM_PACKABLE_PART;
}

/*
 * Nothing that could be packed was found several times in a row; or there was hope, for pages were young,
 * but it did not come true for long: pages that are used all the time and pack badly look like that.
 */
static bool exhausted(void)
{
	u64 since = a64_load(&fruitless_since_ns);

	return a32_load(&failures) >= OOM_PATIENCE || reclaim_nothing_packable() ||
	       (since && hal_time_ns() - since > OOM_FRUITLESS_NS);
}

u64 reclaim_direct(struct space *for_whom)
{
	struct progress p = reclaim_some(GEN_BATCH);

	a64_count(&for_whom->stats.direct_reclaims_total, 1);
	count_progress(&p);
	return p.freed;
}

bool reclaim_background(void)
{
	while (frame_free_count() < frame_marks.high) {
		struct progress p = reclaim_some(GEN_BATCH);

		if (!p.hope)
			a64_store(&quiet_until_ns, hal_time_ns() + QUIET_NS);
		if (!p.freed)
			return p.hope;
		reclaim_yield();
	}
	return false;
}

void reclaim_age_periodic(u64 now_ns, u64 period_ns)
{
	if (!policy_has(POLICY_CORE))
		return;
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);
		u64 max_seq, born;

		if (!s)
			continue;
		spin_lock(&s->lru.lock);
		max_seq = a64_load(&s->lru.max_seq);
		born = s->lru.birth_ns[gen_index(max_seq)];
		spin_unlock(&s->lru.lock);
		if (now_ns >= born + period_ns)
			age_space(s, max_seq, false);
		space_put(s);
	}
	epoch_poll();
}

/* --- who has to go --------------------------------------------------------------------------------- */

struct holding {
	u64 frames; /* resident, and its part of the pool */
	u64 pages;
	u64 pooled;
};

static struct holding holding_of(u16 id)
{
	struct holding h = {.frames = 0};
	struct space *s;

	epoch_enter();
	s = space_at(id);
	if (s && !a32_load(&s->dying))
		h = (struct holding){a64_load(&s->resident), s->pages, a64_load(&s->pooled)};
	epoch_exit();
	return h;
}

/* Id of the space with the largest excess, 0 if there is none; `share` and `held` in frames. */
static u16 choose_victim(u64 *share, u64 *held)
{
	u64 pages = 0, pooled = 0;
	s64 worst = INT64_MIN;
	u16 chosen = 0;

	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct holding h = holding_of(id);

		pages += h.pages;
		pooled += h.pooled;
	}
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct holding h = holding_of(id);
		u64 part;

		if (!h.pages || !h.frames)
			continue;
		h.frames += pooled ? h.pooled * frame_pool_count() / pooled : 0;
		part = frame_total() * h.pages / pages;
		if ((s64)(h.frames - part) <= worst)
			continue;
		worst = (s64)(h.frames - part);
		chosen = id;
		*share = part;
		*held = h.frames;
	}
	return chosen;
}

bool reclaim_out_of_memory(void)
{
	u64 share = 0, held = 0;
	struct space *s;
	char why[128];
	u32 none = 0;
	u16 id;

	if (a32_load(&victim) || !exhausted())
		return false;
	id = choose_victim(&share, &held);
	s = id ? space_get_id(id) : NULL;
	if (!s)
		return false;
	/* ord R1: one victim at a time, whoever comes first; pairs with ord R2 */
	if (!a32_cas(&victim, &none, id)) {
		space_put(s);
		return false;
	}
	a32_store(&failures, 0);
	a64_store(&fruitless_since_ns, 0);
	fmt_snprintf(why, sizeof(why),
	             "nothing more can be packed; it holds %llu frames, its share "
	             "is %llu",
	             (unsigned long long)held, (unsigned long long)share);
	a32_xchg(&s->dying, 1); /* ord SP1 */
	if (ops)
		ops->out_of_memory(s, why);
	space_put(s);
	return true;
}

void reclaim_drained(const struct space *s)
{
	u32 id = s->id;

	/* ord R2: its frames are free before another is judged; pairs with ord R1 */
	a32_cas(&victim, &id, 0);
}
