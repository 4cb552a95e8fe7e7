/*
 * mm under real concurrency: the vCPUs of two guests, a device that pins pages, a background reclaimer, an
 * ager, and a guest that is torn down and started again all the time, with too little memory for all. Each
 * page has one vCPU that writes it and remembers what; it must find that again. Ends with the audit.
 * The store is the real one. VARVE_STEPS: accesses of each vCPU.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/atomic.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"

#define PAGES  400u
#define FRAMES 440u
#define VCPUS  2u
#define GUESTS 2u
#define CPUS   (VCPUS * GUESTS + 4u)
#define CPU_OF_GOES \
	(CPUS - VCPUS) /* first vCPU of the guest that goes; others have torture_run()'s numbers */
#define PROBES 3u

struct guest {
	struct fake_guest fake;
	u64 *last; /* per page: what its vCPU wrote last, 0 = nothing */
};

static struct guest stays, goes;
static u64 steps;
static a64 checks, rounds, pins, oom;

static const unsigned probe[PROBES] = {0, 100, PAGE_SIZE / 8 - 1};

static u64 value_of(u64 page, u64 round, unsigned word)
{
	return round ? (page << 40 | round << 10 | word) : 0;
}

struct access {
	struct guest *g;
	u64 page, round;
	bool noise;
};

static void check_words(const struct access *a, u64 *words)
{
	for (unsigned i = 0; i < PROBES; i++) {
		u64 found = a64_load((a64 *)&words[probe[i]]);

		if (found != value_of(a->page, a->g->last[a->page], probe[i]))
			hal_panic("page %llu word %u: %llx, round %llu",
			          (unsigned long long)a->page, probe[i], (unsigned long long)found,
			          (unsigned long long)a->g->last[a->page]);
	}
	a64_count(&checks, 1);
}

/*
 * A page that is rescued while it is being stored is written and read at the same time: that is meant to
 * be, and what was stored is dropped. So the detector is not told of what guests write; whether it arrives
 * is what the checks are for.
 */
__attribute__((noinline, no_sanitize("thread"))) static void guest_store(u64 *word, u64 value)
{
	*word = value;
}

static void do_read(u64 *words, void *arg)
{
	check_words(arg, words);
}

static void do_write(u64 *words, void *arg)
{
	const struct access *a = arg;
	u64 seed = a->round;

	check_words(a, words);
	for (unsigned i = 1; a->noise && i < PAGE_SIZE / 8; i += 2)
		if (i != probe[PROBES - 1])
			guest_store(&words[i], host_random(&seed));
	for (unsigned i = 0; i < PROBES; i++)
		guest_store(&words[probe[i]], value_of(a->page, a->round, probe[i]));
	a->g->last[a->page] = a->round;
}

/* One access, the vCPU's `i`th, from 1 on. */
static void access_some(struct guest *g, unsigned vcpu, u64 i, u64 *rnd)
{
	u64 r = host_random(rnd) >> 8, page = r % (r & 1 ? PAGES : PAGES / 8);
	bool write = host_random(rnd) % 3 == 0;
	struct access a = {.g = g, .round = i, .noise = host_random(rnd) % 16 == 0};
	enum fault_result result;

	a.page = page / VCPUS * VCPUS + vcpu;
	result = fake_access(&g->fake, vcpu, a.page, write, ~0u, write ? do_write : do_read, &a);
	if (result == FAULT_NO_MEMORY)
		hal_pause();
	else if (result != FAULT_FIXED && result != FAULT_STOP_VM)
		hal_panic("fault: %d", (int)result);
	epoch_poll();
}

static void *run_stays(void *arg)
{
	unsigned vcpu = (unsigned)(uintptr_t)arg;
	u64 rnd = 0x57a + vcpu;

	for (u64 i = 1; torture_goes_on(i, steps); i++)
		access_some(&stays, vcpu, i, &rnd);
	epoch_barrier();
	return NULL;
}

static void *vcpu_goes(void *arg)
{
	unsigned vcpu = (unsigned)(uintptr_t)arg;
	u64 rnd = 0x90e5 + vcpu;

	host_cpu_set(CPU_OF_GOES + vcpu);
	for (u64 i = 1; i <= steps / 16 + 1; i++)
		access_some(&goes, vcpu, i, &rnd);
	epoch_barrier();
	return NULL;
}

static void guest_start(struct guest *g, const struct fake_config *c)
{
	g->last = calloc(PAGES, sizeof(u64));
	fake_guest_create(&g->fake, c);
}

static void guest_end(struct guest *g)
{
	fake_guest_destroy(&g->fake);
	free(g->last);
}

