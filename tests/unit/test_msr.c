/* hv/msr: known MSRs keep or refuse what is written, unknown ones do not exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/msr.h"

/* A vendor that keeps registers in an array. */
static u64 vreg[VREG_COUNT];
static struct seg_state seg_of[SEG_COUNT];

static u64 fake_get(struct arch_vcpu *v, enum vreg reg)
{
	(void)v;
	return vreg[reg];
}
static void fake_set(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	(void)v;
	vreg[reg] = value;
}
static void fake_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out)
{
	(void)v;
	*out = seg_of[seg];
}
static void fake_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in)
{
	(void)v;
	seg_of[seg] = *in;
}
static const struct vendor_ops fake = {
        .get = fake_get, .set = fake_set, .get_seg = fake_get_seg, .set_seg = fake_set_seg};
const struct vendor_ops *vendor = &fake;

static struct vcpu vcpu;
static struct cpuid_table table;

static enum msr_result wr(u32 msr, u64 value)
{
	return msr_guest_write(&vcpu, &table, msr, value);
}
static u64 rd(u32 msr)
{
	u64 value;

	assert_int_equal(msr_guest_read(&vcpu, msr, &value), MSR_OK);
	return value;
}

static int setup(void **state)
{
	(void)state;
	memset(&vcpu, 0, sizeof(vcpu));
	memset(vreg, 0, sizeof(vreg));
	memset(&table, 0, sizeof(table));
	table.ext[1].edx = BIT(11) | BIT(20) | BIT(29); /* SYSCALL, NX, long mode */
	msr_reset(&vcpu);
	return 0;
}

static void test_msr_unknown(void **state)
{
	static const u32 none[] = {0x9,        0x3a0,      0x800,      0x6e0,
	                           0x40000000, 0xc0000103, 0xc0010117, ~0u};
	u64 value = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		assert_int_equal(msr_guest_read(&vcpu, none[i], &value), MSR_UNKNOWN);
		assert_true(value == 0);
		assert_int_equal(wr(none[i], 0), MSR_UNKNOWN);
	}
}

static void test_msr_keeps(void **state)
{
	static const u32 keeps[] = {MSR_STAR,         MSR_LSTAR,          MSR_CSTAR,
	                            MSR_FMASK,        MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS,
	                            MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,   MSR_FS_BASE,
	                            MSR_GS_BASE};
	static const u32 addresses[] = {MSR_LSTAR,        MSR_CSTAR,        MSR_KERNEL_GS_BASE,
	                                MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_FS_BASE,
	                                MSR_GS_BASE};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keeps); i++) {
		assert_int_equal(wr(keeps[i], 0xffff800000001000 + i), MSR_OK);
		assert_true(rd(keeps[i]) == 0xffff800000001000 + i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		u64 before = rd(addresses[i]);

		assert_int_equal(wr(addresses[i], 0x0000800000000000), MSR_FAULT);
		assert_int_equal(wr(addresses[i], 0x8000000000000000), MSR_FAULT);
		assert_true(rd(addresses[i]) == before);
	}
}

static void test_msr_efer(void **state)
{
	(void)state;
	assert_int_equal(wr(MSR_EFER, EFER_LME | EFER_NXE | EFER_SCE), MSR_OK);
	vreg[VREG_CR0] = CR0_PG | CR0_PE;
	vreg[VREG_EFER] |= EFER_LMA | EFER_SVME;
	assert_true(rd(MSR_EFER) == (EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE));
	assert_int_equal(wr(MSR_EFER, EFER_SCE), MSR_FAULT); /* LME under paging */
	assert_int_equal(wr(MSR_EFER, EFER_LME), MSR_OK);
	assert_true(vreg[VREG_EFER] == (EFER_LME | EFER_LMA)); /* LMA is not the writer's */
	assert_int_equal(wr(MSR_EFER, EFER_LME | EFER_SVME), MSR_FAULT);
	assert_int_equal(wr(MSR_EFER, EFER_LME | BIT(63)), MSR_FAULT);
	table.ext[1].edx = 0;
	assert_int_equal(wr(MSR_EFER, EFER_LME | EFER_NXE), MSR_FAULT);
}

static void test_msr_pat(void **state)
{
	(void)state;
	assert_int_equal(wr(MSR_PAT, PAT_DEFAULT), MSR_OK);
	assert_int_equal(wr(MSR_PAT, 0x0001040506070001), MSR_OK);
	for (unsigned i = 0; i < 64; i += 8) {
		assert_int_equal(wr(MSR_PAT, 2ull << i), MSR_FAULT);
		assert_int_equal(wr(MSR_PAT, 3ull << i), MSR_FAULT);
		assert_int_equal(wr(MSR_PAT, 8ull << i), MSR_FAULT);
	}
	assert_true(rd(MSR_PAT) == 0x0001040506070001);
}

static void test_msr_fixed(void **state)
{
	u64 base = VLAPIC_BASE | APIC_BASE_EN | APIC_BASE_BSP;

	(void)state;
	assert_true(rd(MSR_APIC_BASE) == base);
	assert_int_equal(wr(MSR_APIC_BASE, base), MSR_OK);
	assert_int_equal(wr(MSR_APIC_BASE, base | APIC_BASE_X2APIC), MSR_FAULT);
	assert_int_equal(wr(MSR_APIC_BASE, base + PAGE_SIZE), MSR_FAULT);
	assert_int_equal(wr(MSR_APIC_BASE, VLAPIC_BASE), MSR_FAULT);
	vcpu.index = 1;
	msr_reset(&vcpu);
	assert_true(rd(MSR_APIC_BASE) == (base & ~APIC_BASE_BSP));
	assert_true(rd(MSR_FEATURE_CONTROL) == 1); /* locked off */
	assert_int_equal(wr(MSR_FEATURE_CONTROL, 5), MSR_FAULT);
	assert_int_equal(wr(MSR_MTRR_CAP, 0), MSR_FAULT);
	assert_int_equal(wr(MSR_MISC_ENABLE, ~0ull), MSR_OK); /* without effect */
	assert_true(rd(MSR_MISC_ENABLE) == 1);
}

static void test_msr_tsc(void **state)
{
	u64 offset;

	(void)state;
	assert_int_equal(wr(MSR_TSC, 0), MSR_OK);
	assert_true(rd(MSR_TSC) < 1ull << 40);
	offset = vreg[VREG_TSC_OFFSET];
	assert_true(rd(MSR_TSC_ADJUST) == offset);
	assert_int_equal(wr(MSR_TSC_ADJUST, 5000), MSR_OK);
	assert_true(vreg[VREG_TSC_OFFSET] == 5000);
	assert_true(rd(MSR_TSC_ADJUST) == 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_msr_unknown, setup),
	        cmocka_unit_test_setup(test_msr_keeps, setup),
	        cmocka_unit_test_setup(test_msr_efer, setup),
	        cmocka_unit_test_setup(test_msr_pat, setup),
	        cmocka_unit_test_setup(test_msr_fixed, setup),
	        cmocka_unit_test_setup(test_msr_tsc, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
