/*
 * Large leaves of the TDP: made by a first touch, split into 512 leaves.
 *
 * A level-2 entry is
 *
 *   EMPTY --fault--> TABLE                 tdp_build(), compare-exchange
 *   EMPTY --first touch of all 512--> LARGE
 *   LARGE --split--> TABLE of 512 leaves
 *   TABLE, all empty --collapse--> LARGE
 *
 * and never EMPTY again while the MMU lives. A LARGE entry has all rights, so that no fault wants to change
 * them; in formats without Dirty its pages therefore count as written from the start.
 *
 * Splitting. There is no moment at which the pages are unmapped: a table with 512 leaves that translate
 * exactly as the large one, with its rights, Accessed and Dirty (or its tracked form), is prepared out of
 * sight and put in its place by one compare-exchange. If that fails, hardware or an ager changed the leaf:
 * the table is filled again from what is there now. So Dirty is lost by nobody (I8): set before the
 * exchange, it makes the exchange fail or was copied 512 times; afterwards hardware, which sets Dirty in the
 * entry that its walk ends at, walks to a small leaf.
 *
 * TLBs may still have the large translation, and small ones from then on. Both say the same, so either may
 * be used (SDM 3A 4.10.2.3 leaves it open which; APM 2 5.5.2 asks software to invalidate when page sizes
 * change, and until then the old and the new translation do not differ). What must not be used any more
 * after a zap is flushed as always: the flush covers the whole space. A write through a cached large
 * translation whose Dirty is known to be set sets no bit; it was set when the leaf was split and was copied.
 *
 * Read side of the MMU lock: a split neither makes nor removes a translation, so it excludes nobody.
 * Against an install of the same leaf and a second split there is huge_lock.
 *
 * While the space has a dirty log, none is made: both installs ask for it under the MMU lock, and who switches the log
 * on takes the lock's write side between that and splitting those that there are (mm/dirty_log.h).
 *
 * Collapsing takes a table away, the only thing that does while the MMU lives. Who may still be in it:
 *
 *   - a fault or a zap that found it under the MMU lock: the exchange is done under the write side;
 *   - an ager, or a fault on its fast path, in an epoch section: the table is freed after a grace period.
 *     Until then all its entries are empty, for the caller zapped them and keeps faults, the only ones who
 *     fill entries, out of the range until the leaf is in place; then they find the leaf;
 *   - tdp_build_to(), in an epoch section as well: it only finds out that nothing is missing;
 *   - hardware, through a paging-structure cache: it finds nothing there and faults; the table is freed after
 *     a flush that follows the exchange.
 *
 * Memory. A split must not fail: a page that is dropped has to go. So each large leaf comes with the page
 * for its table, `spare`; there are as many of those as large leaves whenever huge_lock is free. It costs
 * nothing that 512 small leaves would not have cost.
 */
#include "hv/mmu/tdp_huge.h"

#include "arch/hal.h"
#include "hv/mmu/tdp_iter.h"
#include "hv/mmu/tdp_ops.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/huge.h"
#include "mm/space.h"
#include "mm/trace.h"

static_assert(TABLE_PAGES == 1u << 9, "one table's entries are one large leaf's pages");

static bool is_large(const struct tdp *t, const struct tdp_entry *e)
{
	return e->level > 1 && spte_is_leaf(t->format, e->level, e->seen);
}

/* --- spares; huge_lock held ------------------------------------------------------------------------ */

static void spare_put_locked(struct tdp *t, void *page)
{
	struct tdp_spare *spare = page;

	DEBUG_ASSERT(spin_held(&t->huge_lock));
	spare->next = t->spare;
	t->spare = spare;
}

static u64 *spare_take_locked(struct tdp *t)
{
	struct tdp_spare *spare = t->spare;

	DEBUG_ASSERT(spin_held(&t->huge_lock));
	ASSERT(spare);
	t->spare = spare->next;
	return (u64 *)spare;
}

/* --- splitting ------------------------------------------------------------------------------------- */

/* Nobody sees the page yet: no atomics. */
static void fill_table(const struct spte_format *f, u64 *page, u64 large)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		page[i] = spte_make_part(f, large, i);
}

/*
 * Where hardware keeps Accessed in tables as well, the new one has it: it says "look below", and whoever
 * harvests would else pass by what was copied there.
 */
static u64 table_entry(const struct spte_format *f, const void *page)
{
	return spte_make_table(f, hal_ptr_pfn(page)) | (spte_has_dirty(f) ? f->accessed : 0);
}

static void split_locked(struct tdp *t, struct tdp_entry *e)
{
	const struct spte_format *f = t->format;
	u64 *page = spare_take_locked(t);
	struct space *s = t->notifier.space;
	u32 head = frame_of_pfn(spte_pfn(f, e->seen));

	do
		fill_table(f, page, e->seen);
	while (!spte_resize(f, e->level, e->at, &e->seen, table_entry(f, page)));
	frame_state_change(head, FRAME_HUGE, 0);
	a64_count(&t->tables, 1);
	a64_count(&t->leaves, TABLE_PAGES - 1);
	a64_count(&s->huge_mappings, -1ull);
	a64_count(&s->stats.splits_total, 1);
	trace_event(TRACE_SPLIT, s->id, frame_gfn(frame_at(head)), spte_young(f, e->seen), head);
}

void tdp_split_locked(struct tdp *t, gfn_t g)
{
	struct tdp_entry e;

	spin_lock(&t->huge_lock);
	e = tdp_find(t, g);
	if (is_large(t, &e))
		split_locked(t, &e);
	spin_unlock(&t->huge_lock);
}

