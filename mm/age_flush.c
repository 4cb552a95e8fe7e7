#include "mm/age_flush.h"

#include "arch/hal.h"
#include "mm/policy.h"
#include "mm/space.h"

#define NEVER (~0ull)

void age_flush_init(struct age_flush *f)
{
	a64_store(&f->due_ns, NEVER);
}

/* The pass that ended now belongs to the flushed ones if the one before it was followed by a flush. */
static void count_sample(struct space *s)
{
	struct space_stats *stats = &s->stats;
	struct age_flush *f = &s->age_flush;
	u64 visited = a64_load(&stats->visited_total), young = a64_load(&stats->young_total);
	u64 found = young - a64_load(&f->young);
	bool walked = visited != a64_load(&f->visited);

	a64_store(&f->visited, visited);
	a64_store(&f->young, young);
	if (!walked)
		return;
	if (a32_load(&f->flushed)) {
		a64_count(&stats->sampled_passes_flushed_total, 1);
		a64_count(&stats->sampled_young_flushed_total, found);
	} else {
		a64_count(&stats->sampled_passes_unflushed_total, 1);
		a64_count(&stats->sampled_young_unflushed_total, found);
	}
}

static bool flush_is_wanted(struct age_flush *f)
{
	switch ((enum policy_flush)a32_load(&policy.flush)) {
	case POLICY_FLUSH_NONE:
		return false;
	case POLICY_FLUSH_PER_PASS:
		return true;
	case POLICY_FLUSH_SAMPLED:
		return !(a32_fetch_add(&f->passes, 1) % AGE_FLUSH_SAMPLE);
	}
	return false;
}

void age_flush_after(struct space *s)
{
	struct age_flush *f = &s->age_flush;
	bool wanted;

	if (a32_load(&policy.flush) == POLICY_FLUSH_SAMPLED)
		count_sample(s);
	wanted = flush_is_wanted(f);
	a32_store(&f->flushed, wanted);
	if (!wanted)
		return;
	a64_store(&f->gen, flush_request(s));
	a64_store(&f->due_ns, hal_time_ns() + AGE_FLUSH_GRACE_NS);
}

/* Repeated until there is nobody left to kick: a kick may fall into the gap before an entry. */
static void nudge(struct space *s, u64 now_ns)
{
	struct age_flush *f = &s->age_flush;
	bool behind = s->ops->nudge && s->ops->nudge(s, a64_load(&f->gen));

	a64_store(&f->due_ns, behind ? now_ns + AGE_FLUSH_GRACE_NS : NEVER);
}

void age_flush_before(struct space *s)
{
	if (unlikely(a64_load(&s->age_flush.due_ns) != NEVER))
		nudge(s, hal_time_ns());
}

u64 age_flush_poll(u64 now_ns)
{
	u64 next = NEVER;

	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		if (now_ns >= a64_load(&s->age_flush.due_ns))
			nudge(s, now_ns);
		next = min_of(next, a64_load(&s->age_flush.due_ns));
		space_put(s);
	}
	return next;
}

unsigned age_false_old_permille(const struct space_stats *stats)
{
	u64 flushed = a64_load(&stats->sampled_passes_flushed_total);
	u64 unflushed = a64_load(&stats->sampled_passes_unflushed_total);
	u64 truth, seen;

	if (!flushed || !unflushed)
		return 0;
	/* Thousandths of pages for each pass. */
	truth = a64_load(&stats->sampled_young_flushed_total) * 1000 / flushed;
	seen = a64_load(&stats->sampled_young_unflushed_total) * 1000 / unflushed;
	return seen >= truth ? 0 : (unsigned)((truth - seen) * 1000 / truth);
}
