/*
 * balloon: lends pages to the host, takes them back, reports others free; checks what they hold, and that bad calls are
 * refused and change nothing. Needs `pv = yes`.
 *
 *   mode=test     (default) everything once, by itself
 *   mode=follow   keeps a cache of pages that do not pack and lends of it what the host asks for, until the end
 *   cache=P       so many percent of the memory are the cache (default 60)
 *   poll=MS       looks for the host's wish so often (default 20)
 *   seconds=N     how long (default 5)
 *   lent=N        so many pages must have been lent at some time (default 1; 0 with `deaf`: none may)
 *   deaf          never looks
 *   calls=N       mode=test: random calls (default 3000)
 *
 *   bench balloon lent_most=N lent_last=N looks=N refilled=N
 */
#include "guest-tests/lib/guest.h"

#define LOOK_PAGES 64u /* mode=follow looks at its start as well, each time it has filled so many */

static struct pattern pattern;
static u64 *base;
static u64 pages;

static u64 *page_at(u64 i)
{
	return base + i * PAGE_WORDS;
}

static void fill(u64 first, u64 n)
{
	for (u64 i = first; i < first + n; i++)
		pattern_fill(&pattern, page_at(i), 0);
}

static void check(u64 first, u64 n)
{
	for (u64 i = first; i < first + n; i++)
		pattern_check(&pattern, page_at(i), 0);
}

static void check_zero(u64 first, u64 n)
{
	for (u64 i = first * PAGE_WORDS; i < (first + n) * PAGE_WORDS; i++)
		VERDICT_CHECK(!base[i], "word %lu of page %lu is 0x%lx and should be 0",
		              i % PAGE_WORDS, i / PAGE_WORDS, base[i]);
}

static void expect_inside(const char *after, u64 n)
{
	struct pv_balloon b = pv_balloon();

	VERDICT_CHECK(b.inside == n, "after %s: %lu pages are in the balloon, not %lu", after,
	              b.inside, n);
}

/* --- mode=test ------------------------------------------------------------------------------------- */

static void refused(u32 command, u64 arg0, u64 arg1, u32 want)
{
	struct port_regs out;
	u32 status = pv_call(command, arg0, arg1, &out);

	VERDICT_CHECK(status == want, "call %u (0x%lx, 0x%lx) says %u, not %u", command, arg0, arg1,
	              status, want);
	VERDICT_CHECK(out.rbx == arg0 && out.rcx == arg1,
	              "call %u (0x%lx, 0x%lx) changed registers", command, arg0, arg1);
}

static void test_refusals(void)
{
	static const u32 ranged[] = {PV_GIVE, PV_RETURN, PV_REPORT_FREE};
	u64 top = mem_top() / PAGE_SIZE;

	for (unsigned i = 0; i < ARRAY_SIZE(ranged); i++) {
		refused(ranged[i], 0, 0, PV_RANGE);
		refused(ranged[i], 0x100, PV_PAGES_MAX + 1, PV_RANGE);
		refused(ranged[i], top, 1, PV_RANGE);
		refused(ranged[i], top - 1, 2, PV_RANGE);
		refused(ranged[i], 0xa0, 1, PV_RANGE); /* no RAM is there on a PC */
		refused(ranged[i], ~0ull, 1, PV_RANGE);
		refused(ranged[i], 0x100, ~0ull, PV_RANGE);
		refused(ranged[i], 1ull << 52, 1, PV_RANGE);
	}
	refused(PV_STATE, ~0ull, 0, PV_RANGE);
	refused(PV_STATE, 0, 1001, PV_RANGE);
	refused(99, 1, 2, PV_UNKNOWN);
	check(0, pages);
}

static void test_lending(void)
{
	u64 n = pages / 2, from = pages / 4, out = n / 8;
	struct pv_working_set ws;

	VERDICT_CHECK(pv_give(page_at(from), n) == n, "not all %lu pages came in", n);
	expect_inside("lending", n);
	ws = pv_working_set();
	VERDICT_CHECK(ws.none >= n, "%lu pages lent, %lu with nothing in them", n, ws.none);
	VERDICT_CHECK(pv_give(page_at(from), 1) == 0, "a page came in twice");
	check_zero(from, out);
	expect_inside("touching", n - out);
	VERDICT_CHECK(pv_return(page_at(from), n) == n - out, "others came out than were inside");
	expect_inside("taking back", 0);
	check_zero(from, n);
	check(0, from);
	check(from + n, pages - from - n);
	fill(from, n);
}

