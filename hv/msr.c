#include "hv/msr.h"

#include "arch/x86/insn.h"
#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"

#define MSR_PLATFORM_ID   0x17u
#define MSR_BIOS_SIGN_ID  0x8bu
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MSR_AMD_SYSCFG    0xc0010010u
#define MSR_AMD_HWCR      0xc0010015u
#define MSR_AMD_PATCH     0xc001008bu
#define MSR_AMD_DE_CFG    0xc0011029u

#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define MTRR_DEF_WRITE_BACK      (BIT(11) | 6u) /* enabled, everything write-back */

enum msr_kind {
	KIND_VREG,      /* plain register of the vendor's */
	KIND_CANONICAL, /* the same, holds a linear address */
	KIND_SEG_BASE,
	KIND_CONST,  /* reads `value`; a write faults */
	KIND_IGNORE, /* reads `value`; a write has no effect */
	KIND_TSC,
	KIND_TSC_ADJUST,
	KIND_APIC_BASE,
	KIND_EFER,
	KIND_PAT,
};

static const struct msr_row {
	u32 msr;
	enum msr_kind kind;
	u32 reg;
	u64 value;
} rows[] = {
        {MSR_TSC, KIND_TSC, 0, 0},
        {MSR_PLATFORM_ID, KIND_CONST, 0, 0},
        {MSR_APIC_BASE, KIND_APIC_BASE, 0, 0},
        {MSR_FEATURE_CONTROL, KIND_CONST, 0, 1}, /* locked, nothing on */
        {MSR_TSC_ADJUST, KIND_TSC_ADJUST, 0, 0},
        {MSR_BIOS_SIGN_ID, KIND_IGNORE, 0, 0},
        {MSR_MTRR_CAP, KIND_CONST, 0, 0}, /* no variable, no fixed ranges */
        {MSR_SYSENTER_CS, KIND_VREG, VREG_SYSENTER_CS, 0},
        {MSR_SYSENTER_ESP, KIND_CANONICAL, VREG_SYSENTER_ESP, 0},
        {MSR_SYSENTER_EIP, KIND_CANONICAL, VREG_SYSENTER_EIP, 0},
        {MSR_MCG_CAP, KIND_CONST, 0, 0},
        {MSR_MCG_STATUS, KIND_IGNORE, 0, 0},
        {MSR_MISC_ENABLE, KIND_IGNORE, 0, MISC_ENABLE_FAST_STRINGS},
        {MSR_PAT, KIND_PAT, 0, 0},
        {MSR_MTRR_DEF_TYPE, KIND_IGNORE, 0, MTRR_DEF_WRITE_BACK},
        {MSR_EFER, KIND_EFER, 0, 0},
        {MSR_STAR, KIND_VREG, VREG_STAR, 0},
        {MSR_LSTAR, KIND_CANONICAL, VREG_LSTAR, 0},
        {MSR_CSTAR, KIND_CANONICAL, VREG_CSTAR, 0},
        {MSR_FMASK, KIND_VREG, VREG_SFMASK, 0},
        {MSR_FS_BASE, KIND_SEG_BASE, SEG_FS, 0},
        {MSR_GS_BASE, KIND_SEG_BASE, SEG_GS, 0},
        {MSR_KERNEL_GS_BASE, KIND_CANONICAL, VREG_KERNEL_GS_BASE, 0},
        {MSR_AMD_SYSCFG, KIND_IGNORE, 0, 0},
        {MSR_AMD_HWCR, KIND_IGNORE, 0, 0},
        {MSR_AMD_PATCH, KIND_IGNORE, 0, 0},
        {MSR_AMD_DE_CFG, KIND_IGNORE, 0, 0},
};

static const struct msr_row *row_of(u32 msr)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].msr == msr)
			return &rows[i];
	return NULL;
}

static bool canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

