/*
 * Four CPUs put, get and drop pages of their own at the same time; two of them found no memory for a
 * scratch and share those of the others. A page comes back as it left, however often the pool moved it.
 * torture_swap.c is the same above a disk, with a fifth CPU that moves pages there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm/frame.h"
#include "mm/store.h"
#ifdef TORTURE_DISK
#include "mm/swap.h"
#include "tests/host/disk.h"
#endif
#include "tests/host/hal.h"
#include "tests/host/torture.h"

#define CPUS   4u
#define OWNERS 2u /* CPUs with a scratch */
#define PAGES  128u
#define FRAMES 60u
#define WORDS  (PAGE_SIZE / 8)
#ifndef PAGES_LEFT
#define PAGES_LEFT 4
#endif

static u64 steps;
static u32 frames[CPUS];

struct page {
	u64 word, of; /* of: what makes its contents; 0 = not kept */
};

static void page_make(u64 *p, u64 of)
{
	unsigned percent = (unsigned)(of >> 32) % 110;

	for (unsigned i = 0; i < WORDS; i++)
		p[i] = host_random(&of) % 100 < percent ? host_random(&of) : i / 16;
}

static void page_check(const struct page *x, u32 frame)
{
	enum store_result result;
	u64 expected[WORDS];

	page_make(expected, x->of);
	do {
		while (!store_ready(x->word))
			hal_pause();
		result = store_get(x->word, frame);
	} while (result == STORE_WAIT);
	if (result != STORE_OK || memcmp(frame_ptr(frame), expected, PAGE_SIZE) != 0)
		hal_panic("a page came back wrong");
}

/* Every other page is one of a few, and shared by all CPUs. */
static void page_put(struct page *x, u32 frame, u64 of)
{
	bool shared = of >> 60 & 1;
	u32 saved;

	if (shared)
		of = 1 + 2 * (of >> 8 & 7);
	page_make(frame_ptr(frame), of);
	switch (shared ? store_put_shared(frame, &x->word, &saved) : store_put(frame, &x->word)) {
	case STORE_OK:
		x->of = of;
		break;
	case STORE_INCOMPRESSIBLE:
	case STORE_FULL:
		break;
	case STORE_BAD:
	case STORE_WAIT:
		hal_panic("a put that finds something bad");
	}
}

#ifdef TORTURE_DISK
#define SECTORS      4000u
#define CPUS_OF_DISK 1
#define TURN_NS      1000000ull

/* Forgets the page at once, while it is read for it. */
static void page_ask(const struct page *x)
{
	(void)!store_ready(x->word);
}

/* The clock stands still while this thread has no turn, or somebody would lose patience with the disk. */
static void *mover(void *arg)
{
	while (torture_runs()) {
		host_time_add(TURN_NS);
		if (swap_turn() != SWAP_AGAIN)
			hal_pause();
	}
	host_swap_settle();
	return arg;
}

static void disk_begin(void)
{
	host_time_set(TURN_NS);
	host_swap_create(SECTORS, 20);
	host_disk.late = 3;
}

static const char *missing(void)
{
	struct swap_stats st;

	swap_snapshot(&st);
	return !st.written_objects_total ? "nothing went to the disk"
	       : !st.reads_total         ? "nothing came back from the disk"
	                                 : NULL;
}

/* Transfers of what was dropped end by themselves. */
static void disk_end(void)
{
	struct swap_stats st;

	for (unsigned i = 0; i < 10000 && host_disk.under_way; i++)
		(void)swap_turn();
	swap_snapshot(&st);
	printf("%llu moved in %llu writes, %llu reads\n",
	       (unsigned long long)st.written_objects_total, (unsigned long long)st.writes_total,
	       (unsigned long long)st.reads_total);
	if (st.sectors_used || st.errors_total)
		hal_panic("sectors were left over, or not answered");
	host_swap_destroy();
}
#else
#define CPUS_OF_DISK 0
#define mover        NULL

static void page_ask(const struct page *x)
{
	(void)x;
}

static void disk_begin(void)
{
}

/* All that is wanted is there once a CPU has done its steps. */
static const char *missing(void)
{
	return NULL;
}

static void disk_end(void)
{
}
#endif

static void *cpu(void *arg)
{
	struct page page[PAGES] = {0};
	unsigned self = (unsigned)(uintptr_t)arg;
	u64 rnd = 0x1234567 * (self + 1);

	for (u64 i = 0; torture_goes_on(i, steps); i++) {
		struct page *x = &page[host_random(&rnd) % PAGES];

		if (!x->of) {
			page_put(x, frames[self], host_random(&rnd) | 1);
		} else if (host_random(&rnd) % 2) {
			page_check(x, frames[self]);
		} else {
			page_ask(x);
			store_drop(x->word);
			x->of = 0;
		}
	}
	for (unsigned i = 0; i < PAGES; i++)
		if (page[i].of) {
			page_check(&page[i], frames[self]);
			store_drop(page[i].word);
		}
	return NULL;
}

static void setup(void)
{
	struct frame_extent e = {.nframes = FRAMES};
	void *ram = host_ram(FRAMES);
	u64 word;

	ASSERT(ram);
	e.first = hal_ptr_pfn(ram);
	ASSERT(frame_init(&e, 1) && store_init());
	for (unsigned i = 0; i < CPUS; i++) {
		frames[i] = frame_alloc(FRAME_FOR_FAULT);
		ASSERT(frames[i] != FRAME_NONE);
	}
	/* Each owner's first use makes its scratch. The memory they leave is for handles alone. */
	for (unsigned i = 0; i < OWNERS; i++) {
		host_cpu_set(i);
		page_make(frame_ptr(frames[i]), 0x500000001);
		ASSERT(store_put(frames[i], &word) == STORE_OK);
		store_drop(word);
	}
	host_cpu_set(0);
}

int main(void)
{
	static const struct torture_threads threads = {
	        .run = {cpu, cpu, cpu, cpu, mover},
	        .vcpus = CPUS,
	        .cpus = CPUS + CPUS_OF_DISK,
	        .missing = missing,
	};
	struct store_stats st;

	steps = host_steps(3000);
	host_cpu_count_set(CPUS + 1);
	setup();
	disk_begin();
	host_pages_limit(
	        PAGES_LEFT); /* what the index of shared pages needs, and a page for either */
	torture_run(&threads);
	host_pages_limit(HOST_NO_LIMIT);
	disk_end();
	store_snapshot(&st);
	if (!st.shared_total)
		hal_panic("nothing was shared");
	if (st.objects || st.shared_pages || st.pool_frames || st.bad_total || store_audit())
		hal_panic("something was left over");
	printf("%llu puts, %llu of them shared, %llu gets, %llu drops, %llu refused for want of "
	       "memory\n",
	       (unsigned long long)st.puts_total, (unsigned long long)st.shared_total,
	       (unsigned long long)st.gets_total, (unsigned long long)st.drops_total,
	       (unsigned long long)st.full_total);
	return 0;
}