void tdp_split(struct notifier *n, gfn_t g)
{
	if (!tdp_reaches(g))
		return;
	read_lock(&n->space->mmu_lock);
	tdp_split_locked(tdp_of(n), g);
	read_unlock(&n->space->mmu_lock);
}

/* --- first touch ----------------------------------------------------------------------------------- */

/* Tables down to the level above, and nothing below yet? Then there may be a large leaf. */
static bool prepare(struct tdp *t, gfn_t first)
{
	bool vacant;

	epoch_enter();
	vacant = tdp_build_to(t, first, 2);
	if (vacant) {
		struct tdp_entry e = tdp_find(t, first);

		vacant = e.level == 2 && spte_is_empty(e.seen);
	}
	epoch_exit();
	return vacant;
}

/* A large leaf is in place; huge_lock held. */
static void large_added_locked(struct tdp *t, u32 head, void *spare)
{
	spare_put_locked(t, spare);
	frame_state_change(head, 0, FRAME_HUGE);
	a64_count(&t->leaves, 1);
	a64_count(&t->notifier.space->huge_mappings, 1);
}

/* MMU lock held, nothing of the range invalidated since its pages were brought in. */
static bool install_locked(struct tdp *t, gfn_t first, u32 head, bool dirty, void *spare)
{
	const struct spte_format *f = t->format;
	struct tdp_entry e = tdp_find(t, first);
	bool done = false;

	spin_lock(&t->huge_lock);
	if (e.level == 2 && spte_is_empty(e.seen) &&
	    dirty_log_mode(t->notifier.space) == DIRTY_LOG_OFF)
		/* ord T2: the pages were zeroed by huge_bring_in() */
		done = spte_replace(
		        f, 2, e.at, &e.seen,
		        spte_make_leaf(f, 2, frame_pfn(head), SPTE_R | SPTE_W | SPTE_X, dirty));
	if (done)
		large_added_locked(t, head, spare);
	spin_unlock(&t->huge_lock);
	return done;
}

static bool install(struct tdp *t, gfn_t first, u64 seq, u32 head, bool dirty, void *spare)
{
	struct space *s = t->notifier.space;
	bool done = false;

	read_lock(&s->mmu_lock);
	if (!invalidate_retry_range(s, seq, first, gfn_add(first, TABLE_PAGES - 1)))
		done = install_locked(t, first, head, dirty, spare);
	read_unlock(&s->mmu_lock);
	a64_count(&s->stats.huge_faults_total, done);
	return done;
}

bool tdp_fault_huge(struct tdp *t, const struct tdp_access *a)
{
	struct space *s = t->notifier.space;
	gfn_t first = huge_first(gpa_gfn(a->gpa));
	bool dirty = a->write || !spte_has_dirty(t->format), done = false;
	u64 seq;
	void *spare;
	u32 head;

	if (!a32_load(&s->wants_huge) || dirty_log_mode(s) != DIRTY_LOG_OFF || !prepare(t, first))
		return false;
	spare = hal_pages_alloc(1);
	if (!spare)
		return false;
	seq = invalidate_seq(s);
	head = huge_bring_in(s, first, dirty);
	if (head != FRAME_NONE)
		done = install(t, first, seq, head, dirty, spare);
	if (!done)
		hal_pages_free(spare, 1);
	return done;
}

/* --- collapse -------------------------------------------------------------------------------------- */

static bool all_empty(const a64 *table)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		if (a64_load(&table[i]))
			return false;
	return true;
}

/*
 * MMU lock held for writing. The entry is a table or empty; false if it is not or is put to use. Hardware
 * and agers change a table's Accessed, hence the loop.
 */
static bool map_huge_locked(struct tdp *t, gfn_t first, u64 leaf, void **table)
{
	const struct spte_format *f = t->format;
	struct tdp_entry e = tdp_find_level(t, first, 2);
	a64 *below;

	if (e.level != 2 || spte_is_leaf(f, 2, e.seen) ||
	    dirty_log_mode(t->notifier.space) != DIRTY_LOG_OFF)
		return false;
	if (spte_is_empty(e.seen))
		return spte_replace(f, 2, e.at, &e.seen, leaf);
	below = hal_frame_ptr(spte_pfn(f, e.seen));
	if (!all_empty(below))
		return false;
	while (!spte_resize(f, 2, e.at, &e.seen, leaf))
		;
	*table = below;
	return true;
}

bool tdp_map_huge(struct notifier *n, gfn_t first, pfn_t head, void **table)
{
	struct tdp *t = tdp_of(n);
	u64 leaf = spte_make_leaf(t->format, 2, head, SPTE_R | SPTE_W | SPTE_X,
	                          !spte_has_dirty(t->format));
	void *spare = hal_pages_alloc(1);
	bool done;

	if (!spare)
		return false;
	write_lock(&n->space->mmu_lock);
	spin_lock(&t->huge_lock);
	done = map_huge_locked(t, first, leaf, table);
	if (done)
		large_added_locked(t, frame_of_pfn(head), spare);
	spin_unlock(&t->huge_lock);
	write_unlock(&n->space->mmu_lock);
	if (!done)
		hal_pages_free(spare, 1);
	return done;
}

static void grace_is_over(struct epoch_node *node)
{
	(void)node;
}

void tdp_free_table(struct notifier *n, void *table)
{
	struct epoch_node node;

	epoch_defer(&node, grace_is_over);
	epoch_barrier();
	a64_count(&tdp_of(n)->tables, -1ull);
	hal_pages_free(table, 1);
}
