/*
 * What faults pay for aging: one CPU drops pages of a space and brings them in again, timing each fault, while
 * another ages the same space without a pause, or waits. The two take turns.
 *
 *   harvest        every table is harvested and what is young promoted, over and over
 *   harvest-locked the same with Accessed bits harvested under the write side of the MMU lock
 *   harvest-read   ... under its read side, tried with growing pauses and left if it is not to be had
 *   pass           whole passes, each of which makes a generation; as nothing is evicted here, each also moves
 *                  all that is old from the oldest generation to the next, under the lruvec lock
 *
 * And what the lock is about between evictors, who write, and agers, who may read (seed 003): how long an empty
 * invalidation takes, begin and end, which an eviction pays for each chunk, beside such a harvest (`writer-...`);
 * and how long the harvest of a table takes beside a CPU that does nothing else (`reader-table-...`).
 */
#include "tests/bench/bench.h"

#include <pthread.h>
#include <string.h>

#include "mm/age.h"
#include "mm/gen.h"
#include "mm/policy.h"
#include "mm/store.h"

#define TABLES  256u
#define PAGES   (TABLES * TABLE_PAGES)
#define WINDOW  16384u /* faults */
#define PAIRS   15u
#define CHUNK   64u /* faults between two invalidations */
#define GAP_NS  500u
#define LONG_NS 20000000u

enum mode { MODE_IDLE, MODE_HARVEST, MODE_PASS, MODE_END };

static struct host_vm vm;
static a32 mode;
static a64 passes;
static double invalidated_ns[WINDOW / CHUNK]; /* of the last window */

static const char *const variant[] = {
        [POLICY_LOCKLESS] = "harvest",
        [POLICY_LOCKED] = "harvest-locked",
        [POLICY_READ] = "harvest-read",
};

static void harvest_all(void)
{
	struct gen_batch batch = {.promoted = 0};
	u64 visited = 0;

	for (unsigned t = 0; t < TABLES; t++)
		age_block(vm.space, gfn(t * TABLE_PAGES), TABLE_PAGES, &batch, &visited);
	gen_batch_flush(&vm.space->lru, &batch);
}

static void *ager(void *arg)
{
	(void)arg;
	bench_pin(1);
	for (;;) {
		switch ((enum mode)a32_load_acquire(&mode)) {
		case MODE_IDLE:
			__builtin_ia32_pause();
			break;
		case MODE_HARVEST:
			harvest_all();
			a64_count(&passes, 1);
			break;
		case MODE_PASS:
			age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
			epoch_poll();
			a64_count(&passes, 1);
			break;
		case MODE_END:
			return NULL;
		}
	}
}

/* What a writer of the MMU lock pays, however little it has to do. */
static double invalidate_nothing(void)
{
	u64 start = bench_now_ns();

	invalidate_begin(vm.space, gfn(PAGES), gfn(PAGES));
	invalidate_end(vm.space, gfn(PAGES), gfn(PAGES));
	return (double)(bench_now_ns() - start);
}

/* ns within which 99 of 100 faults of a window are over. */
static double window_p99(enum mode with, u64 *where)
{
	static double took[WINDOW];
	u64 before = a64_load(&passes);

	a32_store_release(&mode, with);
	while (with != MODE_IDLE && a64_load(&passes) == before)
		__builtin_ia32_pause();
	for (unsigned i = 0; i < WINDOW; i++, *where = (*where + 1) % PAGES) {
		u64 start;

		if (*where % TABLE_PAGES == 0)
			space_drop_range(vm.space, gfn(*where), TABLE_PAGES);
		start = bench_now_ns();
		if (host_vm_write(&vm, 0, gfn_gpa(gfn(*where)), i) != FAULT_FIXED)
			abort();
		took[i] = (double)(bench_now_ns() - start);
		if (i % CHUNK == 0)
			invalidated_ns[i / CHUNK] = invalidate_nothing();
	}
	a32_store_release(&mode, MODE_IDLE);
	return bench_quantile(took, WINDOW, 990);
}

