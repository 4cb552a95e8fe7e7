/* hv/gwalk: every mode, page size, permission and reserved bit, on tables the test builds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/gwalk.h"

#define CR0_PE   BIT(0)
#define CR0_WP   BIT(16)
#define CR0_PG   BIT(31)
#define CR4_PSE  BIT(4)
#define CR4_PAE  BIT(5)
#define CR4_LA57 BIT(12)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define P  1ull
#define W  2ull
#define U  4ull
#define PS 0x80ull
#define NX BIT(63)

/* Guest-physical memory: pages 0 .. 15. Tables of level n are in page n; the root is the topmost. */
static u8 ram[16][PAGE_SIZE] aligned_to(4096);
static unsigned reads;
static u64 hole = ~0ull; /* page that cannot be read */

static bool read_entry(void *ctx, gpa_t at, unsigned bytes, u64 *entry)
{
	assert_ptr_equal(ctx, ram);
	assert_true(bytes == 4 || bytes == 8);
	assert_int_equal(at.v % bytes, 0);
	reads++;
	if (at.v >= sizeof(ram) || at.v >> 12 == hole)
		return false;
	*entry = 0;
	memcpy(entry, (u8 *)ram + at.v, bytes);
	return true;
}

static struct gwalk_state st;
static struct gwalk_out out;

static void reset(u64 cr4, u64 efer, u64 cr3)
{
	memset(ram, 0, sizeof(ram));
	st = (struct gwalk_state){.cr0 = CR0_PE | CR0_PG | CR0_WP,
	                          .cr3 = cr3,
	                          .cr4 = cr4,
	                          .efer = efer,
	                          .phys_bits = 40,
	                          .page_1g = true};
	hole = ~0ull;
}

static enum gwalk_result walk(u64 at, unsigned access)
{
	memset(&out, 0xa5, sizeof(out));
	reads = 0;
	return gwalk(&st, gva(at), access, read_entry, ram, &out);
}

static void assert_at(u64 at, unsigned access, u64 expected, u64 page_bytes)
{
	assert_int_equal(walk(at, access), GWALK_OK);
	assert_int_equal(out.gpa.v, expected);
	assert_int_equal(out.page_bytes, page_bytes);
}

static void assert_fault(u64 at, unsigned access, u32 error)
{
	assert_int_equal(walk(at, access), GWALK_FAULT);
	assert_int_equal(out.error, error);
}

static void put8(unsigned page, u64 index, u64 entry)
{
	memcpy(&ram[page][index * 8], &entry, 8);
}

static void put4(unsigned page, u64 index, u32 entry)
{
	memcpy(&ram[page][index * 4], &entry, 4);
}

/* Tables of `levels` levels for one address, everything allowed; the page is 0x1234567000. */
#define PAGE_AT 0x1234567000ull
static void map_long(unsigned levels, u64 at)
{
	for (unsigned l = levels; l > 1; l--)
		put8(l, at >> (3 + 9 * l) & 511, (l - 1) * 0x1000ull | P | W | U);
	put8(1, at >> 12 & 511, PAGE_AT | P | W | U);
}

static void test_gwalk_without_paging(void **state)
{
	(void)state;
	reset(0, 0, 0x2000);
	st.cr0 = CR0_PE;
	assert_at(0xfee00123, GWALK_WRITE | GWALK_USER, 0xfee00123, 4096);
	assert_at(0x100000123ull, 0, 0x123, 4096);
	assert_int_equal(reads, 0);
}

static void test_gwalk_32_bit(void **state)
{
	(void)state;
	reset(0, 0, 0x2fff);
	put4(2, 0x300, 0x1000 | P | W | U);
	put4(1, 0x2ff, 0xabcde000 | P | W | U);
	assert_at(0xc02ff678, GWALK_WRITE | GWALK_USER, 0xabcde678, 4096);
	assert_int_equal(reads, 2);
	assert_at(0xffffffffc02ff678ull, 0, 0xabcde678, 4096); /* 32 bits of it count */
	/* PS means nothing without CR4.PSE */
	put4(2, 0x300, 0x1000 | P | W | U | PS);
	assert_at(0xc02ff678, 0, 0xabcde678, 4096);
	st.cr4 = CR4_PSE;
	put4(2, 0x300, 0xc0400000 | P | W | U | PS);
	assert_at(0xc02ff678, 0, 0xc0400000 + 0x2ff678, 4 << 20);
}

