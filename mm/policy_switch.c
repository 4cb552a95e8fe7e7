#include "mm/policy_switch.h"

#include "arch/hal.h"
#include "mm/policy.h"
#include "mm/probation.h"
#include "mm/space.h"
#include "mm/twolist.h"

/* False when the budget ran out before. */
static bool join_locked(struct lruvec *l, enum gen_type type, unsigned *budget)
{
	while (l->min_seq[type] < twolist_inactive(l))
		if (!gen_join_oldest_locked(l, type, budget))
			return false;
	return true;
}

static bool to_lists_locked(struct lruvec *l)
{
	unsigned budget = GEN_MAX_BATCH;

	if (!twolist_in(l))
		l->credit[GEN_CLEAN] = l->credit[GEN_DIRTY] = 0;
	a32_store(&l->twolist, 1);
	l->guard.inexact = true;
	return probation_drain_locked(l, &budget) && join_locked(l, GEN_CLEAN, &budget) &&
	       join_locked(l, GEN_DIRTY, &budget);
}

static void to_generations_locked(struct lruvec *l)
{
	u64 now = hal_time_ns();

	if (!twolist_in(l))
		return;
	a32_store(&l->twolist, 0);
	for (unsigned g = 0; g < GEN_MAX; g++)
		l->birth_ns[g] = now;
}

bool policy_switch_step(struct lruvec *l, bool twolist)
{
	bool done = true;

	spin_lock(&l->lock);
	if (twolist)
		done = to_lists_locked(l);
	else
		to_generations_locked(l);
	spin_unlock(&l->lock);
	return done;
}

void policy_switch(bool twolist)
{
	a32_store(&policy.twolist, twolist);
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		while (!policy_switch_step(&s->lru, twolist))
			hal_pause();
		space_put(s);
	}
}
