/*
 * Two consumers clear the same Accessed bits at the same time while guests touch pages: every touch arrives at the
 * generations' walk and at the sampler. Each toucher touches one of its pages and waits until both have reported
 * it; a touch that is lost is waited for in vain. On real cores, under the race detector.
 */
#include <stdio.h>
#include <stdlib.h>

#include "mm/epoch.h"
#include "mm/ledger.h"
#include "mm/notifier.h"
#include "mm/store.h"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"

#define TOUCHERS    2u
#define PAGES       (TABLE_PAGES * 2)
#define SAMPLER     (TOUCHERS + 1)
#define SAMPLES     8u /* in a turn */
#define CPUS        (TOUCHERS + 2)
#define TOUCHES_MIN 200u
#define PATIENCE    60000000000ull /* ns: on a busy machine */

static struct fake_guest guest;
static a32 seen[LEDGER_READERS][PAGES];
static a64 touches;
static u64 steps;

static void found(enum ledger_reader who, u64 first, unsigned n, const u64 *young)
{
	for (unsigned i = 0; i < n; i++)
		if (young[i / 64] & BIT(i % 64))
			a32_store_release(&seen[who][first + i], 1);
}

/* As mm/walk.c: the upper entry first, and nothing below it if that says no. */
static void walk(void)
{
	for (u64 first = 0; first < PAGES; first += TABLE_PAGES) {
		u64 bitmap[NOTIFIER_WORDS], visited = 0;

		for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
			bitmap[w] = ~0ull;
		if (!notifier_range_young(guest.space, gfn(first), TABLE_PAGES,
		                          NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY))
			continue;
		notifier_age(guest.space, gfn(first), TABLE_PAGES, bitmap,
		             NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, &visited);
		found(LEDGER_GENERATIONS, first, TABLE_PAGES, bitmap);
	}
}

/* One page or some, as it comes. */
static void sample(u64 *rnd)
{
	u64 bitmap[NOTIFIER_WORDS], visited = 0, first = host_random(rnd) % PAGES;
	u64 most = TABLE_PAGES - first % TABLE_PAGES;
	unsigned n = 1 + (unsigned)(host_random(rnd) % most);

	for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
		bitmap[w] = ~0ull;
	notifier_age(guest.space, gfn(first), n, bitmap,
	             NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY | NOTIFIER_SAMPLER, &visited);
	found(LEDGER_SAMPLER, first, n, bitmap);
}

static void wait_for(enum ledger_reader who, u64 page)
{
	u64 until = hal_time_ns() + PATIENCE;

	while (!a32_load_acquire(&seen[who][page])) {
		hal_pause();
		if (hal_time_ns() < until)
			continue;
		printf("page %llu was touched, and reader %u never told\n",
		       (unsigned long long)page, who);
		fflush(stdout);
		_Exit(1);
	}
}

static void touch(unsigned cpu, u64 *rnd)
{
	u64 page = (host_random(rnd) % (PAGES / TOUCHERS)) * TOUCHERS + cpu;

	for (unsigned who = 0; who < LEDGER_READERS; who++)
		a32_store(&seen[who][page], 0);
	(void)flush_request(guest.space);
	fake_write(&guest, cpu, page, 0, page);
	for (unsigned who = 0; who < LEDGER_READERS; who++)
		wait_for(who, page);
	a64_count(&touches, 1);
}

static void *run_toucher(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 rnd = cpu + 1;

	for (u64 i = 0; torture_goes_on(i, steps); i++)
		touch(cpu, &rnd);
	epoch_poll();
	return NULL;
}

static void *run_walker(void *arg)
{
	while (torture_runs()) {
		walk();
		hal_pause();
	}
	epoch_poll();
	return arg;
}

static void *run_sampler(void *arg)
{
	u64 rnd = SAMPLER + 1;

	while (torture_runs()) {
		for (unsigned i = 0; i < SAMPLES; i++)
			sample(&rnd);
		hal_pause();
	}
	epoch_poll();
	return arg;
}

static const char *missing(void)
{
	return a64_load(&touches) < TOUCHES_MIN ? "hardly a touch" : NULL;
}

int main(void)
{
	const struct fake_config c = {
	        .name = "told", .npages = PAGES, .nr_vcpus = TOUCHERS, .upper_bits = true};
	static const struct torture_threads threads = {
	        .run = {run_toucher, run_toucher, run_walker, run_sampler},
	        .vcpus = TOUCHERS,
	        .cpus = CPUS,
	        .missing = missing,
	};

	steps = host_steps(1500);
	host_cpu_count_set(CPUS);
	fake_frames_create(PAGES + 600);
	ASSERT(store_init());
	fake_guest_create(&guest, &c);
	ASSERT(ledger_open(guest.space));
	torture_run(&threads);
	ledger_close(guest.space);
	printf("torture_ledger: %llu touches on %u CPUs arrived twice\n",
	       (unsigned long long)a64_load(&touches), TOUCHERS);
	return 0;
}
