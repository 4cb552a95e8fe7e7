/* Instead of hv/mmu/tdp_age.c and shadow_age.c in an image without aging (mm/no_aging.c): nobody asks. */
#include "hv/mmu/shadow.h"
#include "hv/mmu/tdp_ops.h"

unsigned tdp_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                 u64 *visited)
{
	(void)n, (void)first, (void)npages, (void)bitmap, (void)flags, (void)visited;
	return 0;
}

bool tdp_range_young(struct notifier *n, gfn_t first, u64 npages, bool clear)
{
	(void)n, (void)first, (void)npages, (void)clear;
	return false;
}

void tdp_dirty(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap)
{
	(void)n, (void)first, (void)npages, (void)bitmap;
}

unsigned shadow_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                    u64 *visited)
{
	(void)n, (void)first, (void)npages, (void)bitmap, (void)flags, (void)visited;
	return 0;
}
