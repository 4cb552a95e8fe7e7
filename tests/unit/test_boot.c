/*
 * boot/: what is made of the boot loader's and the firmware's tables, whole, cut short and spoiled.
 * Every piece of memory a parser asks for is given to it as a copy of exactly that size, so that the
 * sanitizer sees a read that goes further.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "boot/acpi.h"
#include "boot/memmap.h"
#include "boot/multiboot1.h"
#include "boot/multiboot2.h"
#include "boot/raw.h"
#include "tests/host/hal.h"

#define BASE  0x10000ull
#define BYTES 0x8000u

/* A window of physical memory, BASE to BASE + limit. */
static u8 memory[BYTES];
static u64 limit;
static void *copies[20000];
static size_t nr_copies;

static struct boot_raw raw;
static struct acpi_info acpi;
static struct memmap_output map;
static struct memmap_edge edges[MEMMAP_MAX_EDGES];

static const u8 *window_at(void *ctx, u64 addr, u64 bytes)
{
	void *copy;

	(void)ctx;
	if (addr < BASE || addr - BASE > limit || bytes > limit - (addr - BASE))
		return NULL;
	assert_true(nr_copies < ARRAY_SIZE(copies));
	copy = malloc(bytes);
	assert_non_null(copy);
	memcpy(copy, memory + (addr - BASE), bytes);
	copies[nr_copies++] = copy;
	return copy;
}

static const struct bootmem window = {.at = window_at};

static void forget_copies(void)
{
	while (nr_copies)
		free(copies[--nr_copies]);
}

static int teardown(void **state)
{
	(void)state;
	forget_copies();
	return 0;
}

static void clear(void)
{
	forget_copies();
	memset(memory, 0, sizeof(memory));
	limit = BYTES;
}

static void put32(u32 at, u64 v)
{
	u32 w = (u32)v;

	memcpy(memory + at, &w, 4);
}

static void put64(u32 at, u64 v)
{
	memcpy(memory + at, &v, 8);
}

static void put_text(u32 at, const char *text)
{
	memcpy(memory + at, text, strlen(text) + 1);
}

/* --- Multiboot 1 --------------------------------------------------------------------------------- */

#define MB1_MMAP    0x200u
#define MB1_MODS    0x300u
#define MB1_STRINGS 0x400u

static u32 mb1_map_entry(u32 at, u64 base, u64 length, u32 type)
{
	put32(at, 20);
	put64(at + 4, base);
	put64(at + 12, length);
	put32(at + 20, type);
	return at + 24;
}

