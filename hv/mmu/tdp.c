#include "hv/mmu/tdp.h"

#include "arch/hal.h"
#include "hv/mmu/tdp_iter.h"
#include "hv/mmu/tdp_ops.h"
#include "lib/profile.h"
#include "mm/epoch.h"
#include "mm/space.h"

/* Tables stay, so this stays yes; but unlike the number of leaves it is not changed by every fault. */
static bool tdp_populated(struct notifier *n)
{
	return a64_load(&tdp_of(n)->tables) > 1;
}

static const struct notifier_ops tdp_notifier_ops = {
        .name = "tdp",
        .profile = PROFILE_TABLES,
        .has_fast_aging = true,
        .protects = true,
        .late_slots = true,
        .logs = true,
        .age = tdp_age,
        .range_young = tdp_range_young,
        .dirty = tdp_dirty,
        .log_protect = tdp_log_protect,
        .log_clean = tdp_log_clean,
        .zap = tdp_zap,
        .split = tdp_split,
        .map_huge = tdp_map_huge,
        .free_table = tdp_free_table,
        .populated = tdp_populated,
        .audit = tdp_audit,
};

bool tdp_create(struct tdp *t, struct space *s, const struct spte_format *format)
{
	void *root = hal_pages_alloc(1);

	if (!root)
		return false;
	*t = (struct tdp){
	        .notifier = {.ops = &tdp_notifier_ops,
	                     .space = s,
	                     .knows_dirty = spte_has_dirty(format)},
	        .format = format,
	        .root = pfn_hpa(hal_ptr_pfn(root)),
	        .tables = {1},
	};
	spin_init(&t->huge_lock, LOCK_TDP_HUGE, "large leaves");
	space_add_notifier(s, &t->notifier);
	return true;
}

/* Depth is bounded by TDP_LEVELS. */
static void tdp_free_below(const struct tdp *t, a64 *table, unsigned level)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		u64 spte = a64_load(&table[i]);

		if (spte_is_table(t->format, level, spte))
			tdp_free_below(t, hal_frame_ptr(spte_pfn(t->format, spte)), level - 1);
	}
	hal_pages_free(table, 1);
}

static void tdp_free_tables(struct epoch_node *node)
{
	struct tdp *t = container_of(node, struct tdp, dead);

	tdp_free_below(t, hal_frame_ptr(hpa_pfn(t->root)), TDP_LEVELS);
	t->root = hpa(0);
	a64_store(&t->tables, 0);
}

/*
 * I7: hardware may still have the tables in its paging-structure caches, hence the flush; an ager
 * that came late may still be reading them, hence the grace period.
 */
void tdp_destroy(struct tdp *t)
{
	struct space *s = t->notifier.space;

	DEBUG_ASSERT(a64_load(&t->leaves) == 0 && !t->spare);
	flush_wait(s, flush_request(s));
	epoch_defer(&t->dead, tdp_free_tables);
	epoch_barrier();
}
