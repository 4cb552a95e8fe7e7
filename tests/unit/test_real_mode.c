/* hv/real_mode and hv/insn_address: frames of interrupts, descriptor tables, operand addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/insn_address.h"
#include "hv/real_mode.h"

static void test_enter(void **state)
{
	struct real_entry e = real_enter(0x202, 0xc00, 0x123, 0x20000, 0xabcd0100);

	(void)state;
	assert_int_equal(e.word[0], 0x202);
	assert_int_equal(e.word[1], 0xc00);
	assert_int_equal(e.word[2], 0x123);
	assert_int_equal(e.at[0], 0x200fe);
	assert_int_equal(e.at[1], 0x200fc);
	assert_int_equal(e.at[2], 0x200fa);
	assert_int_equal(e.sp, 0xabcd00fa);
}

/* SP wraps within its segment, word by word. */
static void test_enter_wraps(void **state)
{
	struct real_entry e = real_enter(0, 0, 0, 0x10000, 2);

	(void)state;
	assert_int_equal(e.at[0], 0x10000);
	assert_int_equal(e.at[1], 0x1fffe);
	assert_int_equal(e.at[2], 0x1fffc);
	assert_int_equal(e.sp, 0xfffc);
}

static void test_table(void **state)
{
	const u8 bytes[6] = {0x37, 0x01, 0x78, 0x56, 0x34, 0x92};
	u64 base;
	u32 limit;

	(void)state;
	real_table(bytes, 4, &base, &limit);
	assert_int_equal(base, 0x92345678);
	assert_int_equal(limit, 0x137);
	real_table(bytes, 2, &base, &limit);
	assert_int_equal(base, 0x345678);
}

/* `bytes` in `mode`, its operand's offset with registers of 0x1000 times their number, and segment. */
static void expect(const char *bytes, unsigned n, enum decode_mode mode, u64 offset,
                   unsigned segment)
{
	struct insn insn;
	u64 gpr[16];

	for (unsigned i = 0; i < 16; i++)
		gpr[i] = 0x1000ull * i;
	assert_int_equal(decode((const u8 *)bytes, n, mode, &insn), DECODE_OK);
	assert_true(insn.has_mem);
	assert_int_equal(insn_offset(&insn, gpr, 0x400000 + insn.length), offset);
	assert_int_equal(insn_segment(&insn), segment);
}
#define EXPECT(mode, bytes, offset, segment) expect(bytes, sizeof(bytes) - 1, mode, offset, segment)

static void test_addresses(void **state)
{
	(void)state;
	EXPECT(DECODE_64, "\x8b\x44\x8a\x10", 0x2000 + 4 * 0x1000 + 0x10, 3);
	EXPECT(DECODE_64, "\x8b\x45\xf8", 0x5000 - 8, 2);               /* rbp: the stack */
	EXPECT(DECODE_64, "\x8b\x04\x24", 0x4000, 2);                   /* rsp */
	EXPECT(DECODE_64, "\x0f\x01\x3d\x10\x00\x00\x00", 0x400017, 3); /* rip */
	EXPECT(DECODE_64, "\x64\x8b\x03", 0x3000, 4);                   /* fs */
	EXPECT(DECODE_64, "\x43\x8b\x04\xdd\x00\x00\x00\x00", 8 * 0xb000, 3);
	EXPECT(DECODE_32, "\x8b\x40\xff", 0xffffffff, 3);          /* wraps at 32 bits */
	EXPECT(DECODE_16, "\x8b\x42\x02", 0x5000 + 0x6000 + 2, 2); /* bp + si */
	EXPECT(DECODE_16, "\x8b\x41\xff", 0x3000 + 0x7000 - 1, 3); /* bx + di */
	EXPECT(DECODE_16, "\x0f\x01\x16\x34\x12", 0x1234, 3);
	EXPECT(DECODE_64, "\x48\xa1\x88\x77\x66\x55\x44\x33\x22\x11", 0x1122334455667788, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_enter),
	        cmocka_unit_test(test_enter_wraps),
	        cmocka_unit_test(test_table),
	        cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
