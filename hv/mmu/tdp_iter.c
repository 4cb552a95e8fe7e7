#include "hv/mmu/tdp_iter.h"

#include "arch/hal.h"
#include "mm/epoch.h"

static a64 *tdp_table(const struct tdp *t, u64 spte)
{
	return hal_frame_ptr(spte_pfn(t->format, spte));
}

static struct tdp_entry tdp_read(a64 *table, gfn_t g, unsigned level)
{
	a64 *at = &table[tdp_index(g, level)];

	/* ord T1: what a table has is read after the entry that leads to it; pairs with its
	 * install. */
	return (struct tdp_entry){.at = at, .seen = a64_load_acquire(at), .level = level};
}

struct tdp_entry tdp_find_level(const struct tdp *t, gfn_t g, unsigned level)
{
	struct tdp_entry e = tdp_read(hal_frame_ptr(hpa_pfn(t->root)), g, TDP_LEVELS);

	DEBUG_ASSERT(tdp_reaches(g));
	while (e.level > level && spte_is_table(t->format, e.level, e.seen))
		e = tdp_read(tdp_table(t, e.seen), g, e.level - 1);
	return e;
}

struct tdp_entry tdp_find(const struct tdp *t, gfn_t g)
{
	return tdp_find_level(t, g, 1);
}

struct tdp_entry tdp_find_lockless(const struct tdp *t, gfn_t g)
{
	DEBUG_ASSERT(epoch_active());
	return tdp_find(t, g);
}

/* Puts an empty table into an empty entry. Whoever loses the race gives its page back unseen. */
static bool tdp_build_one(struct tdp *t, struct tdp_entry *e)
{
	void *page = hal_pages_alloc(1);

	if (!page)
		return false;
	if (spte_replace(t->format, e->level, e->at, &e->seen,
	                 spte_make_table(t->format, hal_ptr_pfn(page))))
		a64_count(&t->tables, 1);
	else
		hal_pages_free(page, 1);
	return true;
}

bool tdp_build_to(struct tdp *t, gfn_t g, unsigned level)
{
	DEBUG_ASSERT(epoch_active());
	for (;;) {
		struct tdp_entry e = tdp_find(t, g);

		if (e.level <= level || !spte_is_empty(e.seen))
			return true;
		if (!tdp_build_one(t, &e))
			return false;
	}
}

void tdp_iter_start(struct tdp_iter *it, const struct tdp *t, gfn_t first, gfn_t last)
{
	*it = (struct tdp_iter){.tdp = t, .pos = first.v, .last = last.v};
	DEBUG_ASSERT(epoch_active());
	it->last = min_of(it->last, BIT(TDP_GFN_BITS) - 1);
}

/* The next entry in order; false at the end of the range. */
static bool tdp_iter_step(struct tdp_iter *it)
{
	const struct tdp *t = it->tdp;
	unsigned level = it->entry.level;

	if (!level) {
		level = TDP_LEVELS;
		it->table[level] = hal_frame_ptr(hpa_pfn(t->root));
	} else if (spte_is_table(t->format, level, it->entry.seen)) {
		it->table[level - 1] = tdp_table(t, it->entry.seen);
		level--;
	} else {
		it->pos = align_down(it->pos, tdp_span(level)) + tdp_span(level);
		while (level < TDP_LEVELS && !tdp_index(gfn(it->pos), level))
			level++;
	}
	if (it->pos > it->last)
		return false;
	it->entry = tdp_read(it->table[level], gfn(it->pos), level);
	return true;
}

bool tdp_iter_next(struct tdp_iter *it)
{
	while (tdp_iter_step(it))
		if (!spte_is_empty(it->entry.seen))
			return true;
	return false;
}
