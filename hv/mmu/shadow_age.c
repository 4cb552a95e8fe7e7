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
 * A page that holds a table of the guest which is mirrored is young for who asks accurately, whether an entry says so
 * or not: why, and what it comes to, says shadow.h.
 *
 * There is no `dirty` operation: W is given only over a page that counts as written (shadow.h), so there is nothing
 * to tell. No `range_young` either: a page's entries are in many tables.
 */
#include "hv/mmu/shadow.h"

#include "arch/hal.h"
#include "mm/epoch.h"

struct age_walk {
	const struct spte_format *format;
	bool clear, fast;
	bool rearm;  /* young entries are made old */
	bool pass;   /* clear, fast, and Accessed bits */
	bool tables; /* pages with tables in use are young */
	u64 kept;
	u64 visited;
};

/* The lock in the word held. All of them, or up to the first that is young if nothing is to be cleared. */
static bool entries_young(struct age_walk *w, u64 word)
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

static bool page_young(struct age_walk *w, struct rmap *r)
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

/* Up to 64 pages that are all in one slot, `r` the first one's map; those of `asked` that were young. */
static u64 bits_young(struct age_walk *w, struct rmap *r, u64 asked)
{
	u64 young = 0;

	for (; asked && (w->clear || !young); asked &= asked - 1)
		if (page_young(w, &r[__builtin_ctzll(asked)]))
			young |= asked & -asked;
	return young;
}

/*
 * The same for a pass: fast-only, to be cleared, with Accessed bits, and hardly ever more than one entry. Not inlined:
 * the loop has all registers to itself here.
 */
static noinline_fn u64 bits_young_pass(struct age_walk *w, struct rmap *r, u64 asked)
{
	const struct spte_format *f = w->format;
	const u64 accessed = f->accessed;
	u64 young = 0, visited = 0, bit;

	for (; asked; asked ^= bit) {
		struct rmap *at = &r[__builtin_ctzll(asked)];
		u64 word, seen;

		bit = asked & -asked;
		if (unlikely(!rmap_trylock_readonly(at, &word)) || !word)
			continue;
		if (likely(!(word & RMAP_CHAIN))) {
			seen = a64_load((a64 *)(uintptr_t)word);
			visited++;
			if (seen & accessed) {
				spte_age_bit(f, (a64 *)(uintptr_t)word, seen);
				young |= bit;
			}
		} else if (entries_young(w, word)) {
			young |= bit;
		}
		rmap_unlock_readonly(at, word);
	}
	w->visited += visited;
	return young;
}

/* Of the pages asked for, from the one with this number in the slot on. */
static u64 tables_young(struct age_walk *w, const struct shadow_slot *slot, u64 page, u64 asked)
{
	u64 young = asked & shadow_mirrored(slot, page);

	for (u64 left = young; left; left &= left - 1)
		w->kept++;
	return young;
}

/* The same, wherever they are: piece by piece of the slots. What is in none is not young. */
static u64 word_young(struct age_walk *w, const struct shadow *sh, gfn_t first, u64 asked)
{
	u64 young = 0;

	for (u32 i = 0; i < sh->nr_slots; i++) {
		const struct shadow_slot *slot = &sh->slot[i];
		u64 from = max_of(first.v, slot->base.v);
		u64 to = min_of(first.v + 64, slot->base.v + slot->npages);
		u64 skip = from - first.v, mine, found;
		struct rmap *r;

		if (from >= to)
			continue;
		r = &slot->rmap[from - slot->base.v];
		/* Bit 0 of them is page `from`. */
		mine = asked >> skip & (to - from < 64 ? BIT(to - from) - 1 : ~0ull);
		found = w->pass ? bits_young_pass(w, r, mine) : bits_young(w, r, mine);
		if (w->tables)
			found |= tables_young(w, slot, from - slot->base.v, mine & ~found);
		young |= found << skip;
		if (young && !w->clear)
			break;
	}
	return young;
}

unsigned shadow_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                    u64 *visited)
{
	struct shadow *sh = shadow_of(n);
	struct age_walk w = {
	        .format = sh->format,
	        .clear = flags & NOTIFIER_CLEAR,
	        .fast = flags & NOTIFIER_FAST_ONLY,
	        .rearm = flags & NOTIFIER_CLEAR &&
	                 (spte_has_dirty(sh->format) || !(flags & NOTIFIER_FAST_ONLY)),
	        .tables = !(flags & NOTIFIER_FAST_ONLY) && a64_load(&sh->tracked),
	};
	u64 young = 0;

	w.pass = w.clear && w.fast && w.rearm;
	DEBUG_ASSERT(epoch_active());
	DEBUG_ASSERT(npages && npages <= NOTIFIER_MAX_PAGES);
	DEBUG_ASSERT(!(flags & NOTIFIER_TEST) == !!(flags & NOTIFIER_CLEAR));
	for (unsigned at = 0; at < npages; at += 64) {
		u64 asked = bitmap[at / 64] & (npages - at < 64 ? BIT(npages - at) - 1 : ~0ull);

		bitmap[at / 64] = w.clear || !young ? word_young(&w, sh, gfn_add(first, at), asked)
		                                    : 0;
		young |= bitmap[at / 64];
	}
	*visited += w.visited;
	if (w.kept && w.clear)
		a64_count(&sh->stats.kept_total, w.kept);
	return young ? NOTIFIER_YOUNG | (n->ops->has_fast_aging ? NOTIFIER_WAS_FAST : 0) : 0;
}
