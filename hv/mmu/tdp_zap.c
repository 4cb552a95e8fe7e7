#include "hv/mmu/tdp_ops.h"

#include "arch/hal.h"
#include "hv/mmu/tdp_huge.h"
#include "hv/mmu/tdp_iter.h"
#include "mm/space.h"

/* The page's entry; a page of a large leaf gets one of its own first: the other 511 stay as they are. */
static struct tdp_entry find_small(struct tdp *t, gfn_t g)
{
	struct tdp_entry e = tdp_find(t, g);

	if (e.level == 1 || !spte_is_leaf(t->format, e.level, e.seen))
		return e;
	tdp_split_locked(t, g);
	return tdp_find(t, g);
}

bool tdp_write_protect_locked(struct tdp *t, gfn_t g)
{
	struct tdp_entry e;

	if (!tdp_reaches(g))
		return false;
	e = find_small(t, g);
	return spte_protect(t->format, e.level, e.at);
}

/*
 * The read side is enough: a fault that could still install the page has finished
 * (invalidate_begin() waited for its read section), later ones find the invalidation; restoring and
 * aging race this by compare-exchange and lose. What was set in the entry up to the exchange is in
 * its old value.
 */
void tdp_zap(struct notifier *n, gfn_t g, struct notifier_zap *result)
{
	struct tdp *t = tdp_of(n);
	const struct spte_format *f = t->format;
	struct space *s = n->space;
	struct tdp_entry e;

	if (!tdp_reaches(g))
		return;
	read_lock(&s->mmu_lock);
	e = find_small(t, g);
	if (spte_is_leaf(f, e.level, e.seen)) {
		u64 was = spte_zap(f, e.level, e.at);

		/* Of two zaps at once, one gets it. */
		if (!spte_is_empty(was)) {
			a64_count(&t->leaves, ~0ull);
			tdp_log_zapped(t, g, was);
			result->mapped = true;
			result->dirty |= spte_dirty(f, was);
			result->young |= spte_young(f, was);
		}
	}
	read_unlock(&s->mmu_lock);
}
