/*
 * touch: all CPUs write and re-read all free memory, every word a function of address and round.
 *
 *   rounds=N      ends after N rounds (0, the default: only `seconds` counts)
 *   seconds=N     ends after N seconds, also in the middle of a round (default 5; 0: only `rounds`)
 *   noise=P       percent of each page that does not compress (default 0); share=P is the same
 *   zero=P same=P percent of pages all zero, or one word throughout (default 0)
 *   pattern=W     seq, stride, random, or mix: one after the other by round (default mix)
 *   stride=N      pages between successive pages with stride (default 17)
 *   seed=N        other contents, another random order (default 1)
 *   pages=4k      maps its memory with 4 KiB pages (default 2m)
 *   spoil=N       flips a bit of page N before the last check: must FAIL
 *
 * A round: every CPU takes its part of the round's order of pages, checks what the round before
 * left in each page and writes the new contents; then all wait for each other, and every CPU
 * re-reads the part of its neighbour. At the end everything is checked once more. When time runs
 * out within a round, each CPU's place in the order says which pages hold which round.
 */
#include "guest-tests/lib/guest.h"

struct tally {
	u64 pages, ns;
};

static const char *const order_names[ORDER_COUNT] = {"seq", "stride", "random"};

static struct pattern pattern;
static struct tally tally[ORDER_COUNT];
static enum order only = ORDER_COUNT; /* ORDER_COUNT: all in turn */
static u64 page_count, rounds, end_ns, stride, seed;
static u32 stop;
static u64 progress[CPU_MAX]; /* pages of its part that each CPU has written in the last round */

static void order_of(u64 round, struct perm *perm)
{
	enum order order = only == ORDER_COUNT ? (enum order)(round % ORDER_COUNT) : only;

	perm_init(perm, order, page_count, stride, seed + round);
}

static u64 part_start(unsigned part)
{
	return page_count * part / smp_count();
}

static bool time_is_up(void)
{
	if (end_ns && time_ns() >= end_ns)
		__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void write_part(const struct perm *perm, u64 round)
{
	unsigned id = cpu_self()->id;
	u64 start = part_start(id), n = part_start(id + 1) - start, i;

	for (i = 0; i < n && !time_is_up(); i++) {
		u64 *page = mem_page(perm_at(perm, start + i));

		if (round > 1)
			pattern_check(&pattern, page, round - 1);
		pattern_fill(&pattern, page, round);
	}
	progress[id] = i;
}

/* The part's pages hold `round` up to the writer's progress, the round before behind it. */
static void check_part(const struct perm *perm, unsigned part, u64 round)
{
	u64 start = part_start(part), n = part_start(part + 1) - start;

	for (u64 i = 0; i < n; i++) {
		u64 holds = i < progress[part] ? round : round - 1;

		if (holds)
			pattern_check(&pattern, mem_page(perm_at(perm, start + i)), holds);
	}
}

static void count(enum order order, u64 pages, u64 since)
{
	if (cpu_self()->id)
		return;
	tally[order].pages += pages;
	tally[order].ns += time_ns() - since;
}

static u64 written(void)
{
	u64 sum = 0;

	for (unsigned i = 0; i < smp_count(); i++)
		sum += progress[i];
	return sum;
}

static void run_round(u64 round)
{
	unsigned id = cpu_self()->id;
	struct perm perm;
	u64 since = time_ns();

	order_of(round, &perm);
	write_part(&perm, round);
	smp_barrier();
	count(perm.order, written(), since);
	/* Nobody sets `stop` here, so all see the same; the last check does this part's work as well. */
	if (__atomic_load_n(&stop, __ATOMIC_RELAXED))
		return;
	since = time_ns();
	check_part(&perm, (id + 1) % smp_count(), round);
	smp_barrier();
	count(perm.order, page_count, since);
}

static u64 last_round;

static void work(void *arg)
{
	u64 round = 0;

	(void)arg;
	do {
		run_round(++round);
		/* `stop` may be set by a faster CPU in the next round: decide together, on one. */
		if (!cpu_self()->id)
			last_round = round == rounds || time_is_up() ? round : 0;
		smp_barrier();
	} while (!__atomic_load_n(&last_round, __ATOMIC_RELAXED));
}

/* Everything, each CPU what its neighbour wrote. */
static void check_all(void *arg)
{
	struct perm perm;

	(void)arg;
	order_of(last_round, &perm);
	check_part(&perm, (cpu_self()->id + 1) % smp_count(), last_round);
}

static void read_arguments(void)
{
	const char *name;
	u64 seconds = cmdline_u64("seconds", cmdline_u64("rounds", 0) ? 0 : 5);

	rounds = cmdline_u64("rounds", 0);
	VERDICT_CHECK(rounds || seconds, "rounds= and seconds= are both 0");
	stride = cmdline_u64("stride", 17);
	seed = cmdline_u64("seed", 1);
	pattern_init(&pattern, 0, 0, 0);
	name = cmdline_text("pattern");
	if (name && !string_equal(name, "mix")) {
		for (only = 0; only < ORDER_COUNT && !string_equal(name, order_names[only]); only++)
			;
		VERDICT_CHECK(only < ORDER_COUNT,
		              "argument pattern= is seq, stride, random or mix");
	}
	end_ns = seconds ? time_ns() + seconds * 1000000000 : 0;
}

void guest_main(void)
{
	smp_start();
	page_count = mem_pages();
	read_arguments();
	console_printf("touch: %lu pages, %u cpus, noise %u of 512 words\n", page_count,
	               smp_count(), pattern.noise_words);
	smp_run(work, NULL);
	if (cmdline_text("spoil"))
		mem_page(cmdline_u64("spoil", 0))[77] ^= 1ull << 33;
	smp_run(check_all, NULL);
	for (unsigned i = 0; i < ORDER_COUNT; i++)
		if (tally[i].ns)
			console_printf("touch: %s pages=%lu pages_per_s=%lu\n", order_names[i],
			               tally[i].pages,
			               tally[i].pages * 1000000 / (tally[i].ns / 1000));
	console_printf("touch: rounds=%lu complete=%s\n", last_round,
	               written() == page_count ? "yes" : "no");
}
