/* hv/cpuid: what a guest is shown agrees with itself and hides what it must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/regs.h"
#include "hv/cpuid.h"

static bool host_amd;
static u32 host_max = 0x16;

/* A machine that has everything. */
static struct cpuid_regs host(u32 leaf, u32 subleaf)
{
	struct cpuid_regs all = {~0u, ~0u, ~0u, ~0u};

	if (leaf == 0 || leaf == 0x80000000u) {
		all = host_amd ? (struct cpuid_regs){0, 0x68747541, 0x444d4163, 0x69746e65}
		               : (struct cpuid_regs){0, 0x756e6547, 0x6c65746e, 0x49656e69};
		all.eax = leaf ? 0x80000020u : host_max;
	} else if (leaf == 0xd && subleaf == 2) {
		all = (struct cpuid_regs){256, 576, 0, 0};
	} else if (leaf == 0x80000008u) {
		all.eax = 0x3034; /* 48 and 52 bits */
	}
	return all;
}

static struct cpuid_table table;

static struct cpuid_regs ask(u32 leaf, u32 subleaf, u32 apic_id, u64 xcr0)
{
	struct cpuid_vcpu v = {.apic_id = apic_id, .xcr0 = xcr0, .osxsave = xcr0 != 0};
	struct cpuid_regs r;

	cpuid_answer(&table, &v, leaf, subleaf, &r);
	return r;
}

static void build(u32 vcpus, u64 xcr0)
{
	struct cpuid_config config = {.vcpus = vcpus,
	                              .xcr0 = xcr0,
	                              .tsc_khz = 2000000,
	                              .apic_khz = 1000000,
	                              .phys_bits = 40};

	cpuid_build(&table, &config, host);
}

static void test_cpuid_hidden(void **state)
{
	struct cpuid_regs one, seven, ext;

	(void)state;
	for (int amd = 0; amd < 2; amd++) {
		host_amd = amd;
		build(2, XCR0_X87 | XCR0_SSE | XCR0_AVX);
		one = ask(1, 0, 0, 0);
		seven = ask(7, 0, 0, 0);
		ext = ask(0x80000001u, 0, 0, 0);
		/* MONITOR, VMX, PCID, x2APIC, TSC deadline; MCE, MCA; AVX-512 F, TSX, INVPCID; PKU */
		assert_int_equal(one.ecx & (BIT(3) | BIT(5) | BIT(17) | BIT(21) | BIT(24)), 0);
		assert_int_equal(one.edx & (BIT(7) | BIT(14)), 0);
		assert_int_equal(seven.ebx & (BIT(4) | BIT(10) | BIT(11) | BIT(16)), 0);
		assert_int_equal(seven.ecx & BIT(3), 0);
		assert_int_equal(ext.ecx & BIT(2), 0);  /* SVM */
		assert_int_equal(ext.edx & BIT(27), 0); /* RDTSCP */
		assert_true(one.ecx & BIT(31));
		assert_int_equal(one.ecx & BIT(27), 0);
		assert_true(ask(1, 0, 0, 7).ecx & BIT(27));
		assert_int_equal(ask(7, 1, 0, 0).eax, 0);
	}
	host_amd = false;
}

static void test_cpuid_beyond(void **state)
{
	static const u32 none[] = {0xe,        0x14,       0x1000,     0x40000002, 0x4000ffff,
	                           0x7fffffff, 0x80000009, 0x8000001e, 0xc0000000, 0xffffffff};

	(void)state;
	build(1, XCR0_X87 | XCR0_SSE);
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		struct cpuid_regs r = ask(none[i], 0, 0, 0);

		assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	}
	host_max = 2; /* an old machine: leaf 7 is not asked for */
	build(1, 0);
	assert_int_equal(ask(7, 0, 0, 0).ebx, 0);
	host_max = 0x16;
}

static void test_cpuid_topology(void **state)
{
	struct cpuid_regs r;

	(void)state;
	build(6, 0);
	r = ask(1, 0, 5, 0);
	assert_int_equal(r.ebx >> 24, 5);
	assert_int_equal(r.ebx >> 16 & 0xff, 6);
	assert_true(r.edx & BIT(28));
	r = ask(0xb, 0, 5, 0);
	assert_int_equal(r.eax, 0);
	assert_int_equal(r.ebx, 1);
	assert_int_equal(r.ecx, 0x100);
	assert_int_equal(r.edx, 5);
	r = ask(0xb, 1, 5, 0);
	assert_int_equal(r.eax, 3); /* 2 ** 3 >= 6 */
	assert_int_equal(r.ebx, 6);
	assert_int_equal(r.ecx, 0x201);
	r = ask(0xb, 2, 5, 0);
	assert_int_equal(r.ebx, 0);
	assert_int_equal(r.ecx, 2);
	assert_int_equal(r.edx, 5);
	build(1, 0);
	assert_int_equal(ask(0xb, 1, 0, 0).eax, 0);
	assert_int_equal(ask(1, 0, 0, 0).edx & BIT(28), 0);
}

