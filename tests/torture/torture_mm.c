/*
 * mm under real concurrency: the vCPUs of two guests, a device that pins pages, a background reclaimer, an
 * ager, and a guest that is torn down and started again all the time, with too little memory for all. Each
 * page has one vCPU that writes it and remembers what; it must find that again. Ends with the audit.
 * The store is the real one. VARVE_STEPS: accesses of each vCPU.
 */
#include <pthread.h>
#include <sched.h>
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

#define PAGES  400u
#define FRAMES 440u
#define VCPUS  2u
#define GUESTS 2u
#define CPU_OF (VCPUS * GUESTS) /* first CPU that is no vCPU */
#define CPUS   (CPU_OF + 4u)
#define PROBES 3u

struct guest {
	struct fake_guest fake;
	u64 *last; /* per page: what its vCPU wrote last, 0 = nothing */
	u64 steps;
};

struct seat {
	struct guest *g;
	unsigned vcpu, cpu;
	u64 seed;
};

static struct guest stays, goes;
static a32 over;
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

static void *vcpu_main(void *arg)
{
	struct seat *seat = arg;
	struct guest *g = seat->g;
	u64 rnd = seat->seed;

	host_cpu_set(seat->cpu);
	for (u64 i = 1; i <= g->steps; i++) {
		u64 r = host_random(&rnd) >> 8, page = r % (r & 1 ? PAGES : PAGES / 8);
		bool write = host_random(&rnd) % 3 == 0;
		struct access a = {.g = g, .round = i, .noise = host_random(&rnd) % 16 == 0};
		enum fault_result result;

		a.page = page / VCPUS * VCPUS + seat->vcpu;
		result = fake_access(&g->fake, seat->vcpu, a.page, write, ~0u,
		                     write ? do_write : do_read, &a);
		if (result == FAULT_NO_MEMORY)
			sched_yield();
		else if (result != FAULT_FIXED && result != FAULT_STOP_VM)
			hal_panic("fault: %d", (int)result);
		epoch_poll();
	}
	epoch_barrier();
	return NULL;
}

static void guest_run(struct guest *g, unsigned which, u64 steps)
{
	struct seat seat[VCPUS];
	pthread_t thread[VCPUS];

	g->steps = steps;
	for (unsigned i = 0; i < VCPUS; i++) {
		seat[i] = (struct seat){g, i, which * VCPUS + i, steps + i + 1};
		pthread_create(&thread[i], NULL, vcpu_main, &seat[i]);
	}
	for (unsigned i = 0; i < VCPUS; i++)
		pthread_join(thread[i], NULL);
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

/* The guest that stays, on a thread of its own; everything ends with it. */
static void *stays_main(void *arg)
{
	guest_run(&stays, 0, *(u64 *)arg);
	a32_store_release(&over, 1);
	return NULL;
}

static void *reclaimer_main(void *arg)
{
	(void)arg;
	host_cpu_set(CPU_OF);
	while (!a32_load_acquire(&over)) {
		(void)reclaim_background();
		epoch_poll();
		sched_yield();
	}
	epoch_barrier();
	return NULL;
}

static void *ager_main(void *arg)
{
	(void)arg;
	host_cpu_set(CPU_OF + 1);
	while (!a32_load_acquire(&over)) {
		reclaim_age_periodic(hal_time_ns(), 1000000);
		sched_yield();
	}
	epoch_barrier();
	return NULL;
}

/* Reads pages of the guest that stays, as a device would: pinned, they stay where they are. */
static void *device_main(void *arg)
{
	u64 rnd = 77;

	(void)arg;
	host_cpu_set(CPU_OF + 2);
	while (!a32_load_acquire(&over)) {
		struct space *s = stays.fake.space;
		u64 page = host_random(&rnd) % PAGES, before;
		struct fault_page found;
		bool pinned;

		if (fault_bring_in(s, gfn(page), false, true, &found) != FAULT_FIXED) {
			sched_yield();
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
			sched_yield();
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
	return NULL;
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

int main(void)
{
	static const struct reclaim_ops ops = {.wake = no_wake, .out_of_memory = on_oom};
	static const struct fake_config stay = {
	        .name = "stays", .npages = PAGES, .nr_vcpus = VCPUS};
	static const struct fake_config go = {
	        .name = "goes", .npages = PAGES, .nr_vcpus = VCPUS, .nr_mmus = 2, .no_dirty = true};
	u64 steps = host_steps(12000), faults;
	pthread_t thread[4];

	host_cpu_count_set(CPUS);
	host_cpu_set(CPUS - 1);
	fake_frames_create(FRAMES);
	ASSERT(store_init());
	reclaim_init(&ops);
	guest_start(&stays, &stay);
	pthread_create(&thread[0], NULL, stays_main, &steps);
	pthread_create(&thread[1], NULL, reclaimer_main, NULL);
	pthread_create(&thread[2], NULL, ager_main, NULL);
	pthread_create(&thread[3], NULL, device_main, NULL);
	while (!a32_load_acquire(&over)) {
		guest_start(&goes, &go);
		guest_run(&goes, 1, steps / 16 + 1);
		guest_end(&goes);
		a64_count(&rounds, 1);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	epoch_barrier();
	faults = audit_all(NULL);
	if (faults)
		fprintf(stderr, "audit: %s\n", host_log_last());
	printf("%llu checks, %llu evictions, %llu rescues, %llu refaults, %llu passes, %llu pins, "
	       "%llu guests gone, %llu out of memory\n",
	       (unsigned long long)a64_load(&checks),
	       (unsigned long long)a64_load(&stays.fake.space->stats.evictions_total),
	       (unsigned long long)a64_load(&stays.fake.space->stats.rescues_total),
	       (unsigned long long)a64_load(&stays.fake.space->stats.refaults_total),
	       (unsigned long long)a64_load(&stays.fake.space->stats.passes_total),
	       (unsigned long long)a64_load(&pins), (unsigned long long)a64_load(&rounds),
	       (unsigned long long)a64_load(&oom));
	faults += !a64_load(&stays.fake.space->stats.evictions_total);
	guest_end(&stays);
	fake_frames_destroy();
	return faults != 0;
}
