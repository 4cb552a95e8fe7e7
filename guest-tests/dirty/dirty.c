/*
 * dirty: is what the dirty log says what was written? Every round each CPU writes a set of pages that was chosen by
 * lot, and reads the others; then the log is asked, and has to have exactly that set: nothing lost, nothing besides.
 * Pages are evicted and their translations taken away meanwhile. Needs `experiments = yes`.
 *
 *   mode=protect|bits|pml   how the log is kept (default protect)
 *   refused       the log must not be had: that is all
 *   rounds=N      (default 12)
 *   region=N      so many pages (default: the largest piece of memory)
 *
 *   bench dirty mode=N rounds=N pages=N cpus=N written=N down=N read_ns=N   pages written, of which the CPU logged so
 *                 many; mean time of a reading
 */
#include "guest-tests/lib/guest.h"

#define CHUNK 512u

static u64 *base;
static u64 pages, round, written_total;
static u8 *written; /* of each page: in this round */
static u64 *expected;

static u64 *page_at(u64 i)
{
	return base + i * PAGE_WORDS;
}

static u64 lot(u64 i)
{
	return rng_mix(round << 32 ^ i ^ 0xd1);
}

static void touch_own(void *arg)
{
	(void)arg;
	for (u64 i = cpu_self()->id; i < pages; i += smp_count()) {
		volatile u64 *word = page_at(i) + lot(i) % 512;

		if (written[i])
			*word = expected[i] = lot(i);
		else if (round)
			(void)*word;
	}
}

static void choose(void)
{
	u64 share = 2 + round % 5; /* every second page to every sixth */

	for (u64 i = 0; i < pages; i++) {
		written[i] = !round || (lot(i) >> 40) % share == 0;
		written_total += written[i];
	}
	/* Whole blocks without a write, and one that is full. */
	for (u64 i = 0; round && i < pages; i++)
		if (i / CHUNK % 4 == round % 4) {
			written_total -= written[i];
			written[i] = 0;
		}
}

static void check_chunk(u64 first)
{
	u64 n = pages - first < CHUNK ? pages - first : CHUNK, bitmap[EXPERIMENT_BITMAP_WORDS];

	experiment_dirty_read(page_at(first), n, bitmap);
	for (u64 i = 0; i < n; i++) {
		bool in_log = bitmap[i / 64] >> i % 64 & 1;

		VERDICT_CHECK(in_log == written[first + i],
		              "round %lu: page %lu was %swritten, and is %sin the log", round,
		              first + i, written[first + i] ? "" : "not ", in_log ? "" : "not ");
	}
}

static u64 check_log(void)
{
	u64 start = time_ns();

	for (u64 first = 0; first < pages; first += CHUNK)
		check_chunk(first);
	return time_ns() - start;
}

static u64 run_round(void)
{
	struct port_regs out;
	u64 ns;

	choose();
	smp_run(touch_own, NULL);
	switch (round % 4) {
	case 1:
		(void)experiment_call(EXPERIMENT_RECLAIM, 512, 0, &out);
		break;
	case 2:
		experiment_zap_all();
		break;
	case 3:
		(void)experiment_age(true);
		break;
	}
	ns = check_log();
	for (u64 i = 0; i < pages; i++)
		written[i] = 0;
	(void)check_log();
	return ns;
}

static u32 mode_of(const char *name)
{
	if (!name || string_equal(name, "protect"))
		return 1;
	VERDICT_CHECK(string_equal(name, "bits") || string_equal(name, "pml"),
	              "argument mode= is protect, bits or pml");
	return string_equal(name, "bits") ? 2 : 3;
}

void guest_main(void)
{
	u32 mode = mode_of(cmdline_text("mode"));
	u64 rounds = cmdline_u64("rounds", 12), ns = 0;

	smp_start();
	experiment_init();
	if (cmdline_flag("refused")) {
		VERDICT_CHECK(!experiment_dirty(mode), "there is a log");
		return;
	}
	pages = cmdline_u64("region", mem_largest() * 9 / 10);
	written = mem_alloc(pages / PAGE_SIZE + 1, 1);
	expected = mem_alloc(pages / PAGE_WORDS + 1, 1);
	base = mem_largest_start();
	VERDICT_CHECK(pages && pages <= mem_largest(), "argument region= is too much");
	choose();
	smp_run(touch_own, NULL); /* first touches, large mappings */
	VERDICT_CHECK(experiment_dirty(mode), "the log cannot be had");
	VERDICT_CHECK(!experiment_dirty(mode), "the log can be had twice");
	for (u64 i = 0; i < pages; i++)
		written[i] = 0;
	(void)check_log();
	for (round = 1; round <= rounds; round++)
		ns += run_round();
	VERDICT_CHECK(experiment_dirty(0), "the log cannot be switched off");
	for (u64 i = 0; i < pages; i++) {
		bool found = false;

		for (u64 w = 0; w < PAGE_WORDS; w++)
			found |= page_at(i)[w] == expected[i];
		VERDICT_CHECK(found, "page %lu has lost its last write", i);
	}
	console_printf("bench dirty mode=%u rounds=%lu pages=%lu cpus=%u written=%lu down=%lu "
	               "read_ns=%lu\n",
	               mode, rounds, pages, smp_count(), written_total,
	               experiment_counter(EXPERIMENT_WRITTEN_DOWN), ns / (rounds + 1));
}
