/* mm/trace: what is recorded comes out once, in order, and what was written over is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/trace.h"
#include "tests/host/hal.h"

#define CPUS 3u

/* What the sink got, by CPU. */
static struct {
	u64 n, lost, calls, largest;
	struct trace_record first, last;
} got[CPUS];

static int setup(void **state)
{
	(void)state;
	host_cpu_count_set(CPUS);
	host_time_set(1000);
	memset(got, 0, sizeof(got));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	trace_exit();
	host_cpu_set(0);
	host_cpu_count_set(1);
	host_time_set(HOST_TIME_REAL);
	host_pages_limit(HOST_NO_LIMIT);
	return 0;
}

static void sink(void *arg, unsigned cpu, u64 lost, const struct trace_record *record, unsigned n)
{
	(void)arg;
	assert_true(cpu < CPUS);
	assert_true(n >= 1 && n <= TRACE_BATCH);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(record[i].what >> 8 & 0xff, cpu);
		if (got[cpu].n + i && !lost)
			assert_int_equal(record[i].a, got[cpu].last.a + 1);
		if (!(got[cpu].n + i))
			got[cpu].first = record[i];
		got[cpu].last = record[i];
		lost = 0;
	}
	got[cpu].n += n;
	got[cpu].calls++;
	got[cpu].largest = max_of(got[cpu].largest, (u64)n);
}

static void counting_sink(void *arg, unsigned cpu, u64 lost, const struct trace_record *record,
                          unsigned n)
{
	sink(arg, cpu, lost, record, n);
	got[cpu].lost += lost;
}

static void sink_nothing(void *arg, unsigned cpu, u64 lost, const struct trace_record *record,
                         unsigned n)
{
	(void)arg;
	(void)cpu;
	(void)lost;
	(void)record;
	(void)n;
}

/* Records number from .. from + n - 1 on a CPU; the number is in `a`. */
static void write_some(unsigned cpu, u64 from, u64 n)
{
	host_cpu_set(cpu);
	for (u64 i = 0; i < n; i++)
		trace_event(TRACE_EVICT, 7, gfn(from + i), from + i, ~i);
	host_cpu_set(0);
}

static void test_trace_off_records_nothing_and_takes_no_memory(void **state)
{
	u64 pages = hal_pages_used();

	(void)state;
	write_some(0, 0, 10);
	assert_int_equal(hal_pages_used(), pages);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 0);
	assert_true(trace_switch(true));
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 0);
}

static void test_trace_record_has_all_that_was_said(void **state)
{
	(void)state;
	assert_true(trace_switch(true));
	host_cpu_set(2);
	host_time_set(123456789);
	trace_event(TRACE_REFAULT, 64, gfn(BIT(40) - 1), ~0ull, 0x1122334455667788ull);
	host_cpu_set(0);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 1);
	assert_int_equal(got[2].n, 1);
	assert_int_equal(got[2].first.time_ns, 123456789);
	assert_int_equal(got[2].first.what,
	                 TRACE_REFAULT | 2 << 8 | 64 << 16 | (BIT(40) - 1) << 24);
	assert_int_equal(got[2].first.a, ~0ull);
	assert_int_equal(got[2].first.b, 0x1122334455667788ull);
}

static void test_trace_each_record_comes_out_once_in_order(void **state)
{
	(void)state;
	assert_true(trace_switch(true));
	write_some(0, 0, 100);
	write_some(1, 0, 7);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 107);
	write_some(0, 100, 50);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 50);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 0);
	assert_int_equal(got[0].n, 150);
	assert_int_equal(got[0].last.a, 149);
	assert_int_equal(got[1].n, 7);
	assert_int_equal(got[0].lost + got[1].lost, 0);
	assert_int_equal(got[0].largest, TRACE_BATCH);
}

static void test_trace_drain_stops_at_its_maximum(void **state)
{
	(void)state;
	assert_true(trace_switch(true));
	write_some(0, 0, 100);
	write_some(1, 0, 100);
	assert_int_equal(trace_drain(counting_sink, NULL, 30), 30);
	assert_int_equal(got[0].n, 30);
	assert_int_equal(trace_drain(counting_sink, NULL, 75), 75);
	assert_int_equal(got[0].n, 100);
	assert_int_equal(got[1].n, 5);
	assert_int_equal(trace_drain(counting_sink, NULL, 0), 0);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 95);
	assert_int_equal(got[0].lost + got[1].lost, 0);
}

/* One record less than the ring has: the slot of the next one may be under the writer's pen. */
static void test_trace_written_over_is_counted_as_lost(void **state)
{
	(void)state;
	assert_true(trace_switch(true));
	write_some(1, 0, TRACE_RECORDS - 1);
	trace_drain(counting_sink, NULL, ~0ull);
	assert_int_equal(got[1].n, TRACE_RECORDS - 1);
	assert_int_equal(got[1].lost, 0);
	write_some(1, TRACE_RECORDS - 1, 3 * TRACE_RECORDS);
	trace_drain(counting_sink, NULL, ~0ull);
	assert_int_equal(got[1].n, 2 * (TRACE_RECORDS - 1));
	assert_int_equal(got[1].lost, 2 * TRACE_RECORDS + 1);
	assert_int_equal(got[1].last.a, 4 * TRACE_RECORDS - 2);
}

/* A writer that is faster than who drains: what it wrote over while it was handed out is no record. */
static void overtaking_sink(void *arg, unsigned cpu, u64 lost, const struct trace_record *record,
                            unsigned n)
{
	u64 *more = arg;

	counting_sink(arg, cpu, lost, record, n);
	if (!*more)
		return;
	write_some(cpu, *more, TRACE_RECORDS + 10);
	*more = 0;
}

