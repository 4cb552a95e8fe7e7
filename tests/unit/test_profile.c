/* lib/profile: spans become a tree, whoever opens them, and whenever it is switched on and off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/lock.h"
#include "lib/profile.h"
#include "mm/age.h"
#include "mm/evict.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

static struct profile_tree tree;

static int begin(void **state)
{
	(void)state;
	host_time_set(1000);
	profile_switch(true);
	return 0;
}

static int end(void **state)
{
	(void)state;
	profile_switch(false);
	host_cpu_set(0);
	host_time_set(HOST_TIME_REAL);
	return 0;
}

static void work(u64 ns)
{
	host_time_add(ns);
}

/* A span with only time in it. */
static void span(enum profile_kind kind, u64 ns)
{
	profile_begin(kind);
	work(ns);
	profile_end(kind);
}

/* The node at a path of kinds, outermost first, PROFILE_NONE behind the last; NULL: none. */
static const struct profile_node *find(const enum profile_kind *path)
{
	unsigned at = 0;

	for (; *path != PROFILE_NONE; path++) {
		unsigned i = at + 1;

		while (i < tree.nr && (tree.node[i].parent != at || tree.node[i].kind != *path))
			i++;
		if (i == tree.nr)
			return NULL;
		at = i;
	}
	return &tree.node[at];
}
#define NODE(...) find((const enum profile_kind[]){__VA_ARGS__, PROFILE_NONE})

static void check(const struct profile_node *n, u64 ns, u64 spans)
{
	assert_non_null(n);
	assert_int_equal(n->ns, ns);
	assert_int_equal(n->spans, spans);
}

static void test_profile_nests_by_path(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		profile_begin(PROFILE_DIRECT);
		work(5);
		span(PROFILE_LOCK, 10);
		profile_begin(PROFILE_EVICT);
		span(PROFILE_LOCK, 100);
		span(PROFILE_PACK, 1000);
		profile_end(PROFILE_EVICT);
		profile_end(PROFILE_DIRECT);
	}
	span(PROFILE_AGE, 7);
	profile_collect(&tree);
	check(NODE(PROFILE_DIRECT), 2230, 2);
	check(NODE(PROFILE_DIRECT, PROFILE_LOCK), 20, 2);
	check(NODE(PROFILE_DIRECT, PROFILE_EVICT), 2200, 2);
	check(NODE(PROFILE_DIRECT, PROFILE_EVICT, PROFILE_LOCK), 200, 2);
	check(NODE(PROFILE_AGE), 7, 1);
	assert_null(NODE(PROFILE_EVICT));
	assert_int_equal(tree.node[0].ns, 2237);
}

/* What waits for a lock outside of reclaim is none of its time; and no kind is no span. */
static void test_profile_counts_below_roots_only(void **state)
{
	(void)state;
	span(PROFILE_LOCK, 10);
	span(PROFILE_FLUSH, 10);
	span(PROFILE_NONE, 10);
	profile_collect(&tree);
	assert_int_equal(tree.nr, 1);
	assert_int_equal(tree.node[0].ns, 0);
}

static void test_profile_merges_cpus(void **state)
{
	(void)state;
	for (unsigned cpu = 0; cpu < 3; cpu++) {
		host_cpu_set(cpu);
		/* In another order, so that equal places have other numbers. */
		if (cpu == 1)
			span(PROFILE_AGE, 1);
		profile_begin(PROFILE_EVICT);
		span(PROFILE_PACK, 10 * (cpu + 1));
		profile_end(PROFILE_EVICT);
	}
	profile_collect(&tree);
	assert_int_equal(tree.nr, 4);
	check(NODE(PROFILE_EVICT), 60, 3);
	check(NODE(PROFILE_EVICT, PROFILE_PACK), 60, 3);
	check(NODE(PROFILE_AGE), 1, 1);
}

/* In the middle of spans: what was not opened is not closed, what was not closed is forgotten. */
static void test_profile_switches_anywhere(void **state)
{
	(void)state;
	profile_switch(false);
	profile_begin(PROFILE_DIRECT);
	work(1);
	profile_switch(true);
	profile_begin(PROFILE_EVICT);
	work(2);
	profile_end(PROFILE_EVICT);
	profile_end(PROFILE_DIRECT);
	profile_collect(&tree);
	assert_null(NODE(PROFILE_DIRECT));
	check(NODE(PROFILE_EVICT), 2, 1);

	profile_begin(PROFILE_DIRECT);
	profile_switch(false);
	profile_end(PROFILE_DIRECT);
	profile_collect(&tree);
	check(NODE(PROFILE_EVICT), 2, 1);
	profile_switch(true);
	profile_collect(&tree);
	assert_int_equal(tree.nr, 1);
	span(PROFILE_AGE, 3);
	profile_collect(&tree);
	check(NODE(PROFILE_AGE), 3, 1);
	assert_int_equal(tree.nr, 2);
}

