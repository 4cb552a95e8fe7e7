/* Varve's own policy in the laboratory: the code of mm/, as it is. */
#pragma once

#include "lib/types.h"

/*
 * Changes a setting of the policy for the replays to come; false if there is none of that name. Those of
 * struct policy that matter here, and "age": passes are made when eviction asks for one, and besides never (0),
 * at each harvest (1), or at those that find less than GEN_MAX generations (2).
 */
bool lab_ours_set(const char *name, u64 value);
/* All as it is in the hypervisor. */
void lab_ours_reset(void);