/* Bits 20:13 of a 4 MiB page are address bits 39:32, as far as the machine has them; 21 is reserved. */
static void test_gwalk_pse36(void **state)
{
	(void)state;
	reset(CR4_PSE, 0, 0x2000);
	put4(2, 1, 0xc0400000 | 0xffu << 13 | P | PS);
	assert_at(0x400000, 0, 0xffc0400000ull, 4 << 20);
	st.phys_bits = 52;
	assert_at(0x400000, 0, 0xffc0400000ull, 4 << 20);
	st.phys_bits = 36;
	assert_fault(0x400000, 0, 9);
	put4(2, 1, 0xc0400000 | 0xfu << 13 | P | PS);
	assert_at(0x400000, 0, 0xfc0400000ull, 4 << 20);
	st.phys_bits = 32;
	assert_fault(0x400000, 0, 9);
	st.phys_bits = 40;
	put4(2, 1, 0xc0600000 | P | PS);
	assert_fault(0x400000, 0, 9);
}

static void test_gwalk_pae(void **state)
{
	u64 at = 0xc0654321;

	(void)state;
	reset(CR4_PAE, EFER_NXE, 0x3020);
	put8(3, 4 + 3, 0x2000 | P);
	put8(2, at >> 21 & 511, 0x1000 | P | W | U);
	put8(1, at >> 12 & 511, PAGE_AT | P | W | U | NX);
	assert_at(at, GWALK_WRITE | GWALK_USER, PAGE_AT | 0x321, 4096);
	assert_int_equal(reads, 3);
	assert_fault(at, GWALK_FETCH, 0x11);
	put8(2, at >> 21 & 511, 0xff00000000ull | P | W | U | PS);
	assert_at(at, 0, 0xff00000000ull | (at & 0x1fffff), 2 << 20);
	/* reserved: 2 MiB page not aligned, high bits, bits of the topmost entries */
	put8(2, at >> 21 & 511, 0xff00002000ull | P | PS);
	assert_fault(at, 0, 9);
	put8(2, at >> 21 & 511, BIT(52) | P | PS);
	assert_fault(at, 0, 9);
	for (unsigned bit = 1; bit < 64; bit++) {
		u64 reserved = BITS(63, 40) | BITS(8, 6) | BITS(2, 1); /* 5: see hv/gwalk.c */

		put8(3, 4 + 3, 0x2000 | P | BIT(bit));
		put8(2, at >> 21 & 511, 0xff00000000ull | P | PS);
		if (reserved >> bit & 1)
			assert_fault(at, 0, 9);
		else if (bit < 12)
			assert_at(at, 0, 0xff00000000ull | (at & 0x1fffff), 2 << 20);
	}
	put8(3, 4 + 3, 0x2000 | BIT(3));
	assert_fault(at, 0, 0);
}

static void test_gwalk_4_and_5_levels(void **state)
{
	static const u64 at[] = {0, 0x7fffffffffff, 0xffff800000000000, 0xffffffff81234567,
	                         0x123456789abc};

	(void)state;
	for (unsigned levels = 4; levels <= 5; levels++)
		for (unsigned k = 0; k < ARRAY_SIZE(at); k++) {
			reset(CR4_PAE | (levels == 5 ? CR4_LA57 : 0), EFER_LMA,
			      levels * 0x1000 | 0x18);
			map_long(levels, at[k]);
			assert_at(at[k], GWALK_WRITE | GWALK_USER | GWALK_FETCH,
			          PAGE_AT | (at[k] & 0xfff), 4096);
			assert_int_equal(reads, levels);
		}
	st.cr4 = CR4_PAE;
	assert_int_equal(walk(0x800000000000ull, 0), GWALK_NONCANONICAL);
	assert_int_equal(walk(0xffff7fffffffffffull, 0), GWALK_NONCANONICAL);
	assert_int_equal(walk(1ull << 63, 0), GWALK_NONCANONICAL);
	st.cr4 |= CR4_LA57;
	assert_int_equal(walk(0x100000000000000ull, 0), GWALK_NONCANONICAL);
	assert_int_equal(walk(0x800000000000ull, 0), GWALK_FAULT);
}

static void test_gwalk_large_pages(void **state)
{
	u64 at = 0xffff888012345678ull;

	(void)state;
	reset(CR4_PAE, EFER_LMA, 0x4000);
	map_long(4, at);
	put8(2, at >> 21 & 511, 0x40000000 | P | W | U | PS | BIT(12)); /* bit 12 is PAT */
	assert_at(at, 0, 0x40000000 | (at & 0x1fffff), 2 << 20);
	put8(3, at >> 30 & 511, 0x80000000 | P | W | U | PS);
	assert_at(at, 0, 0x80000000 | (at & 0x3fffffff), 1 << 30);
	put8(3, at >> 30 & 511, 0x80200000 | P | PS);
	assert_fault(at, 0, 9);
	put8(3, at >> 30 & 511, 0x80000000 | P | PS);
	st.page_1g = false;
	assert_fault(at, 0, 9);
	put8(4, at >> 39 & 511, 0x3000 | P | PS);
	assert_fault(at, 0, 9);
}

