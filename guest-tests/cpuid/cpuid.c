/*
 * cpuid: the CPUID and MSR policy as the guest sees it. No arguments. Needs Varve.
 *
 * Prints the leaves that are not all zero; FAILs on a wrong one. MSRs that a 64-bit guest lives on must behave, unknown ones
 * and illegal values must raise #GP.
 */
#include "guest-tests/lib/guest.h"

#define MSR_TSC            0x10u
#define MSR_APIC_BASE      0x1bu
#define MSR_SYSENTER_CS    0x174u
#define MSR_SYSENTER_ESP   0x175u
#define MSR_SYSENTER_EIP   0x176u
#define MSR_PAT            0x277u
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_SFMASK         0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

static void print_leaf(u32 leaf)
{
	struct cpuid_regs r = cpuid(leaf, 0);

	if (r.eax | r.ebx | r.ecx | r.edx)
		console_printf("cpuid 0x%08x: %08x %08x %08x %08x\n", leaf, r.eax, r.ebx, r.ecx,
		               r.edx);
}

static void print_all(void)
{
	u32 max = cpuid(0, 0).eax, max_ext = cpuid(0x80000000, 0).eax;

	VERDICT_CHECK(max >= 1 && max < 0x100, "highest standard leaf is 0x%x", max);
	VERDICT_CHECK(max_ext >= 0x80000001 && max_ext < 0x80000100,
	              "highest extended leaf is 0x%x", max_ext);
	for (u32 leaf = 0; leaf <= max; leaf++)
		print_leaf(leaf);
	print_leaf(0x40000000);
	print_leaf(0x40000001);
	print_leaf(0x40000010);
	for (u32 leaf = 0x80000000; leaf <= max_ext; leaf++)
		print_leaf(leaf);
}

static void check_leaves(void)
{
	struct cpuid_regs one = cpuid(1, 0), ext = cpuid(0x80000001, 0);

	VERDICT_CHECK(one.ecx >> 31, "the hypervisor bit is 0");
	VERDICT_CHECK(cpuid(0x40000000, 0).eax >= 0x40000010, "highest hypervisor leaf is 0x%x",
	              cpuid(0x40000000, 0).eax);
	VERDICT_CHECK(cpuid(0x40000001, 0).eax == smp_count(), "leaf 0x40000001 is inconsistent");
	VERDICT_CHECK(!(one.ecx & 1u << 5), "VMX is offered, but there is no nesting");
	VERDICT_CHECK(!(ext.ecx & 1u << 2), "SVM is offered, but there is no nesting");
	VERDICT_CHECK(one.edx & 1u << 9, "no APIC in CPUID");
	VERDICT_CHECK(one.edx & 1u << 4, "no TSC in CPUID");
	VERDICT_CHECK(one.edx & 1u << 5, "no MSRs in CPUID");
	VERDICT_CHECK(one.edx & 1u << 6, "no PAE in CPUID");
	VERDICT_CHECK(ext.edx & 1u << 29, "no long mode in CPUID");
	VERDICT_CHECK(one.ebx >> 24 == 0, "CPU 0 has APIC ID %u in CPUID", one.ebx >> 24);
	VERDICT_CHECK(!(one.ecx & 1u << 27) == !(cr4_read() & 1ull << 18),
	              "CPUID.OSXSAVE differs from CR4.OSXSAVE");
}

static u64 must_read(u32 msr)
{
	u64 value;
	int vector = trap_rdmsr(msr, &value);

	VERDICT_CHECK(vector < 0, "RDMSR 0x%x raises exception %d", msr, vector);
	return value;
}

static void must_write(u32 msr, u64 value)
{
	int vector = trap_wrmsr(msr, value);

	VERDICT_CHECK(vector < 0, "WRMSR 0x%x of 0x%lx raises exception %d", msr, value, vector);
}

/* A register that keeps what is written. */
static void check_keeps(u32 msr, u64 value)
{
	u64 old = must_read(msr), found;

	must_write(msr, value);
	found = must_read(msr);
	VERDICT_CHECK(found == value, "MSR 0x%x keeps 0x%lx instead of 0x%lx", msr, found, value);
	(void)cpuid(0, 0); /* an exit must not lose it */
	found = must_read(msr);
	VERDICT_CHECK(found == value, "MSR 0x%x loses 0x%lx in an exit, it has 0x%lx", msr, value,
	              found);
	must_write(msr, old);
}

