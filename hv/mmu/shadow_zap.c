/*
 * A page is taken from the guest: its translations go, and if it holds tables of the guest, their shadow pages.
 *
 * Entries are emptied by exchange, which returns all that hardware had set up to then, and leave the reverse map at
 * once, all of them under one hold of the lock in its word: an ager comes before, and finds them young or not, or
 * after, and finds nothing. Faults are kept out: one that was under way is over, for invalidate_begin() took the MMU
 * lock; one that comes later starts over.
 */
#include "hv/mmu/shadow.h"

#include "arch/hal.h"
#include "mm/space.h"

/* All translations of one page; MMU lock held for writing. */
static void zap_locked(struct shadow *sh, struct rmap *r, struct notifier_zap *result)
{
	const struct spte_format *f = sh->format;
	u64 word = rmap_lock(r);
	struct rmap_iter it;

	rmap_for_each(&it, word, entry)
	{
		u64 was = spte_zap(f, 1, entry);

		DEBUG_ASSERT(!spte_is_empty(was));
		result->mapped = true;
		result->dirty |= spte_dirty(f, was);
		result->young |= spte_young(f, was);
		shadow_leaf_gone_locked(sh);
	}
	rmap_unlock_empty(&sh->pool, r, word);
}

void shadow_zap(struct notifier *n, gfn_t g, struct notifier_zap *result)
{
	struct shadow *sh = shadow_of(n);
	struct rmap *r = shadow_rmap(sh, g);

	/* Whoever made the first one did so under the lock, which invalidate_begin() has had since: no is no. */
	if (!r || !a64_load(&sh->pages))
		return;
	write_lock(&n->space->mmu_lock);
	/* First the tables: they may map the page themselves. */
	shadow_unshadow_locked(sh, g);
	zap_locked(sh, r, result);
	write_unlock(&n->space->mmu_lock);
}
