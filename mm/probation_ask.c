#include "mm/probation.h"

#include "arch/hal.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/space.h"

#define ROUNDS \
	64u /* of asking, for one chunk: in memory where all is young, somebody leaves all the same */

/* Asks a page, and promotes it if it was used. */
static void ask(struct space *s, gfn_t g, unsigned flags, struct gen_batch *batch)
{
	u64 visited = 0;

	(void)age_harvest(s, g, 1, flags, batch, &visited);
}

static void settle(struct space *s, struct gen_batch *batch)
{
	if (!batch->promoted)
		return;
	a64_count(&s->stats.promoted_total, batch->promoted);
	gen_batch_flush(&s->lru, batch);
}

static bool balance_once(struct space *s)
{
	struct gen_batch batch = {.promoted = 0};
	struct lruvec *l = &s->lru;
	struct probation_page page[GEN_BATCH + PROBATION_WINDOW];
	unsigned n, asked;
	bool more = true;

	spin_lock(&l->lock);
	n = probation_wanted_locked(l);
	asked = n ? probation_next_locked(l, n + PROBATION_WINDOW, page) : 0;
	spin_unlock(&l->lock);
	if (!n)
		return false;
	for (unsigned i = 0; i < asked; i++)
		/* One bit may stand for 512: such a page is asked when it is taken. */
		if (!frame_is_huge(page[i].frame))
			ask(s, page[i].g, NOTIFIER_CLEAR, &batch);
	settle(s, &batch);
	spin_lock(&l->lock);
	for (unsigned i = 0; i < n && more && !a32_load(&l->twolist); i++)
		more = probation_demote_locked(l);
	spin_unlock(&l->lock);
	a64_count(&s->stats.scanned_total, asked);
	return more;
}

void probation_balance(struct space *s)
{
	DEBUG_ASSERT(!epoch_active());
	if (!probation_on(&s->lru))
		return;
	for (unsigned i = 0; i < ROUNDS && balance_once(s); i++)
		;
}

void probation_arrived(struct space *s, gfn_t g)
{
	struct gen_batch batch = {.promoted = 0};
	struct lruvec *l = &s->lru;
	u64 before;

	if (!probation_on(&s->lru))
		return;
	before = a64_xchg(&l->recent[a32_fetch_add(&l->recent_at, 1) % PROBATION_RECENT], g.v + 1);
	if (!before)
		return;
	ask(s, gfn(before - 1), NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, &batch);
	settle(s, &batch);
}
