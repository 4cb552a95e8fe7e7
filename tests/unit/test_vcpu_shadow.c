/* arch/x86/vcpu_shadow: what the CPU runs with for what the guest believes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/vcpu_shadow.h"

/* Bits by number here, so that a wrong constant in the sources shows. */
#define B(n) (1ull << (n))
#define PE   B(0)
#define PG   B(31)

static struct arch_vcpu v;

static struct vcpu_shadow_real real_of(u64 cr0, u64 cr4, u64 efer)
{
	v = (struct arch_vcpu){.shadow = true};
	vcpu_shadow_set(&v, VREG_EFER, efer);
	vcpu_shadow_set(&v, VREG_CR4, cr4);
	vcpu_shadow_set(&v, VREG_CR0, cr0);
	return vcpu_shadow_real(&v, false);
}

/* Whatever the guest does, our tables are three levels of 64-bit entries with NX and WP. */
static void test_always(void **state)
{
	static const u64 cr0[] = {0, PE, PE | PG, PE | B(16), PE | PG | B(16)};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cr0); i++) {
		struct vcpu_shadow_real r = real_of(cr0[i], 0, 0);

		assert_int_equal(r.cr0 & (PG | B(16)), PG | B(16));
		assert_int_equal(r.cr0 & PE, cr0[i] & PE);
		assert_int_equal(r.cr4, B(5));
		assert_int_equal(r.efer, B(11));
		assert_int_equal(vcpu_shadow_get(&v, VREG_CR0), cr0[i]);
	}
}

static void test_long_mode(void **state)
{
	struct vcpu_shadow_real r;

	(void)state;
	r = real_of(PE, B(5), B(8)); /* LME alone: not yet */
	assert_int_equal(r.efer, B(11));
	assert_int_equal(vcpu_shadow_get(&v, VREG_EFER), B(8));
	r = real_of(PE | PG, B(5), B(8) | B(0));
	assert_int_equal(r.efer, B(11) | B(10) | B(8) | B(0));
	assert_int_equal(vcpu_shadow_get(&v, VREG_EFER), B(10) | B(8) | B(0));
	vcpu_shadow_set(&v, VREG_CR0, PE);
	assert_int_equal(vcpu_shadow_get(&v, VREG_EFER), B(8) | B(0));
	assert_int_equal(vcpu_shadow_real(&v, false).efer, B(11) | B(0));
}

/* CD, NW, PGE, PCIDE and PSE are shown to the guest and not given to the CPU. */
static void test_kept_from_cpu(void **state)
{
	struct vcpu_shadow_real r;

	(void)state;
	r = real_of(PE | PG | B(30) | B(29), B(4) | B(7) | B(17), 0);
	assert_int_equal(r.cr0 & (B(30) | B(29)), 0);
	assert_int_equal(r.cr4, B(5));
	assert_int_equal(vcpu_shadow_get(&v, VREG_CR0), PE | PG | B(30) | B(29));
	assert_int_equal(vcpu_shadow_get(&v, VREG_CR4), B(4) | B(7) | B(17));
}

/* SMEP and SMAP count while the guest pages. */
static void test_smep_smap(void **state)
{
	(void)state;
	assert_int_equal(real_of(PE, B(20) | B(21), 0).cr4, B(5));
	assert_int_equal(real_of(PE | PG, B(20) | B(21), 0).cr4, B(5) | B(20) | B(21));
}

static void test_own_bits(void **state)
{
	const u64 cr4 = B(0) | B(1) | B(2) | B(3) | B(6) | B(8) | B(9) | B(10) | B(11) | B(16) |
	                B(18);
	const u64 cr0 = PE | B(1) | B(2) | B(3) | B(5) | B(18);

	(void)state;
	assert_int_equal(real_of(cr0, cr4, 0).cr4, cr4 | B(5));
	assert_int_equal(real_of(cr0, cr4, 0).cr0, cr0 | PG | B(16) | B(4));
	/* In virtual-8086 mode its extensions are ours. */
	assert_int_equal(vcpu_shadow_real(&v, true).cr4, (cr4 & ~(B(0) | B(1))) | B(5));
}

static void test_keeps(void **state)
{
	(void)state;
	v = (struct arch_vcpu){.shadow = true};
	assert_true(vcpu_shadow_keeps(&v, VREG_CR3) && vcpu_shadow_keeps(&v, VREG_EFER));
	assert_false(vcpu_shadow_keeps(&v, VREG_CR2) || vcpu_shadow_keeps(&v, VREG_DR7));
	v.shadow = false;
	assert_false(vcpu_shadow_keeps(&v, VREG_CR3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_always),        cmocka_unit_test(test_long_mode),
	        cmocka_unit_test(test_kept_from_cpu), cmocka_unit_test(test_smep_smap),
	        cmocka_unit_test(test_own_bits),      cmocka_unit_test(test_keeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