static void test_gwalk_reserved_bits(void **state)
{
	u64 at = 0x123456789abcull;

	(void)state;
	for (unsigned level = 1; level <= 4; level++)
		for (unsigned bit = 12; bit < 64; bit++) {
			u64 entry = level == 1 ? PAGE_AT : (level - 1) * 0x1000ull;
			bool reserved = (bit >= 40 && bit < 52) || bit == 63;

			reset(CR4_PAE, EFER_LMA, 0x4000);
			map_long(4, at);
			put8(level, at >> (3 + 9 * level) & 511, entry | BIT(bit) | P | W | U);
			if (reserved)
				assert_fault(at, GWALK_WRITE, 0xb);
			else if (bit >= 52)
				assert_at(at, GWALK_WRITE, PAGE_AT | 0xabc, 4096);
			st.efer |= EFER_NXE;
			if (bit == 63)
				assert_at(at, GWALK_WRITE, PAGE_AT | 0xabc, 4096);
		}
}

static void test_gwalk_not_present_at_each_level(void **state)
{
	u64 at = 0x123456789abcull;

	(void)state;
	for (unsigned level = 1; level <= 4; level++) {
		reset(CR4_PAE, EFER_LMA | EFER_NXE, 0x4000);
		map_long(4, at);
		put8(level, at >> (3 + 9 * level) & 511, ~P); /* reserved bits do not count then */
		assert_fault(at, 0, 0);
		assert_fault(at, GWALK_WRITE, 2);
		assert_fault(at, GWALK_USER | GWALK_FETCH, 0x14);
		assert_int_equal(reads, 5 - level);
	}
	st.efer = EFER_LMA; /* without NX and SMEP nobody says "fetch" */
	assert_fault(at, GWALK_FETCH, 0);
	st.cr4 |= CR4_SMEP;
	assert_fault(at, GWALK_FETCH, 0x10);
}

/* Permissions at a level that has less than the others; the sentence of the manual, spelled out. */
static bool permitted(u64 lacks, bool nx, unsigned access)
{
	bool user_page = lacks != U, writable = lacks != W, user = access & GWALK_USER;

	if (access & GWALK_FETCH && nx)
		return false;
	if (user && !user_page)
		return false;
	if (access & GWALK_WRITE && !writable && (user || st.cr0 & CR0_WP))
		return false;
	if (!user && user_page && access & GWALK_FETCH && st.cr4 & CR4_SMEP)
		return false;
	return user || !user_page || access & GWALK_FETCH || !(st.cr4 & CR4_SMAP) || st.ac;
}

static void test_gwalk_permissions(void **state)
{
	static const u64 lack[] = {0, W, U};
	static const unsigned access[] = {0, GWALK_WRITE, GWALK_FETCH};
	u64 at = 0x123456789abcull;

	(void)state;
	for (unsigned k = 0; k < 3 * 2 * 4 * 3 * 2 * 16; k++) {
		unsigned level = 1 + k / 6 % 4,
		         a = access[k / 24 % 3] | (k / 72 % 2 ? GWALK_USER : 0);
		u64 lacks = lack[k % 3], where = at >> (3 + 9 * level) & 511, entry;
		bool nx = k / 3 % 2;

		reset(CR4_PAE, EFER_LMA | EFER_NXE, 0x4000);
		st.cr0 = CR0_PE | CR0_PG | (k / 144 & 1 ? CR0_WP : 0);
		st.cr4 |= (k / 144 & 2 ? CR4_SMEP : 0) | (k / 144 & 4 ? CR4_SMAP : 0);
		st.ac = k / 144 & 8;
		map_long(4, at);
		memcpy(&entry, &ram[level][where * 8], 8);
		put8(level, where, (entry & ~lacks) | (nx ? NX : 0));
		if (permitted(lacks, nx, a))
			assert_at(at, a, PAGE_AT | 0xabc, 4096);
		else
			assert_fault(at, a,
			             1u | (a & GWALK_WRITE ? 2u : 0) | (a & GWALK_USER ? 4u : 0) |
			                     (a & GWALK_FETCH ? 16u : 0));
	}
}

static void test_gwalk_unreadable_tables(void **state)
{
	u64 at = 0x123456789abcull;

	(void)state;
	for (unsigned level = 1; level <= 4; level++) {
		reset(CR4_PAE, EFER_LMA, 0x4000);
		map_long(4, at);
		hole = level;
		assert_int_equal(walk(at, 0), GWALK_UNREADABLE);
		assert_int_equal(out.gpa.v >> 12, level);
	}
}

static unsigned sets;

