/* The explorer of interleavings itself: it leaves no schedule out, and what is wrong in one is found. */
#include "tests/host/explorer_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static u64 shared, other, saw[2];

static void setup(void)
{
	shared = other = 0;
}

static struct explorer_result explore(const struct explorer_scene *scene, unsigned preemptions)
{
	struct explorer_scene bounded = *scene;
	struct explorer_result r;

	bounded.max_preemptions = preemptions;
	explorer_run(&bounded, &r);
	return r;
}

/* --- how many schedules there are ------------------------------------------------------------------ */

static void run_three_parts(void)
{
	explorer_yield();
	explorer_yield();
}

static void test_explorer_runs_every_schedule_once(void **state)
{
	static const struct explorer_scene scene = {
	        .name = "parts",
	        .setup = setup,
	        .actor = {{"one", run_three_parts}, {"two", run_three_parts}},
	        .nr_actors = 2};
	/* One after the other; one that is interrupted once, in two places; ... */
	static const u64 expected[] = {2, 6, 14, 18, 20};
	struct explorer_result r;

	(void)state;
	for (unsigned preemptions = 0; preemptions < ARRAY_SIZE(expected); preemptions++) {
		r = explore(&scene, preemptions);
		assert_true(r.exhausted && !r.failed);
		assert_int_equal(r.schedules, expected[preemptions]);
	}
	/* ... and all of them: 3 of 6 parts are the first actor's. */
	assert_int_equal(explore(&scene, 100).schedules, 20);
}

/* --- what is wrong in some of them ----------------------------------------------------------------- */

static unsigned careless;

static void run_add(void)
{
	u64 seen = shared;

	if (careless == 1)
		explorer_yield();
	shared = seen + 1;
	explorer_yield();
}

static void check_added(void)
{
	if (shared != 2)
		explorer_panic("an addition was lost");
}

static const struct explorer_scene adders = {.name = "adders",
                                             .setup = setup,
                                             .check = check_added,
                                             .actor = {{"one", run_add}, {"two", run_add}},
                                             .nr_actors = 2};

static void test_explorer_finds_a_lost_update_with_one_preemption(void **state)
{
	struct explorer_result r;

	(void)state;
	careless = 1;
	r = explore(&adders, 0);
	assert_true(r.exhausted && !r.failed);
	r = explore(&adders, 1);
	assert_true(r.failed && !r.exhausted);
	assert_string_equal(r.why, "an addition was lost");
	assert_string_equal(r.trace, "one two one ");
	careless = 0;
	assert_false(explore(&adders, 9).failed);
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void run_wait_for_nobody(void)
{
	explorer_wait(never, NULL);
}

static void run_pause_for_ever(void)
{
	while (!shared)
		explorer_pause();
}

static void test_explorer_tells_deadlock_from_hang(void **state)
{
	const struct explorer_scene dead = {.name = "dead",
	                                    .setup = setup,
	                                    .actor = {{"waits", run_wait_for_nobody}},
	                                    .nr_actors = 1};
	const struct explorer_scene hangs = {.name = "hangs",
	                                     .setup = setup,
	                                     .actor = {{"pauses", run_pause_for_ever}},
	                                     .nr_actors = 1,
	                                     .max_steps = 50};

	(void)state;
	assert_string_equal(explore(&dead, 1).why, "deadlock");
	assert_string_equal(explore(&hangs, 1).why, "hangs: 51 steps");
}

/* --- store buffers --------------------------------------------------------------------------------- */

static bool fenced;

static void store_and_look(u64 *mine, u64 *theirs)
{
	unsigned self = explorer_self();

	explorer_store(mine, 1);
	if (fenced)
		explorer_fence();
	saw[self] = explorer_load(theirs);
}

static void run_first(void)
{
	store_and_look(&shared, &other);
}

static void run_second(void)
{
	store_and_look(&other, &shared);
}

static void check_one_saw(void)
{
	if (!saw[0] && !saw[1])
		explorer_panic("neither saw the other");
}

static void test_explorer_lets_a_load_overtake_a_store(void **state)
{
	static const struct explorer_scene scene = {
	        .name = "dekker",
	        .setup = setup,
	        .check = check_one_saw,
	        .actor = {{"first", run_first}, {"second", run_second}},
	        .nr_actors = 2};

	(void)state;
	fenced = false;
	assert_string_equal(explore(&scene, 2).why, "neither saw the other");
	fenced = true;
	assert_true(explore(&scene, 9).exhausted);
}

/* --- the main loop of programs that spoil their code ------------------------------------------------- */

static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	snprintf(name, EXPLORER_NAME, "adders %u", number);
	return number == 1 ? NULL : &adders;
}

static void test_suite_fails_when_nothing_finds_a_mutant(void **state)
{
	static const char *const names[] = {"as it is", "careless", "changes nothing"};
	struct explorer_suite suite = {.choose = choose,
	                               .nr_scenes = 3,
	                               .mutant_name = names,
	                               .nr_mutants = 2,
	                               .mutant = &careless,
	                               .mutant_preemptions = 2};

	(void)state;
	unsetenv("VARVE_AS_IS");
	assert_int_equal(explorer_suite_main(&suite), 0);
	assert_int_equal(careless, 0);
	/* Not within the bound. */
	suite.mutant_preemptions = 0;
	assert_int_equal(explorer_suite_main(&suite), 1);
	suite.mutant_preemptions = 2;
	suite.nr_mutants = 3;
	assert_int_equal(explorer_suite_main(&suite), 1);
	setenv("VARVE_AS_IS", "1", 1);
	assert_int_equal(explorer_suite_main(&suite), 0);
	unsetenv("VARVE_AS_IS");
}

static void check_never(void)
{
	explorer_panic("never right");
}

static const struct explorer_scene *choose_wrong(unsigned number, char name[EXPLORER_NAME])
{
	static struct explorer_scene wrong;

	wrong = adders;
	if (number == 1)
		wrong.check = check_never;
	snprintf(name, EXPLORER_NAME, "scene %u", number);
	return &wrong;
}

static void test_suite_fails_when_a_scene_does(void **state)
{
	static const char *const names[] = {"as it is"};
	const struct explorer_suite suite = {.choose = choose_wrong,
	                                     .nr_scenes = 3,
	                                     .mutant_name = names,
	                                     .nr_mutants = 1,
	                                     .mutant = &careless};

	(void)state;
	assert_int_equal(explorer_suite_main(&suite), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_explorer_runs_every_schedule_once),
	        cmocka_unit_test(test_explorer_finds_a_lost_update_with_one_preemption),
	        cmocka_unit_test(test_explorer_tells_deadlock_from_hang),
	        cmocka_unit_test(test_explorer_lets_a_load_overtake_a_store),
	        cmocka_unit_test(test_suite_fails_when_nothing_finds_a_mutant),
	        cmocka_unit_test(test_suite_fails_when_a_scene_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
