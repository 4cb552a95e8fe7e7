/*
 * zero: memory that is mostly zero or same-filled, with some patterned pages among them, verified.
 *
 *   zero=P same=P percent of pages all zero (default 70), one word throughout (default 20)
 *   noise=P       percent of the other pages that does not compress (default 20)
 *   rounds=N      fills and verifies so often, with other contents each time (default 3)
 *   pause=MS      between filling and verifying (default 500)
 *   seed=N        other contents (default 1)
 *   clean=B       1: before anything is written, every page must be zero (default: 1 on Varve, whose
 *                 VMs start with zeroed memory, else 0)
 *   untouched     pages that shall be zero in the first round are only read, never written
 *   pages=4k      maps its memory with 4 KiB pages (default 2m)
 */
#include "guest-tests/lib/guest.h"

static struct pattern pattern, all_zero;
static u64 page_count, round;
static bool sparse;

static void each_page(void (*function)(u64 *page))
{
	unsigned id = cpu_self()->id, n = smp_count();

	for (u64 i = page_count * id / n; i < page_count * (id + 1) / n; i++)
		function(mem_page(i));
}

static void expect_zero(u64 *page)
{
	pattern_check(&all_zero, page, 0);
}

static void fill_page(u64 *page)
{
	if (sparse && round == 1 && pattern_is_zero(&pattern, page, round))
		return;
	pattern_fill(&pattern, page, round);
}

static void verify_page(u64 *page)
{
	pattern_check(&pattern, page, round);
}

static void check_clean(void *arg)
{
	(void)arg;
	each_page(expect_zero);
}

static void fill(void *arg)
{
	(void)arg;
	each_page(fill_page);
}

static void verify(void *arg)
{
	(void)arg;
	each_page(verify_page);
}

void guest_main(void)
{
	u64 rounds = cmdline_u64("rounds", 3), pause_ms = cmdline_u64("pause", 500);

	pattern_init(&pattern, 20, 70, 20);
	all_zero = (struct pattern){.zero = 100};
	sparse = cmdline_flag("untouched");
	smp_start();
	page_count = mem_pages();
	if (cmdline_u64("clean", time_is_varve())) {
		smp_run(check_clean, NULL);
		console_printf("zero: all %lu pages were zero\n", page_count);
	}
	for (round = 1; round <= rounds; round++) {
		smp_run(fill, NULL);
		time_sleep_ms(pause_ms);
		smp_run(verify, NULL);
	}
	console_printf("zero: %lu pages, %lu rounds\n", page_count, rounds);
}
