/*
 * access: touches one half of its pages again and again and leaves the other half alone; prints which
 * are which, as material for a test of page ages. All pages are filled first and verified at the end.
 *
 *   seconds=N     how long (default 5)
 *   write=B       1: touching writes (default 0: it reads)
 *   block=N       pages in a row that are hot, then as many that are cold (default 64)
 *   period=MS     every hot page is touched once in this time (default 100)
 *   noise=P seed=N pages=4k   as for touch
 *
 * Prints `access hot first=0xGFN pages=N` per hot block, then touches, then `access touches=N`.
 */
#include "guest-tests/lib/guest.h"

static struct pattern pattern;
static u64 page_count, block;

static bool is_hot(u64 i)
{
	return i / block % 2 == 0;
}

static void print_blocks(void)
{
	u64 first = 0;

	for (u64 i = 0; i < page_count; i++) {
		bool adjacent = i && mem_page(i) == mem_page(i - 1) + PAGE_WORDS;

		if (is_hot(i) && (!i || !is_hot(i - 1) || !adjacent))
			first = i;
		if (is_hot(i) && (i + 1 == page_count || !is_hot(i + 1) ||
		                  mem_page(i + 1) != mem_page(i) + PAGE_WORDS))
			console_printf("access hot first=0x%lx pages=%lu\n",
			               (u64)mem_page(first) / PAGE_SIZE, i - first + 1);
	}
}

/* A write stores the word that is there: the contents stay what they must be. */
static void touch(u64 i, bool write)
{
	volatile u64 *word = mem_page(i) + i % PAGE_WORDS;
	u64 value = *word;

	if (write)
		*word = value;
}

static u64 pass(bool write)
{
	u64 touches = 0;

	for (u64 i = 0; i < page_count; i++)
		if (is_hot(i)) {
			touch(i, write);
			touches++;
		}
	return touches;
}

void guest_main(void)
{
	u64 period_ms = cmdline_u64("period", 100), touches = 0, end;
	bool write = cmdline_u64("write", 0);

	pattern_init(&pattern, 20, 0, 0);
	block = cmdline_u64("block", 64);
	VERDICT_CHECK(block, "argument block= is 0");
	page_count = mem_pages();
	for (u64 i = 0; i < page_count; i++)
		pattern_fill(&pattern, mem_page(i), 0);
	print_blocks();
	end = time_ns() + cmdline_u64("seconds", 5) * 1000000000;
	while (time_ns() < end) {
		touches += pass(write);
		time_sleep_ms(period_ms);
	}
	console_printf("access touches=%lu\n", touches);
	for (u64 i = 0; i < page_count; i++)
		pattern_check(&pattern, mem_page(i), 0);
}