static void test_trace_writer_overtakes_the_reader(void **state)
{
	u64 more = 2000;

	(void)state;
	assert_true(trace_switch(true));
	write_some(0, 0, 2000);
	trace_drain(overtaking_sink, &more, ~0ull);
	assert_int_equal(got[0].last.a, 2000 + TRACE_RECORDS + 10 - 1);
	assert_int_equal(got[0].n + got[0].lost, 2000 + TRACE_RECORDS + 10);
	assert_int_equal(got[0].n, TRACE_BATCH + TRACE_RECORDS - 1);
}

static void test_trace_off_keeps_what_was_recorded(void **state)
{
	(void)state;
	assert_true(trace_switch(true));
	write_some(0, 0, 5);
	assert_true(trace_switch(false));
	write_some(0, 5, 5);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 5);
	assert_true(trace_switch(true));
	write_some(0, 5, 5);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 5);
}

static void test_trace_no_memory_stays_off(void **state)
{
	(void)state;
	host_pages_limit(1);
	assert_false(trace_switch(true));
	write_some(0, 0, 5);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 0);
	host_pages_limit(HOST_NO_LIMIT);
	assert_true(trace_switch(true));
	write_some(2, 0, 5);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 5);
}

/* A CPU that was not there when it was switched on has no ring: it goes on without one. */
static void test_trace_late_cpu_records_nothing(void **state)
{
	(void)state;
	host_cpu_count_set(1);
	assert_true(trace_switch(true));
	host_cpu_count_set(CPUS);
	write_some(1, 0, 5);
	assert_int_equal(trace_drain(counting_sink, NULL, ~0ull), 0);
}

/* Of one page, over all CPUs by time, the newest; drained or not. */
/* The newest of all CPUs, by time, drained or not. */
static void test_trace_last(void **state)
{
	struct trace_record r[5];

	(void)state;
	assert_int_equal(trace_last(r, 5), 0);
	assert_true(trace_switch(true));
	for (unsigned i = 0; i < 9; i++) {
		host_cpu_set(i % CPUS);
		host_time_add(10);
		trace_event(TRACE_FAULT, 1, gfn(i), 0, i);
	}
	assert_int_equal(trace_last(r, 5), 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(r[i].b, 4 + i);
	(void)trace_drain(sink_nothing, NULL, ~0ull);
	assert_int_equal(trace_last(r, 2), 2);
	assert_int_equal(r[0].b, 7);
	assert_int_equal(r[1].b, 8);
}

static void test_trace_page(void **state)
{
	struct trace_record r[4];

	(void)state;
	assert_int_equal(trace_page(1, gfn(7), r, 4), 0);
	assert_true(trace_switch(true));
	for (unsigned i = 0; i < 6; i++) {
		host_cpu_set(i % CPUS);
		host_time_set(10000 - 100 * (i % CPUS) + i);
		trace_event(TRACE_REFAULT, 1, gfn(7), i, 0);
		trace_event(TRACE_REFAULT, 2, gfn(7), 100,
		            0); /* another space, another page, no page */
		trace_event(TRACE_REFAULT, 1, gfn(8), 100, 0);
		trace_event(TRACE_PASS, 1, gfn(7), 100, 0);
	}
	/* In time: 2 5 of CPU 2, 1 4 of CPU 1, 0 3 of CPU 0. */
	assert_int_equal(trace_page(1, gfn(7), r, 4), 4);
	assert_int_equal(r[0].a, 1);
	assert_int_equal(r[1].a, 4);
	assert_int_equal(r[2].a, 0);
	assert_int_equal(r[3].a, 3);
	assert_true(trace_drain(sink_nothing, NULL, ~0ull) > 0);
	assert_int_equal(trace_page(1, gfn(7), r, 1), 1);
	assert_int_equal(r[0].a, 3);
	assert_int_equal(trace_page(1, gfn(7), r, 0), 0);
	/* The 2 MiB that it is in. */
	host_time_set(20000);
	trace_event(TRACE_SPLIT, 1, gfn(512), 50, 0);
	assert_int_equal(trace_page(1, gfn(1023), r, 4), 1);
	assert_int_equal(trace_page(1, gfn(1024), r, 4), 0);
	/* A first touch is of one page, or says that it was of 512. */
	trace_event(TRACE_FAULT, 1, gfn(1024), 1, 0);
	trace_event(TRACE_FAULT, 1, gfn(2048), 1 | TRACE_FAULT_HUGE, 0);
	assert_int_equal(trace_page(1, gfn(1024), r, 4), 1);
	assert_int_equal(trace_page(1, gfn(1025), r, 4), 0);
	assert_int_equal(trace_page(1, gfn(2559), r, 4), 1);
	assert_int_equal(trace_page(1, gfn(2560), r, 4), 0);
	/* Written over. */
	for (unsigned i = 0; i < TRACE_RECORDS; i++)
		trace_event(TRACE_PASS, 0, gfn(0), 0, 0);
	assert_int_equal(trace_page(1, gfn(1023), r, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TRACE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TRACE_TEST(test_trace_last),
	        TRACE_TEST(test_trace_page),
	        TRACE_TEST(test_trace_off_records_nothing_and_takes_no_memory),
	        TRACE_TEST(test_trace_record_has_all_that_was_said),
	        TRACE_TEST(test_trace_each_record_comes_out_once_in_order),
	        TRACE_TEST(test_trace_drain_stops_at_its_maximum),
	        TRACE_TEST(test_trace_written_over_is_counted_as_lost),
	        TRACE_TEST(test_trace_writer_overtakes_the_reader),
	        TRACE_TEST(test_trace_off_keeps_what_was_recorded),
	        TRACE_TEST(test_trace_no_memory_stays_off),
	        TRACE_TEST(test_trace_late_cpu_records_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
