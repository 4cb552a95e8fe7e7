/*
 * The verdict over CPUs that are not at hand: registers as manuals describe them go in, the state, the
 * sentence and the features come out. vendor_init() itself asks, through two vendors that only probe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/svm/judge.h"
#include "arch/x86/vendor.h"
#include "arch/x86/vmx/judge.h"

/* Bits by number here, so that a wrong constant in the sources shows. */
#define B(n)    (1ull << (n))
#define MAY(n)  (1ull << (32 + (n)))
#define ALL_MAY 0xffffffff00000000ull
#define SVM_CPU            \
	((struct svm_raw){ \
	        .svm = true, .max_ext_leaf = 0x8000001f, .nr_asids = 16, .features = B(0)})
#define EPT_CAPS  (B(0) | B(6) | B(14) | B(16) | B(17) | B(20) | B(21) | B(25) | B(26))
#define VPID_CAPS (B(32) | B(40) | B(41) | B(42) | B(43))

static struct svm_raw amd;
static struct vmx_raw intel;
static struct svm_caps svm;
static struct vmx_caps vmx;

static enum vendor_state probe_svm(struct vendor_caps *caps)
{
	return svm_judge(&amd, &svm, caps);
}

static enum vendor_state probe_vmx(struct vendor_caps *caps)
{
	return vmx_judge(&intel, &vmx, caps);
}

const struct vendor_ops svm_ops = {.name = "svm", .probe = probe_svm};
const struct vendor_ops vmx_ops = {.name = "vmx", .probe = probe_vmx};

/* A CPU of 2013: all we want but pages of 1 GiB, PML; the firmware has left VMX on. */
static const struct vmx_raw haswell = {
        .vmx = true,
        .xsave = true,
        .feature = B(0) | B(2),
        .basic = B(55) | 0x12,
        .misc = B(5) | 5,
        .ept_vpid = (EPT_CAPS & ~B(17)) | VPID_CAPS,
        .pin = ALL_MAY | 0x16,
        .proc = ALL_MAY | 0x04006172,
        .proc2 = ALL_MAY & ~MAY(17),
        .exit = ALL_MAY | 0x36dfb,
        .entry = ALL_MAY | 0x11fb,
        .cr0_fixed0 = 0x80000021,
        .cr4_fixed0 = 0x2000,
        .cr4_fixed1 = 0x1727ff,
};

static int setup(void **state)
{
	(void)state;
	amd = (struct svm_raw){0};
	intel = (struct vmx_raw){0};
	vendor = NULL;
	return 0;
}

static const struct vendor_cap *cap_of(const char *name)
{
	for (u32 i = 0; i < vendor_caps.nr_caps; i++)
		if (!strcmp(vendor_caps.cap[i].name, name))
			return &vendor_caps.cap[i];
	fail_msg("no line for %s", name);
	return NULL;
}

/* What the boot would say. */
static void expect(enum vendor_state state, const char *words)
{
	const char *why = "nothing was written";

	assert_int_equal(vendor_init(&why), state);
	if (state == VENDOR_OK) {
		assert_null(why);
		assert_non_null(vendor);
		return;
	}
	assert_null(vendor);
	assert_non_null(why);
	if (!strstr(why, words))
		fail_msg("\"%s\" does not say \"%s\"", why, words);
	/* What to do follows behind a colon or a comma. */
	assert_true(strstr(why, "use a") || strstr(why, "enable "));
}

static void expect_cap(const char *name, bool have, const char *fallback)
{
	const struct vendor_cap *cap = cap_of(name);

	assert_int_equal(cap->have, have);
	if (fallback)
		assert_string_equal(cap->fallback, fallback);
}

static void test_neither(void **state)
{
	(void)state;
	expect(VENDOR_ABSENT, "neither VMX nor SVM");
}

/* The leaf decides, not what a CPU that has none happens to return for it. */
static void test_svm_without_leaf(void **state)
{
	(void)state;
	amd = SVM_CPU;
	amd.max_ext_leaf = 0x80000008;
	expect(VENDOR_ABSENT, "neither VMX nor SVM");
}

/* What logs writes does so where it sets Dirty: without A/D bits it is of no use. */
static void test_vmx_logs_writes(void **state)
{
	(void)state;
	intel = haswell;
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.logs_writes);
	expect_cap("pml", false, "Dirty bits are harvested from the tables");
	intel.proc2 = ALL_MAY;
	expect(VENDOR_OK, NULL);
	assert_true(vendor_caps.logs_writes);
	expect_cap("pml", true, NULL);
	intel.ept_vpid &= ~B(21);
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.logs_writes);
	expect_cap("pml", false, NULL);
}

