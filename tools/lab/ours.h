/* Varve's own policy in the laboratory: the code of mm/, as it is. */
#pragma once

#include "lib/types.h"

/*
 * Changes a setting of the policy for the replays to come; false if there is none of that name. Those of
 * struct policy that matter here, and "age": a pass is made at each harvest (1), or only when eviction asks
 * for it (0).
 */
bool lab_ours_set(const char *name, u64 value);
/* All as it is in the hypervisor. */
void lab_ours_reset(void);