static void test_cpuid_hypervisor(void **state)
{
	struct cpuid_regs r;
	char name[13] = "";

	(void)state;
	build(3, 0);
	r = ask(0x40000000, 0, 0, 0);
	memcpy(name, &r.ebx, 4);
	memcpy(name + 4, &r.ecx, 4);
	memcpy(name + 8, &r.edx, 4);
	assert_string_equal(name, "VarveVarveVa");
	assert_int_equal(r.eax, 0x40000010);
	assert_int_equal(ask(0x40000001, 0, 0, 0).eax, 3);
	r = ask(0x40000010, 0, 0, 0);
	assert_int_equal(r.eax, 2000000);
	assert_int_equal(r.ebx, 1000000);
}

static void test_cpuid_xsave(void **state)
{
	struct cpuid_regs r;

	(void)state;
	build(1, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	assert_int_equal(ask(0, 0, 0, 0).eax, 0xd);
	r = ask(0xd, 0, 0, XCR0_X87);
	assert_int_equal(r.eax, 7);
	assert_int_equal(r.ebx, 576); /* for what is on now */
	assert_int_equal(r.ecx, 832); /* for all that may be */
	assert_int_equal(ask(0xd, 0, 0, 7).ebx, 832);
	r = ask(0xd, 2, 0, 7);
	assert_int_equal(r.eax, 256);
	assert_int_equal(r.ebx, 576);
	assert_int_equal(ask(0xd, 1, 0, 7).eax, 0); /* no compacted forms */
	assert_int_equal(ask(0xd, 9, 0, 7).eax, 0);
	assert_true(ask(1, 0, 0, 0).ecx & BIT(28));
	build(1, 0); /* a machine where XSETBV cannot be watched */
	assert_int_equal(ask(1, 0, 0, 7).ecx & (BIT(26) | BIT(27) | BIT(28)), 0);
	assert_int_equal(ask(7, 0, 0, 0).ebx & BIT(5), 0);
	assert_int_equal(ask(0xd, 0, 0, 0).eax, 0);
}

static void test_cpuid_allowed(void **state)
{
	u64 cr4;

	(void)state;
	build(1, XCR0_X87 | XCR0_SSE);
	cr4 = cpuid_cr4_allowed(&table);
	assert_true(cr4 & CR4_PAE && cr4 & CR4_SMEP && cr4 & CR4_OSXSAVE && cr4 & CR4_FSGSBASE);
	assert_int_equal(cr4 & (CR4_PCIDE | CR4_VMXE | CR4_LA57 | CR4_PKE | CR4_SMXE), 0);
	build(1, 0);
	assert_int_equal(cpuid_cr4_allowed(&table) & CR4_OSXSAVE, 0);
	assert_true(cpuid_efer_allowed(&table) == (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE));
	assert_int_equal(ask(0x80000008u, 0, 0, 0).eax, 0x3028); /* 40 bits, as configured */
}

/* PCIDs come with INVPCID, and only where it can be had. */
static void test_cpuid_pcid(void **state)
{
	struct cpuid_config config = {.vcpus = 1, .phys_bits = 40};

	(void)state;
	for (int pcid = 0; pcid < 2; pcid++) {
		config.pcid = pcid;
		cpuid_build(&table, &config, host);
		assert_int_equal(!!(ask(1, 0, 0, 0).ecx & BIT(17)), pcid);
		assert_int_equal(!!(ask(7, 0, 0, 0).ebx & BIT(10)), pcid);
		assert_int_equal(!!(cpuid_cr4_allowed(&table) & CR4_PCIDE), pcid);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_cpuid_hidden),   cmocka_unit_test(test_cpuid_beyond),
	        cmocka_unit_test(test_cpuid_topology), cmocka_unit_test(test_cpuid_hypervisor),
	        cmocka_unit_test(test_cpuid_xsave),    cmocka_unit_test(test_cpuid_allowed),
	        cmocka_unit_test(test_cpuid_pcid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