bool msr_pat_valid(u64 value)
{
	for (unsigned i = 0; i < 64; i += 8) {
		u64 type = value >> i & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

/* LMA follows LME and CR0.PG by itself; LME cannot change under paging (SDM vol. 3, 9.8.5). */
bool msr_efer_valid(u64 old, u64 value, u64 allowed, bool paging)
{
	if (value & ~allowed)
		return false;
	return !(paging && ((old ^ value) & EFER_LME));
}

void msr_reset(struct vcpu *v)
{
	v->msr.apic_base = VLAPIC_BASE | APIC_BASE_EN | (v->index ? 0 : APIC_BASE_BSP);
}

static u64 tsc_now(struct vcpu *v)
{
	return tsc_read() + vendor->get(&v->arch, VREG_TSC_OFFSET);
}

enum msr_result msr_guest_read(struct vcpu *v, u32 msr, u64 *value)
{
	const struct msr_row *row = row_of(msr);
	struct seg_state seg;

	*value = 0;
	if (!row)
		return MSR_UNKNOWN;
	switch (row->kind) {
	case KIND_VREG:
	case KIND_CANONICAL:
		*value = vendor->get(&v->arch, (enum vreg)row->reg);
		break;
	case KIND_SEG_BASE:
		vendor->get_seg(&v->arch, (enum seg)row->reg, &seg);
		*value = seg.base;
		break;
	case KIND_CONST:
	case KIND_IGNORE:
		*value = row->value;
		break;
	case KIND_TSC:
		*value = tsc_now(v);
		break;
	case KIND_TSC_ADJUST:
		*value = v->msr.tsc_adjust;
		break;
	case KIND_APIC_BASE:
		*value = v->msr.apic_base;
		break;
	case KIND_EFER:
		*value = vendor->get(&v->arch, VREG_EFER) & ~EFER_SVME;
		break;
	case KIND_PAT:
		*value = vendor->get(&v->arch, VREG_PAT);
		break;
	}
	return MSR_OK;
}

static enum msr_result write_efer(struct vcpu *v, const struct cpuid_table *cpuid, u64 value)
{
	u64 old = vendor->get(&v->arch, VREG_EFER);
	bool paging = vendor->get(&v->arch, VREG_CR0) & CR0_PG;

	if (!msr_efer_valid(old, value, cpuid_efer_allowed(cpuid), paging))
		return MSR_FAULT;
	vendor->set(&v->arch, VREG_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
	return MSR_OK;
}

/* A write of the TSC moves TSC_ADJUST along, and the other way round (SDM vol. 3, 18.17.3). */
static void move_tsc(struct vcpu *v, u64 by)
{
	u64 offset = vendor->get(&v->arch, VREG_TSC_OFFSET);

	vendor->set(&v->arch, VREG_TSC_OFFSET, offset + by);
	v->msr.tsc_adjust += by;
}

static enum msr_result write_vreg(struct vcpu *v, enum vreg reg, u64 value, bool valid)
{
	if (!valid)
		return MSR_FAULT;
	vendor->set(&v->arch, reg, value);
	return MSR_OK;
}

static enum msr_result write_seg_base(struct vcpu *v, enum seg which, u64 value)
{
	struct seg_state seg;

	if (!canonical(value))
		return MSR_FAULT;
	vendor->get_seg(&v->arch, which, &seg);
	seg.base = value;
	vendor->set_seg(&v->arch, which, &seg);
	return MSR_OK;
}

enum msr_result msr_guest_write(struct vcpu *v, const struct cpuid_table *cpuid, u32 msr, u64 value)
{
	const struct msr_row *row = row_of(msr);

	if (!row)
		return MSR_UNKNOWN;
	switch (row->kind) {
	case KIND_VREG:
		return write_vreg(v, (enum vreg)row->reg, value, true);
	case KIND_CANONICAL:
		return write_vreg(v, (enum vreg)row->reg, value, canonical(value));
	case KIND_PAT:
		return write_vreg(v, VREG_PAT, value, msr_pat_valid(value));
	case KIND_SEG_BASE:
		return write_seg_base(v, (enum seg)row->reg, value);
	case KIND_IGNORE:
		return MSR_OK;
	case KIND_TSC:
		move_tsc(v, value - tsc_now(v));
		return MSR_OK;
	case KIND_TSC_ADJUST:
		move_tsc(v, value - v->msr.tsc_adjust);
		return MSR_OK;
	case KIND_EFER:
		return write_efer(v, cpuid, value);
	case KIND_APIC_BASE: /* it neither moves nor goes away */
		return value == v->msr.apic_base ? MSR_OK : MSR_FAULT;
	case KIND_CONST:
		break;
	}
	return MSR_FAULT;
}
