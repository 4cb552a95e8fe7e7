/*
 * What may stand in a scenario: two tables that say of each key its name, what it allows, in words, and
 * how its value is taken. Pure.
 */
#pragma once

#include "hv/scenario.h"
#include "hv/slice.h"

struct scenario_key {
	const char *name;    /* NULL at the end of a table */
	const char *allowed; /* in words */
	/* Text without control characters into the field. False: the value is not allowed. */
	bool (*take)(const struct scenario_key *key, struct slice value, void *field);
	size_t offset; /* of the field in struct scenario ([host]) or scenario_vm ([vm]) */
	u64 min, max;  /* of numbers and times; of texts, max: bytes of the field */
	const char *const
	        *words; /* choices, NULL at the end; a flag's are no and yes, in this order */
};

extern const struct scenario_key scenario_host_keys[], scenario_vm_keys[];
