/* Large leaves of the TDP, for its other files. The argument is at the top of tdp_huge.c. */
#pragma once

#include "hv/mmu/tdp.h"
#include "lib/types.h"
#include "lib/util.h"

/* Page kept for the table that a large leaf will be split into. */
struct tdp_spare {
	struct tdp_spare *next;
};

/*
 * A fault on a page that is not mapped: maps the whole 2 MiB by one large leaf if huge_bring_in() can bring
 * them in. False: go on with 4 KiB; the page may be resident by now. Context as for tdp_fault().
 */
bool tdp_fault_huge(struct tdp *t, const struct tdp_access *a) must_check;
/* If a large leaf maps the page, it is 512 leaves from then on. MMU lock held, either side. */
void tdp_split_locked(struct tdp *t, gfn_t g);
