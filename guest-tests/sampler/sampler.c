/*
 * sampler: a hot and a cold part, and whether the region sampler tells them apart while the generations' ages stay
 * exact. Needs `experiments = yes`, `sampler = on`, and no other passes than those it asks for (aging = 3600s).
 *
 *   hot=N       pages that are touched all the time (default: a quarter)
 *   seconds=N   how long at most (default 20): the regions must be found by then
 *   flush       passes flush: of the touched pages all must be young (else nine of ten)
 *
 * Of the cold pages none may be young after a pass, ever. Each page keeps its number.
 *
 *   bench sampler hot_permille=N cold_permille=N reports=N regions=N ns=N   counts of the samples, when it was found
 */
#include "guest-tests/lib/guest.h"

#define ROUND_NS     300000000ull
#define ROUNDS_LEAST 5u  /* a scenario's timeline has its turn */
#define STEP         16u /* pages: one of so many is asked for its region */
#define HOT_LEAST    600u
#define COLD_MOST    50u

static u64 *base;
static u64 pages, hot, hot_at, percent;

static u64 *page_at(u64 i)
{
	return base + i * PAGE_WORDS;
}

static void touch_hot(u64 until_ns)
{
	do {
		for (u64 i = hot_at; i < hot_at + hot; i++)
			VERDICT_CHECK(*(volatile u64 *)page_at(i) == rng_mix(i),
			              "page %lu found 0x%lx", i, *page_at(i));
	} while (time_ns() < until_ns);
}

static void check_ages(void)
{
	struct experiment_ages warm, cold = {.youngest = 0};

	warm = experiment_ages_of(page_at(hot_at), hot);
	experiment_ages_add(base, hot_at, &cold);
	experiment_ages_add(page_at(hot_at + hot), pages - hot_at - hot, &cold);
	VERDICT_CHECK((warm.gen[0] + warm.gen[1]) * 100 >= hot * percent,
	              "of %lu touched pages only %lu are young", hot, warm.gen[0] + warm.gen[1]);
	VERDICT_CHECK(!cold.gen[0] && !cold.gen[1], "%lu pages are young, and were not touched",
	              cold.gen[0] + cold.gen[1]);
}

/* Mean count of a range, in thousandths; *none: a page was in no region. */
static u64 heat(u64 first, u64 n, struct experiment_heat *last, bool *none)
{
	u64 sum = 0, asked = 0;

	for (u64 i = first; i < first + n; i += STEP, asked++) {
		*none |= !experiment_heat_of(page_at(i), last);
		sum += last->accesses * 1000 / last->samples;
	}
	return asked ? sum / asked : 0;
}

static bool found(u64 start_ns)
{
	struct experiment_heat last = {.samples = 1};
	bool none = false;
	u64 warm = heat(hot_at, hot, &last, &none), cold = heat(0, hot_at, &last, &none);
	u64 behind = heat(hot_at + hot, pages - hot_at - hot, &last, &none);

	cold = behind > cold ? behind : cold;
	if (none || warm < HOT_LEAST || cold > COLD_MOST)
		return false;
	console_printf("bench sampler hot_permille=%lu cold_permille=%lu reports=%lu regions=%lu "
	               "ns=%lu\n",
	               warm, cold, last.reports, last.regions, time_ns() - start_ns);
	return true;
}

void guest_main(void)
{
	u64 start, end;
	bool done = false;

	experiment_init();
	base = mem_largest_start();
	pages = mem_largest();
	hot = cmdline_u64("hot", pages / 4);
	VERDICT_CHECK(hot && hot <= pages / 2, "argument hot= is 1 to %lu", pages / 2);
	hot_at = pages / 3;
	percent = cmdline_flag("flush") ? 100 : 90;
	for (u64 i = 0; i < pages; i++)
		*page_at(i) = rng_mix(i);
	for (unsigned i = 0; i < 3; i++) {
		touch_hot(0);
		(void)experiment_age(true);
	}
	start = time_ns();
	end = start + cmdline_u64("seconds", 20) * 1000000000;
	for (unsigned round = 0; (!done || round < ROUNDS_LEAST) && time_ns() < end; round++) {
		touch_hot(time_ns() + ROUND_NS);
		(void)experiment_age(true);
		check_ages();
		done = round + 1 >= ROUNDS_LEAST && found(start);
	}
	VERDICT_CHECK(done, "the sampler has not told %lu hot pages from %lu cold ones", hot,
	              pages - hot);
}
