/* mm/epoch: what is deferred runs once, after every reader that was inside, and not before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/lock.h"
#include "mm/epoch.h"
#include "tests/host/hal.h"

#define CPUS 4u

struct item {
	struct epoch_node node;
	unsigned runs;
	bool again; /* defers itself once more */
};

static void run(struct epoch_node *node)
{
	struct item *item = container_of(node, struct item, node);

	assert_true(epoch_in_callback());
	assert_false(epoch_active());
	item->runs++;
	if (item->again) {
		item->again = false;
		epoch_defer(node, run);
	}
}

static int setup(void **state)
{
	(void)state;
	host_cpu_count_set(CPUS);
	host_cpu_set(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		host_cpu_set(cpu);
		epoch_barrier();
	}
	host_cpu_set(0);
	return epoch_pending() != 0;
}

static void on_cpu(unsigned cpu, void (*fn)(void))
{
	host_cpu_set(cpu);
	fn();
	host_cpu_set(0);
}

static void test_epoch_without_readers_one_poll_is_enough(void **state)
{
	struct item item = {.runs = 0};

	(void)state;
	epoch_defer(&item.node, run);
	assert_int_equal(item.runs, 0);
	assert_int_equal(epoch_pending(), 1);
	epoch_poll();
	assert_int_equal(item.runs, 1);
	assert_int_equal(epoch_pending(), 0);
	epoch_poll();
	assert_int_equal(item.runs, 1);
}

static void test_epoch_reader_holds_it_back(void **state)
{
	struct item item = {.runs = 0};

	(void)state;
	on_cpu(1, epoch_enter);
	epoch_defer(&item.node, run);
	for (unsigned i = 0; i < 10; i++)
		epoch_poll();
	assert_int_equal(item.runs, 0);
	on_cpu(1, epoch_exit);
	epoch_poll();
	assert_int_equal(item.runs, 1);
}

static void test_epoch_nested_reader_leaves_with_the_outer(void **state)
{
	struct item item = {.runs = 0};

	(void)state;
	on_cpu(1, epoch_enter);
	on_cpu(1, epoch_enter);
	epoch_defer(&item.node, run);
	on_cpu(1, epoch_exit);
	for (unsigned i = 0; i < 10; i++)
		epoch_poll();
	assert_int_equal(item.runs, 0);
	on_cpu(1, epoch_exit);
	epoch_poll();
	assert_int_equal(item.runs, 1);
}

/* A reader that came after the unlinking may delay it, but one after the other may not starve it. */
static void test_epoch_overlapping_readers_do_not_starve(void **state)
{
	struct item item = {.runs = 0};

	(void)state;
	on_cpu(1, epoch_enter);
	epoch_defer(&item.node, run);
	for (unsigned i = 0; i < 4 && !item.runs; i++) {
		unsigned in = 1 + i % 2, next = 1 + (i + 1) % 2;

		epoch_poll();
		on_cpu(next, epoch_enter);
		on_cpu(in, epoch_exit);
		epoch_poll();
	}
	assert_int_equal(item.runs, 1);
	for (unsigned cpu = 1; cpu <= 2; cpu++) {
		host_cpu_set(cpu);
		if (epoch_active())
			epoch_exit();
	}
	host_cpu_set(0);
}

/*
 * Two readers that overlap carry the epoch on by one step only; whoever was inside when something was
 * unlinked must still hold it.
 */
static void test_epoch_old_reader_counts_after_a_step(void **state)
{
	struct item first = {.runs = 0}, second = {.runs = 0};

	(void)state;
	epoch_defer(&first.node, run);
	on_cpu(1, epoch_enter);
	epoch_poll(); /* one step is possible: the reader published the present epoch */
	epoch_defer(&second.node, run);
	for (unsigned i = 0; i < 10; i++)
		epoch_poll();
	assert_int_equal(second.runs, 0);
	assert_int_equal(first.runs, 0);
	on_cpu(1, epoch_exit);
	epoch_poll();
	assert_int_equal(first.runs, 1);
	assert_int_equal(second.runs, 1);
}

