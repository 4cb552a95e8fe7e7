/* Aging: produces generations by walking the spaces' second-level tables through the notifiers. */
#pragma once

#include "lib/types.h"

struct space;

struct age_result {
	bool produced;
	u64 visited; /* entries read */
	u64 young, promoted;
	u64 ns;
};
/*
 * Harvests the Accessed bits of the whole space, table by table and without a lock, then makes a new
 * youngest generation, unless somebody else superseded `max_seq` meanwhile. Not in an epoch section, no
 * lock held. A space none of whose vCPUs ran since is not walked.
 */
struct age_result age_space(struct space *s, u64 max_seq);
