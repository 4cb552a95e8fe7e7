/*
 * merge: two ranges of 2 MiB whose mappings were split; one is used, the other is not. Needs `pages = 2m` and
 * `experiments = yes`, and memory enough for large mappings.
 *
 *   hot=N cold=N   the first page of each (default 2048 and 3072: 8 MiB and 12 MiB)
 *   used=N         pages of the cold one that are used all the same (default 16 of 512)
 *   seconds=N      how long (default 3)
 *   linger=MS      waits so long wherever the hypervisor might find a range in use that is not meant (default 0)
 *
 *   bench merge splits=N rounds=N      splits: those that this guest asked for, 2
 *
 * Half a range that was used since the last aging pass is enough to be collapsed, whoever used it and why. So pages
 * that are touched to fill or to check them are made old before it can count: all of them before anything is
 * split, those of the cold range a few at a time at the end. A run is then as long as the machine likes.
 *
 * The rest of memory is touched once. What a page holds is checked by every touch. Whether the hot range was
 * collapsed, and the cold one not, the hypervisor has to say.
 */
#include "guest-tests/lib/guest.h"

#define RANGE_PAGES 512u
#define FEW_PAGES   128u /* ... of which so many are too few for a collapse */

static u64 *page_at(u64 number)
{
	return (u64 *)(number * PAGE_SIZE);
}

/* Whole, and all of it memory that the guest may use. */
static void check_range(u64 first)
{
	u64 found = 0;

	for (u64 i = 0; i < mem_pages(); i++)
		found += (u64)mem_page(i) / PAGE_SIZE - first < RANGE_PAGES;
	VERDICT_CHECK(first % RANGE_PAGES == 0 && found == RANGE_PAGES,
	              "range 0x%lx has %lu free pages of 512", first, found);
}

static void touch(u64 number)
{
	u64 *page = page_at(number), expected = rng_mix(number);

	VERDICT_CHECK(*(volatile u64 *)page == expected, "page 0x%lx expected 0x%lx found 0x%lx",
	              number, expected, *page);
	*(volatile u64 *)page = expected;
}

/* A page without its translation: what maps the others is small from now on. */
static u64 split(u64 first)
{
	struct port_regs r;
	u32 result = experiment_call(EXPERIMENT_ZAP, first + RANGE_PAGES / 2, 1, &r);

	VERDICT_CHECK(result == EXPERIMENT_OK, "a page cannot be zapped: %u", result);
	touch(first + RANGE_PAGES / 2);
	return r.rbx;
}

/* All of memory is not used, as far as the hypervisor can tell, whenever it looks from here on. */
static void forget(void)
{
	time_sleep_ms(cmdline_u64("linger", 0));
	(void)experiment_age(true);
}

static void check_all(u64 cold)
{
	for (u64 i = 0; i < mem_pages(); i++) {
		u64 number = (u64)mem_page(i) / PAGE_SIZE;

		if (number - cold < RANGE_PAGES && (number - cold) % FEW_PAGES == 0)
			forget();
		touch(number);
	}
	forget();
}

void guest_main(void)
{
	u64 hot = cmdline_u64("hot", 2048), cold = cmdline_u64("cold", 3072);
	u64 used = cmdline_u64("used", 16), rounds = 0, splits, end;

	experiment_init();
	check_range(hot);
	check_range(cold);
	for (u64 i = 0; i < mem_pages(); i++)
		*(volatile u64 *)mem_page(i) = rng_mix((u64)mem_page(i) / PAGE_SIZE);
	forget();
	splits = split(hot) + split(cold);
	forget();
	end = time_ns() + cmdline_u64("seconds", 3) * 1000000000;
	for (; time_ns() < end; rounds++) {
		for (u64 i = 0; i < RANGE_PAGES; i++)
			touch(hot + i);
		for (u64 i = 0; i < used; i++)
			touch(cold + i * (RANGE_PAGES / used));
	}
	check_all(cold);
	console_printf("bench merge splits=%lu rounds=%lu\n", splits, rounds);
}
