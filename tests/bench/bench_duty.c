/*
 * The seeds' argument, natively: a vCPU writes all of a guest's memory, page by page, for the second time (run 2
 * of max_guest_memory: everything was taken away after the first), while a second CPU ages the guest for a
 * declared share of its time, the duty. The agers are those of tests/bench/agers.h.
 *
 * `hot` lets the vCPU read so many of the pages that it has, one after the other, after each fault. Their tables are full of
 * young pages then when the ager comes: how long a table is held depends on that, and with it what a fault waits for.
 *
 * A pass that took t is followed by a pause of t * (100 - duty) / duty; t is the time from its begin to its end,
 * waiting included. Rounds of all of them, and one without ager, take turns.
 *
 * What the machine does besides is not measured: a fault that seems to take longer than SUSPECT_NS is charged
 * the time that this thread ran. Who waits for a lock runs, so waiting counts; a wait for a thread that holds
 * the lock and does not run counts as well, so the machine should be quiet all the same.
 *
 *   bench_duty [hot=N] [DUTY...]     in percent, 10 25 50 75 92 95 unless said
 */
#include "tests/bench/agers.h"

#include <pthread.h>
#include <string.h>

#include "mm/frame.h"
#include "mm/store.h"

#define TABLES     128u
#define PAGES      (TABLES * TABLE_PAGES)
#define SPARE      (PAGES / 4)
#define ROUNDS     5u
#define ROUNDS_HOT 3u /* of a guest that reads besides: they take long */

#define SUSPECT_NS 10000u

enum job { JOB_IDLE, JOB_AGE, JOB_END };

static struct host_vm vm;
static struct {
	a32 job;
	a32 lock, duty;
	a64 passes aligned_to(64);
	a64 busy_ns, pause_ns; /* of the ager, in this round */
} shared;

static unsigned hot; /* pages read after each fault */

struct round {
	double wall_ms, p50, p99, p999, max_us, pass_us, duty, wait_ms;
};

/* Time that this thread ran. A system call: not for every fault. */
static u64 ran_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

static void pause_until(u64 end)
{
	while (bench_now_ns() < end)
		__builtin_ia32_pause();
}

static void age_for_a_while(void)
{
	u64 start = bench_now_ns(), duty = a32_load(&shared.duty), end;

	(void)ager_pass(&vm, TABLES, (enum ager)a32_load(&shared.lock));
	end = bench_now_ns();
	a64_count(&shared.busy_ns, end - start);
	pause_until(end + (end - start) * (100 - duty) / duty);
	a64_count(&shared.pause_ns, bench_now_ns() - end);
	a64_count(&shared.passes, 1);
}

static void *ager(void *arg)
{
	(void)arg;
	bench_pin(1);
	for (;;) {
		switch ((enum job)a32_load_acquire(&shared.job)) {
		case JOB_IDLE:
			__builtin_ia32_pause();
			break;
		case JOB_AGE:
			age_for_a_while();
			break;
		case JOB_END:
			return NULL;
		}
	}
}

static void ager_start(enum ager lock, unsigned duty)
{
	ager_select(lock);
	a32_store(&shared.lock, lock);
	a32_store(&shared.duty, duty);
	a64_store(&shared.passes, 0);
	a64_store(&shared.busy_ns, 0);
	a64_store(&shared.pause_ns, 0);
	if (lock == NO_AGER)
		return;
	a32_store_release(&shared.job, JOB_AGE);
	while (!a64_load(&shared.passes))
		__builtin_ia32_pause();
}

/* Passes end by themselves; the next job comes after. */
static void ager_stop(struct round *r)
{
	double passes = (double)a64_load(&shared.passes), busy = (double)a64_load(&shared.busy_ns);
	double pause = (double)a64_load(&shared.pause_ns);

	a32_store_release(&shared.job, JOB_IDLE);
	r->pass_us = passes > 0 ? busy / passes / 1000 : 0;
	r->duty = busy > 0 ? busy / (busy + pause) * 100 : 0;
}

struct clock {
	u64 last;         /* end of the fault before */
	u64 checked, ran; /* both clocks when they were last compared */
};

/* ns of the fault that ends now. All that was lost since the clocks were compared, was lost in this one. */
static double lap(struct clock *c)
{
	u64 now = bench_now_ns(), took = now - c->last, ran, lost;

	c->last = now;
	if (likely(took < SUSPECT_NS))
		return (double)took;
	ran = ran_ns();
	lost = now - c->checked > ran - c->ran ? now - c->checked - (ran - c->ran) : 0;
	c->checked = c->last = bench_now_ns();
	c->ran = ran_ns();
	return (double)(took > lost ? took - lost : 0);
}

/* Run 2: everything is away, and written page by page. */
static struct round run(enum ager lock, unsigned duty)
{
	static double took[PAGES];
	struct round r = {.wall_ms = 0};
	u64 waited, value, sweep = 0;
	struct clock c;