static void mb1_build(void)
{
	u32 at = MB1_MMAP;

	clear();
	put32(0, 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
	put32(4, 639);
	put32(8, 65536);
	put32(16, BASE + MB1_STRINGS);
	put32(20, 2);
	put32(24, BASE + MB1_MODS);
	at = mb1_map_entry(at, 0, 0x9fc00, 1);
	at = mb1_map_entry(at, 0x100000, 0x7f00000, 1);
	at = mb1_map_entry(at, 0x100000000, 0x40000000, 1);
	put32(44, at - MB1_MMAP);
	put32(48, BASE + MB1_MMAP);
	put32(64, BASE + MB1_STRINGS + 0x40);
	put_text(MB1_STRINGS, "kernel console=e9 x");
	put_text(MB1_STRINGS + 0x40, "a loader");
	put_text(MB1_STRINGS + 0x60, "demo.cfg");
	put_text(MB1_STRINGS + 0x80, "kv.elf keys=20");
	put32(MB1_MODS, BASE + 0x1000);
	put32(MB1_MODS + 4, BASE + 0x1800);
	put32(MB1_MODS + 8, BASE + MB1_STRINGS + 0x60);
	put32(MB1_MODS + 16, BASE + 0x2000);
	put32(MB1_MODS + 20, BASE + 0x2345);
	put32(MB1_MODS + 24, BASE + MB1_STRINGS + 0x80);
}

static bool is_cut(u64 start, u64 end)
{
	for (u32 i = 0; i < raw.nr_cuts; i++)
		if (raw.cut[i].start <= start && raw.cut[i].end >= end)
			return true;
	return false;
}

static void assert_mb1(const char *words)
{
	const char *error = multiboot1_parse(&window, BASE, &raw);

	forget_copies();
	if (!words) {
		if (error)
			fail_msg("refused: %s", error);
		return;
	}
	if (!error)
		fail_msg("accepted, though: %s", words);
	if (!strstr(error, words))
		fail_msg("'%s' does not say '%s'", error, words);
}

static void test_multiboot1_whole(void **state)
{
	(void)state;
	mb1_build();
	assert_mb1(NULL);
	assert_false(raw.multiboot2);
	assert_string_equal(raw.cmdline, "kernel console=e9 x");
	assert_string_equal(raw.loader, "a loader");
	assert_int_equal(raw.nr_regions, 3);
	assert_int_equal(raw.region[0].end, 0x9fc00);
	assert_int_equal(raw.region[2].start, 0x100000000);
	assert_int_equal(raw.region[2].end, 0x140000000);
	assert_int_equal(raw.nr_modules, 2);
	assert_int_equal(raw.module[1].start, BASE + 0x2000);
	assert_int_equal(raw.module[1].end, BASE + 0x2345);
	assert_int_equal(raw.module[1].args, BASE + MB1_STRINGS + 0x80);
	assert_true(is_cut(BASE + 0x1000, BASE + 0x1800));
	assert_true(is_cut(BASE + MB1_STRINGS + 0x80, BASE + MB1_STRINGS + 0x8f));
	assert_true(is_cut(BASE, BASE + 116));
	assert_true(is_cut(BASE + MB1_MODS, BASE + MB1_MODS + 32));
	assert_null(raw.warning);
}

static void test_multiboot1_cut_short(void **state)
{
	(void)state;
	mb1_build();
	/* All that is referred to ends with the second module. */
	for (limit = 0; limit < 0x2345; limit += limit < 0x600 ? 1 : 97)
		if (!multiboot1_parse(&window, BASE, &raw))
			fail_msg("accepted with %u bytes", (unsigned)limit);
		else
			forget_copies();
	limit = 0x2345;
	assert_mb1(NULL);
}

static void test_multiboot1_bad_memory_map(void **state)
{
	(void)state;
	mb1_build();
	put32(MB1_MMAP, 0); /* would never end */
	assert_mb1("impossible size");
	mb1_build();
	put32(MB1_MMAP, 0xfffffffc);
	assert_mb1("impossible size");
	mb1_build();
	put32(MB1_MMAP, 44); /* reaches over the second entry */
	assert_mb1(NULL);
	assert_int_equal(raw.nr_regions, 2);
	mb1_build();
	put32(48, 0xfffffff0);
	assert_mb1("cannot be read");
	mb1_build();
	put32(44, 0);
	assert_mb1("empty");
	mb1_build();
	put32(44, 24);
	put64(MB1_MMAP + 12, 0);
	assert_mb1("empty");
	mb1_build();
	put64(MB1_MMAP + 12, UINT64_MAX); /* runs over the end of everything */
	assert_mb1(NULL);
	assert_int_equal(raw.region[0].end, UINT64_MAX);
	mb1_build();
	put64(MB1_MMAP + 12, 0);
	assert_mb1(NULL);
	assert_int_equal(raw.nr_regions, 2);
}

static void test_multiboot1_map_too_long(void **state)
{
	u32 at = 0x3000;

	(void)state;
	mb1_build();
	for (u32 i = 0; i < RAW_MAX_REGIONS; i++)
		at = mb1_map_entry(at, i * 0x100000ull, 0x1000, 1);
	put32(48, BASE + 0x3000);
	put32(44, at - 0x3000);
	assert_mb1(NULL);
	assert_int_equal(raw.nr_regions, RAW_MAX_REGIONS);
	at = mb1_map_entry(at, 0x80000000, 0x1000, 1);
	put32(44, at - 0x3000);
	assert_mb1("more entries");
}

static void test_multiboot1_sizes_only(void **state)
{
	(void)state;
	mb1_build();
	put32(0, 1);
	assert_mb1(NULL);
	assert_non_null(raw.warning);
	assert_int_equal(raw.nr_regions, 2);
	assert_int_equal(raw.region[0].end, 639 << 10);
	assert_int_equal(raw.region[1].end, (1 << 20) + (65536 << 10));
	put32(0, 4);
	assert_mb1("nothing about memory");
}

static void test_multiboot1_bad_modules(void **state)
{
	(void)state;
	mb1_build();
	put32(MB1_MODS + 4, BASE + 0xfff);
	assert_mb1("ends before");
	mb1_build();
	put32(MB1_MODS + 4, 0xfffff000);
	assert_mb1("cannot be read");
	mb1_build();
	put32(20, 0xffffffff);
	assert_mb1("boot module");
	mb1_build();
	put32(24, 0xffffff00);
	assert_mb1("cannot be read");
	mb1_build();
	memset(memory + MB1_STRINGS + 0x60, 'a', BOOT_CMDLINE_MAX);
	assert_mb1("no end");
	mb1_build();
	put32(MB1_MODS + 8, 0); /* no string is allowed */
	assert_mb1(NULL);
	assert_int_equal(raw.module[0].args, 0);
}

static void test_multiboot1_long_command_line(void **state)
{
	(void)state;
	mb1_build();
	memset(memory + 0x5000, 'a', BOOT_CMDLINE_MAX - 1);
	put32(16, BASE + 0x5000);
	assert_mb1(NULL);
	assert_int_equal(strlen(raw.cmdline), BOOT_CMDLINE_MAX - 1);
	memory[0x5000 + BOOT_CMDLINE_MAX - 1] = 'a';
	assert_mb1("command line");
}

/* --- Multiboot 2 --------------------------------------------------------------------------------- */

static u32 mb2_end;

static u32 mb2_tag(u32 type, u32 bytes)
{
	u32 at = mb2_end;

	put32(at, type);
	put32(at + 4, bytes);
	mb2_end = align_up(at + bytes, 8u);
	return at;
}

static void mb2_text(u32 type, const char *text)
{
	put_text(mb2_tag(type, 8 + (u32)strlen(text) + 1) + 8, text);
}

static void mb2_module(u32 start, u32 end, const char *text)
{
	u32 at = mb2_tag(3, 16 + (u32)strlen(text) + 1);

	put32(at + 8, start);
	put32(at + 12, end);
	put_text(at + 16, text);
}

static void mb2_begin(void)
{
	clear();
	mb2_end = 8;
}

static void mb2_finish(void)
{
	mb2_tag(0, 8);
	put32(0, mb2_end);
}

static void mb2_map(u32 entry)
{
	u32 at = mb2_tag(6, 16 + 2 * entry);

	put32(at + 8, entry);
	put64(at + 16, 0x100000);
	put64(at + 24, 0x700000);
	put32(at + 32, 1);
	put64(at + 16 + entry, 0x806000);
	put64(at + 24 + entry, 0x2000);
	put32(at + 32 + entry, 4);
}

static void mb2_build(void)
{
	mb2_begin();
	mb2_text(1, "loglevel=debug");
	mb2_text(2, "GRUB");
	mb2_map(24);
	mb2_module(BASE + 0x1000, BASE + 0x1234, "demo.cfg");
	memcpy(memory + mb2_tag(15, 8 + 36) + 8, "RSD PTR 2", 9);
	memcpy(memory + mb2_tag(14, 8 + 20) + 8, "RSD PTR 1", 9);
	mb2_tag(12, 16);
	mb2_tag(99, 13);
	mb2_finish();
}

static void assert_mb2(const char *words)
{
	const char *error = multiboot2_parse(&window, BASE, &raw);

	forget_copies();
	if (!words) {
		if (error)
			fail_msg("refused: %s", error);
		return;
	}
	if (!error)
		fail_msg("accepted, though: %s", words);
	if (!strstr(error, words))
		fail_msg("'%s' does not say '%s'", error, words);
}

static void test_multiboot2_whole(void **state)
{
	(void)state;
	mb2_build();
	assert_mb2(NULL);
	assert_true(raw.multiboot2);
	assert_true(raw.uefi);
	assert_string_equal(raw.cmdline, "loglevel=debug");
	assert_string_equal(raw.loader, "GRUB");
	assert_int_equal(raw.nr_regions, 2);
	assert_int_equal(raw.region[0].end, 0x800000);
	assert_int_equal(raw.region[1].type, 4);
	assert_int_equal(raw.nr_modules, 1);
	assert_int_equal(raw.module[0].end, BASE + 0x1234);
	assert_string_equal((char *)memory + (raw.module[0].args - BASE), "demo.cfg");
	/* The longer root pointer stays, in whatever order they come. */
	assert_int_equal(raw.rsdp_bytes, 36);
	assert_memory_equal(raw.rsdp, "RSD PTR 2", 9);
	assert_true(is_cut(BASE, BASE + mb2_end));
}

static void test_multiboot2_entries_of_another_size(void **state)
{
	(void)state;
	mb2_begin();
	mb2_map(40);
	mb2_finish();
	assert_mb2(NULL);
	assert_int_equal(raw.nr_regions, 2);
	assert_int_equal(raw.region[1].start, 0x806000);
	mb2_begin();
	mb2_map(24);
	put32(16, 16);
	mb2_finish();
	assert_mb2("impossible size");
	put32(16, 0);
	assert_mb2("impossible size");
}

static void test_multiboot2_cut_short(void **state)
{
	u32 whole;

	(void)state;
	mb2_build();
	whole = mb2_end;
	/* The memory ends early. */
	for (limit = 0; limit < whole; limit++) {
		if (!multiboot2_parse(&window, BASE, &raw))
			fail_msg("accepted with %u bytes", (unsigned)limit);
		forget_copies();
	}
	/* The information says it is shorter than it is. */
	limit = BYTES;
	for (u32 total = 0; total < whole; total++) {
		put32(0, total);
		if (!multiboot2_parse(&window, BASE, &raw))
			fail_msg("accepted with a total of %u", total);
		forget_copies();
	}
	put32(0, whole);
	assert_mb2(NULL);
}

static void test_multiboot2_bad_tags(void **state)
{
	(void)state;
	mb2_build();
	put32(12, 7);
	assert_mb2("impossible size");
	put32(12, 0);
	assert_mb2("impossible size");
	put32(12, 0xffffffff);
	assert_mb2("impossible size");
	put32(12, 0xfffffff9); /* rounds up to 0 */
	assert_mb2("impossible size");
	mb2_begin();
	mb2_text(1, "x");
	mb2_finish();
	assert_mb2("no memory map");
	mb2_begin();
	mb2_map(24);
	put32(0, mb2_end);
	assert_mb2("no end tag");
	mb2_begin();
	mb2_map(24);
	mb2_text(1, "abc");
	put32(mb2_end - 12, 11); /* without its NUL */
	mb2_finish();
	assert_mb2("command line");
}

static void test_multiboot2_bad_modules(void **state)
{
	(void)state;
	mb2_begin();
	mb2_map(24);
	mb2_module(BASE + 0x1000, BASE + 0x1fff, "abc");
	put32(mb2_end - 20, 19); /* without the NUL of its string */
	mb2_finish();
	assert_mb2("no end");
	mb2_begin();
	mb2_map(24);
	mb2_module(BASE + 0x1000, BASE + 0xfff, "abc");
	mb2_finish();
	assert_mb2("ends before");
	mb2_begin();
	mb2_map(24);
	for (u32 i = 0; i <= BOOT_MAX_MODULES; i++)
		mb2_module(BASE + 0x1000, BASE + 0x1001, "abc");
	mb2_finish();
	assert_mb2("more boot modules");
	mb2_begin();
	mb2_map(24);
	mb2_module(BASE + 0x1000, BASE + 0x1000, ""); /* an empty module is one */
	mb2_finish();
	assert_mb2(NULL);
	assert_int_equal(raw.nr_modules, 1);
}

/* --- memory map ---------------------------------------------------------------------------------- */

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

/* --- ACPI ---------------------------------------------------------------------------------------- */

#define RSDT 0x400u
#define XSDT 0x500u
#define MADT 0x600u
#define MCFG 0x2000u

static void fix_sum(u32 at, u32 bytes, u32 sum_at)
{
	u8 sum = 0;

	memory[at + sum_at] = 0;
	for (u32 i = 0; i < bytes; i++)
		sum = (u8)(sum + memory[at + i]);
	memory[at + sum_at] = (u8)-sum;
}

static void table_finish(u32 at, const char *name, u32 bytes)
{
	memcpy(memory + at, name, 4);
	put32(at + 4, bytes);
	fix_sum(at, bytes, 9);
}

static void rsdp_finish(u32 at)
{
	memcpy(memory + at, "RSD PTR ", 8);
	fix_sum(at, 20, 8);
	put32(at + 20, 36);
	fix_sum(at, 36, 32);
}

static u32 madt_end;

static void madt_lapic(u32 id, u32 flags)
{
	memory[madt_end] = 0;
	memory[madt_end + 1] = 8;
	memory[madt_end + 3] = (u8)id;
	put32(madt_end + 4, flags);
	madt_end += 8;
}

static void madt_x2apic(u32 id, u32 flags)
{
	memory[madt_end] = 9;
	memory[madt_end + 1] = 16;
	put32(madt_end + 4, id);
	put32(madt_end + 8, flags);
	madt_end += 16;
}

static void madt_override(u64 base)
{
	memory[madt_end] = 5;
	memory[madt_end + 1] = 12;
	put64(madt_end + 4, base);
	madt_end += 12;
}

static void madt_begin(void)
{
	put32(MADT + 36, 0xfee00000);
	madt_end = MADT + 44;
}

static void madt_finish(void)
{
	table_finish(MADT, "APIC", madt_end - MADT);
}

static void acpi_build(void)
{
	clear();
	put32(16, BASE + RSDT);
	put64(24, BASE + XSDT);
	memory[15] = 2;
	rsdp_finish(0);
	put32(RSDT + 36, BASE + MADT);
	table_finish(RSDT, "RSDT", 40);
	put64(XSDT + 36, BASE + MCFG);
	put64(XSDT + 44, BASE + MADT);
	put64(XSDT + 52, 0xffffffffffffffff); /* nothing there */
	table_finish(XSDT, "XSDT", 60);
	put64(MCFG + 44, 0xb0000000);
	table_finish(MCFG, "MCFG", 60);
	madt_begin();
	madt_lapic(4, 1);
	madt_lapic(0, 0);
	madt_lapic(0xff, 0);
	madt_lapic(6, 2);
	madt_x2apic(6, 1);
	madt_x2apic(0x1234, 1);
	madt_x2apic(UINT32_MAX, 1);
	madt_finish();
}

static const char *parse_acpi(u32 bytes)
{
	const char *error = acpi_parse(&window, memory, bytes, &acpi);

	forget_copies();
	return error;
}

static void test_acpi_whole(void **state)
{
	(void)state;
	acpi_build();
	assert_null(parse_acpi(36));
	assert_null(acpi.warning);
	assert_int_equal(acpi.lapic_base, 0xfee00000);
	assert_int_equal(acpi.mcfg_base, 0xb0000000);
	assert_int_equal(acpi.nr_cpus, 4);
	assert_int_equal(acpi.cpu[0].apic_id, 4);
	assert_true(acpi.cpu[0].usable);
	assert_int_equal(acpi.cpu[1].apic_id, 0);
	assert_false(acpi.cpu[1].usable);
	assert_int_equal(acpi.cpu[2].apic_id, 6);
	assert_true(acpi.cpu[2].usable);
	assert_int_equal(acpi.cpu[3].apic_id, 0x1234);
	madt_override(0xfec12340000);
	madt_finish();
	assert_null(parse_acpi(36));
	assert_int_equal(acpi.lapic_base, 0xfec12340000);
}

static void test_acpi_old_root(void **state)
{
	(void)state;
	acpi_build();
	/* The short root pointer, and a long one whose XSDT is damaged, both lead to the RSDT. */
	assert_null(parse_acpi(20));
	assert_int_equal(acpi.nr_cpus, 4);
	assert_int_equal(acpi.mcfg_base, 0);
	memory[XSDT + 50]++;
	assert_null(parse_acpi(36));
	assert_int_equal(acpi.mcfg_base, 0);
	memory[RSDT + 38]++;
	assert_non_null(parse_acpi(36));
	assert_int_equal(acpi.nr_cpus, 0);
}

static void test_acpi_damaged(void **state)
{
	(void)state;
	acpi_build();
	memory[9]++;
	assert_non_null(parse_acpi(36));
	acpi_build();
	assert_non_null(parse_acpi(19));
	acpi_build();
	memory[MADT + 50]++;
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
	assert_int_equal(acpi.nr_cpus, 0);
	acpi_build();
	memory[MADT + 44 + 8 + 1] = 0; /* an entry that would never end */
	madt_finish();
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
	assert_int_equal(acpi.nr_cpus, 1);
	acpi_build();
	memory[madt_end - 15] = 17; /* reaches over the end */
	madt_finish();
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
	acpi_build();
	table_finish(MADT, "APIC", 40);
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
}

static void test_acpi_cut_short(void **state)
{
	(void)state;
	acpi_build();
	for (limit = 0; limit < MCFG + 60; limit += limit < 0x700 ? 1 : 61) {
		(void)parse_acpi(36);
		assert_true(limit >= madt_end || acpi.nr_cpus == 0);
	}
	limit = MCFG + 60;
	assert_null(parse_acpi(36));
	assert_int_equal(acpi.nr_cpus, 4);
}

static void test_acpi_many_cpus(void **state)
{
	(void)state;
	acpi_build();
	madt_begin();
	for (u32 i = 0; i < BOOT_MAX_CPUS; i++)
		madt_x2apic(i * 3, 1);
	madt_finish();
	assert_null(parse_acpi(20));
	assert_int_equal(acpi.nr_cpus, BOOT_MAX_CPUS);
	assert_false(acpi.cpus_lost);
	madt_x2apic(9999, 1);
	madt_finish();
	assert_null(parse_acpi(20));
	assert_int_equal(acpi.nr_cpus, BOOT_MAX_CPUS);
	assert_true(acpi.cpus_lost);
}

/* The first MiB, for the search. */
static u8 low_memory[0x100000];

static const u8 *low_at(void *ctx, u64 addr, u64 bytes)
{
	(void)ctx;
	return addr <= sizeof(low_memory) && bytes <= sizeof(low_memory) - addr ? low_memory + addr
	                                                                        : NULL;
}

static void test_acpi_scan(void **state)
{
	const struct bootmem low = {.at = low_at};

	(void)state;
	clear();
	rsdp_finish(0);
	memset(low_memory, 0, sizeof(low_memory));
	assert_int_equal(acpi_scan_bios(&low), 0);
	memcpy(low_memory + 0xffff0 - 20, memory, 20); /* not at a multiple of 16 */
	assert_int_equal(acpi_scan_bios(&low), 0);
	memcpy(low_memory + 0xf5ad0, memory, 20);
	assert_int_equal(acpi_scan_bios(&low), 0xf5ad0);
	low_memory[0x40e] = 0xc0;
	low_memory[0x40f] = 0x9f;
	memcpy(low_memory + 0x9fc00 + 1024 - 32, memory, 20);
	assert_int_equal(acpi_scan_bios(&low), 0x9fc00 + 1024 - 32);
	low_memory[0x9fc00 + 1024 - 32]++;
	assert_int_equal(acpi_scan_bios(&low), 0xf5ad0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_multiboot1_whole),
	        cmocka_unit_test(test_multiboot1_cut_short),
	        cmocka_unit_test(test_multiboot1_bad_memory_map),
	        cmocka_unit_test(test_multiboot1_map_too_long),
	        cmocka_unit_test(test_multiboot1_sizes_only),
	        cmocka_unit_test(test_multiboot1_bad_modules),
	        cmocka_unit_test(test_multiboot1_long_command_line),
	        cmocka_unit_test(test_multiboot2_whole),
	        cmocka_unit_test(test_multiboot2_entries_of_another_size),
	        cmocka_unit_test(test_multiboot2_cut_short),
	        cmocka_unit_test(test_multiboot2_bad_tags),
	        cmocka_unit_test(test_multiboot2_bad_modules),
	        cmocka_unit_test(test_memmap_sorts_and_resolves),
	        cmocka_unit_test(test_memmap_bounds),
	        cmocka_unit_test(test_memmap_keeps_the_biggest),
	        cmocka_unit_test(test_memmap_random),
	        cmocka_unit_test(test_acpi_whole),
	        cmocka_unit_test(test_acpi_old_root),
	        cmocka_unit_test(test_acpi_damaged),
	        cmocka_unit_test(test_acpi_cut_short),
	        cmocka_unit_test(test_acpi_many_cpus),
	        cmocka_unit_test(test_acpi_scan),
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, teardown);
}
