/* boot/: what is made of a boot loader's information, whole, cut short and spoiled. */
#include "tests/unit/boot_window.h"

#include "boot/multiboot1.h"
#include "boot/multiboot2.h"

static struct boot_raw raw;

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
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, teardown);
}
