/*
 * One CPU against two that harvest the same space: they take tables from one cursor, as the walkers of a pass
 * do. Every round prepares each table on one of the two CPUs, chosen by lot, as guests would: so about half
 * of the lines come from the other CPU's cache, whoever harvests.
 */
#include "tests/bench/bench.h"

#include <pthread.h>
#include <string.h>

#include "mm/notifier.h"
#include "mm/store.h"
#include "mm/walk.h"

#define TABLES 256u
#define PAGES  (TABLES * TABLE_PAGES)
#define ROUNDS 201u

enum job { JOB_NONE, JOB_PREPARE, JOB_HARVEST, JOB_END };

static struct host_vm vm;
static a64 *table[TABLES];
static unsigned percent;
static u64 round_seed;
static struct {
	a32 job; /* for the second CPU, by the first */
	a32 done aligned_to(64);
	a32 cursor aligned_to(64);
} shared;

static void prepare(unsigned cpu)
{
	const u64 accessed = vm.tdp.format->accessed;
	u64 lot = round_seed;

	for (unsigned t = 0; t < TABLES; t++) {
		u64 seed = round_seed + t + 1;

		if (host_random(&lot) % 2 != cpu)
			continue;
		for (unsigned i = 0; i < TABLE_PAGES; i++) {
			bool young = host_random(&seed) % 100 < percent;
			u64 entry = a64_load(&table[t][i]) & ~accessed;

			a64_store(&table[t][i], entry | (young ? accessed : 0));
		}
	}
}

static void harvest(void)
{
	u64 bitmap[NOTIFIER_WORDS], visited = 0;
	unsigned first;

	while ((first = a32_fetch_add(&shared.cursor, WALK_TAKE)) < TABLES) {
		for (unsigned t = first; t < first + WALK_TAKE; t++) {
			memset(bitmap, 0xff, sizeof(bitmap));
			(void)notifier_age(vm.space, gfn(t * TABLE_PAGES), TABLE_PAGES, bitmap,
			                   NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, &visited);
		}
	}
}

static void *second(void *arg)
{
	(void)arg;
	bench_pin(1);
	for (;;) {
		u32 job = a32_load_acquire(&shared.job);

		if (job == JOB_END)
			return NULL;
		if (job == JOB_NONE) {
			__builtin_ia32_pause();
			continue;
		}
		if (job == JOB_PREPARE)
			prepare(1);
		else
			harvest();
		a32_store(&shared.job, JOB_NONE);
		a32_store_release(&shared.done, 1);
	}
}

static void give(enum job job)
{
	a32_store(&shared.done, 0);
	a32_store_release(&shared.job, job);
}

static void wait_for_second(void)
{
	while (!a32_load_acquire(&shared.done))
		__builtin_ia32_pause();
}

/* ns until all tables are harvested by one CPU or by two. */
static double turn(unsigned cpus)
{
	u64 start;

	give(JOB_PREPARE);
	prepare(0);
	wait_for_second();
	a32_store(&shared.cursor, 0);
	start = bench_now_ns();
	if (cpus == 2)
		give(JOB_HARVEST);
	harvest();
	if (cpus == 2)
		wait_for_second();
	return (double)(bench_now_ns() - start);
}

static void scale(void)
{
	static double ratio[ROUNDS], ns[2][ROUNDS];
	char name[64];

	for (unsigned r = 0; r < ROUNDS; r++) {
		double took[2];

		for (unsigned i = 0; i < 2; i++) {
			unsigned cpus = 1 + (r + i) % 2;

			round_seed = 2 * r + 1;
			took[cpus - 1] = ns[cpus - 1][r] = turn(cpus);
		}
		ratio[r] = took[0] / took[1];
	}
	for (unsigned i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "harvest-by-%u-cpus-%u", i + 1, percent);
		bench_report(name, "ns", ns[i], ROUNDS);
	}
	snprintf(name, sizeof(name), "two-cpus-%u", percent);
	bench_report(name, "times", ratio, ROUNDS);
}

int main(void)
{
	pthread_t thread;

	bench_pin(0);
	host_cpu_count_set(2);
	host_frames_create(PAGES + PAGES / 8);
	if (!store_init())
		return 1;
	host_vm_create(&vm, &host_machines[2], PAGES, 1);
	bench_populate(&vm, PAGES);
	for (unsigned t = 0; t < TABLES; t++)
		table[t] = bench_table(&vm, t * TABLE_PAGES);
	if (pthread_create(&thread, NULL, second, NULL))
		return 1;
	for (percent = 0; percent <= 100; percent += 50)
		scale();
	a32_store_release(&shared.job, JOB_END);
	pthread_join(thread, NULL);
	return 0;
}
