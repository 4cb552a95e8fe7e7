/*
 * Harvesting through the reverse maps, without the MMU lock: the word's own lock is held for the walk of one page's
 * entries, and each young one is aged by one compare-exchange. FAST_ONLY tries a word once.
 */
#include "hv/mmu/shadow.h"

#include "arch/hal.h"

/* Did any entry of the page say accessed? */
static bool age_page(struct shadow *sh, struct rmap *r, unsigned flags, u64 *visited)
{
	const struct spte_format *f = sh->format;
	struct rmap_iter it;
	bool young = false;
	u64 word;

	if (!(flags & NOTIFIER_FAST_ONLY))
		word = rmap_lock_readonly(r);
	else if (!rmap_trylock_readonly(r, &word))
		return false;
	if (!word)
		return false;
	rmap_for_each(&it, word, entry)
	{
		u64 seen = a64_load(entry);

		++*visited;
		if (!spte_young(f, seen))
			continue;
		young = true;
		if (flags & NOTIFIER_TEST)
			break;
		spte_age(f, 1, entry, seen);
	}
	rmap_unlock_readonly(r, word);
	return young;
}

unsigned shadow_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                    u64 *visited)
{
	struct shadow *sh = shadow_of(n);
	unsigned result = 0;

	for (unsigned i = 0; i < npages; i++) {
		struct rmap *r;

		if (!(bitmap[i / 64] & BIT(i % 64)))
			continue;
		r = shadow_rmap(sh, gfn_add(first, i));
		if (r && age_page(sh, r, flags, visited))
			result = NOTIFIER_YOUNG;
		else
			bitmap[i / 64] &= ~BIT(i % 64);
	}
	return result;
}
