/* mm/controller: the law against a simulated guest, and its steps against fakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/controller.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/vmlru.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define SECOND 1000000000ull
#define PAGES  20000u

/* --- a guest that uses `hot` pages all the time and the others now and then ------------------------ */

struct sim {
	struct controller c;
	u64 now_ns, refaults;
	u64 hot;        /* pages 0 .. hot - 1 are touched every second */
	u64 rare_every; /* one of the others is touched every so many seconds; 0: never */
	u64 seed;
	u8 here[PAGES];
	u64 resident, next_cold;
	u64 most_in_a_minute;
};
static struct sim sim;

static void sim_touch(u64 page)
{
	sim.resident += !sim.here[page];
	sim.refaults += !sim.here[page];
	sim.here[page] = 1;
}

/* The coldest go first: those that are not hot, round and round; then hot ones. */
static void sim_give(u64 n)
{
	for (u64 i = 0; i < PAGES && n; i++, sim.next_cold++) {
		u64 page = sim.hot + sim.next_cold % (PAGES - sim.hot);

		n -= sim.here[page];
		sim.resident -= sim.here[page];
		sim.here[page] = 0;
	}
	for (u64 page = 0; page < sim.hot && n; page++) {
		n -= sim.here[page];
		sim.resident -= sim.here[page];
		sim.here[page] = 0;
	}
}

static void sim_start(u64 hot, u64 rare_every)
{
	sim = (struct sim){.hot = hot, .rare_every = rare_every, .now_ns = SECOND, .seed = 1};
	for (u64 page = 0; page < PAGES; page++)
		sim.here[page] = 1;
	sim.resident = PAGES;
}

static void sim_second(u64 second, u64 ppm)
{
	const struct controller_target target = {CONTROLLER_REFAULTS, ppm};
	struct controller_input in;

	for (u64 page = 0; page < sim.hot; page++)
		sim_touch(page);
	if (sim.rare_every && second % sim.rare_every == 0)
		sim_touch(sim.hot + host_random(&sim.seed) % (PAGES - sim.hot));
	sim.now_ns += SECOND;
	in = (struct controller_input){
	        .resident = sim.resident, .refaults = sim.refaults, .now_ns = sim.now_ns};
	sim_give(controller_step(&sim.c, target, &in));
}

/* Refaults in these minutes. */
static u64 sim_minutes(u64 minutes, u64 ppm)
{
	u64 before = sim.refaults;

	for (u64 second = 0; second < minutes * 60; second++)
		sim_second(second, ppm);
	return sim.refaults - before;
}

static void test_controller_finds_the_working_set(void **state)
{
	(void)state;
	sim_start(5000, 0);
	sim_minutes(10, 2000);
	assert_in_range(sim.resident, 5000 - GEN_BATCH, 5000 + 300);
}

/* 0.2 % of 5000 in a minute: ten. It keeps trying, and that is all it may cost. */
static void test_controller_keeps_the_promise(void **state)
{
	u64 refaults;

	(void)state;
	sim_start(5000, 0);
	sim_minutes(10, 2000);
	refaults = sim_minutes(120, 2000);
	assert_in_range(refaults, 1, 120 * 10 + 2 * GEN_BATCH);
	assert_in_range(sim.resident, 5000 - 2 * GEN_BATCH, 5000 + 300);
}

/* What comes back by itself uses up what is allowed: the cold are left until the rate permits. */
static void test_controller_counts_refaults_of_rare_pages(void **state)
{
	u64 refaults, resident;

	(void)state;
	sim_start(5000, 2);
	sim_minutes(60, 2000);
	refaults = sim_minutes(120, 2000);
	resident = sim.resident;
	/*
	 * 30 rare touches a minute, of which those of pages that are away are refaults: with half of the
	 * memory, 20 of them, and 0.2 % of that memory are 20.
	 */
	assert_in_range(refaults, 1, 120 * 24 + 2 * GEN_BATCH);
	assert_in_range(resident, 9000, 11000);
}

static void test_controller_follows_a_change(void **state)
{
	u64 refaults;

	(void)state;
	sim_start(5000, 0);
	sim_minutes(20, 2000);
	sim.hot = 9000;
	refaults = sim_minutes(30, 2000);
	assert_in_range(refaults, 3900, 4000 + 30 * 18 + 2 * GEN_BATCH);
	assert_in_range(sim.resident, 9000 - GEN_BATCH, 9300);
	sim.hot = 3000;
	sim_minutes(60, 2000);
	assert_in_range(sim.resident, 3000 - GEN_BATCH, 3300);
}

static void test_controller_a_larger_promise_gives_more(void **state)
{
	u64 strict;

	(void)state;
	sim_start(2000, 1);
	sim_minutes(120, 1000);
	strict = sim.resident;
	sim_start(2000, 1);
	sim_minutes(120, 20000);
	assert_true(sim.resident + 1000 < strict);
}

static void test_controller_steps_of_the_other_kinds(void **state)
{
	struct controller c = {.step = 5, .at_ns = 3};
	struct controller_input in = {.free_frames = 100, .resident = 1000, .now_ns = 7};

	(void)state;
	assert_int_equal(controller_step(&c, (struct controller_target){CONTROLLER_FREE, 150}, &in),
	                 50);
	assert_int_equal(controller_step(&c, (struct controller_target){CONTROLLER_FREE, 100}, &in),
	                 0);
	assert_int_equal(controller_step(&c, (struct controller_target){CONTROLLER_OFF, 150}, &in),
	                 0);
	/* Switched off, it forgets. */
	assert_int_equal(c.at_ns, 0);
	assert_int_equal(c.step, 0);
}

