#include "mm/limits.h"

#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/space.h"
#include "mm/twolist.h"
#include "mm/vmlru.h"

#define WORDS_PER_PAGE (PAGE_SIZE / sizeof(u64))
/* A space, an array of slots, a root and the three tables below it, its control blocks. */
#define PAGES_PER_VM   32u
#define PAGES_PER_VCPU 16u

void limits_set_min(struct space *s, u64 frames)
{
	a64_store(&s->limits.min, frames);
	vmlru_rotate(s, VMLRU_OLD);
}

void limits_set_low(struct space *s, u64 frames)
{
	a64_store(&s->limits.low, frames);
	vmlru_rotate(s, VMLRU_OLD);
}

void limits_set_limit(struct space *s, u64 frames)
{
	a64_store(&s->limits.limit, frames);
	twolist_set_memory(&s->lru, frames ? min_of(frames, frame_total()) : frame_total());
	if (limits_over(s))
		reclaim_wake();
}

void limits_set_min_ttl(struct space *s, u64 ns)
{
	a64_store(&s->limits.min_ttl_ns, ns);
}

void limits_set_weight(struct space *s, u32 weight)
{
	a32_store(&s->limits.weight, weight);
	vmlru_rotate(s, VMLRU_OLD);
}

u64 limits_over(const struct space *s)
{
	u64 limit = a64_load(&s->limits.limit);
	u64 has = a64_load(&s->resident) + a64_load(&s->tables);

	return limit && has > limit ? has - limit : 0;
}

bool limits_room(const struct space *s, u64 frames)
{
	u64 limit = a64_load(&s->limits.limit);

	return !limit || a64_load(&s->resident) + a64_load(&s->tables) + frames <= limit;
}

u64 limits_floor(const struct space *s, bool last)
{
	u64 min = a64_load(&s->limits.min);

	return last ? min : max_of(min, a64_load(&s->limits.low));
}

u64 limits_budget(const struct space *s, u64 floor, u64 size, u64 target)
{
	u64 resident = a64_load(&s->resident), weight = a32_load(&s->limits.weight);
	u64 above = resident > floor ? resident - floor : 0;

	if (!size || !weight)
		return 1;
	return max_of(above * SPACE_WEIGHT / weight * target / size, 1ull);
}

/* The generation before its lists ran empty is of no interest: it would look older than all there is. */
static u64 oldest_seq_locked(struct lruvec *l)
{
	gen_trim_locked(l, GEN_CLEAN);
	gen_trim_locked(l, GEN_DIRTY);
	return min_of(l->min_seq[GEN_CLEAN], l->min_seq[GEN_DIRTY]);
}

bool limits_last_seq(struct space *s, u64 now_ns, u64 *last_seq)
{
	u64 ttl = max_of(a64_load(&policy.min_ttl_ns), a64_load(&s->limits.min_ttl_ns));
	u64 oldest, end;
	struct lruvec *l = &s->lru;

	*last_seq = EVICT_ANY_SEQ;
	if (!ttl)
		return true;
	spin_lock(&l->lock);
	oldest = oldest_seq_locked(l);
	for (end = a64_load(&l->max_seq) + 1; end > oldest; end--)
		if (now_ns >= l->birth_ns[gen_index(end - 1)] + ttl)
			break;
	spin_unlock(&l->lock);
	*last_seq = end - 1;
	return end > oldest;
}

u64 limits_table_pages(const struct limits_demand *d)
{
	u64 leaves = d->frames / WORDS_PER_PAGE + d->nr_vms * 2;

	/* Gfn words and leaf tables are as large; parents are 1/512 of the leaves, and rounded up. */
	return 2 * leaves + leaves / WORDS_PER_PAGE + d->nr_vms * PAGES_PER_VM +
	       d->vcpus * PAGES_PER_VCPU;
}

enum limits_admission limits_admit(const struct limits_demand *d, const struct limits_supply *s,
                                   u64 reserve_frames)
{
	if (d->frames > s->frames && !s->overcommit)
		return LIMITS_OVERCOMMIT;
	if (d->min_frames + reserve_frames > s->frames && d->min_frames)
		return LIMITS_MIN;
	if (limits_table_pages(d) > s->free_pages && !s->overcommit)
		return LIMITS_TABLES;
	return LIMITS_ADMITTED;
}