static void test_reporting(void)
{
	u64 n = pages / 2, had = pv_report_free(page_at(0), n);

	VERDICT_CHECK(had == n, "of %lu pages with something %lu were dropped", n, had);
	VERDICT_CHECK(!pv_report_free(page_at(0), n), "what was dropped is dropped again");
	check_zero(0, n);
	expect_inside("reporting", 0);
	check(n, pages - n);
	fill(0, n);
}

/* On pages of the second half: what is taken becomes zero, and nothing else changes. */
static void test_random(void)
{
	u64 half = pages / 2, calls = cmdline_u64("calls", 3000);
	struct rng rng = {rng_mix(77)};
	struct port_regs out;

	for (u64 i = 0; i < calls; i++) {
		u64 first = half + rng_below(&rng, pages - half);
		u64 n = rng_below(&rng, pages - first) % 40 + 1;
		u32 command = (u32)rng_below(&rng, 11);

		n = n > pages - first ? pages - first : n;
		(void)pv_call(command, (u64)page_at(first) / PAGE_SIZE, n, &out);
		if (i % 3 == 0)
			*(volatile u64 *)page_at(first) = i;
	}
	(void)pv_return(page_at(half), pages - half);
	expect_inside("random calls", 0);
	check(0, half);
}

static void run_test(void)
{
	fill(0, pages);
	test_refusals();
	test_lending();
	test_reporting();
	test_random();
	console_printf("balloon: %lu pages lent, returned, reported and checked\n", pages);
}

/* --- mode=follow ----------------------------------------------------------------------------------- */

static u64 cache, filled; /* pages; the cache comes first, and of it the first are lent */
static u64 lent, most, looks, refilled;

static void lend(u64 wanted)
{
	u64 least = wanted < cache ? wanted : cache, n = least < filled ? least : filled;

	if (n <= lent)
		return;
	(void)pv_give(page_at(lent), n - lent);
	lent = n;
	most = lent > most ? lent : most;
}

static void take_back(u64 wanted)
{
	if (wanted >= lent)
		return;
	(void)pv_return(page_at(wanted), lent - wanted);
	fill(wanted, lent - wanted);
	refilled += lent - wanted;
	lent = wanted;
}

static void look(void)
{
	u64 have = cache < filled ? cache : filled;
	struct pv_balloon b;

	pv_state(have - lent, 0);
	b = pv_balloon();
	looks++;
	VERDICT_CHECK(b.inside == lent, "%lu pages are lent, and %lu inside", lent, b.inside);
	lend(b.wanted);
	take_back(b.wanted);
}

static void run_follow(void)
{
	u64 end, poll = cmdline_u64("poll", 20), least = cmdline_u64("lent", 1);
	bool deaf = cmdline_flag("deaf");

	cache = pages * cmdline_u64("cache", 60) / 100;
	VERDICT_CHECK(cache <= pages, "argument cache= is a percentage");
	end = time_ns() + cmdline_u64("seconds", 5) * 1000000000;
	for (; filled < pages; filled++) {
		if (!deaf && filled % LOOK_PAGES == 0)
			look();
		fill(filled, 1);
	}
	while (time_ns() < end) {
		time_sleep_ms(poll);
		if (!deaf)
			look();
	}
	check(lent, pages - lent);
	console_printf("bench balloon lent_most=%lu lent_last=%lu looks=%lu refilled=%lu\n", most,
	               lent, looks, refilled);
	VERDICT_CHECK(deaf || most >= least, "%lu pages were lent at most, not %lu", most, least);
}

void guest_main(void)
{
	const char *mode = cmdline_text("mode");
	bool follow = mode && string_equal(mode, "follow");

	VERDICT_CHECK(!mode || follow || string_equal(mode, "test"),
	              "argument mode= is test or follow");
	VERDICT_CHECK(pv_init() >= mem_pages(), "it has less RAM than the memory map says");
	pattern_init(&pattern, 100, 0, 0);
	base = mem_largest_start();
	pages = mem_largest();
	if (follow)
		run_follow();
	else
		run_test();
}
