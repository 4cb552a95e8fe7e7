/*
 * What may stand in a scenario: two tables that say of each key its name, what it allows, in words, and
 * how its value is taken. Pure.
 */
#pragma once

#include "hv/scenario.h"
#include "hv/slice.h"

struct scenario_key {
	const char *name; /* NULL at the end of a table */
	const char *allowed;
	/* Text without control characters. False: the value is not allowed. `vm` is NULL in [host]. */
	bool (*set)(struct scenario *s, struct scenario_vm *vm, struct slice value);
};

extern const struct scenario_key scenario_host_keys[], scenario_vm_keys[];