static void test_vmx_locked_off(void **state)
{
	(void)state;
	intel = haswell;
	intel.feature = B(0);
	expect(VENDOR_LOCKED, "firmware");
	expect(VENDOR_LOCKED, "VT-x");
	intel.feature = B(0) | B(1); /* inside SMX operation only */
	expect(VENDOR_LOCKED, "firmware");
}

static void test_vmx_unlocked(void **state)
{
	static const u64 left[] = {0, B(2), B(1), B(1) | B(2)};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		intel = haswell;
		intel.feature = left[i];
		expect(VENDOR_OK, NULL);
		assert_false(vmx_feature_locked(left[i]));
		assert_int_equal(vmx_feature_enabled(left[i]), left[i] | 5);
	}
}

static void test_vmx_whole(void **state)
{
	(void)state;
	intel = haswell;
	expect(VENDOR_OK, NULL);
	assert_ptr_equal(vendor, &vmx_ops);
	assert_true(vendor_caps.second_level && vendor_caps.ept && vendor_caps.ad);
	assert_true(vendor_caps.page_2m && vendor_caps.exec_only && vendor_caps.unrestricted);
	assert_true(vendor_caps.preemption_timer && vendor_caps.xsetbv_exits);
	assert_false(vendor_caps.page_1g);
	assert_int_equal(vendor_caps.nr_tags, 65536);
	assert_int_equal(vmx.revision, 0x12);
	assert_int_equal(vmx.timer_shift, 5);
	assert_int_equal(vmx.proc.must, 0x04006172);
	assert_true(vmx.vpid && vmx.invept_single && vmx.invvpid_single && vmx.virtual_nmi);
	expect_cap("pml", false, "Dirty bits are harvested from the tables");
	expect_cap("pages-1g", false, "2 MiB pages");
	expect_cap("true-controls", true, NULL);
}

static void test_vmx_no_ept(void **state)
{
	(void)state;
	intel = haswell;
	intel.proc2 &= ~MAY(1);
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.second_level);
	expect_cap("ept", false, "shadow paging");
	/* No secondary controls at all: the register does not exist. */
	intel.proc &= ~MAY(31);
	assert_false(vmx_raw_has_proc2(intel.proc));
	intel.proc2 = intel.ept_vpid = 0;
	assert_false(vmx_raw_has_ept_vpid(intel.proc2));
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.second_level || vmx.proc2_there);
	assert_int_equal(vendor_caps.nr_tags, 0);
}

static void test_vmx_no_unrestricted(void **state)
{
	(void)state;
	intel = haswell;
	intel.proc2 &= ~MAY(7);
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.second_level);
	expect_cap("unrestricted", false, "real mode in virtual-8086 mode");
}

/* As Bochs has a CPU of 2008: neither EPT nor VPIDs nor a timer, EFER and PAT are not switched. */
static void test_vmx_penryn(void **state)
{
	(void)state;
	intel = haswell;
	intel.pin = MAY(0) | MAY(3) | MAY(5) | 0x1600000016;
	intel.proc2 = MAY(0) | MAY(6);
	intel.ept_vpid = 0;
	intel.exit = MAY(2) | MAY(9) | MAY(15) | 0x36dfb00036dfb;
	intel.entry = MAY(2) | MAY(9) | 0x11fb000011fb;
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.second_level || vendor_caps.unrestricted ||
	             vendor_caps.preemption_timer);
	assert_false(vmx.vpid || vmx.timer || vmx.pat || vmx.efer || vmx.ad);
	assert_true(vmx.virtual_nmi && vmx.proc2_there && vmx.wbinvd);
	expect_cap("efer-switch", false, "EFER is loaded with the vCPU");
}

static void test_vmx_no_ad(void **state)
{
	(void)state;
	intel = haswell;
	intel.ept_vpid &= ~B(21);
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.ad);
	expect_cap("ad-bits", false, "access rights are removed and restored");
}

static void test_vmx_ept_tables(void **state)
{
	static const u64 needed[] = {B(6), B(14), B(20), B(25) | B(26)};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		intel = haswell;
		intel.ept_vpid &= ~needed[i];
		expect(VENDOR_OK, NULL);
		assert_false(vendor_caps.second_level);
	}
}

static void test_vmx_invalidation(void **state)
{
	(void)state;
	intel = haswell;
	intel.ept_vpid &= ~(B(25) | B(41));
	expect(VENDOR_OK, NULL);
	assert_true(vmx.vpid && !vmx.invept_single && !vmx.invvpid_single);
	expect_cap("invept-single", false, "flushes drop every context");
	intel.ept_vpid &= ~B(42); /* VPIDs that could not be flushed are not used */
	expect(VENDOR_OK, NULL);
	assert_false(vmx.vpid);
	expect_cap("vpids", false, "every entry flushes");
}

