#include "mm/walk_cost.h"

#include "mm/space.h"

static void start_over(struct walk_cost *c)
{
	a32_store(&c->poor, 0);
	a32_store(&c->span, 0);
	a32_store(&c->left, 0);
}

/* The walk that began when the counters were last looked at. */
static void judge(struct walk_cost *c, const struct space_stats *stats)
{
	u64 visited = a64_load(&stats->visited_total) - a64_load(&c->visited);
	u64 young = a64_load(&stats->young_total) - a64_load(&c->young);

	bool walked = a32_load(&c->walked);

	/* Two who come at a time may both judge: that costs a walk more or less. */
	a32_store(&c->walked, 0);
	if (!walked || !visited)
		return;
	if (visited <= WALK_POOR * young)
		start_over(c);
	else
		a32_store(&c->poor, a32_load(&c->poor) + 1);
}

/* Poor too often: leaves out one pass the first time, then twice as many as the last time. */
static bool give_up(struct walk_cost *c, const struct space_stats *stats)
{
	u32 span = a32_load(&c->span);

	if (a32_load(&c->poor) < (span ? 1 : WALK_POOR_ROW))
		return false;
	span = span ? min_of(2 * span, WALK_SPAN_MAX) : 1;
	a32_store(&c->span, span);
	a32_store(&c->left, span);
	a32_store(&c->poor, 0);
	a64_store(&c->rejected, a64_load(&stats->rejected_total));
	return true;
}

/* The evictor meets young pages: what the walks would have found. */
static bool is_needed(const struct walk_cost *c, const struct space_stats *stats)
{
	return a64_load(&stats->rejected_total) - a64_load(&c->rejected) >= WALK_REJECTED;
}

bool walk_cost_pays(struct space *s, bool force)
{
	struct walk_cost *c = &s->walk_cost;
	struct space_stats *stats = &s->stats;
	u32 left;

	judge(c, stats);
	if (force)
		return true; /* not judged: it reads what nobody asked it to */
	left = a32_load(&c->left);
	if (left && is_needed(c, stats))
		start_over(c);
	else if (left || give_up(c, stats)) {
		a32_store(&c->left, a32_load(&c->left) - 1);
		a64_count(&stats->walks_given_up_total, 1);
		return false;
	}
	a64_store(&c->visited, a64_load(&stats->visited_total));
	a64_store(&c->young, a64_load(&stats->young_total));
	a32_store(&c->walked, 1);
	return true;
}
