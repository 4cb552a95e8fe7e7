/*
 * kv: a hash table with zipf-distributed gets and sets on all CPUs; values verify themselves.
 *
 *   keys=N        number of keys (default: as many as 90 percent of the memory hold)
 *   value=BYTES   size of a value, a multiple of 8 (default 256)
 *   noise=P       percent of a value that does not compress (default 30)
 *   zipf=T        exponent of the distribution, 0 is uniform (default 0.99)
 *   sets=P        percent of the operations that write (default 10)
 *   seconds=N     how long (default 5);   ops=N  ends after N operations of each CPU instead
 *   seed=N        another order of keys and operations (default 1)
 *   pages=4k      maps its memory with 4 KiB pages (default 2m)
 *   spoil=N       flips a bit of the entry at place N before the last check: must FAIL
 *
 * Prints operations per second and percentiles of their latency. At the end every key is verified,
 * and the versions must add up to the sets that were made.
 */
#include "guest-tests/kv/hist.h"
#include "guest-tests/kv/table.h"
#include "guest-tests/kv/zipf.h"
#include "guest-tests/lib/guest.h"

static struct table table;
static struct zipf zipf;
static struct perm key_order; /* which key has which rank */
static u64 sets_percent, op_limit, duration_ns, seed;
static struct hist latency[CPU_MAX]; /* TSC ticks */
static u64 sets_done[CPU_MAX];

static u64 part_start(unsigned part)
{
	return table.keys * part / smp_count();
}

static void insert_part(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	for (u64 key = part_start(id); key < part_start(id + 1); key++)
		table_insert(&table, key);
}

static void check_part(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	for (u64 key = part_start(id); key < part_start(id + 1); key++)
		table_get(&table, key);
}

static void operate(void *arg)
{
	unsigned id = cpu_self()->id;
	struct rng rng = {rng_mix(seed * CPU_MAX + id)};
	u64 end = time_ns() + duration_ns;

	(void)arg;
	for (u64 op = 0; op_limit ? op < op_limit : time_ns() < end; op++) {
		u64 key = perm_at(&key_order, zipf_next(&zipf, &rng));
		bool set = rng_below(&rng, 100) < sets_percent;
		u64 start = rdtsc();

		if (set)
			table_set(&table, key);
		else
			table_get(&table, key);
		hist_add(&latency[id], rdtsc() - start);
		sets_done[id] += set;
	}
}

static void read_arguments(void)
{
	u64 value = cmdline_u64("value", 256), noise = cmdline_u64("noise", 30);
	u64 fit, theta = cmdline_micro("zipf", 990000);

	seed = cmdline_u64("seed", 1);
	sets_percent = cmdline_u64("sets", 10);
	op_limit = cmdline_u64("ops", 0);
	duration_ns = cmdline_u64("seconds", 5) * 1000000000;
	VERDICT_CHECK(value && value % 8 == 0, "argument value= is a multiple of 8");
	VERDICT_CHECK(noise <= 100 && sets_percent <= 100, "noise= and sets= are percentages");
	VERDICT_CHECK(theta <= 4000000, "argument zipf= is at most 4");
	table.seed = seed;
	table.value_words = value / 8;
	table.noise_words = table.value_words * noise / 100;
	fit = mem_largest() * PAGE_SIZE / table_bytes_per_key(table.value_words);
	table.keys = cmdline_u64("keys", fit * 9 / 10);
	VERDICT_CHECK(table.keys && table.keys < 1 << 27, "%lu keys: 1 to 2^27 are possible",
	              table.keys);
	VERDICT_CHECK(table.keys <= fit * 99 / 100, "%lu keys do not fit in memory, %lu do",
	              table.keys, fit * 99 / 100);
	table_create(&table);
	zipf_init(&zipf, table.keys, theta);
	perm_init(&key_order, ORDER_RANDOM, table.keys, 1, seed + 7);
}

static u64 quantile_ns(u64 per_mille)
{
	return time_tsc_to_ns(hist_quantile(&latency[0], per_mille));
}

static void report(u64 ns, u64 sets)
{
	u64 ops = latency[0].count;

	console_printf("kv: ops=%lu sets=%lu ops_per_s=%lu p50_ns=%lu p99_ns=%lu p99.9_ns=%lu "
	               "max_ns=%lu\n",
	               ops, sets, ops * 1000000 / (ns / 1000 + 1), quantile_ns(500),
	               quantile_ns(990), quantile_ns(999), quantile_ns(1000));
}

void guest_main(void)
{
	u64 start, sets = 0;

	smp_start();
	read_arguments();
	console_printf("kv: keys=%lu value=%lu cpus=%u memory=%lu pages\n", table.keys,
	               table.value_words * 8, smp_count(),
	               table.keys * table_bytes_per_key(table.value_words) / PAGE_SIZE);
	smp_run(insert_part, NULL);
	start = time_ns();
	smp_run(operate, NULL);
	start = time_ns() - start;
	for (unsigned i = 0; i < smp_count(); i++) {
		sets += sets_done[i];
		if (i)
			hist_merge(&latency[0], &latency[i]);
	}
	report(start, sets);
	if (cmdline_text("spoil"))
		table.entries[cmdline_u64("spoil", 0) % table.keys * table.entry_bytes + 18] ^= 4;
	smp_run(check_part, NULL);
	VERDICT_CHECK(table_version_sum(&table) == sets, "versions add up to %lu, sets made: %lu",
	              table_version_sum(&table), sets);
}
