/* hv/insn_invpcid: each case in which INVPCID's operands are refused (Intel SDM vol. 2), and what is not one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/insn_invpcid.h"

static bool valid(u64 type, u64 pcid, u64 address, bool pcide)
{
	const struct invpcid_desc desc = {.pcid = pcid, .address = address};

	return invpcid_valid(type, &desc, pcide);
}

static void test_invpcid_types(void **state)
{
	(void)state;
	for (u64 type = 0; type < 10; type++)
		assert_int_equal(valid(type, 0, 0x1000, true), type <= 3);
	/* all 64 bits of the register count */
	for (unsigned bit = 2; bit < 64; bit++)
		assert_false(valid(BIT(bit) | 2, 0, 0, true));
}

static void test_invpcid_reserved_bits(void **state)
{
	(void)state;
	for (u64 type = 0; type <= 3; type++)
		for (unsigned bit = 0; bit < 64; bit++)
			assert_int_equal(valid(type, BIT(bit), 0, true), bit < 12);
}

/* Without CR4.PCIDE there is one PCID, 0; what names none may be anything. */
static void test_invpcid_without_pcids(void **state)
{
	(void)state;
	for (u64 type = 0; type <= 3; type++) {
		assert_true(valid(type, 0, 0x1000, false));
		assert_int_equal(valid(type, 5, 0x1000, false), type > 1);
		assert_true(valid(type, 5, 0x1000, true));
		assert_false(valid(type, BIT(12), 0x1000, false));
	}
}

static void test_invpcid_canonical(void **state)
{
	const u64 good[] = {0, BIT(47) - 1, ~0ull << 47, ~0ull};
	const u64 bad[] = {BIT(47), BIT(63), ~0ull << 48, ~0ull >> 1, ~(~0ull << 48)};

	(void)state;
	for (u64 type = 0; type <= 3; type++) {
		for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
			assert_true(valid(type, 1, good[i], true));
		/* an address that is not looked at is not judged */
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
			assert_int_equal(valid(type, 1, bad[i], true), type != 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_invpcid_types),
	        cmocka_unit_test(test_invpcid_reserved_bits),
	        cmocka_unit_test(test_invpcid_without_pcids),
	        cmocka_unit_test(test_invpcid_canonical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
