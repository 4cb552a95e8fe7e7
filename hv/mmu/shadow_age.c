/*
 * Harvesting shadow tables through the reverse maps, without the MMU lock: for each page the lock in its word, for
 * each entry one compare-exchange. Accessed is zero in all that is no present leaf, so that bit is the whole test.
 *
 *	fast-only   the word's lock is tried once. If somebody has it, the page is not reported: its entries are being
 *	            changed, or another is asking the same
 *	accurate    waits for it: as long as one walk of a page's entries takes
 *
 * In the format without Accessed bits aging an entry means that the guest's next access faults, and goes through the
 * MMU lock's write side. So fast-only reports such entries and leaves them as they are; has_fast_aging is not
 * declared for them (shadow.c), and what is asked fast-only does not get here.
 *
 * There is no `dirty` operation: W is given only over a page that counts as written (shadow.h), so there is nothing
 * to tell. No `range_young` either: a page's entries are in many tables.
 */
#include "hv/mmu/shadow.h"

#include "arch/hal.h"
#include "mm/epoch.h"

struct age_walk {
	const struct shadow *sh;
	const struct spte_format *format;
	struct shadow_slot slot; /* in which the last page was */
	bool clear, fast;
	bool rearm; /* young entries are made old */
	u64 visited;
};

/* The lock in the word held. */
static inline bool entries_young(struct age_walk *w, u64 word)
{
	struct rmap_iter it;
	bool young = false;

	rmap_for_each(&it, word, entry)
	{
		u64 seen = a64_load(entry);

		w->visited++;
		if (!spte_young(w->format, seen))
			continue;
		young = true;
		if (!w->clear)
			break;
		if (w->rearm)
			spte_age(w->format, 1, entry, seen);
	}
	return young;
}

static inline bool page_young(struct age_walk *w, struct rmap *r)
{
	bool young;
	u64 word;

	if (!w->fast)
		word = rmap_lock_readonly(r);
	else if (!rmap_trylock_readonly(r, &word))
		return false;
	if (!word)
		return false;
	young = entries_young(w, word);
	rmap_unlock_readonly(r, word);
	return young;
}

static void find_slot(struct age_walk *w, gfn_t g)
{
	for (u32 i = 0; i < w->sh->nr_slots; i++)
		if (g.v - w->sh->slot[i].base.v < w->sh->slot[i].npages)
			w->slot = w->sh->slot[i];
}

static inline struct rmap *rmap_of(struct age_walk *w, gfn_t g)
{
	if (unlikely(g.v - w->slot.base.v >= w->slot.npages))
		find_slot(w, g);
	if (unlikely(g.v - w->slot.base.v >= w->slot.npages))
		return NULL;
	return &w->slot.rmap[g.v - w->slot.base.v];
}

/* Up to 64 pages; those of `asked` that were young. Only the first of them, if nothing is to be cleared. */
static u64 bits_young(struct age_walk *w, gfn_t first, u64 asked)
{
	u64 young = 0;

	for (; asked && (w->clear || !young); asked &= asked - 1) {
		struct rmap *r = rmap_of(w, gfn_add(first, (u64)__builtin_ctzll(asked)));

		if (r && page_young(w, r))
			young |= asked & -asked;
	}
	return young;
}

unsigned shadow_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                    u64 *visited)
{
	const struct shadow *sh = shadow_of(n);
	struct age_walk w = {
	        .sh = sh,
	        .format = sh->format,
	        .clear = flags & NOTIFIER_CLEAR,
	        .fast = flags & NOTIFIER_FAST_ONLY,
	        .rearm = spte_has_dirty(sh->format) || !(flags & NOTIFIER_FAST_ONLY),
	};
	u64 young = 0;

	DEBUG_ASSERT(epoch_active());
	DEBUG_ASSERT(npages && npages <= NOTIFIER_MAX_PAGES);
	DEBUG_ASSERT(!(flags & NOTIFIER_TEST) == !!(flags & NOTIFIER_CLEAR));
	for (unsigned at = 0; at < npages; at += 64) {
		u64 asked = bitmap[at / 64] & (npages - at < 64 ? BIT(npages - at) - 1 : ~0ull);

		bitmap[at / 64] = w.clear || !young ? bits_young(&w, gfn_add(first, at), asked) : 0;
		young |= bitmap[at / 64];
	}
	*visited += w.visited;
	return young ? NOTIFIER_YOUNG | (n->ops->has_fast_aging ? NOTIFIER_WAS_FAST : 0) : 0;
}
