/* The TDP's share of the audit: I6, agreement with the gfn map, and the counters. */
#include "hv/mmu/tdp_ops.h"

#include "arch/hal.h"
#include "hv/mmu/tdp_huge.h"
#include "hv/mmu/tdp_iter.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

#define AUDIT_MAX_LINES 8u

struct tdp_count {
	u64 tables, leaves, large, faults;
};

static void audit_fault(struct tdp *t, struct tdp_count *c, u64 page, u64 spte, const char *what)
{
	if (c->faults++ < AUDIT_MAX_LINES)
		hal_log(HAL_ERROR, "audit: %s: tdp: gfn %#llx, entry %#llx: %s",
		        t->notifier.space->name, (unsigned long long)page, (unsigned long long)spte,
		        what);
}

static bool is_guest_frame(pfn_t p)
{
	return frame_of_pfn(p) != FRAME_NONE;
}

/* Without a Dirty bit, nobody would know of a write to a page that counts as clean. */
static void audit_clean(struct tdp *t, struct tdp_count *c, u64 page, u64 spte, u32 frame)
{
	if (!spte_has_dirty(t->format) && spte_dirty(t->format, spte) &&
	    !(a64_load(&frame_at(frame)->state) & FRAME_DIRTY))
		audit_fault(t, c, page, spte, "may be written, but its frame counts as clean");
}

/* All rights, of which only W can be taken away: see tdp_huge.c. The head must say that it is one. */
static void audit_large(struct tdp *t, struct tdp_count *c, const struct tdp_iter *it)
{
	u64 spte = it->entry.seen;
	u32 head = frame_of_pfn(spte_pfn(t->format, spte));

	c->large++;
	if (it->entry.level != 2)
		audit_fault(t, c, it->pos, spte, "a leaf that nothing makes so large");
	if (spte_saved_rights(t->format, spte) != (SPTE_R | SPTE_W | SPTE_X))
		audit_fault(t, c, it->pos, spte, "a large leaf without all rights");
	if (head == FRAME_NONE || frame_huge_head(head) != head ||
	    !(a64_load(&frame_at(head)->state) & FRAME_HUGE))
		audit_fault(t, c, it->pos, spte, "a large leaf, but its frames do not say so");
}

/* Spares, and the count that the audit of the frames compares with their flags. */
static void audit_spares(struct tdp *t, struct tdp_count *c)
{
	u64 n = 0;

	for (const struct tdp_spare *spare = t->spare; spare && n <= c->large; spare = spare->next)
		n++;
	if (n != c->large)
		audit_fault(t, c, n, c->large, "spares and large leaves differ");
	if (a64_load(&t->notifier.space->huge_mappings) != c->large)
		audit_fault(t, c, c->large, a64_load(&t->notifier.space->huge_mappings),
		            "large leaves found and counted differ");
}

static void audit_leaf(struct tdp *t, struct tdp_count *c, const struct tdp_iter *it)
{
	u64 spte = it->entry.seen;
	pfn_t first = spte_pfn(t->format, spte);

	if (it->entry.level > 1)
		audit_large(t, c, it);
	if (spte_is_tracked(t->format, spte) &&
	    is_guest_frame(pfn((spte & SPTE_ADDRESS) >> PAGE_SHIFT)))
		audit_fault(t, c, it->pos, spte, "I6: not present, but names a frame");
	for (u64 i = 0; i < tdp_span(it->entry.level); i++) {
		a64 *where = gfnmap_word(t->notifier.space, gfn(it->pos + i));
		u64 word = where ? a64_load(where) : 0;

		if (gfn_word_tag(word) != GFN_RESIDENT)
			audit_fault(t, c, it->pos + i, spte, "mapped, but not resident");
		else if (frame_pfn(gfn_word_frame(word)).v != first.v + i)
			audit_fault(t, c, it->pos + i, spte,
			            "mapped to a frame that is not its own");
		else
			audit_clean(t, c, it->pos + i, spte, gfn_word_frame(word));
	}
}

static void audit_entry(struct tdp *t, struct tdp_count *c, const struct tdp_iter *it)
{
	const struct tdp_entry *e = &it->entry;

	if (!spte_valid(t->format, e->level, e->seen)) {
		audit_fault(t, c, it->pos, e->seen, "no valid encoding");
	} else if (spte_is_table(t->format, e->level, e->seen)) {
		c->tables++;
		if (is_guest_frame(spte_pfn(t->format, e->seen)))
			audit_fault(t, c, it->pos, e->seen, "a table in a guest's frame");
	} else {
		c->leaves++;
		audit_leaf(t, c, it);
	}
}

/* Empty entries must be exactly that; the iterator does not stop at them. */
static void audit_empty(struct tdp *t, struct tdp_count *c, const a64 *table, u64 pos)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		u64 spte = a64_load(&table[i]);

		if (spte_is_empty(spte) && spte != SPTE_EMPTY)
			audit_fault(t, c, pos, spte, "I6: not present, but not empty");
	}
}

u64 tdp_audit(struct notifier *n)
{
	struct tdp *t = tdp_of(n);
	struct tdp_count c = {.tables = 1};
	struct tdp_iter it;

	epoch_enter();
	audit_empty(t, &c, hal_frame_ptr(hpa_pfn(t->root)), 0);
	tdp_iter_start(&it, t, gfn(0), gfn(~0ull));
	while (tdp_iter_next(&it)) {
		audit_entry(t, &c, &it);
		if (spte_is_table(t->format, it.entry.level, it.entry.seen))
			audit_empty(t, &c, hal_frame_ptr(spte_pfn(t->format, it.entry.seen)),
			            it.pos);
	}
	epoch_exit();
	audit_spares(t, &c);
	if (c.tables != a64_load(&t->tables))
		audit_fault(t, &c, c.tables, a64_load(&t->tables),
		            "tables found and counted differ");
	if (c.leaves != a64_load(&t->leaves))
		audit_fault(t, &c, c.leaves, a64_load(&t->leaves),
		            "leaves found and counted differ");
	return c.faults;
}
