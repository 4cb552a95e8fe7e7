/* All policies, in the order of reports; behind these, those of files that say LAB_POLICY(). */
#include <string.h>

#include "tools/lab/lab.h"

extern const struct lab_policy lab_opt, lab_lru, lab_clock, lab_twoq, lab_arc, lab_lirs,
        lab_clockpro, lab_s3fifo, lab_sieve, lab_hazard, lab_ours, lab_ours_tuned, lab_twolist;

static const struct lab_policy *const named[] = {
        &lab_opt,  &lab_lru,        &lab_clock,   &lab_twoq,  &lab_arc,
        &lab_lirs, &lab_clockpro,   &lab_s3fifo,  &lab_sieve, &lab_hazard,
        &lab_ours, &lab_ours_tuned, &lab_twolist,
};

/* Set by the linker, if there is such a section. */
extern const struct lab_policy *const __start_lab_added[] __attribute__((weak));
extern const struct lab_policy *const __stop_lab_added[] __attribute__((weak));

const struct lab_policy *lab_policy(unsigned number)
{
	size_t added = number - ARRAY_SIZE(named);

	if (number < ARRAY_SIZE(named))
		return named[number];
	return added < (size_t)(__stop_lab_added - __start_lab_added) ? __start_lab_added[added]
	                                                              : NULL;
}

const struct lab_policy *lab_policy_find(const char *name)
{
	const struct lab_policy *p;

	for (unsigned i = 0; (p = lab_policy(i)); i++)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}
