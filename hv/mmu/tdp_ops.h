/* The TDP's side of the notifier contract (mm/notifier.h), one file each; tdp.c makes the table of
 * them. */
#pragma once

#include "hv/mmu/tdp.h"
#include "lib/types.h"
#include "mm/notifier.h"

static inline struct tdp *tdp_of(struct notifier *n)
{
	return container_of(n, struct tdp, notifier);
}

unsigned tdp_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                 u64 *visited);
bool tdp_range_young(struct notifier *n, gfn_t first, u64 npages, bool clear);
void tdp_dirty(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap);
void tdp_log_protect(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap);
bool tdp_log_clean(struct notifier *n, gfn_t g);
void tdp_zap(struct notifier *n, gfn_t g, struct notifier_zap *result);
void tdp_split(struct notifier *n, gfn_t g);
bool tdp_map_huge(struct notifier *n, gfn_t first, pfn_t head, void **table);
void tdp_free_table(struct notifier *n, void *table);
u64 tdp_audit(struct notifier *n);
/* An entry was zapped: if it tells the dirty log of a write, it is noted. MMU lock held, either side. */
void tdp_log_zapped(struct tdp *t, gfn_t g, u64 was);
