/*
 * What one walk does to the faults that come while it is on. Each round a guest has touched all its memory since the
 * walk before, as guests have whose agers come once a second; a window of it is away, and its vCPU brings that in, page
 * by page, while the second CPU walks once, as one of tests/bench/agers.h. The walk then makes a generation.
 *
 * Who shares the machine takes a CPU away now and then: from the vCPU, which shows in rounds without a walk as
 * well, or from who holds the lock, which does not. A round is a few milliseconds, most have none of that, and the
 * figure is the median over rounds of the longest fault of a round: what a walk does, not what the machine does. The
 * longest of all rounds is printed beside it.
 *
 *   stall ager=NAME longest_us=V worst_us=V p50=V p99=V pass_us=V young=N during=N
 *         of the faults that were under way during the walk, medians over rounds; worst_us: of all rounds;
 *         p50, p99 in ns; young: pages that the walk found so; during: faults. Without a walk (alone): as long as the
 *         last lockless one took
 *
 *   bench_stall [ROUNDS]    41 unless said
 */
#include "tests/bench/agers.h"

#include <pthread.h>

#include "mm/frame.h"
#include "mm/store.h"

#define TABLES     128u
#define PAGES      (TABLES * TABLE_PAGES)
#define SPARE      (PAGES / 4)
#define WINDOW     4096u /* faults of a round */
#define FIRST      (PAGES / 2)
#define BEFORE     256u /* faults before the walk begins */
#define ROUNDS     41u
#define ROUNDS_MAX 1001u

enum state { IDLE, WALK, WALKING, END };

static struct host_vm vm;
static a32 state;
static enum ager how;
static struct {
	u64 start, end, young;
} walk;
static u64 lockless_ns = 1000000; /* the last lockless walk */

struct round {
	double longest_us, p50, p99, pass_us, young, during;
};

static void *ager(void *arg)
{
	(void)arg;
	bench_pin(1);
	for (;;) {
		switch ((enum state)a32_load_acquire(&state)) {
		case IDLE:
			__builtin_ia32_pause();
			break;
		case WALK:
			walk.start = bench_now_ns();
			a32_store_release(&state, WALKING);
			walk.young = ager_pass(&vm, TABLES, how);
			walk.end = bench_now_ns();
			a32_store_release(&state, IDLE);
			break;
		case WALKING:
			break;
		case END:
			return NULL;
		}
	}
}

static void begin_walk(void)
{
	a32_store_release(&state, WALK);
	while (a32_load_acquire(&state) == WALK)
		__builtin_ia32_pause();
}

/* All that is there is young, the window is away. */
static void prepare(void)
{
	u64 value;

	space_drop_range(vm.space, gfn(FIRST), WINDOW);
	while (frame_free_count() < WINDOW + SPARE)
		epoch_poll();
	for (u64 g = 0; g < PAGES; g++)
		if ((g < FIRST || g >= FIRST + WINDOW) &&
		    host_vm_read(&vm, 0, gfn_gpa(gfn(g)), &value) != FAULT_FIXED)
			abort();
}

/* began[i]: when fault i begins; the one before ends there. */
static void bring_in(u64 *began)
{
	for (unsigned i = 0; i < WINDOW; i++) {
		if (i == BEFORE && how != NO_AGER)
			begin_walk();
		began[i] = bench_now_ns();
		if (host_vm_write(&vm, 0, gfn_gpa(gfn(FIRST + i)), i) != FAULT_FIXED)
			abort();
	}
	began[WINDOW] = bench_now_ns();
}

static struct round judge(const u64 *began)
{
	static double took[WINDOW];
	struct round r = {.young = (double)walk.young};
	unsigned n = 0;