static void compare(enum mode how, const char *what)
{
	static const unsigned per_mille[] = {500, 990, 999};
	static double ratio[PAIRS], p99[2][PAIRS], begin_end[3][2][PAIRS];
	u64 where = 0, before = a64_load(&passes);
	char name[64];

	for (unsigned i = 0; i < PAIRS; i++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			bool with = (i + turn) % 2;

			p99[with][i] = window_p99(with ? how : MODE_IDLE, &where);
			for (unsigned q = 0; q < 3; q++)
				begin_end[q][with][i] = bench_quantile(
				        invalidated_ns, ARRAY_SIZE(invalidated_ns), per_mille[q]);
		}
		ratio[i] = p99[1][i] / p99[0][i];
	}
	if (a64_load(&passes) == before)
		abort();
	snprintf(name, sizeof(name), "fault-p99-alone-%s", what);
	bench_report(name, "ns", p99[0], PAIRS);
	snprintf(name, sizeof(name), "fault-p99-aged-%s", what);
	bench_report(name, "ns", p99[1], PAIRS);
	snprintf(name, sizeof(name), "fault-p99-%s", what);
	bench_report(name, "ratio", ratio, PAIRS);
	for (unsigned q = 0; q < 3; q++) {
		snprintf(name, sizeof(name), "writer-p%u-alone-%s", per_mille[q], what);
		bench_report(name, "ns", begin_end[q][0], PAIRS);
		snprintf(name, sizeof(name), "writer-p%u-aged-%s", per_mille[q], what);
		bench_report(name, "ns", begin_end[q][1], PAIRS);
	}
}

/* ns for the harvest of a table while this CPU invalidates over and over, or only waits. */
static double table_ns(enum policy_locked locked, bool beside_writer)
{
	u64 start, end, before;

	a32_store(&policy.locked, locked);
	before = a64_load(&passes);
	a32_store_release(&mode, MODE_HARVEST);
	while (a64_load(&passes) == before)
		__builtin_ia32_pause();
	before = a64_load(&passes);
	start = bench_now_ns();
	do {
		end = bench_now_ns() + GAP_NS;
		if (beside_writer)
			(void)invalidate_nothing();
		while (bench_now_ns() < end)
			__builtin_ia32_pause();
	} while (end < start + LONG_NS);
	end = bench_now_ns();
	before = a64_load(&passes) - before;
	a32_store_release(&mode, MODE_IDLE);
	return (double)(end - start) / (double)(before * TABLES);
}

static void compare_readers(void)
{
	static double ns[ARRAY_SIZE(variant)][2][PAIRS];
	char name[64];

	for (unsigned i = 0; i < PAIRS; i++)
		for (unsigned turn = 0; turn < 2 * ARRAY_SIZE(variant); turn++) {
			unsigned at = (i + turn) % (2 * (unsigned)ARRAY_SIZE(variant));

			ns[at / 2][at % 2][i] = table_ns((enum policy_locked)(at / 2), at % 2);
		}
	for (unsigned v = 0; v < ARRAY_SIZE(variant); v++)
		for (unsigned with = 0; with < 2; with++) {
			snprintf(name, sizeof(name), "reader-table-%s-%s",
			         with ? "written" : "alone", variant[v]);
			bench_report(name, "ns", ns[v][with], PAIRS);
		}
	printf("lock reader_waits=%u writer_waits_readers=%u writer_waits_writer=%u "
	       "harvest_waits=%llu harvest_left=%llu harvest_delays=%llu\n",
	       a32_load(&vm.space->mmu_lock.reader_waits),
	       a32_load(&vm.space->mmu_lock.writer_waits_readers),
	       a32_load(&vm.space->mmu_lock.writer_waits_writer),
	       (unsigned long long)a64_load(&vm.space->stats.harvest_waits_total),
	       (unsigned long long)a64_load(&vm.space->stats.harvest_left_total),
	       (unsigned long long)a64_load(&vm.space->stats.harvest_delays_total));
}

int main(void)
{
	pthread_t thread;

	bench_pin(0);
	host_cpu_count_set(2);
	policy_init();
	host_frames_create(PAGES + PAGES / 4);
	if (!store_init())
		return 1;
	host_vm_create(&vm, &host_machines[2], PAGES, 1);
	bench_populate(&vm, PAGES);
	if (pthread_create(&thread, NULL, ager, NULL))
		return 1;
	for (u32 locked = POLICY_LOCKLESS; locked <= POLICY_READ; locked++) {
		a32_store(&policy.locked, locked);
		compare(MODE_HARVEST, variant[locked]);
	}
	compare_readers();
	a32_store(&policy.locked, POLICY_LOCKLESS);
	compare(MODE_PASS, "pass");
	a32_store_release(&mode, MODE_END);
	pthread_join(thread, NULL);
	return 0;
}
