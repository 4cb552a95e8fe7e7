/*
 * max_memory: every CPU writes its own share of a guest that is larger than memory, again and again. After the
 * reference's max_guest_memory_test. Needs `experiments = yes`.
 *
 *   runs=N     times that all is written (default 2): run 1 populates
 *   zap        takes all translations away between runs (the reset of the reference's MMU context)
 *   duty=N     the hypervisor ages meanwhile, for N percent of the last CPU: in the runs from 2 on, in turn not at
 *              all, burning that time only, and aging
 *   fill=N     words written of each page, evenly spread (default 1)
 *   region=N   pages (default: the largest piece of memory)
 *
 *   bench max_memory run=N ns=N pages=N cpus=N faults=N evictions=N refaults=N direct=N rejected=N passes=N aging_ns=N
 *                    time of the slowest CPU; the rest: what happened to the VM meanwhile
 *   bench max_memory_beside run=N ...    with duty=, after each run: see guest-tests/lib/experiment.h
 *   bench max_memory reset ns=N pages=N
 *
 * What the run before wrote is checked by the word that is about to be written.
 */
#include "guest-tests/lib/guest.h"

static u64 *base;
static u64 pages, fill, run, duty;
static u64 took_ns[CPU_MAX];

static const u32 counters[] = {
        EXPERIMENT_FAULTS,   EXPERIMENT_EVICTIONS, EXPERIMENT_REFAULTS, EXPERIMENT_DIRECT_RECLAIMS,
        EXPERIMENT_REJECTED, EXPERIMENT_PASSES,    EXPERIMENT_AGING_NS,
};

static void write_page(u64 i)
{
	for (u64 w = 0; w < PAGE_WORDS; w += PAGE_WORDS / fill) {
		volatile u64 *word = base + i * PAGE_WORDS + w;
		u64 expected = run > 1 ? rng_mix(i + w) + run - 1 : 0, found = *word;

		VERDICT_CHECK(run == 1 || found == expected, "page %lu expected 0x%lx found 0x%lx",
		              i, expected, found);
		*word = rng_mix(i + w) + run;
	}
}

static void write_share(void *arg)
{
	u64 id = cpu_self()->id, start;

	(void)arg;
	smp_barrier();
	start = time_ns();
	for (u64 i = pages * id / smp_count(); i < pages * (id + 1) / smp_count(); i++)
		write_page(i);
	took_ns[id] = time_ns() - start;
}

static void measure_run(void)
{
	u64 before[ARRAY_SIZE(counters)], now[ARRAY_SIZE(counters)], slowest = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		before[i] = experiment_counter(counters[i]);
	if (duty)
		experiment_beside_begin(run > 1 ? (enum experiment_ager)((run - 2) % 3)
		                                : EXPERIMENT_ALONE,
		                        (unsigned)duty);
	smp_run(write_share, NULL);
	if (duty)
		experiment_beside_end("max_memory", run);
	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		now[i] = experiment_counter(counters[i]) - before[i];
	for (unsigned i = 0; i < smp_count(); i++)
		slowest = took_ns[i] > slowest ? took_ns[i] : slowest;
	console_printf("bench max_memory run=%lu ns=%lu pages=%lu cpus=%u faults=%lu evictions=%lu "
	               "refaults=%lu direct=%lu rejected=%lu passes=%lu aging_ns=%lu\n",
	               run, slowest, pages, smp_count(), now[0], now[1], now[2], now[3], now[4],
	               now[5], now[6]);
}

static void reset(void)
{
	u64 start = time_ns();

	experiment_zap_all();
	console_printf("bench max_memory reset ns=%lu pages=%lu\n", time_ns() - start, pages);
}

void guest_main(void)
{
	u64 runs;

	smp_start();
	experiment_init();
	base = mem_largest_start();
	pages = mem_largest();
	if (cmdline_u64("region", pages) < pages)
		pages = cmdline_u64("region", pages);
	fill = cmdline_u64("fill", 1);
	VERDICT_CHECK(fill && PAGE_WORDS % fill == 0, "argument fill= divides 512");
	duty = cmdline_u64("duty", 0);
	VERDICT_CHECK(duty <= 100, "argument duty= is at most 100");
	runs = cmdline_u64("runs", 2);
	for (run = 1; run <= runs; run++) {
		if (run > 1 && cmdline_flag("zap"))
			reset();
		measure_run();
	}
}
