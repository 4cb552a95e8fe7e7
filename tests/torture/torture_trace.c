/*
 * Each CPU writes records as fast as it can, or in bursts, while another drains all rings. Every record
 * says of itself which it is, in all of its words: one that is handed out torn, twice, out of order or
 * missing without being counted as lost is found.
 */
#include <pthread.h>
#include <stdio.h>

#include "lib/atomic.h"
#include "mm/trace.h"
#include "tests/host/hal.h"

#define CPUS 3u

static a32 writing;
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

static void *cpu_main(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 rnd = cpu + 1;

	host_cpu_set(cpu);
	for (u64 i = 0; i < steps; i++) {
		trace_event(TRACE_EVICT, (u16)(cpu + 1), gfn(i & 0xffff), i,
		            i * 0x9e3779b97f4a7c15ull);
		/* Bursts that fit the ring, and bursts that do not. */
		if (host_random(&rnd) % (TRACE_RECORDS / (cpu + 1)) == 0)
			hal_pause();
	}
	a32_fetch_add(&writing, -1u);
	return NULL;
}

int main(void)
{
	pthread_t thread[CPUS];
	u64 got = 0;

	steps = host_steps(1000000);
	host_cpu_count_set(CPUS + 1);
	host_cpu_set(CPUS);
	if (!trace_switch(true))
		return 1;
	a32_store(&writing, CPUS);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		pthread_create(&thread[cpu], NULL, cpu_main, (void *)(uintptr_t)cpu);
	while (a32_load(&writing))
		got += trace_drain(sink, NULL, ~0ull);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		pthread_join(thread[cpu], NULL);
	got += trace_drain(sink, NULL, ~0ull);
	printf("%llu records in %llu batches, %llu lost\n", (unsigned long long)got,
	       (unsigned long long)batches, (unsigned long long)lost_total);
	trace_exit();
	return !got || got + lost_total != CPUS * steps;
}
