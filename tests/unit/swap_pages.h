/* Pages in a store above a disk, for tests of mm/swap. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/frame.h"
#include "mm/gfnmap.h"
#include "mm/pool.h"
#include "mm/store.h"
#include "mm/swap.h"
#include "tests/host/disk.h"
#include "tests/host/hal.h"

#define FRAMES  4000u
#define SECTORS 20000u
#define WORDS   (PAGE_SIZE / 8)
#define PAGES   200u

static u32 in, out;
static u64 word[PAGES];

/* Pages differ, and pack to about 2300 bytes. */
static inline void page_make(void *page, u64 of)
{
	u64 *p = page, rnd = of * 2 + 1;

	for (unsigned i = 0; i < WORDS; i++)
		p[i] = i % 3 ? 7 : host_random(&rnd);
}

static inline void put(unsigned i)
{
	page_make(frame_ptr(in), i);
	assert_int_equal(store_put(in, &word[i]), STORE_OK);
}

static inline void put_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(i);
}

static inline void drop_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		store_drop(word[i]);
}

static inline bool on_disk(unsigned i)
{
	return pool_on_disk(gfn_word_payload(word[i]));
}

static inline unsigned number_on_disk(unsigned n)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++)
		k += on_disk(i);
	return k;
}

static inline enum store_result get(unsigned i)
{
	memset(frame_ptr(out), 0xcc, PAGE_SIZE);
	return store_get(word[i], out);
}

/* As a fault does it. */
static inline enum store_result get_patiently(unsigned i)
{
	for (;;) {
		enum store_result result;

		while (!store_ready(word[i]))
			;
		result = get(i);
		if (result != STORE_WAIT)
			return result;
	}
}

static inline void assert_contents(unsigned i)
{
	u64 expected[WORDS];

	page_make(expected, i);
	assert_memory_equal(frame_ptr(out), expected, PAGE_SIZE);
}

static inline void assert_returns(unsigned i)
{
	assert_int_equal(get_patiently(i), STORE_OK);
	assert_contents(i);
}

static inline struct swap_stats stats(void)
{
	struct swap_stats st;

	swap_snapshot(&st);
	return st;
}

static inline int create(void **state)
{
	(void)state;
	memset(word, 0, sizeof(word));
	host_swap_create(SECTORS, 0);
	return 0;
}

/* After each test nothing is left, neither in the pool nor on the disk. */
static inline int destroy(void **state)
{
	struct pool_stats st;

	(void)state;
	pool_snapshot(&st);
	assert_int_equal(st.objects, 0);
	assert_int_equal(st.frames, 0);
	assert_int_equal(store_audit(), 0);
	assert_int_equal(stats().sectors_used, 0);
	host_swap_destroy();
	host_time_set(HOST_TIME_REAL);
	return 0;
}

static inline int group_setup(void **state)
{
	struct frame_extent e = {.nframes = FRAMES};
	void *ram = host_ram(FRAMES);

	(void)state;
	if (!ram)
		return -1;
	e.first = hal_ptr_pfn(ram);
	if (!frame_init(&e, 1) || !store_init())
		return -1;
	in = frame_alloc(FRAME_FOR_FAULT);
	out = frame_alloc(FRAME_FOR_FAULT);
	return 0;
}

#define with_disk(test) cmocka_unit_test_setup_teardown(test, create, destroy)