/* --- spaces ---------------------------------------------------------------------------------------- */

#define FRAMES 8192u

static struct fake_guest guests[2];
static unsigned nr_guests;
static const struct reclaim_ops ops;

static void start(void)
{
	const struct fake_config config = {.name = "guest", .npages = 2000};
	struct fake_guest *g = &guests[nr_guests++];

	fake_guest_create(g, &config);
	for (u64 page = 0; page < 2000; page++)
		fake_write(g, 0, page, 5, page + 1);
}

static int setup(void **state)
{
	(void)state;
	nr_guests = 0;
	host_time_set(SECOND);
	vmlru_init();
	policy_init();
	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	fake_frames_create(FRAMES);
	reclaim_init(&ops);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	controller_set(NULL, (struct controller_target){CONTROLLER_OFF, 0});
	assert_int_equal(audit_all(NULL), 0);
	while (nr_guests)
		fake_guest_destroy(&guests[--nr_guests]);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	host_time_set(HOST_TIME_REAL);
	return 0;
}

static u64 resident(unsigned i)
{
	return a64_load(&guests[i].space->resident);
}

static void test_controller_targets_are_inherited(void **state)
{
	struct space *s;

	(void)state;
	start();
	s = guests[0].space;
	assert_int_equal(controller_get(s).kind, CONTROLLER_OFF);
	controller_set(NULL, (struct controller_target){CONTROLLER_REFAULTS, 2000});
	assert_int_equal(controller_get(s).kind, CONTROLLER_REFAULTS);
	assert_int_equal(controller_get(s).value, 2000);
	controller_set(s, (struct controller_target){CONTROLLER_OFF, 0});
	assert_int_equal(controller_get(s).kind, CONTROLLER_OFF);
	controller_set(s, (struct controller_target){CONTROLLER_FREE, 1ull << 40});
	assert_int_equal(controller_get(s).value, 1ull << 40);
	assert_int_equal(controller_get(NULL).kind, CONTROLLER_REFAULTS);
}

/* Many share what is wanted for all. */
static void test_controller_free_is_met_by_all(void **state)
{
	u64 before;

	(void)state;
	start();
	start();
	fake_make_cold(&guests[0]);
	fake_make_cold(&guests[1]);
	before = frame_free_count();
	controller_set(NULL, (struct controller_target){CONTROLLER_FREE, before + 1000});
	controller_run(hal_time_ns());
	assert_in_range(frame_free_count(), before + 1000, before + 1000 + GEN_BATCH - 1);
	assert_in_range(resident(0), 1400, 1600);
	assert_in_range(resident(1), 1400, 1600);
}

static void test_controller_keeps_min_and_the_young(void **state)
{
	(void)state;
	start();
	start();
	fake_make_cold(&guests[0]);
	limits_set_min(guests[0].space, 1500);
	controller_set(NULL, (struct controller_target){CONTROLLER_FREE, FRAMES});
	controller_run(hal_time_ns());
	assert_in_range(resident(0), 1500, 1500 + GEN_BATCH);
	assert_int_equal(resident(1), 2000);
}

static void take_what_is_cold(u64 refaults_max)
{
	u64 refaults;
	struct space *s;

	start();
	s = guests[0].space;
	controller_set(s, (struct controller_target){CONTROLLER_REFAULTS, 2000});
	for (unsigned second = 0; second < 120; second++) {
		host_time_add(SECOND);
		for (u64 page = 0; page < 500; page++)
			(void)fake_read(&guests[0], 0, page, 5);
		flush_wait(s, flush_request(s));
		reclaim_age_periodic(hal_time_ns(), SECOND);
		controller_run(hal_time_ns());
	}
	assert_in_range(resident(0), 500, 600);
	refaults = a64_load(&s->stats.refaults_total);
	assert_in_range(refaults, 0, refaults_max);
	assert_int_equal(a64_load(&s->stats.given_total), 2000 + refaults - resident(0));
}

static void test_controller_takes_what_is_cold_in_a_guest(void **state)
{
	(void)state;
	take_what_is_cold(0);
}

/* In the first second nothing has proved itself: what is then taken may be in use, but not more than one batch. */
static void test_controller_takes_what_is_cold_with_probation(void **state)
{
	(void)state;
	policy_init();
	assert_true(a32_load(&policy.probation));
	take_what_is_cold(GEN_BATCH);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_controller_finds_the_working_set),
	        T(test_controller_keeps_the_promise),
	        T(test_controller_counts_refaults_of_rare_pages),
	        T(test_controller_follows_a_change),
	        T(test_controller_a_larger_promise_gives_more),
	        T(test_controller_steps_of_the_other_kinds),
	        T(test_controller_targets_are_inherited),
	        T(test_controller_free_is_met_by_all),
	        T(test_controller_keeps_min_and_the_young),
	        T(test_controller_takes_what_is_cold_in_a_guest),
	        T(test_controller_takes_what_is_cold_with_probation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
