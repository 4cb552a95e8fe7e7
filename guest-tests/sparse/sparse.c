/*
 * sparse: touches exactly the part of its memory that it is told, again and again, and computes in registers
 * in between, for what an aging pass costs.
 *
 *   what=W        all     every page (default)
 *                 none    none after the first time
 *                 blocks  every page of every 64th block of 2 MiB (step=N: of every Nth)
 *                 ones    one page of each block of 2 MiB
 *   period=MS     from one time to the next (default 500)
 *   seconds=N     how long (default 5)
 *
 * Each page counts how often it was touched; at the end all are checked. CPU 0 only.
 */
#include "guest-tests/lib/guest.h"

#define BLOCK_PAGES 512u

enum what { WHAT_ALL, WHAT_NONE, WHAT_BLOCKS, WHAT_ONES, WHATS };

static const char *const names[WHATS] = {"all", "none", "blocks", "ones"};
static enum what what;
static u64 step;

static bool is_touched(const u64 *page)
{
	u64 number = (u64)page / PAGE_SIZE;

	switch (what) {
	case WHAT_ALL:
		return true;
	case WHAT_BLOCKS:
		return number / BLOCK_PAGES % step == 0;
	case WHAT_ONES:
		return number % BLOCK_PAGES == BLOCK_PAGES / 2;
	default:
		return false;
	}
}

static u64 contents(const u64 *page, u64 times)
{
	return rng_mix((u64)page) + times;
}

/* Nothing but registers: no page but that of the code is touched. */
static void spin_until(u64 end_ns)
{
	while (time_ns() < end_ns)
		for (u64 i = 0, x = 1; i < 1000; i++) {
			x = rng_mix(x);
			__asm__ volatile("" : : "r"(x));
		}
}

void guest_main(void)
{
	const char *name = cmdline_text("what");
	u64 pages = mem_pages(), times = 0, touched = 0, period, end;

	while (name && what < WHATS && !string_equal(name, names[what]))
		what++;
	VERDICT_CHECK(what < WHATS, "argument what= is all, none, blocks or ones");
	period = cmdline_u64("period", 500) * 1000000;
	step = cmdline_u64("step", 64);
	VERDICT_CHECK(step, "argument step= is 0");
	for (u64 i = 0; i < pages; i++) {
		*(volatile u64 *)mem_page(i) = contents(mem_page(i), 0);
		touched += is_touched(mem_page(i));
	}
	console_printf("sparse: %s: %lu of %lu pages\n", names[what], touched, pages);
	end = time_ns() + cmdline_u64("seconds", 5) * 1000000000;
	for (u64 now = time_ns(); now < end; now = time_ns()) {
		times++;
		for (u64 i = 0; i < pages; i++)
			if (is_touched(mem_page(i)))
				++*(volatile u64 *)mem_page(i);
		spin_until(now + period);
	}
	for (u64 i = 0; i < pages; i++) {
		const u64 *page = mem_page(i);
		u64 expected = contents(page, is_touched(page) ? times : 0);

		VERDICT_CHECK(*page == expected, "page 0x%lx expected 0x%lx found 0x%lx", (u64)page,
		              expected, *page);
	}
	console_printf("sparse: %lu pages checked after %lu times\n", pages, times);
}
