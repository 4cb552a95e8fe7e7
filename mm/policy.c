#include "mm/policy.h"

#define DEFAULTS                                                                              \
	{                                                                                     \
		.caps = {POLICY_CAPS}, .lookaround = {POLICY_LOOK_ANY},                       \
		.flush = {POLICY_FLUSH_NONE}, .batch = {TABLE_PAGES}, .two_touch = {1},       \
		.swappiness = {POLICY_SWAPPINESS}, .fault_touch = {POLICY_FAULT_TOUCH},       \
		.chunk = {POLICY_CHUNK_AUTO}, .demote = {1}, .probation = {POLICY_PROBATION}, \
		.guard = {POLICY_GUARD}, .locked = {POLICY_AGER},                             \
	}

struct policy policy = DEFAULTS;

const char *const policy_lookaround_names[] = {"off", "any", "all", NULL};
const char *const policy_flush_names[] = {"none", "per-pass", "sampled", NULL};
const char *const policy_locked_names[] = {"no", "yes", "read", NULL};
const char *const policy_names[] = {"mglru", "twolist", NULL};
const char *const walk_mode_names[] = {"off", "fast", "all", "accurate", NULL};

void policy_init(void)
{
	policy = (struct policy)DEFAULTS;
}
