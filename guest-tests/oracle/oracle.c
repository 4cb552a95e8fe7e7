/*
 * oracle: touches a changing part of its pages and says which, for a comparison with what the hypervisor
 * believes (tools/oracle).
 *
 *   seconds=N     how long (default 10)
 *   interval=MS   length of an interval (default 500)
 *   hot=P         percent of pages that every interval touches over and over (default 12)
 *   warm=P        percent of which every interval touches another quarter (default 12)
 *   scan=P        percent that an interval reads once, the next ones in the next interval (default 6)
 *   phase=N       after so many intervals other pages are the hot and the warm ones (default 8; 0: never)
 *   seed=N        another choice (default 1)
 *   quiet         says nothing of it
 *
 * Lines, T being the guest's time in ns:
 *   bench oracle pages=N first=GFN bits=HEX    what is looked at: bit i of the number is page first + i
 *   bench oracle touched=I first=GFN bits=HEX  what interval I touched; lines of zeros are left out
 *   bench oracle end=I from=T to=T now=T       ... and that was all of it
 *
 * Of the touches of a page every other one writes. Each page counts its writes, and that is checked.
 */
#include "guest-tests/lib/guest.h"

#define PAGES_MAX 16384u /* a guest of 64 MiB */
#define LINE      256u   /* pages in a line */

struct sets {
	u64 hot, warm, scan; /* pages of each */
	u64 phase;
};

static u64 seen[PAGES_MAX / 64]; /* by page number of the address */
static u32 touches[PAGES_MAX];   /* by index */
static u64 page_count, seed, scan_at;
static bool quiet;

static u64 number_of(u64 i)
{
	u64 n = (u64)mem_page(i) / PAGE_SIZE;

	VERDICT_CHECK(n < PAGES_MAX, "page 0x%lx: at most 64 MiB", n);
	return n;
}

static u64 expected(u64 i)
{
	return rng_mix(seed + i) + touches[i] / 2;
}

static void touch(u64 i)
{
	volatile u64 *word = mem_page(i);
	u64 n = number_of(i), value = *word;

	VERDICT_CHECK(value == expected(i), "page 0x%lx: expected 0x%lx found 0x%lx", n,
	              expected(i), value);
	if (++touches[i] % 2 == 0)
		*word = expected(i);
	seen[n / 64] |= 1ull << n % 64;
}

static void fill(void)
{
	for (u64 i = 0; i < page_count; i++)
		*(volatile u64 *)mem_page(i) = expected(i);
}

/* As numbers of which bit 0 is the first page. */
static void print_bits(const char *what, u64 number, const u64 *bits)
{
	for (u64 at = 0; at < PAGES_MAX; at += LINE) {
		const u64 *b = &bits[at / 64];

		if (b[0] | b[1] | b[2] | b[3])
			console_printf(
			        "bench oracle %s=%lu first=%lu bits=%016lx%016lx%016lx%016lx\n",
			        what, number, at, b[3], b[2], b[1], b[0]);
	}
}

static void print_pages(void)
{
	for (u64 i = 0; i < page_count; i++) {
		u64 n = number_of(i);

		seen[n / 64] |= 1ull << n % 64;
	}
	print_bits("pages", page_count, seen);
}

/* Place p of the order in which pages get their roles in this phase. */
static u64 role(const struct perm *perm, u64 p)
{
	return perm_at(perm, p % page_count);
}

static void run_interval(const struct sets *s, u64 number, u64 end_ns)
{
	struct perm perm;

	perm_init(&perm, ORDER_RANDOM, page_count, 0, seed + (s->phase ? number / s->phase : 0));
	for (u64 n = 0; n < s->scan; n++, scan_at++)
		touch(scan_at % page_count);
	do {
		for (u64 p = 0; p < s->hot; p++)
			touch(role(&perm, p));
		for (u64 p = number % 4; p < s->warm; p += 4)
			touch(role(&perm, s->hot + p));
	} while (time_ns() < end_ns);
}

static void report(u64 number, u64 from, u64 to)
{
	if (quiet)
		return;
	print_bits("touched", number, seen);
	console_printf("bench oracle end=%lu from=%lu to=%lu now=%lu\n", number, from, to,
	               time_ns());
}

void guest_main(void)
{
	u64 length = cmdline_u64("interval", 500) * 1000000, end;
	struct sets s;

	page_count = mem_pages();
	seed = cmdline_u64("seed", 1);
	s = (struct sets){
	        .hot = page_count * cmdline_u64("hot", 12) / 100,
	        .warm = page_count * cmdline_u64("warm", 12) / 100,
	        .scan = page_count * cmdline_u64("scan", 6) / 100,
	        .phase = cmdline_u64("phase", 8),
	};
	VERDICT_CHECK(s.hot + s.warm <= page_count, "hot= and warm= are more than 100 percent");
	quiet = cmdline_flag("quiet");
	fill();
	if (!quiet)
		print_pages();
	end = time_ns() + cmdline_u64("seconds", 10) * 1000000000;
	for (u64 i = 0, from = time_ns(); from < end; i++) {
		u64 to;

		memset(seen, 0, sizeof(seen));
		run_interval(&s, i, from + length);
		to = time_ns();
		report(i, from, to);
		from = time_ns();
	}
	for (u64 i = 0; i < page_count; i++)
		touch(i);
	console_printf("oracle: %lu pages checked\n", page_count);
}