	space_drop_range(vm.space, gfn(0), PAGES);
	while (frame_free_count() < PAGES + SPARE)
		epoch_poll();
	ager_start(lock, duty);
	waited = rw_wait_ns(&vm.space->mmu_lock);
	c = (struct clock){.ran = ran_ns()};
	c.last = c.checked = bench_now_ns();
	for (u64 i = 0; i < PAGES; i++) {
		if (host_vm_write(&vm, 0, gfn_gpa(gfn(i)), i) != FAULT_FIXED)
			abort();
		took[i] = lap(&c);
		r.wall_ms += took[i] / 1e6;
		for (unsigned h = 0; h < hot; h++)
			if (host_vm_read(&vm, 0, gfn_gpa(gfn(sweep++ % (i + 1))), &value) !=
			    FAULT_FIXED)
				abort();
		if (hot)
			c.last = bench_now_ns(); /* only faults are counted */
	}
	ager_stop(&r);
	r.wait_ms = (double)(rw_wait_ns(&vm.space->mmu_lock) - waited) / 1e6;
	r.p50 = bench_quantile(took, PAGES, 500);
	r.p99 = bench_quantile(took, PAGES, 990);
	r.p999 = bench_quantile(took, PAGES, 999);
	r.max_us = took[PAGES - 1] / 1000; /* sorted by now */
	return r;
}

static unsigned rounds(void)
{
	return hot ? ROUNDS_HOT : ROUNDS;
}

static double median_of(const struct round *r, size_t offset)
{
	double v[ROUNDS];

	for (unsigned i = 0; i < rounds(); i++)
		v[i] = *(const double *)((const char *)&r[i] + offset);
	return bench_quantile(v, rounds(), 500);
}

static void ratio(const char *what, unsigned duty, const struct round *a, const struct round *b,
                  size_t offset)
{
	double v[ROUNDS];
	char name[64];

	for (unsigned i = 0; i < rounds(); i++)
		v[i] = *(const double *)((const char *)&a[i] + offset) /
		       *(const double *)((const char *)&b[i] + offset);
	snprintf(name, sizeof(name), "%s-%u-%s", hot ? "hot" : "duty", duty, what);
	bench_report(name, "ratio", v, rounds());
}

#define MEDIAN(r, field) median_of((r), offsetof(struct round, field))

static void compare(unsigned duty)
{
	static struct round r[AGERS][ROUNDS];

	for (unsigned i = 0; i < rounds(); i++)
		for (unsigned turn = 0; turn < AGERS; turn++) {
			unsigned lock = (i + turn) % AGERS;

			r[lock][i] = run((enum ager)lock, duty);
		}
	for (unsigned lock = 0; lock < AGERS; lock++)
		printf("duty ager=%s asked=%u duty=%.1f wall_ms=%.3f p50=%.0f p99=%.0f p999=%.0f "
		       "max_us=%.1f pass_us=%.1f wait_ms=%.2f hot=%u\n",
		       ager_name[lock], duty, MEDIAN(r[lock], duty), MEDIAN(r[lock], wall_ms),
		       MEDIAN(r[lock], p50), MEDIAN(r[lock], p99), MEDIAN(r[lock], p999),
		       MEDIAN(r[lock], max_us), MEDIAN(r[lock], pass_us), MEDIAN(r[lock], wait_ms),
		       hot);
	ratio("wall-lockless", duty, r[LOCKLESS], r[NO_AGER], offsetof(struct round, wall_ms));
	ratio("wall-per-table", duty, r[PER_TABLE], r[LOCKLESS], offsetof(struct round, wall_ms));
	ratio("wall-per-page", duty, r[PER_PAGE], r[LOCKLESS], offsetof(struct round, wall_ms));
	ratio("p99-per-block", duty, r[PER_BLOCK], r[LOCKLESS], offsetof(struct round, p99));
	ratio("wall-per-walk", duty, r[PER_WALK], r[LOCKLESS], offsetof(struct round, wall_ms));
	ratio("p99-per-table", duty, r[PER_TABLE], r[LOCKLESS], offsetof(struct round, p99));
	ratio("stall-per-walk", duty, r[PER_WALK], r[LOCKLESS], offsetof(struct round, max_us));
}

int main(int argc, char **argv)
{
	static const unsigned duties[] = {10, 25, 50, 75, 92, 95};
	pthread_t thread;

	bench_pin(0);
	host_cpu_count_set(2);
	policy_init();
	host_frames_create(PAGES + SPARE);
	if (!store_init())
		return 1;
	host_vm_create(&vm, &host_machines[2], PAGES, 1);
	bench_populate(&vm, PAGES);
	if (argc > 1 && !strncmp(argv[1], "hot=", 4)) {
		hot = (unsigned)atoi(argv[1] + 4);
		argv++;
		argc--;
	}
	if (pthread_create(&thread, NULL, ager, NULL))
		return 1;
	for (int i = 1; i < argc; i++)
		compare((unsigned)atoi(argv[i]) % 100);
	for (unsigned i = 0; argc == 1 && i < ARRAY_SIZE(duties); i++)
		compare(duties[i]);
	a32_store_release(&shared.job, JOB_END);
	pthread_join(thread, NULL);
	return 0;
}
