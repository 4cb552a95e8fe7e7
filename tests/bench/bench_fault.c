/*
 * What faults pay for aging: one CPU drops pages of a space and brings them in again, timing each fault, while
 * another ages the same space without a pause, or waits. The two take turns.
 *
 *   harvest        every table is harvested and what is young promoted, over and over
 *   harvest-locked the same with Accessed bits harvested under the write side of the MMU lock
 *   pass           whole passes, each of which makes a generation; as nothing is evicted here, each also moves
 *                  all that is old from the oldest generation to the next, under the lruvec lock
 */
#include "tests/bench/bench.h"

#include <pthread.h>
#include <string.h>

#include "mm/age.h"
#include "mm/gen.h"
#include "mm/policy.h"
#include "mm/store.h"

#define TABLES 256u
#define PAGES  (TABLES * TABLE_PAGES)
#define WINDOW 16384u /* faults */
#define PAIRS  15u

enum mode { MODE_IDLE, MODE_HARVEST, MODE_PASS, MODE_END };

static struct host_vm vm;
static a32 mode;
static a64 passes;

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
	}
	a32_store_release(&mode, MODE_IDLE);
	return bench_quantile(took, WINDOW, 990);
}

static void compare(enum mode how, const char *what)
{
	static double ratio[PAIRS], p99[2][PAIRS];
	u64 where = 0, before = a64_load(&passes);
	char name[64];

	for (unsigned i = 0; i < PAIRS; i++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			bool with = (i + turn) % 2;

			p99[with][i] = window_p99(with ? how : MODE_IDLE, &where);
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
	compare(MODE_HARVEST, "harvest");
	compare(MODE_PASS, "pass");
	a32_store(&policy.locked, 1);
	compare(MODE_HARVEST, "harvest-locked");
	a32_store_release(&mode, MODE_END);
	pthread_join(thread, NULL);
	return 0;
}
