/*
 * idle: fills all its free memory once, sleeps, and at the end verifies it all.
 *
 *   seconds=N     how long to sleep (default 5)
 *   noise=P       percent of each page that does not compress (default 20); share=P is the same
 *   zero=P same=P percent of pages all zero, or one word throughout (default 0)
 *   seed=N        other contents (default 1)
 *   pages=4k      maps its memory with 4 KiB pages (default 2m)
 *   spoil=N       flips a bit of page N before the check: must FAIL
 *
 * Asleep, CPU 0 halts and is woken by its APIC timer once a second; the others halt throughout.
 */
#include "guest-tests/lib/guest.h"

static struct pattern pattern;
static u64 page_count;

static u64 part_start(unsigned part)
{
	return page_count * part / smp_count();
}

static void fill(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	for (u64 i = part_start(id); i < part_start(id + 1); i++)
		pattern_fill(&pattern, mem_page(i), 0);
}

static void verify(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	for (u64 i = part_start(id); i < part_start(id + 1); i++)
		pattern_check(&pattern, mem_page(i), 0);
}

void guest_main(void)
{
	u64 seconds = cmdline_u64("seconds", 5), start;

	pattern_init(&pattern, 20, 0, 0);
	smp_start();
	page_count = mem_pages();
	start = time_ns();
	smp_run(fill, NULL);
	console_printf("idle: %lu pages filled in %lu ms, sleeping %lu s\n", page_count,
	               (time_ns() - start) / 1000000, seconds);
	time_sleep_ms(seconds * 1000);
	if (cmdline_text("spoil"))
		mem_page(cmdline_u64("spoil", 0))[77] ^= 1ull << 33;
	start = time_ns();
	smp_run(verify, NULL);
	console_printf("idle: %lu pages verified in %lu ms\n", page_count,
	               (time_ns() - start) / 1000000);
}
