#include "tests/host/cpu_regs.h"

#include <stdio.h>
#include <stdlib.h>

#include "arch/hal.h"
#include "arch/x86/insn.h"
#include "arch/x86/regs.h"
#include "arch/x86/time.h"

#define TSC_PER_NS 2u
#define LEAF(...)                  \
	return (struct cpuid_regs) \
	{                          \
		__VA_ARGS__        \
	}

struct cpu_regs {
	u64 cr2, dr[4], dr6, xcr0;
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	bool gif;
	struct percpu block;
};

static struct cpu_regs regs[HAL_MAX_CPUS];
static u64 ints;

static struct cpu_regs *own(void)
{
	return &regs[hal_cpu_id()];
}

/* #GP in the hypervisor. */
static void refused(const char *what, u64 value)
{
	fprintf(stderr, "the CPU refuses 0x%llx for %s\n", (unsigned long long)value, what);
	abort();
}

void cpu_regs_reset(void)
{
	for (unsigned i = 0; i < HAL_MAX_CPUS; i++) {
		regs[i] = (struct cpu_regs){.dr6 = 0xffff0ff0, .xcr0 = 7, .gif = true};
		regs[i].efer = EFER_LME | EFER_LMA | EFER_NXE;
		regs[i].block.self = &regs[i].block;
		regs[i].block.cpu = i;
	}
	ints = 0;
}

struct percpu *cpu_regs_block(unsigned cpu)
{
	return &regs[cpu].block;
}

void *fs_self(void)
{
	return &own()->block;
}

/* A CPU of both vendors' best years, the same on every build machine. */
struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0:
		LEAF(0xd, 0x756e6547, 0x6c65746e, 0x49656e69);
	case 1:
		LEAF(0x000306c3, 0x00010800, 0x77fafbff, 0xbfebfbff);
	case 7:
		LEAF(0, subleaf ? 0 : 0x001427ab, subleaf ? 0 : 4, 0);
	case 0xd:
		LEAF(subleaf ? 0 : 7, subleaf ? 0 : 832, subleaf ? 0 : 832, 0);
	case 0x80000000:
		LEAF(0x80000008, 0, 0, 0);
	case 0x80000001:
		LEAF(0, 0, 0x21, 0x2c100800);
	case 0x80000008:
		LEAF(0x3028, 0, 0, 0);
	default:
		LEAF(0, 0, 0, 0);
	}
}

static bool canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

static u64 *msr_at(u32 msr)
{
	struct cpu_regs *r = own();
	static u64 zero;

	switch (msr) {
	case MSR_EFER:
		return &r->efer;
	case MSR_STAR:
		return &r->star;
	case MSR_LSTAR:
		return &r->lstar;
	case MSR_CSTAR:
		return &r->cstar;
	case MSR_FMASK:
		return &r->sfmask;
	case MSR_KERNEL_GS_BASE:
		return &r->kernel_gs_base;
	case MSR_GS_BASE:
	case MSR_PAT:
		zero = msr == MSR_PAT ? PAT_DEFAULT : 0;
		return &zero;
	default:
		refused("an MSR's number", msr);
		return NULL;
	}
}

u64 msr_read(u32 msr)
{
	return *msr_at(msr);
}

void msr_write(u32 msr, u64 v)
{
	bool address = msr == MSR_LSTAR || msr == MSR_CSTAR || msr == MSR_KERNEL_GS_BASE;

	if (address && !canonical(v))
		refused("an MSR that holds an address", v);
	if (msr == MSR_EFER && (v & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME)))
		refused("EFER", v);
	*msr_at(msr) = v;
}

bool msr_read_safe(u32 msr, u64 *v)
{
	*v = msr_read(msr);
	return true;
}

bool msr_write_safe(u32 msr, u64 v)
{
	msr_write(msr, v);
	return true;
}

u64 cr0_read(void)
{
	return CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
}
u64 cr2_read(void)
{
	return own()->cr2;
}
u64 cr3_read(void)
{
	return PAGE_SIZE;
}
u64 cr4_read(void)
{
	return CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_VMXE;
}
void cr2_write(u64 v)
{
	own()->cr2 = v;
}
void cr3_write(u64 v)
{
	(void)v;
}

#define DR(n)                        \
	u64 dr##n##_read(void)       \
	{                            \
		return own()->dr[n]; \
	}                            \
	void dr##n##_write(u64 v)    \
	{                            \
		own()->dr[n] = v;    \
	}
DR(0)
DR(1)
DR(2)
DR(3)

u64 dr6_read(void)
{
	return own()->dr6;
}
void dr6_write(u64 v)
{
	if (v >> 32)
		refused("DR6", v);
	own()->dr6 = v;
}

u64 xcr0_read(void)
{
	return own()->xcr0;
}
void xcr0_write(u64 v)
{
	if ((v & ~7ull) || !(v & XCR0_X87) || ((v & XCR0_AVX) && !(v & XCR0_SSE)))
		refused("XCR0", v);
	own()->xcr0 = v;
}

u64 tsc_read(void)
{
	return hal_time_ns() * TSC_PER_NS;
}
u64 tsc_hz(void)
{
	return 1000000000ull * TSC_PER_NS;
}
u64 time_to_tsc(u64 ns)
{
	return ns > ~0ull / TSC_PER_NS ? ~0ull : ns * TSC_PER_NS;
}

void int_nmi(void)
{
	ints++;
}
void int_machine_check(void)
{
	ints++;
}
u64 cpu_regs_ints(void)
{
	return ints;
}
void gif_clear(void)
{
	if (!own()->gif)
		refused("GIF, which is clear", 0);
	own()->gif = false;
}
void gif_set(void)
{
	own()->gif = true;
}
