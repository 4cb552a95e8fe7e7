/*
 * arch/x86/hostmem.c on the build machine, over fake frames: against an oracle that knows who owns each
 * page, and everything it must refuse.
 */
#define hal_pages_alloc hostmem_pages_alloc
#define hal_pages_free  hostmem_pages_free
#define hal_pages_used  hostmem_pages_used
#define hal_frame_ptr   fake_frame_ptr
#define hal_ptr_pfn     fake_ptr_pfn

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/hostmem.c"
#include "tests/host/hal.h"

#define FIRST  16u /* frame of the first page; the map covers those below as well */
#define FRAMES 1024u
#define HOLE   300u /* frames 300 to 309 of ours do not exist */
#define SLOTS  64u

static u8 *memory;

void *fake_frame_ptr(pfn_t p)
{
	assert_true(p.v >= FIRST && p.v < FIRST + FRAMES);
	return memory + (p.v - FIRST) * PAGE_SIZE;
}

pfn_t fake_ptr_pfn(const void *ptr)
{
	return pfn(FIRST + (u64)((const u8 *)ptr - memory) / PAGE_SIZE);
}

static int setup(void **state)
{
	const struct hostmem_extent extents[] = {
	        {pfn(FIRST), HOLE},
	        {pfn(FIRST + HOLE + 10), FRAMES - HOLE - 10},
	};

	(void)state;
	if (!memory)
		memory = host_ram(FRAMES);
	memset(memory, 0xa5, FRAMES * (size_t)PAGE_SIZE);
	nr_runs = 0;
	singles = NULL;
	free_frames = used_frames = carved_frames = 0;
	spin_init(&lock, LOCK_HOSTMEM, "hostmem");
	hostmem_init(extents, ARRAY_SIZE(extents), hpa(UINT64_MAX));
	return 0;
}

static bool is_zero(const u8 *p, u64 pages)
{
	for (u64 i = 0; i < pages * PAGE_SIZE; i++)
		if (p[i])
			return false;
	return true;
}