/* The guest that goes, and comes again. */
static void *run_goes(void *arg)
{
	static const struct fake_config go = {
	        .name = "goes", .npages = PAGES, .nr_vcpus = VCPUS, .nr_mmus = 2, .no_dirty = true};
	pthread_t thread[VCPUS];

	while (torture_runs()) {
		guest_start(&goes, &go);
		for (uintptr_t i = 0; i < VCPUS; i++)
			pthread_create(&thread[i], NULL, vcpu_goes, (void *)i);
		for (unsigned i = 0; i < VCPUS; i++)
			pthread_join(thread[i], NULL);
		guest_end(&goes);
		a64_count(&rounds, 1);
	}
	epoch_barrier();
	return arg;
}

static void *run_reclaimer(void *arg)
{
	while (torture_runs()) {
		(void)reclaim_background();
		epoch_poll();
		hal_pause();
	}
	epoch_barrier();
	return arg;
}

static void *run_ager(void *arg)
{
	while (torture_runs()) {
		reclaim_age_periodic(hal_time_ns(), 1000000);
		hal_pause();
	}
	epoch_barrier();
	return arg;
}

/* Reads pages of the guest that stays, as a device would: pinned, they stay where they are. */
static void *run_device(void *arg)
{
	u64 rnd = 77;

	while (torture_runs()) {
		struct space *s = stays.fake.space;
		u64 page = host_random(&rnd) % PAGES, before;
		struct fault_page found;
		bool pinned;

		if (fault_bring_in(s, gfn(page), false, true, &found) != FAULT_FIXED) {
			hal_pause();
			continue;
		}
		epoch_enter();
		pinned = fake_word(&stays.fake, page) == gfn_word(GFN_RESIDENT, found.frame) &&
		         frame_pin_try(found.frame);
		epoch_exit();
		if (!pinned)
			continue;
		if (fake_word(&stays.fake, page) == gfn_word(GFN_RESIDENT, found.frame)) {
			before = a64_load((a64 *)frame_ptr(found.frame));
			hal_pause();
			/* Somebody else's page would have other bits there. */
			if (before && before >> 40 != page)
				hal_panic("pinned page %llu has %llx", (unsigned long long)page,
				          (unsigned long long)before);
			frame_mark_accessed(found.frame);
			a64_count(&pins, 1);
		}
		frame_unpin(found.frame);
	}
	epoch_barrier();
	return arg;
}

static void no_wake(void)
{
}

static void on_oom(struct space *victim, const char *why)
{
	(void)victim;
	(void)why;
	a64_count(&oom, 1);
}

static const char *missing(void)
{
	const struct space_stats *s = &stays.fake.space->stats;

	return !a64_load(&s->evictions_total)  ? "nothing was evicted"
	       : !a64_load(&s->refaults_total) ? "nothing came back"
	       : !a64_load(&s->passes_total)   ? "nothing was aged"
	       : !a64_load(&pins)              ? "nothing was pinned"
	       : a64_load(&rounds) < 2         ? "no guest has gone twice"
	                                       : NULL;
}

int main(void)
{
	static const struct torture_threads threads = {
	        .run = {run_stays, run_stays, run_reclaimer, run_ager, run_device, run_goes},
	        .vcpus = VCPUS,
	        .cpus = CPU_OF_GOES,
	        .missing = missing,
	};
	static const struct reclaim_ops ops = {.wake = no_wake, .out_of_memory = on_oom};
	static const struct fake_config stay = {
	        .name = "stays", .npages = PAGES, .nr_vcpus = VCPUS};
	const struct space_stats *s;
	u64 faults;

	steps = host_steps(12000);
	host_cpu_count_set(CPUS);
	fake_frames_create(FRAMES);
	ASSERT(store_init());
	reclaim_init(&ops);
	guest_start(&stays, &stay);
	torture_run(&threads);
	epoch_barrier();
	faults = audit_all(NULL);
	if (faults)
		fprintf(stderr, "audit: %s\n", host_log_last());
	s = &stays.fake.space->stats;
	printf("%llu checks, %llu evictions, %llu rescues, %llu refaults, %llu passes, %llu pins, "
	       "%llu guests gone, %llu out of memory\n",
	       (unsigned long long)a64_load(&checks),
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->rescues_total),
	       (unsigned long long)a64_load(&s->refaults_total),
	       (unsigned long long)a64_load(&s->passes_total), (unsigned long long)a64_load(&pins),
	       (unsigned long long)a64_load(&rounds), (unsigned long long)a64_load(&oom));
	guest_end(&stays);
	fake_frames_destroy();
	return faults != 0;
}