static bool set_entry(void *ctx, gpa_t at, unsigned bytes, u64 expected, u64 want)
{
	u64 now = 0;

	assert_ptr_equal(ctx, ram);
	memcpy(&now, (u8 *)ram + at.v, bytes);
	if (at.v >> 12 == hole || now != expected)
		return false;
	memcpy((u8 *)ram + at.v, &want, bytes);
	sets++;
	return true;
}

static void test_gwalk_tells_the_way(void **state)
{
	u64 at = 0x123456789abcull;

	(void)state;
	reset(CR4_PAE, EFER_LMA | EFER_NXE, 0x4000);
	map_long(4, at);
	put8(2, at >> 21 & 511, 0x1000 | P | U | NX);
	assert_int_equal(walk(at, 0), GWALK_OK);
	assert_int_equal(out.steps, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(out.step[i].level, 4 - i);
		assert_int_equal(out.step[i].at.v,
		                 (4 - i) * 0x1000ull + (at >> (39 - 9 * i) & 511) * 8);
		assert_int_equal(out.step[i].bytes, 8);
		assert_false(out.step[i].bare);
	}
	assert_int_equal(out.step[2].entry, 0x1000 | P | U | NX);
	assert_false(out.write);
	assert_true(out.user);
	assert_false(out.exec);
	/* a walk that ends early has no more steps than sound entries */
	put8(2, at >> 21 & 511, 0);
	assert_fault(at, 0, 0);
	assert_int_equal(out.steps, 2);
}

static void test_gwalk_marks_accessed_and_dirty(void **state)
{
	u64 at = 0xc02ff678, entry;

	(void)state;
	reset(CR4_PAE, 0, 0x3000);
	put8(3, at >> 30, 0x2000 | P);
	put8(2, at >> 21 & 511, 0x1000 | P | W | U);
	put8(1, at >> 12 & 511, PAGE_AT | P | W | U);
	assert_int_equal(walk(at, 0), GWALK_OK);
	sets = 0;
	assert_true(gwalk_mark(&out, 0, set_entry, ram));
	assert_int_equal(sets, 2); /* none at the top of PAE paging */
	memcpy(&entry, &ram[1][(at >> 12 & 511) * 8], 8);
	assert_int_equal(entry, PAGE_AT | P | W | U | 0x20);
	assert_true(gwalk_mark(&out, 0, set_entry, ram));
	assert_int_equal(sets, 2);
	/* Dirty in the leaf alone */
	assert_int_equal(walk(at, GWALK_WRITE), GWALK_OK);
	assert_int_equal(gwalk_marks(&out, 1, GWALK_WRITE), 0);
	assert_int_equal(gwalk_marks(&out, 2, GWALK_WRITE), 0x40);
	assert_true(gwalk_mark(&out, GWALK_WRITE, set_entry, ram));
	assert_int_equal(sets, 3);
	/* changed since the walk */
	put8(1, at >> 12 & 511, PAGE_AT | P | W | U);
	assert_int_equal(walk(at, 0), GWALK_OK);
	put8(1, at >> 12 & 511, PAGE_AT | P | W);
	assert_false(gwalk_mark(&out, 0, set_entry, ram));
}

static void test_gwalk_marks_4_byte_entries(void **state)
{
	(void)state;
	reset(CR4_PSE, 0, 0x2000);
	put4(2, 0x300, 0x1000 | P | W | U);
	put4(2, 0x301, 0xffffffff); /* the neighbour stays what it is */
	put4(1, 0x2ff, 0xabcde000 | P | W | U);
	assert_int_equal(walk(0xc02ff678, GWALK_WRITE), GWALK_OK);
	assert_true(gwalk_mark(&out, GWALK_WRITE, set_entry, ram));
	assert_int_equal(out.step[0].entry, 0x1000 | P | W | U | 0x20);
	assert_int_equal(out.step[1].entry, 0xabcde000 | P | W | U | 0x60);
	assert_int_equal(((u32 *)(void *)ram[2])[0x301], 0xffffffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_gwalk_tells_the_way),
	        cmocka_unit_test(test_gwalk_marks_accessed_and_dirty),
	        cmocka_unit_test(test_gwalk_marks_4_byte_entries),
	        cmocka_unit_test(test_gwalk_without_paging),
	        cmocka_unit_test(test_gwalk_32_bit),
	        cmocka_unit_test(test_gwalk_pse36),
	        cmocka_unit_test(test_gwalk_pae),
	        cmocka_unit_test(test_gwalk_4_and_5_levels),
	        cmocka_unit_test(test_gwalk_large_pages),
	        cmocka_unit_test(test_gwalk_reserved_bits),
	        cmocka_unit_test(test_gwalk_not_present_at_each_level),
	        cmocka_unit_test(test_gwalk_permissions),
	        cmocka_unit_test(test_gwalk_unreadable_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