static void test_hostmem_random(void **state)
{
	struct {
		u8 *ptr;
		u64 pages;
	} slot[SLOTS] = {0};
	u64 seed = 7, all = hostmem_free_frames(), held = 0;

	(void)state;
	assert_int_equal(all, FRAMES - 10 - 1); /* one page of maps */
	for (u64 step = 0; step < host_steps(20000); step++) {
		unsigned i = (unsigned)(host_random(&seed) % SLOTS);

		if (slot[i].ptr) {
			/* Still what its owner wrote: nobody else got it. */
			for (u64 p = 0; p < slot[i].pages; p++)
				assert_int_equal(slot[i].ptr[p * PAGE_SIZE + 77], i + 1);
			hostmem_pages_free(slot[i].ptr, slot[i].pages);
			held -= slot[i].pages;
			slot[i].ptr = NULL;
		} else {
			slot[i].pages = host_random(&seed) % 3 ? 1 : 1 + host_random(&seed) % 40;
			slot[i].ptr = hostmem_pages_alloc(slot[i].pages);
			if (!slot[i].ptr)
				continue;
			assert_true(is_zero(slot[i].ptr, slot[i].pages));
			memset(slot[i].ptr, (int)i + 1, slot[i].pages * PAGE_SIZE);
			held += slot[i].pages;
		}
		assert_int_equal(hostmem_pages_used(), held);
		assert_int_equal(hostmem_free_frames(), all - held);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		if (slot[i].ptr)
			hostmem_pages_free(slot[i].ptr, slot[i].pages);
	/* Nothing is lost, and single pages become runs again. */
	u8 *big = hostmem_pages_alloc(FRAMES - HOLE - 10);

	assert_non_null(big);
	hostmem_pages_free(big, FRAMES - HOLE - 10);
	assert_int_equal(hostmem_free_frames(), all);
}

static void test_hostmem_to_the_last_page(void **state)
{
	u64 n = 0, all = hostmem_free_frames();

	(void)state;
	while (hostmem_pages_alloc(1))
		n++;
	assert_int_equal(n, all);
	assert_int_equal(hostmem_free_frames(), 0);
	assert_null(hostmem_pages_alloc(2));
	assert_null(hostmem_pages_alloc(0));
	hostmem_pages_free(memory + 5 * PAGE_SIZE, 1);
	assert_ptr_equal(hostmem_pages_alloc(1), memory + 5 * PAGE_SIZE);
}

static void test_hostmem_carve(void **state)
{
	struct hostmem_extent e[4];
	u64 all = hostmem_free_frames();

	(void)state;
	assert_int_equal(hostmem_carve(100, e, 4), 100);
	assert_int_equal(e[0].frames, 100);
	assert_int_equal(e[0].first.v, FIRST + FRAMES - 100);
	assert_int_equal(e[1].frames, 0);
	assert_int_equal(hostmem_free_frames(), all - 100);
	assert_int_equal(hostmem_carved_frames(), 100);
	/* More than there is, and more than the entries hold. */
	assert_int_equal(hostmem_carve(UINT64_MAX, e, 1), FRAMES - HOLE - 10 - 100);
	assert_int_equal(hostmem_carve(UINT64_MAX, e, 4), HOLE - 1);
	assert_int_equal(hostmem_carve(1, e, 4), 0);
	assert_int_equal(e[0].frames, 0);
	assert_null(hostmem_pages_alloc(1));
	hostmem_add((struct hostmem_extent){pfn(FIRST + HOLE), 10});
	assert_non_null(hostmem_pages_alloc(10));
}

static void test_hostmem_early_reach(void **state)
{
	(void)state;
	reach_frame = FIRST + HOLE;
	assert_null(hostmem_pages_alloc(HOLE));
	assert_non_null(hostmem_pages_alloc(HOLE - 1));
	assert_null(hostmem_pages_alloc(1));
	hostmem_reach_all();
	assert_non_null(hostmem_pages_alloc(1));
}

static u8 *victim;

static void free_twice(void *arg)
{
	(void)arg;
	hostmem_pages_free(victim, 4);
	hostmem_pages_free(victim, 4);
}

static void free_part(void *arg)
{
	(void)arg;
	hostmem_pages_free(victim, 3);
}

static void free_more(void *arg)
{
	(void)arg;
	hostmem_pages_free(victim, 5);
}

static void free_inside(void *arg)
{
	(void)arg;
	hostmem_pages_free(victim + PAGE_SIZE, 3);
}

static void free_unaligned(void *arg)
{
	(void)arg;
	hostmem_pages_free(victim + 8, 4);
}

static void free_carved(void *arg)
{
	struct hostmem_extent e[1];

	(void)arg;
	assert_int_equal(hostmem_carve(1, e, 1), 1);
	hostmem_pages_free(fake_frame_ptr(e[0].first), 1);
}

static void free_maps(void *arg)
{
	(void)arg;
	hostmem_pages_free(map_used, 1);
}

static void test_hostmem_refuses(void **state)
{
	static void (*const wrong[])(void *) = {free_twice,     free_part,   free_more, free_inside,
	                                        free_unaligned, free_carved, free_maps};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		setup(state);
		host_cpu_set(i + 1); /* the panic leaves the lock held by that CPU */
		victim = hostmem_pages_alloc(4);
		assert_non_null(victim);
		assert_non_null(hostmem_pages_alloc(4)); /* a neighbour */
		assert_true(host_panics(wrong[i], NULL));
		assert_non_null(strstr(host_panic_text(), "nothing that was handed out"));
	}
	host_cpu_set(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_hostmem_random, setup),
	        cmocka_unit_test_setup(test_hostmem_to_the_last_page, setup),
	        cmocka_unit_test_setup(test_hostmem_carve, setup),
	        cmocka_unit_test_setup(test_hostmem_early_reach, setup),
	        cmocka_unit_test(test_hostmem_refuses),
	};

	return cmocka_run_group_tests_name("hostmem", tests, NULL, NULL);
}
