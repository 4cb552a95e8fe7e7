/*
 * Taking translations away and nothing else: the pages stay where they are, and the guest's next access
 * faults. What a reset of an MMU, or a change of rights, needs.
 */
#pragma once

#include "lib/types.h"

struct space;

/*
 * Removes every translation of the pages first .. first + npages - 1 that there is; returns of how many
 * pages, after no TLB has one any more. What the entries knew goes along: Dirty pages lose their copy (I8),
 * young ones are promoted as if a walk had met them. Pages that are not resident, or no memory at all, are
 * passed over. Faults may map the range again meanwhile. No lock held, not in an epoch section.
 */
u64 zap_range(struct space *s, gfn_t first, u64 npages);