/* Single features that have a fallback. */
static void test_vmx_optional(void **state)
{
	(void)state;
	intel = haswell;
	intel.pin &= ~(MAY(5) | MAY(6));
	intel.proc2 &= ~(MAY(6) | MAY(10));
	intel.exit &= ~MAY(18);
	intel.xsave = false;
	expect(VENDOR_OK, NULL);
	assert_false(vmx.timer || vmx.virtual_nmi || vmx.wbinvd || vmx.ple || vmx.pat);
	expect_cap("preemption-timer", false, "the local APIC's timer ends time slices");
	expect_cap("virtual-nmi", false, "no NMIs for guests");
	expect_cap("wbinvd-exit", false, "guests flush the caches themselves");
	expect_cap("pause-loop-exit", false, "time slices end spinning");
	expect_cap("pat-switch", false, "guests run with the host's PAT");
	expect_cap("xsave", false, "FXSAVE");
}

/* Exits for CR3 are forced where there are no "true" controls (A.3.2): shadow guests have them anyway. */
static void test_vmx_forced_cr3(void **state)
{
	(void)state;
	intel = haswell;
	intel.basic &= ~B(55);
	assert_false(vmx_raw_true(intel.basic));
	intel.proc = ALL_MAY | 0x0401e172;
	intel.exit = ALL_MAY | 0x36dff;
	intel.entry = ALL_MAY | 0x11ff;
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.second_level);
	expect_cap("true-controls", false, "the default controls");
}

static void test_vmx_isolation(void **state)
{
	static const struct {
		size_t at;
		unsigned bit;
		const char *words;
	} needed[] = {
	        {offsetof(struct vmx_raw, pin), 0, "isolate"},
	        {offsetof(struct vmx_raw, pin), 3, "isolate"},
	        {offsetof(struct vmx_raw, proc), 3, "isolate"},
	        {offsetof(struct vmx_raw, proc), 7, "isolate"},
	        {offsetof(struct vmx_raw, proc), 9, "isolate"},
	        {offsetof(struct vmx_raw, proc), 19, "isolate"},
	        {offsetof(struct vmx_raw, proc), 20, "isolate"},
	        {offsetof(struct vmx_raw, proc), 24, "isolate"},
	        {offsetof(struct vmx_raw, proc), 28, "isolate"},
	        {offsetof(struct vmx_raw, exit), 9, "64-bit"},
	        {offsetof(struct vmx_raw, entry), 9, "64-bit"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		intel = haswell;
		*(u64 *)((u8 *)&intel + needed[i].at) &= ~MAY(needed[i].bit);
		expect(VENDOR_LACKS, needed[i].words);
	}
}

/* An acknowledged interrupt, say, would be lost, since the exit is taken to leave it pending. */
static void test_vmx_forced_unknown(void **state)
{
	static const struct {
		size_t at;
		unsigned bit;
	} forced[] = {
	        {offsetof(struct vmx_raw, exit), 15},  {offsetof(struct vmx_raw, pin), 7},
	        {offsetof(struct vmx_raw, proc), 21},  {offsetof(struct vmx_raw, proc), 25},
	        {offsetof(struct vmx_raw, proc2), 0},  {offsetof(struct vmx_raw, proc2), 17},
	        {offsetof(struct vmx_raw, entry), 10},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forced); i++) {
		intel = haswell;
		*(u64 *)((u8 *)&intel + forced[i].at) |= B(forced[i].bit);
		expect(VENDOR_LACKS, "insists");
	}
}

static void test_svm_whole(void **state)
{
	(void)state;
	amd = SVM_CPU;
	amd.features = B(0) | B(3) | B(5) | B(6) | B(7) | B(10) | B(16);
	amd.gib_pages = amd.xsave = true;
	expect(VENDOR_OK, NULL);
	assert_ptr_equal(vendor, &svm_ops);
	assert_true(vendor_caps.second_level && !vendor_caps.ept && vendor_caps.ad);
	assert_true(vendor_caps.page_1g && vendor_caps.decode_len);
	assert_int_equal(vendor_caps.nr_tags, 16);
	assert_true(svm.nrip && svm.flush_asid && svm.clean_bits && svm.pause_filter && svm.decode);
	assert_false(svm.unlock);
	expect_cap("vgif", true, NULL);
}