	if (how == NO_AGER) {
		walk.start = began[BEFORE];
		walk.end = walk.start + lockless_ns;
	} else {
		r.pass_us = (double)(walk.end - walk.start) / 1000;
	}
	if (how == LOCKLESS)
		lockless_ns = walk.end - walk.start;
	for (unsigned i = BEFORE; i < WINDOW; i++)
		if (began[i + 1] > walk.start && began[i] < walk.end)
			took[n++] = (double)(began[i + 1] - began[i]);
	r.during = n;
	if (!n)
		return r;
	r.p50 = bench_quantile(took, n, 500);
	r.p99 = bench_quantile(took, n, 990);
	r.longest_us = took[n - 1] / 1000; /* sorted by now */
	return r;
}

/* During: 0 if somebody took the vCPU's CPU away for the whole walk. */
static struct round run_once(enum ager lock)
{
	static u64 began[WINDOW + 1];

	how = lock;
	walk.young = 0;
	ager_select(lock);
	prepare();
	bring_in(began);
	while (a32_load_acquire(&state) != IDLE)
		__builtin_ia32_pause();
	(void)gen_advance(&vm.space->lru, a64_load(&vm.space->lru.max_seq));
	return judge(began);
}

static struct round run(enum ager lock)
{
	struct round r;

	do
		r = run_once(lock);
	while (r.during == 0);
	return r;
}

static double quantile_of(const struct round *r, unsigned n, size_t offset, unsigned per_mille)
{
	static double v[ROUNDS_MAX];

	for (unsigned i = 0; i < n; i++)
		v[i] = *(const double *)((const char *)&r[i] + offset);
	return bench_quantile(v, n, per_mille);
}

#define MEDIAN(r, n, field) quantile_of((r), (n), offsetof(struct round, field), 500)

static void ratio(const char *what, const struct round *a, const struct round *b, unsigned n,
                  size_t offset)
{
	static double v[ROUNDS_MAX];

	for (unsigned i = 0; i < n; i++)
		v[i] = *(const double *)((const char *)&a[i] + offset) /
		       *(const double *)((const char *)&b[i] + offset);
	bench_report(what, "ratio", v, n);
}

static void compare(unsigned n)
{
	static struct round r[AGERS][ROUNDS_MAX];
	char name[64];

	for (unsigned i = 0; i < n; i++)
		for (unsigned turn = 0; turn < AGERS; turn++) {
			unsigned lock = (i + turn) % AGERS;

			r[lock][i] = run((enum ager)lock);
		}
	for (unsigned lock = 0; lock < AGERS; lock++)
		printf("stall ager=%s longest_us=%.1f worst_us=%.1f p50=%.0f p99=%.0f pass_us=%.1f "
		       "young=%.0f during=%.0f\n",
		       ager_name[lock], MEDIAN(r[lock], n, longest_us),
		       quantile_of(r[lock], n, offsetof(struct round, longest_us), 1000),
		       MEDIAN(r[lock], n, p50), MEDIAN(r[lock], n, p99),
		       MEDIAN(r[lock], n, pass_us), MEDIAN(r[lock], n, young),
		       MEDIAN(r[lock], n, during));
	for (unsigned lock = 0; lock < AGERS; lock++) {
		if (lock == LOCKLESS)
			continue;
		snprintf(name, sizeof(name), "walk-longest-%s", ager_name[lock]);
		ratio(name, r[lock], r[LOCKLESS], n, offsetof(struct round, longest_us));
		snprintf(name, sizeof(name), "walk-p99-%s", ager_name[lock]);
		ratio(name, r[lock], r[LOCKLESS], n, offsetof(struct round, p99));
	}
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS;
	pthread_t thread;

	if (!n || n > ROUNDS_MAX)
		return 1;
	bench_pin(0);
	host_cpu_count_set(2);
	policy_init();
	host_frames_create(PAGES + SPARE);
	if (!store_init())
		return 1;
	host_vm_create(&vm, &host_machines[2], PAGES, 1);
	bench_populate(&vm, PAGES);
	if (pthread_create(&thread, NULL, ager, NULL))
		return 1;
	compare(n);
	a32_store_release(&state, END);
	pthread_join(thread, NULL);
	return 0;
}
