/*
 * Taking a page from the guest: every entry that maps it, found through its reverse map, and the shadow of the
 * table that it may hold. Between invalidate_begin() and invalidate_end(), so no fault puts back what was taken.
 */
#include "hv/mmu/shadow.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/space.h"

/* MMU lock held for writing. */
static void zap_leaves(struct shadow *sh, struct rmap *r, struct notifier_zap *result)
{
	const struct spte_format *f = sh->format;
	u64 word = rmap_lock(r);
	struct rmap_iter it;

	rmap_for_each(&it, word, entry)
	{
		u64 was = spte_zap(f, 1, entry);

		result->mapped = true;
		result->dirty |= spte_dirty(f, was);
		result->young |= spte_young(f, was);
		shadow_leaf_gone_locked(sh);
	}
	if (word)
		rmap_unlock_empty(&sh->pool, r, word);
}

void shadow_zap(struct notifier *n, gfn_t g, struct notifier_zap *result)
{
	struct shadow *sh = shadow_of(n);
	struct rmap *r = shadow_rmap(sh, g);
	struct space *s = n->space;

	if (!r)
		return;
	epoch_enter();
	write_lock(&s->mmu_lock);
	zap_leaves(sh, r, result);
	shadow_unshadow_locked(sh, g);
	write_unlock(&s->mmu_lock);
	epoch_exit();
}
