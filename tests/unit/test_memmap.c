/* boot/memmap: sorting, overlaps, cuts and bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "boot/memmap.h"
#include "tests/host/hal.h"

static struct memmap_output map;
static struct memmap_edge edges[MEMMAP_MAX_EDGES];

static void build_map(const struct region *region, u32 nr_regions, const struct region *cut,
                      u32 nr_cuts, u64 top)
{
	struct memmap_input in = {region, nr_regions, cut, nr_cuts, top};

	assert_true(memmap_build(&in, edges, &map));
}

static void assert_range(u32 i, u64 start, u64 end)
{
	assert_true(i < map.nr_ranges);
	assert_int_equal(map.range[i].start.v, start);
	assert_int_equal(map.range[i].end.v, end);
}

static void test_memmap_sorts_and_resolves(void **state)
{
	static const struct region region[] = {
	        {0x100000000, 0x180000000, REGION_RAM},
	        {0x400000, 0x500000, REGION_ACPI}, /* over RAM: it wins */
	        {0x100000, 0x800000, REGION_RAM},
	        {0x700000, 0x900000, REGION_RAM}, /* overlaps RAM */
	        {0, 0x9fc00, REGION_RAM},
	        {0x8ff800, 0x8ff900, REGION_RESERVED}, /* takes a whole page */
	};
	static const struct region cut[] = {
	        {0x100000, 0x201234, REGION_RESERVED},
	        {0x9000, 0xa001, REGION_RESERVED},
	        {0, 0x8000, REGION_RESERVED},
	};

	(void)state;
	build_map(region, ARRAY_SIZE(region), cut, ARRAY_SIZE(cut), 1ull << 47);
	assert_int_equal(map.nr_ranges, 3);
	assert_range(0, 0x202000, 0x400000);
	assert_range(1, 0x500000, 0x8ff000);
	assert_range(2, 0x100000000, 0x180000000);
	assert_int_equal(map.low_page, 8);
	assert_int_equal(map.nr_ram, 4);
	assert_int_equal(map.ram_bytes, 0x9f000 + 0x300000 + 0x3ff000 + 0x80000000ull);
	assert_int_equal(map.lost_bytes, 0);
}

static void test_memmap_bounds(void **state)
{
	static const struct region region[] = {
	        {0x100800, 0x102800, REGION_RAM},
	        {0x200100, 0x200f00, REGION_RAM}, /* no whole page */
	        {0x7ffffff000, UINT64_MAX, REGION_RAM},
	};

	(void)state;
	build_map(region, ARRAY_SIZE(region), NULL, 0, 0x8000000000);
	assert_int_equal(map.nr_ranges, 2);
	assert_range(0, 0x101000, 0x102000);
	assert_range(1, 0x7ffffff000, 0x8000000000);
	assert_int_equal(map.low_page, 0);
	build_map(region, 0, NULL, 0, 1ull << 47);
	assert_int_equal(map.nr_ranges, 0);
	build_map(region, 3, NULL, 0, 0x1000);
	assert_int_equal(map.nr_ranges, 0);
}

static void test_memmap_keeps_the_biggest(void **state)
{
	static struct region region[BOOT_MAX_RANGES + 2];

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(region); i++)
		region[i] = (struct region){
		        0x100000 + i * 0x100000ull,
		        0x100000 + i * 0x100000ull + (i == 5 ? 0x1000ull : 0x4000ull), REGION_RAM};
	region[7].end = region[7].start + 0x2000;
	build_map(region, ARRAY_SIZE(region), NULL, 0, 1ull << 47);
	assert_int_equal(map.nr_ranges, BOOT_MAX_RANGES);
	assert_int_equal(map.lost_bytes, 0x3000);
	for (u32 i = 0; i < map.nr_ranges; i++) {
		assert_int_equal(map.range[i].end.v - map.range[i].start.v, 0x4000);
		assert_true(!i || map.range[i].start.v > map.range[i - 1].start.v);
	}
	assert_false(memmap_build(&(struct memmap_input){.nr_regions = RAW_MAX_REGIONS + 1}, edges,
	                          &map));
}

#define ORACLE_PAGES 400u
#define ORACLE_FIRST 0xe0u /* so that the first MiB ends within */

/* Random entries against a map that remembers every byte of every page (here: every 256th). */
static void test_memmap_random(void **state)
{
	static u8 ram[ORACLE_PAGES], other[ORACLE_PAGES];
	struct region region[12];
	u64 seed = 42;

	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		u32 n = 1 + (u32)(host_random(&seed) % 12), cuts = n / 3;
		u32 page = 0;

		memset(ram, 0, sizeof(ram));
		memset(other, 0, sizeof(other));
		for (u32 i = 0; i < n; i++) {
			u64 start = host_random(&seed) % (ORACLE_PAGES * 16);
			u64 end = start + host_random(&seed) % (ORACLE_PAGES * 16 - start + 1);
			bool is_ram = i >= cuts && host_random(&seed) % 3;

			region[i] = (struct region){(ORACLE_FIRST << 12) + start * 256,
			                            (ORACLE_FIRST << 12) + end * 256,
			                            is_ram ? REGION_RAM : REGION_RESERVED};
			for (u64 p = 0; p < ORACLE_PAGES; p++) {
				ram[p] |= is_ram && start <= p * 16 && end >= p * 16 + 16;
				other[p] |= !is_ram && start < end && start < p * 16 + 16 &&
				            end > p * 16;
			}
		}
		build_map(region + cuts, n - cuts, region, cuts, 1ull << 47);
		for (u32 i = 0; i < map.nr_ranges; i++)
			assert_true(map.range[i].start.v < map.range[i].end.v);
		for (u64 p = 0x100 - ORACLE_FIRST; p < ORACLE_PAGES; p++) {
			u64 at = (ORACLE_FIRST + p) << 12;

			while (page < map.nr_ranges && map.range[page].end.v <= at)
				page++;
			assert_int_equal(page < map.nr_ranges && map.range[page].start.v <= at,
			                 ram[p] && !other[p]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_memmap_sorts_and_resolves),
	        cmocka_unit_test(test_memmap_bounds),
	        cmocka_unit_test(test_memmap_keeps_the_biggest),
	        cmocka_unit_test(test_memmap_random),
	};

	return cmocka_run_group_tests_name("memmap", tests, NULL, NULL);
}
