#include "mm/policy.h"

#define DEFAULTS                                                                        \
	{                                                                               \
		.caps = {POLICY_CAPS}, .lookaround = {POLICY_LOOK_ANY},                 \
		.flush = {POLICY_FLUSH_NONE}, .batch = {TABLE_PAGES}, .two_touch = {1}, \
		.swappiness = {POLICY_SWAPPINESS},                                      \
	}

struct policy policy = DEFAULTS;

void policy_init(void)
{
	policy = (struct policy)DEFAULTS;
}
