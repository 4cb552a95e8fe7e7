/*
 * kv: a hash table with zipf-distributed gets and sets on all CPUs; values verify themselves.
 *
 *   keys=N        number of keys (default: as many as 90 percent of the memory hold)
 *   value=BYTES   size of a value, a multiple of 8 (default 256)
 *   noise=P       percent of a value that does not compress (default 30)
 *   zipf=T        exponent of the distribution, 0 is uniform (default 0.99)
 *   sets=P        percent of the operations that write (default 10; 0: gets only)
 *   absent=P      percent of the gets that ask for a key that is not there: misses (default 0)
 *   seconds=N     how long (default 5);   ops=N  ends after N operations of each CPU instead
 *   seed=N        another order of keys and operations (default 1)
 *   pages=4k      maps its memory with 4 KiB pages (default 2m)
 *   spoil=N       flips a bit of the entry at place N before the last check: must FAIL
 *
 * Prints operations per second and percentiles of their latency, and a table as the seeds have it, a line for sets,
 * gets and both:
 *
 *   bench kv type=sets|gets|totals ops=N ops_per_s=N hits_per_s=N misses_per_s=N avg_ns=N p50_ns=N p99_ns=N
 *            p99.9_ns=N max_ns=N kb_per_s=N cpus=N     KB: 1024 bytes of the values that were read or written
 *
 * At the end every key is verified, and the versions must add up to the sets that were made.
 */
#include "guest-tests/kv/hist.h"
#include "guest-tests/kv/table.h"
#include "guest-tests/lib/guest.h"
#include "guest-tests/lib/zipf.h"

static struct table table;
static struct zipf zipf;
static struct perm key_order; /* which key has which rank */
static u64 sets_percent, absent_percent, op_limit, duration_ns, seed;

enum type { GETS, SETS, TYPES };

/* Of each CPU; TSC ticks. */
static struct result {
	struct hist latency[TYPES];
	u64 misses;
} * results;

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

static void get(struct result *mine, u64 key, bool absent)
{
	if (!absent) {
		table_get(&table, key);
		return;
	}
	VERDICT_CHECK(!table_has(&table, table.keys + key), "key %lu is there", table.keys + key);
	mine->misses++;
}

static void operate(void *arg)
{
	unsigned id = cpu_self()->id;
	struct result *mine = &results[id];
	struct rng rng = {rng_mix(seed * CPU_MAX + id)};
	u64 end = time_ns() + duration_ns;

	(void)arg;
	for (u64 op = 0; op_limit ? op < op_limit : time_ns() < end; op++) {
		u64 key = perm_at(&key_order, zipf_next(&zipf, &rng));
		bool set = rng_below(&rng, 100) < sets_percent;
		bool absent = absent_percent && rng_below(&rng, 100) < absent_percent;
		u64 start = rdtsc();

		if (set)
			table_set(&table, key);
		else
			get(mine, key, absent);
		hist_add(&mine->latency[set ? SETS : GETS], rdtsc() - start);
	}
}

static void read_arguments(void)
{
	u64 value = cmdline_u64("value", 256), noise = cmdline_u64("noise", 30);
	u64 fit, theta = cmdline_micro("zipf", 990000);

	seed = cmdline_u64("seed", 1);
	sets_percent = cmdline_u64("sets", 10);
	absent_percent = cmdline_u64("absent", 0);
	op_limit = cmdline_u64("ops", 0);
	duration_ns = cmdline_u64("seconds", 5) * 1000000000;
	VERDICT_CHECK(value && value % 8 == 0, "argument value= is a multiple of 8");
	VERDICT_CHECK(noise <= 100 && sets_percent <= 100 && absent_percent <= 100,
	              "noise=, sets= and absent= are percentages");
	results = mem_alloc((smp_count() * sizeof(*results) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
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

static u64 quantile_ns(const struct hist *hist, u64 per_mille)
{
	return time_tsc_to_ns(hist_quantile(hist, per_mille));
}

static u64 per_second(u64 n, u64 ns)
{
	return n * 1000000 / (ns / 1000 + 1);
}

static void report_type(const char *name, const struct hist *hist, u64 misses, u64 ns)
{
	u64 ops = hist->count, hits = ops - misses;

	console_printf("bench kv type=%s ops=%lu ops_per_s=%lu hits_per_s=%lu misses_per_s=%lu "
	               "avg_ns=%lu p50_ns=%lu p99_ns=%lu p99.9_ns=%lu max_ns=%lu kb_per_s=%lu "
	               "cpus=%u\n",
	               name, ops, per_second(ops, ns), per_second(hits, ns), per_second(misses, ns),
	               ops ? time_tsc_to_ns(hist->sum / ops) : 0, quantile_ns(hist, 500),
	               quantile_ns(hist, 990), quantile_ns(hist, 999), quantile_ns(hist, 1000),
	               per_second(hits, ns) * table.value_words * 8 / 1024, smp_count());
}

static void report(u64 ns)
{
	struct hist *gets = &results[0].latency[GETS], *sets = &results[0].latency[SETS];
	u64 misses = 0, made;

	for (unsigned i = 0; i < smp_count(); i++) {
		misses += results[i].misses;
		if (i) {
			hist_merge(gets, &results[i].latency[GETS]);
			hist_merge(sets, &results[i].latency[SETS]);
		}
	}
	made = sets->count;
	report_type("sets", sets, 0, ns);
	report_type("gets", gets, misses, ns);
	hist_merge(gets, sets);
	report_type("totals", gets, misses, ns);
	console_printf("kv: ops=%lu sets=%lu ops_per_s=%lu p50_ns=%lu p99_ns=%lu p99.9_ns=%lu "
	               "max_ns=%lu\n",
	               gets->count, made, per_second(gets->count, ns), quantile_ns(gets, 500),
	               quantile_ns(gets, 990), quantile_ns(gets, 999), quantile_ns(gets, 1000));
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
	for (unsigned i = 0; i < smp_count(); i++)
		sets += results[i].latency[SETS].count;
	report(start);
	if (cmdline_text("spoil"))
		table.entries[cmdline_u64("spoil", 0) % table.keys * table.entry_bytes + 18] ^= 4;
	smp_run(check_part, NULL);
	VERDICT_CHECK(table_version_sum(&table) == sets, "versions add up to %lu, sets made: %lu",
	              table_version_sum(&table), sets);
}
