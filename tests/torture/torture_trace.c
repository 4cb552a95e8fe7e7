/*
 * Each CPU writes records as fast as it can, or in bursts, while another drains all rings. Every record
 * says of itself which it is, in all of its words: one that is handed out torn, twice, out of order or
 * missing without being counted as lost is found.
 */
#include <stdio.h>

#include "lib/atomic.h"
#include "mm/trace.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"

#define CPUS 3u

static a64 written, got;
static u64 steps;
static u64 next[CPUS], lost_total, batches;

static void sink(void *arg, unsigned cpu, u64 lost, const struct trace_record *record, unsigned n)
{
	(void)arg;
	next[cpu] += lost;
	lost_total += lost;
	batches++;
	for (unsigned i = 0; i < n; i++, next[cpu]++) {
		const struct trace_record *r = &record[i];
		u64 number = next[cpu];

		if (r->a != number || r->b != number * 0x9e3779b97f4a7c15ull ||
		    r->what != (TRACE_EVICT | cpu << 8 | (cpu + 1) << 16 | (number & 0xffff) << 24))
			hal_panic("CPU %u: record %llu is %llu %llx %llx", cpu,
			          (unsigned long long)number, (unsigned long long)r->a,
			          (unsigned long long)r->b, (unsigned long long)r->what);
	}
}

static void *run_writer(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 rnd = cpu + 1, i;

	for (i = 0; torture_goes_on(i, steps); i++) {
		trace_event(TRACE_EVICT, (u16)(cpu + 1), gfn(i & 0xffff), i,
		            i * 0x9e3779b97f4a7c15ull);
		/* Bursts that fit the ring, and bursts that do not. */
		if (host_random(&rnd) % (TRACE_RECORDS / (cpu + 1)) == 0)
			hal_pause();
	}
	a64_count(&written, i);
	return NULL;
}

static void *run_reader(void *arg)
{
	while (torture_runs())
		a64_count(&got, trace_drain(sink, NULL, ~0ull));
	return arg;
}

static const char *missing(void)
{
	return a64_load(&got) ? NULL : "nothing was read while it was written";
}

int main(void)
{
	static const struct torture_threads threads = {
	        .run = {run_writer, run_writer, run_writer, run_reader},
	        .vcpus = CPUS,
	        .cpus = CPUS + 1,
	        .missing = missing,
	};

	steps = host_steps(1000000);
	host_cpu_count_set(CPUS + 1);
	host_cpu_set(CPUS);
	if (!trace_switch(true))
		return 1;
	torture_run(&threads);
	a64_count(&got, trace_drain(sink, NULL, ~0ull));
	printf("%llu records in %llu batches, %llu lost\n", (unsigned long long)a64_load(&got),
	       (unsigned long long)batches, (unsigned long long)lost_total);
	trace_exit();
	return a64_load(&got) + lost_total != a64_load(&written);
}
