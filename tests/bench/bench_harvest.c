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
static u64 seen[2]; /* what the floor and the notifier saw: must be the same */

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

/* The mask of a cache line first, by the cheapest way that is known here, then the entries in it. */
static __attribute__((noinline)) void floor_table(a64 *entry, u64 accessed, u64 *bitmap)
{
	const unsigned shift = (unsigned)__builtin_ctzll(accessed);

	for (unsigned line = 0; line < TABLE_PAGES / 8; line++, entry += 8) {
		u64 young = 0;

#pragma GCC unroll 8
		for (unsigned i = 8; i-- > 0;)
			young = young * 2 + (a64_load(&entry[i]) & accessed);
		young >>= shift;
		bitmap[line / 8] |= young << (line % 8 * 8);
		for (; young; young &= young - 1) {
			a64 *at = &entry[__builtin_ctzll(young)];
			u64 was = a64_load(at);

			(void)a64_cas(at, &was, was & ~accessed);
		}
	}
}

/* Of all that was seen, so that the two can be compared; cheap, for it is measured as well. */
static u64 checksum(const u64 *bitmap, u64 sum)
{
	for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
		sum = sum * 31 + bitmap[w];
	return sum;
}

/* ns for each entry of one turn over all tables. */
static double turn_floor(void)
{
	const u64 accessed = vm.tdp.format->accessed;
	u64 start = bench_now_ns(), bitmap[NOTIFIER_WORDS];

	for (unsigned t = 0; t < TABLES; t++) {
		memset(bitmap, 0, sizeof(bitmap));
		floor_table(table[t], accessed, bitmap);
		seen[0] = checksum(bitmap, seen[0]);
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
		seen[1] = checksum(bitmap, seen[1]);
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
	if (seen[0] != seen[1]) {
		fprintf(stderr, "the notifier did not see what the floor saw\n");
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