static void refuses_write(u32 msr, u64 value)
{
	int vector = trap_wrmsr(msr, value);

	VERDICT_CHECK(vector == TRAP_GP, "WRMSR 0x%x of 0x%lx: exception %d instead of #GP", msr,
	              value, vector);
}

static void refuses(u32 msr)
{
	u64 value;
	int vector = trap_rdmsr(msr, &value);

	VERDICT_CHECK(vector == TRAP_GP, "RDMSR 0x%x: exception %d instead of #GP", msr, vector);
	refuses_write(msr, 0);
}

static void check_efer(void)
{
	u64 efer = must_read(MSR_EFER);

	VERDICT_CHECK((efer & (EFER_LME | EFER_LMA)) == (EFER_LME | EFER_LMA),
	              "EFER is 0x%lx in long mode", efer);
	check_keeps(MSR_EFER, efer ^ EFER_SCE);
	refuses_write(MSR_EFER, efer & ~EFER_LME); /* while paging is on */
	refuses_write(MSR_EFER, efer | 1ull << 63);
	VERDICT_CHECK(must_read(MSR_EFER) == efer, "EFER changed by a refused write");
}

static void check_tsc(void)
{
	u64 before = rdtsc(), read = must_read(MSR_TSC), after = rdtsc();

	VERDICT_CHECK(before <= read && read <= after, "TSC: 0x%lx, by MSR 0x%lx, then 0x%lx",
	              before, read, after);
}

static void check_apic_base(void)
{
	u64 base = must_read(MSR_APIC_BASE);

	VERDICT_CHECK((base & 0xfffff000) == APIC_BASE, "APIC_BASE is 0x%lx", base);
	VERDICT_CHECK(base & 1ull << 11, "APIC_BASE says the APIC is off: 0x%lx", base);
	VERDICT_CHECK(base & 1ull << 8, "APIC_BASE does not show the boot CPU: 0x%lx", base);
	must_write(MSR_APIC_BASE, base);
}

static void check_msrs(void)
{
	check_efer();
	check_tsc();
	check_apic_base();
	check_keeps(MSR_STAR, 0x0013000800000000);
	check_keeps(MSR_LSTAR, 0xffff800000123456);
	check_keeps(MSR_CSTAR, 0x0000000000123456);
	check_keeps(MSR_SFMASK, 0x47700);
	check_keeps(MSR_FS_BASE, 0xffff800000abc000);
	check_keeps(MSR_GS_BASE, 0x0000700000abc000);
	check_keeps(MSR_KERNEL_GS_BASE, 0xffff800000def000);
	check_keeps(MSR_SYSENTER_CS, 0x8);
	check_keeps(MSR_SYSENTER_ESP, 0x123000);
	check_keeps(MSR_SYSENTER_EIP, 0x124000);
	check_keeps(MSR_PAT, 0x0007010600070106);
	refuses_write(MSR_PAT, 0x0202020202020202);   /* memory type 2 does not exist */
	refuses_write(MSR_LSTAR, 0x0000800000000000); /* not canonical */
	refuses(0x00000fff);
	refuses(0x12345678);
	refuses(0x40001234);
	refuses(0xc0001fff);
	refuses(0xdeadbeef);
}

static void bad_cr4(void *arg)
{
	(void)arg;
	cr4_write(cr4_read() | 1ull << 31);
}

static void bad_cr0(void *arg)
{
	(void)arg;
	cr0_write(cr0_read() & ~1ull); /* paging without protection */
}

void guest_main(void)
{
	VERDICT_CHECK(time_is_varve(), "this guest needs Varve");
	print_all();
	check_leaves();
	check_msrs();
	VERDICT_CHECK(trap_try(bad_cr4, NULL) == TRAP_GP, "CR4 takes a reserved bit");
	VERDICT_CHECK(trap_try(bad_cr0, NULL) == TRAP_GP, "CR0 takes PG without PE");
	console_printf("cpuid: leaves and MSRs behave\n");
}
