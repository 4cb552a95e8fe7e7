/*
 * What the TDP does for the dirty log (mm/dirty_log.h).
 *
 * While W is the log, an entry that has W was written, as far as anybody knows, since it was looked at last, and one
 * that is LOGGED was not. Both are the entry's own word, and it changes by compare-exchange: LOGGED to W by a fault,
 * without a lock, W to LOGGED by the log. So there is nothing beside the entry that the two would have to agree on,
 * and no moment at which a write is neither in the entry nor found by the log.
 *
 * While Dirty is the log, the same holds of Dirty, which hardware sets. It is cleared with the page's gfn word BUSY and
 * its frame dirty already, so that no eviction takes the page for clean meanwhile (I8).
 *
 * An entry that goes takes what it says along: the zap notes it, inside its read section of the MMU lock. Who reads
 * the log takes the write side once between the entries and what was noted: what it did not find in an entry that was
 * gone by then, has been noted.
 */
#include "hv/mmu/tdp_ops.h"

#include "hv/mmu/tdp_huge.h"
#include "hv/mmu/tdp_iter.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/space.h"

/* Neither makes nor removes a translation, so the read side excludes all that matters (tdp_huge.c). */
static void split(struct tdp *t, gfn_t g)
{
	read_lock(&t->notifier.space->mmu_lock);
	tdp_split_locked(t, g);
	read_unlock(&t->notifier.space->mmu_lock);
}

/* The page's own entry, or what is above it if there is none. In an epoch section. */
static struct tdp_entry find_split(struct tdp *t, gfn_t g)
{
	struct tdp_entry e = tdp_find_lockless(t, g);

	if (e.level == 1 || !spte_is_leaf(t->format, e.level, e.seen))
		return e;
	split(t, g);
	return tdp_find(t, g);
}

void tdp_log_protect(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap)
{
	struct tdp *t = tdp_of(n);
	struct tdp_entry e;

	DEBUG_ASSERT(epoch_active());
	DEBUG_ASSERT(tdp_index(first, 1) + npages <= TABLE_PAGES);
	if (!tdp_reaches(first))
		return;
	e = find_split(t, first);
	for (unsigned i = 0; i < npages && e.level == 1; i++)
		if (spte_log(t->format, 1, &e.at[i]))
			bitmap[i / 64] |= BIT(i % 64);
}

bool tdp_log_clean(struct notifier *n, gfn_t g)
{
	struct tdp *t = tdp_of(n);
	struct tdp_entry e;
	bool was = false;

	if (!spte_has_dirty(t->format) || !tdp_reaches(g))
		return false;
	epoch_enter();
	e = find_split(t, g);
	if (e.level == 1)
		was = spte_clean(t->format, 1, e.at);
	epoch_exit();
	return was;
}

void tdp_log_zapped(struct tdp *t, gfn_t g, u64 was)
{
	struct space *s = t->notifier.space;
	enum dirty_log_mode mode = dirty_log_mode(s);
	bool written;

	if (likely(mode == DIRTY_LOG_OFF))
		return;
	if (mode == DIRTY_LOG_PROTECT)
		written = spte_saved_rights(t->format, was) & SPTE_W;
	else
		written = was & t->format->dirty;
	if (written)
		dirty_log_mark(s, g);
}
