/*
 * bench: costs in TSC ticks (instructions, on QEMU with -icount shift=0).
 *
 *   what=W        cpuid   one CPUID exit, there and back
 *                 fault   first touch of a page: one word is written to a page never used before
 *                 touch   second touch of such pages: the same loop where nothing faults
 *                 all     the three in turn (default)
 *   count=N       how many (default 10000, at most the free pages for fault and touch)
 *
 * Prints `bench NAME value=... unit=tsc n=... min= median= max=`: value is the mean of a loop without
 * clock reading (cpuid) or of the single times; the others are of single times, from which the cost
 * of an empty measurement has been subtracted. CPU 0 only.
 */
#include "guest-tests/lib/guest.h"

static u64 *samples;
static u64 count, overhead;

static void sort(u64 *v, u64 n)
{
	for (u64 gap = n / 2; gap; gap = gap == 2 ? 1 : gap * 5 / 11)
		for (u64 i = gap; i < n; i++) {
			u64 x = v[i], k = i;

			for (; k >= gap && v[k - gap] > x; k -= gap)
				v[k] = v[k - gap];
			v[k] = x;
		}
}

/* LFENCE keeps earlier and later instructions out of the measurement (SDM vol. 2, RDTSC). */
static inline u64 now(void)
{
	u64 tsc;

	__asm__ volatile("lfence" : : : "memory");
	tsc = rdtsc();
	__asm__ volatile("lfence" : : : "memory");
	return tsc;
}

static void keep(u64 i, u64 took)
{
	samples[i] = took > overhead ? took - overhead : 0;
}

static void report(const char *name, u64 mean)
{
	sort(samples, count);
	console_printf("bench %s value=%lu unit=tsc n=%lu min=%lu median=%lu max=%lu\n", name, mean,
	               count, samples[0], samples[count / 2], samples[count - 1]);
}

static u64 mean(void)
{
	u64 sum = 0;

	for (u64 i = 0; i < count; i++)
		sum += samples[i];
	return sum / count;
}

static void measure_overhead(void)
{
	for (u64 i = 0; i < count; i++) {
		u64 start = now();

		samples[i] = now() - start;
	}
	sort(samples, count);
	overhead = samples[count / 2];
}

static void bench_cpuid(void)
{
	u64 start = now(), took;

	for (u64 i = 0; i < count; i++)
		__asm__ volatile("cpuid" : : "a"(0), "c"(0) : "ebx", "edx", "memory");
	took = now() - start;
	for (u64 i = 0; i < count; i++) {
		start = now();
		(void)cpuid(0, 0);
		keep(i, now() - start);
	}
	report("cpuid", took / count);
}

static void write_pages(const char *name, u64 *page)
{
	for (u64 i = 0; i < count; i++, page += PAGE_WORDS) {
		u64 start = now();

		*(volatile u64 *)page = i + 1;
		keep(i, now() - start);
	}
	report(name, mean());
}

static void verify(const u64 *page)
{
	for (u64 i = 0; i < count; i++, page += PAGE_WORDS)
		VERDICT_CHECK(*page == i + 1,
		              "wrong word at 0x%lx expected 0x%lx found 0x%lx cpu 0 round 1",
		              (u64)page, i + 1, *page);
}

/* mem_alloc() would clear the pages, which is a first touch: they are taken as they are. */
static u64 *fresh_pages(void)
{
	u64 first = 0;

	for (u64 i = 1; i < mem_pages(); i++) {
		if (mem_page(i) != mem_page(i - 1) + PAGE_WORDS)
			first = i;
		if (i - first + 1 == count)
			return mem_page(first);
	}
	verdict_fail("no %lu free pages in a row", count);
}

void guest_main(void)
{
	const char *what = cmdline_text("what");
	bool all = !what || string_equal(what, "all");
	bool fault = all || string_equal(what, "fault"), touch = all || string_equal(what, "touch");
	bool exits = all || string_equal(what, "cpuid");

	VERDICT_CHECK(exits || fault || touch, "argument what= is cpuid, fault, touch or all");
	count = cmdline_u64("count", 10000);
	VERDICT_CHECK(count && count < 1 << 24, "argument count= is out of range");
	samples = mem_alloc((count * sizeof(u64) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	if (mem_largest() < count && (fault || touch))
		count = mem_largest();
	cpu_cli();
	measure_overhead();
	if (exits)
		bench_cpuid();
	if (fault || touch) {
		u64 *pages = fresh_pages();

		for (u64 i = 0; touch && !fault && i < count; i++)
			*(volatile u64 *)(pages + i * PAGE_WORDS) = 0;
		if (fault)
			write_pages("fault", pages);
		if (touch)
			write_pages("touch", pages);
		verify(pages);
	}
}
