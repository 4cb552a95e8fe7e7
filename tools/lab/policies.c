/* All policies, in the order of reports. A new one: its file, a line here, and a line in the table. */
#include <string.h>

#include "tools/lab/lab.h"

extern const struct lab_policy lab_opt, lab_lru, lab_clock, lab_twoq, lab_arc, lab_lirs,
        lab_clockpro, lab_s3fifo, lab_sieve, lab_hazard, lab_ours, lab_ours_tuned, lab_twolist;

const struct lab_policy *const lab_policies[] = {
        &lab_opt,  &lab_lru,        &lab_clock,   &lab_twoq,  &lab_arc,
        &lab_lirs, &lab_clockpro,   &lab_s3fifo,  &lab_sieve, &lab_hazard,
        &lab_ours, &lab_ours_tuned, &lab_twolist, NULL,
};

const struct lab_policy *lab_policy_find(const char *name)
{
	for (unsigned i = 0; lab_policies[i]; i++)
		if (!strcmp(lab_policies[i]->name, name))
			return lab_policies[i];
	return NULL;
}