/* One bit each: nobody reads a neighbour's. */
static void test_svm_optional(void **state)
{
	static const struct {
		unsigned bit;
		const char *name, *fallback;
	} optional[] = {
	        {3, "nrip-save", "instruction lengths are decoded"},
	        {5, "clean-bits", "the whole VMCB is loaded"},
	        {6, "flush-by-asid", "flushes drop every ASID"},
	        {7, "decode-assists", "instructions are fetched"},
	        {10, "pause-filter", "time slices end spinning"},
	        {16, "vgif", "not needed without nesting"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(optional); i++) {
		amd = SVM_CPU;
		amd.features = 0xffffffffu & ~(u32)B(optional[i].bit);
		expect(VENDOR_OK, NULL);
		for (size_t k = 0; k < ARRAY_SIZE(optional); k++)
			expect_cap(optional[k].name, k != i, optional[k].fallback);
		assert_int_equal(vendor_caps.decode_len, optional[i].bit != 3);
	}
	amd = SVM_CPU; /* as QEMU 7.2 has it: nothing of all that */
	expect(VENDOR_OK, NULL);
	assert_false(svm.nrip || svm.flush_asid || svm.clean_bits || svm.pause_filter ||
	             svm.decode);
	expect_cap("pages-1g", false, "2 MiB pages");
}

static void test_svm_no_npt(void **state)
{
	(void)state;
	amd = SVM_CPU;
	amd.features = 0xffffffffu & ~1u;
	expect(VENDOR_OK, NULL);
	assert_false(vendor_caps.second_level || vendor_caps.ad);
	expect_cap("npt", false, "shadow paging");
}

/* EPT is no use to anybody whose EFER the CPU does not switch. */
static void test_vmx_no_efer_switch(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		intel = haswell;
		intel.exit &= i < 2 ? ~MAY(20 + i) : ~0ull;
		intel.entry &= i == 2 ? ~MAY(15) : ~0ull;
		expect(VENDOR_OK, NULL);
		assert_false(vendor_caps.second_level || vmx.efer);
	}
}

/* What QEMU's translator gets wrong is worked around there, and nowhere else. */
static void test_svm_tcg(void **state)
{
	(void)state;
	amd = SVM_CPU;
	expect(VENDOR_OK, NULL);
	assert_false(svm.tcg);
	amd.tcg = true;
	expect(VENDOR_OK, NULL);
	assert_true(svm.tcg);
}

static void test_svm_asids(void **state)
{
	(void)state;
	amd = SVM_CPU;
	amd.nr_asids = 1; /* number 0 only, the host's */
	expect(VENDOR_LACKS, "address space identifier");
	amd.nr_asids = 2;
	expect(VENDOR_OK, NULL);
}

static void test_svm_locked_off(void **state)
{
	(void)state;
	amd = SVM_CPU;
	amd.vm_cr = B(4) | B(3);
	expect(VENDOR_LOCKED, "firmware");
	expect(VENDOR_LOCKED, "enable SVM");
	amd.features = 0; /* the reason that can be mended comes first */
	expect(VENDOR_LOCKED, "firmware");
}

static void test_svm_unlocked(void **state)
{
	(void)state;
	amd = SVM_CPU;
	amd.vm_cr = B(4) | B(1);
	expect(VENDOR_OK, NULL);
	assert_true(svm.unlock);
	assert_int_equal(svm_vm_cr_enabled(amd.vm_cr), B(1));
	amd.vm_cr = B(3); /* locked on */
	expect(VENDOR_OK, NULL);
	assert_false(svm.unlock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_neither, setup),
	        cmocka_unit_test_setup(test_svm_without_leaf, setup),
	        cmocka_unit_test_setup(test_vmx_logs_writes, setup),
	        cmocka_unit_test_setup(test_vmx_locked_off, setup),
	        cmocka_unit_test_setup(test_vmx_unlocked, setup),
	        cmocka_unit_test_setup(test_vmx_whole, setup),
	        cmocka_unit_test_setup(test_vmx_no_ept, setup),
	        cmocka_unit_test_setup(test_vmx_no_unrestricted, setup),
	        cmocka_unit_test_setup(test_vmx_penryn, setup),
	        cmocka_unit_test_setup(test_vmx_no_efer_switch, setup),
	        cmocka_unit_test_setup(test_svm_tcg, setup),
	        cmocka_unit_test_setup(test_vmx_no_ad, setup),
	        cmocka_unit_test_setup(test_vmx_ept_tables, setup),
	        cmocka_unit_test_setup(test_vmx_invalidation, setup),
	        cmocka_unit_test_setup(test_vmx_optional, setup),
	        cmocka_unit_test_setup(test_vmx_forced_cr3, setup),
	        cmocka_unit_test_setup(test_vmx_isolation, setup),
	        cmocka_unit_test_setup(test_vmx_forced_unknown, setup),
	        cmocka_unit_test_setup(test_svm_whole, setup),
	        cmocka_unit_test_setup(test_svm_optional, setup),
	        cmocka_unit_test_setup(test_svm_no_npt, setup),
	        cmocka_unit_test_setup(test_svm_asids, setup),
	        cmocka_unit_test_setup(test_svm_locked_off, setup),
	        cmocka_unit_test_setup(test_svm_unlocked, setup),
	};

	return cmocka_run_group_tests_name("vendor_caps", tests, NULL, NULL);
}
