/*
 * What harvesting costs, against what it cannot cost less than: the floor reads the same 512 entries and
 * does a compare-exchange where one is young, with nothing around it. Both give the same bitmap. The two
 * take turns on the same tables with the same entries young, and change who is first.
 */
#include "tests/bench/bench.h"

#include <pthread.h>
#include <string.h>

#include "mm/age.h"
#include "mm/notifier.h"
#include "mm/store.h"

#define TABLES 64u
#define PAGES  (TABLES * TABLE_PAGES)
#define ROUNDS 401u

static struct host_vm vm;
static a64 *table[TABLES];
static u64 young_seen[2]; /* by the floor and by the notifier: must be the same in the end */

/* Makes the share of all entries young that is asked for, the same ones for the same seed. */
static void make_young(unsigned percent, u64 seed)
{
	const u64 accessed = vm.tdp.format->accessed;

	for (unsigned t = 0; t < TABLES; t++) {
		for (unsigned i = 0; i < TABLE_PAGES; i++) {
			bool young = host_random(&seed) % 100 < percent;
			u64 entry = a64_load(&table[t][i]) & ~accessed;

			a64_store(&table[t][i], entry | (young ? accessed : 0));
		}
	}
}

static __attribute__((noinline)) void floor_table(a64 *entry, u64 accessed, u64 *bitmap)
{
	for (unsigned line = 0; line < TABLE_PAGES / 8; line++, entry += 8) {
		u64 young = 0;

#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++)
			young |= (u64)((a64_load(&entry[i]) & accessed) != 0) << i;
		bitmap[line / 8] |= young << (line % 8 * 8);
		for (; young; young &= young - 1) {
			a64 *at = &entry[__builtin_ctzll(young)];
			u64 seen = a64_load(at);

			(void)a64_cas(at, &seen, seen & ~accessed);
		}
	}
}

static u64 count_bits(const u64 *bitmap)
{
	u64 n = 0;

	for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
		n += (u64)__builtin_popcountll(bitmap[w]);
	return n;
}

/* ns for each entry of one turn over all tables. */
static double turn_floor(void)
{
	const u64 accessed = vm.tdp.format->accessed;
	u64 start = bench_now_ns(), bitmap[NOTIFIER_WORDS];

	for (unsigned t = 0; t < TABLES; t++) {
		memset(bitmap, 0, sizeof(bitmap));
		floor_table(table[t], accessed, bitmap);
		young_seen[0] += count_bits(bitmap);
	}
	return (double)(bench_now_ns() - start) / PAGES;
}

static double turn_notifier(void)
{
	u64 start = bench_now_ns(), bitmap[NOTIFIER_WORDS], visited = 0;

	for (unsigned t = 0; t < TABLES; t++) {
		memset(bitmap, 0xff, sizeof(bitmap));
		(void)notifier_age(vm.space, gfn(t * TABLE_PAGES), TABLE_PAGES, bitmap,
		                   NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, &visited);
		young_seen[1] += count_bits(bitmap);
	}
	return (double)(bench_now_ns() - start) / PAGES;
}

static void harvest(unsigned percent)
{
	static double ratio[ROUNDS], per_entry[2][ROUNDS];
	char name[64];

	for (unsigned r = 0; r < ROUNDS; r++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			unsigned who = (r + turn) % 2;

			make_young(percent, r + 1);
			per_entry[who][r] = who ? turn_notifier() : turn_floor();
		}
		ratio[r] = per_entry[1][r] / per_entry[0][r];
	}
	if (young_seen[0] != young_seen[1]) {
		fprintf(stderr, "the floor saw %llu young, the notifier %llu\n",
		        (unsigned long long)young_seen[0], (unsigned long long)young_seen[1]);
		exit(1);
	}
	snprintf(name, sizeof(name), "floor-%u", percent);
	bench_report(name, "ns", per_entry[0], ROUNDS);
	snprintf(name, sizeof(name), "harvest-%u", percent);
	bench_report(name, "ns", per_entry[1], ROUNDS);
	snprintf(name, sizeof(name), "harvest/floor-%u", percent);
	bench_report(name, "ratio", ratio, ROUNDS);
}

int main(int argc, char **argv)
{
	static const unsigned percent[] = {0, 10, 50, 100};
	unsigned which = argc > 1 ? (unsigned)atoi(argv[1]) % HOST_MACHINES : 2;

	bench_pin(0);
	host_frames_create(PAGES + PAGES / 8);
	if (!store_init())
		return 1;
	host_vm_create(&vm, &host_machines[which], PAGES, 1);
	bench_populate(&vm, PAGES);
	for (unsigned t = 0; t < TABLES; t++)
		table[t] = bench_table(&vm, t * TABLE_PAGES);
	for (unsigned i = 0; i < ARRAY_SIZE(percent); i++)
		harvest(percent[i]);
	return 0;
}
