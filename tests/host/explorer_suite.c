#include "tests/host/explorer_suite.h"

#include <stdio.h>
#include <stdlib.h>

/* False: there is none. */
static bool choose(const struct explorer_suite *suite, unsigned number, unsigned preemptions,
                   struct explorer_scene *scene)
{
	static char name[EXPLORER_NAME];
	const struct explorer_scene *chosen = suite->choose(number, name);

	if (!chosen)
		return false;
	*scene = *chosen;
	scene->name = name;
	if (!scene->max_preemptions || scene->max_preemptions > preemptions)
		scene->max_preemptions = preemptions;
	return true;
}

static bool all_pass(const struct explorer_suite *suite, unsigned preemptions)
{
	struct explorer_scene scene;
	bool good = true;

	for (unsigned i = 0; i < suite->nr_scenes; i++)
		if (choose(suite, i, preemptions, &scene))
			good &= explorer_passes(&scene);
	return good;
}

/* With few preemptions first: what they find is short to read. */
static bool is_found(const struct explorer_suite *suite, const char *what)
{
	struct explorer_scene scene;
	struct explorer_result r;

	for (unsigned bound = 0; bound <= suite->mutant_preemptions; bound++) {
		for (unsigned i = 0; i < suite->nr_scenes; i++) {
			if (!choose(suite, i, bound, &scene) || scene.max_preemptions < bound)
				continue;
			explorer_run(&scene, &r);
			if (!r.failed)
				continue;
			printf("%s: found in \"%s\", schedule %llu with %u preemptions: %s (%s)\n",
			       what, scene.name, (unsigned long long)r.schedules, bound, r.why,
			       r.trace);
			return true;
		}
	}
	printf("%s: NOT found\n", what);
	return false;
}

int explorer_suite_main(const struct explorer_suite *suite)
{
	const char *bound = getenv("VARVE_PREEMPTIONS");
	bool good;

	*suite->mutant = 0;
	good = all_pass(suite, bound ? (unsigned)atoi(bound) : 2);
	for (unsigned m = 1; m < suite->nr_mutants && !getenv("VARVE_AS_IS"); m++) {
		*suite->mutant = m;
		good &= is_found(suite, suite->mutant_name[m]);
	}
	*suite->mutant = 0;
	return good ? 0 : 1;
}