static void test_epoch_nodes_stay_on_their_cpu(void **state)
{
	struct item item = {.runs = 0};

	(void)state;
	host_cpu_set(2);
	epoch_defer(&item.node, run);
	host_cpu_set(0);
	epoch_poll();
	epoch_barrier();
	assert_int_equal(item.runs, 0);
	assert_int_equal(epoch_pending(), 1);
	on_cpu(2, epoch_poll);
	assert_int_equal(item.runs, 1);
}

static void test_epoch_barrier_runs_what_callbacks_defer(void **state)
{
	struct item item = {.again = true};

	(void)state;
	epoch_defer(&item.node, run);
	epoch_barrier();
	assert_int_equal(item.runs, 2);
}

static void leave_other_reader(void *arg)
{
	unsigned *left = arg;

	if (--*left == 0)
		on_cpu(3, epoch_exit);
}

static void test_epoch_barrier_waits_for_the_reader(void **state)
{
	struct item item = {.runs = 0};
	unsigned left = 5;

	(void)state;
	on_cpu(3, epoch_enter);
	epoch_defer(&item.node, run);
	host_on_pause(leave_other_reader, &left);
	epoch_barrier();
	host_on_pause(NULL, NULL);
	assert_int_equal(left, 0);
	assert_int_equal(item.runs, 1);
}

/* Buckets are used again after three epochs; what was left in one must not get lost or run early. */
static void test_epoch_many_epochs_lose_nothing(void **state)
{
	static struct item items[300];
	unsigned ran = 0;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
		items[i].runs = 0;
		epoch_defer(&items[i].node, run);
		/* The epoch moves on by another CPU's hand; this one does not look. */
		if (i % 3) {
			struct item other = {.runs = 0};

			host_cpu_set(1);
			epoch_defer(&other.node, run);
			epoch_barrier();
			host_cpu_set(0);
			assert_int_equal(other.runs, 1);
		}
	}
	epoch_barrier();
	for (unsigned i = 0; i < ARRAY_SIZE(items); i++)
		ran += items[i].runs;
	assert_int_equal(ran, ARRAY_SIZE(items));
}

static void poll_inside(void *arg)
{
	(void)arg;
	epoch_poll();
}

static void test_epoch_poll_inside_a_reader_is_a_bug(void **state)
{
	(void)state;
	epoch_enter();
	assert_true(host_panics(poll_inside, NULL));
	epoch_exit();
}

static void poll_under_lock(void *arg)
{
	struct item *item = arg;

	epoch_defer(&item->node, run);
	epoch_poll();
}

static void test_epoch_poll_under_a_lock_is_a_bug(void **state)
{
	struct spinlock lock = SPINLOCK_INIT(LOCK_FRAME, "test");
	struct item item = {.runs = 0};

	(void)state;
	spin_lock(&lock);
	assert_true(host_panics(poll_under_lock, &item));
	spin_unlock(&lock);
	epoch_barrier();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_epoch_without_readers_one_poll_is_enough),
	        cmocka_unit_test(test_epoch_reader_holds_it_back),
	        cmocka_unit_test(test_epoch_nested_reader_leaves_with_the_outer),
	        cmocka_unit_test(test_epoch_overlapping_readers_do_not_starve),
	        cmocka_unit_test(test_epoch_old_reader_counts_after_a_step),
	        cmocka_unit_test(test_epoch_nodes_stay_on_their_cpu),
	        cmocka_unit_test(test_epoch_barrier_runs_what_callbacks_defer),
	        cmocka_unit_test(test_epoch_barrier_waits_for_the_reader),
	        cmocka_unit_test(test_epoch_many_epochs_lose_nothing),
	        cmocka_unit_test(test_epoch_poll_inside_a_reader_is_a_bug),
	        cmocka_unit_test(test_epoch_poll_under_a_lock_is_a_bug),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