static void test_profile_off_counts_nothing(void **state)
{
	(void)state;
	span(PROFILE_AGE, 3);
	profile_switch(false);
	assert_false(profile_on());
	span(PROFILE_AGE, 5);
	profile_collect(&tree);
	check(NODE(PROFILE_AGE), 3, 1);
}

static void nest(unsigned depth)
{
	if (!depth)
		return;
	profile_begin(depth % 2 ? PROFILE_AGE : PROFILE_EVICT);
	nest(depth - 1);
	work(1);
	profile_end(depth % 2 ? PROFILE_AGE : PROFILE_EVICT);
}

/* Too deep, and more places than there is room for: less is counted, nothing breaks. */
static void test_profile_has_bounds(void **state)
{
	(void)state;
	nest(100);
	profile_begin(PROFILE_AGE);
	for (unsigned a = PROFILE_LISTS; a < PROFILE_KINDS; a++) {
		profile_begin(a);
		for (unsigned b = PROFILE_LISTS; b < PROFILE_KINDS; b++)
			span(b, 1);
		profile_end(a);
	}
	profile_end(PROFILE_AGE);
	span(PROFILE_BACKGROUND, 9);
	profile_collect(&tree);
	assert_int_equal(tree.nr, PROFILE_NODES);
	for (unsigned i = 1; i < tree.nr; i++)
		assert_true(tree.node[i].parent < i);
	assert_true(NODE(PROFILE_AGE)->ns >= 144);
}

/* Of a real eviction and a real pass: everything that they do has its place. */
static void test_profile_of_reclaim(void **state)
{
	struct host_vm vm;
	struct evict_request request = {16, EVICT_SWAPPINESS_POLICY, EVICT_ANY_SEQ, GEN_BATCH};

	(void)state;
	host_time_set(HOST_TIME_REAL);
	host_vm_create(&vm, &host_machines[0], 600, 1);
	for (u64 g = 0; g < 600; g++)
		assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), g), FAULT_FIXED);
	for (unsigned i = 0; i < 4; i++)
		(void)age_space(vm.space, a64_load(&vm.space->lru.max_seq), true);
	assert_true(evict_space(vm.space, request).freed >= 16);
	profile_collect(&tree);
	assert_int_equal(NODE(PROFILE_AGE)->spans, 4);
	assert_non_null(NODE(PROFILE_AGE, PROFILE_ASK, PROFILE_TABLES));
	assert_non_null(NODE(PROFILE_AGE, PROFILE_LISTS));
	assert_int_equal(NODE(PROFILE_EVICT)->spans, 1);
	assert_non_null(NODE(PROFILE_EVICT, PROFILE_LISTS));
	assert_non_null(NODE(PROFILE_EVICT, PROFILE_CHECK, PROFILE_ASK, PROFILE_TABLES));
	assert_non_null(NODE(PROFILE_EVICT, PROFILE_UNMAP, PROFILE_TABLES));
	assert_non_null(NODE(PROFILE_EVICT, PROFILE_UNMAP, PROFILE_FLUSH));
	assert_non_null(NODE(PROFILE_EVICT, PROFILE_PACK));
	host_vm_destroy(&vm);
}

static struct spinlock spin;

static void let_go(void *arg)
{
	(void)arg;
	host_on_pause(NULL, NULL);
	work(50);
	host_cpu_set(1);
	spin_unlock(&spin);
	host_cpu_set(0);
}

static void test_profile_of_a_lock_that_is_held(void **state)
{
	(void)state;
	spin_init(&spin, LOCK_LRUVEC, "test");
	profile_begin(PROFILE_EVICT);
	spin_lock(&spin); /* had at once: no span */
	spin_unlock(&spin);
	host_cpu_set(1);
	spin_lock(&spin);
	host_cpu_set(0);
	host_on_pause(let_go, NULL);
	spin_lock(&spin);
	spin_unlock(&spin);
	profile_end(PROFILE_EVICT);
	profile_collect(&tree);
	check(NODE(PROFILE_EVICT, PROFILE_LOCK), 50, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_profile_nests_by_path, begin, end),
	        cmocka_unit_test_setup_teardown(test_profile_counts_below_roots_only, begin, end),
	        cmocka_unit_test_setup_teardown(test_profile_merges_cpus, begin, end),
	        cmocka_unit_test_setup_teardown(test_profile_switches_anywhere, begin, end),
	        cmocka_unit_test_setup_teardown(test_profile_off_counts_nothing, begin, end),
	        cmocka_unit_test_setup_teardown(test_profile_has_bounds, begin, end),
	        cmocka_unit_test_setup_teardown(test_profile_of_reclaim, begin, end),
	        cmocka_unit_test_setup_teardown(test_profile_of_a_lock_that_is_held, begin, end),
	};

	return vm_group_run(tests, 2048);
}
