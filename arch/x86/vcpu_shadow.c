#include "arch/x86/vcpu_shadow.h"

#include "arch/x86/regs.h"

#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE  BIT(3)
#define CR4_PCE BIT(8)

/* What has nothing to do with paging is the guest's own. */
#define CR4_OWN                                                                                   \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PCE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | \
	 CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE)

u64 vcpu_shadow_efer(u64 efer, u64 cr0)
{
	return (efer & EFER_LME) && (cr0 & CR0_PG) ? efer | EFER_LMA : efer & ~EFER_LMA;
}

/*
 * WP is on: a page that is not writable for us must not be written by the guest's supervisor either.
 * SMEP and SMAP look at U, which has no meaning in tables that stand for "paging off". CD and NW
 * would stay in force after an exit. PGE and PCIDE are off, so that loading CR3 drops everything.
 * NX is always on, since our tables use it; LME only together with LMA, because PG is always set.
 */
struct vcpu_shadow_real vcpu_shadow_real(const struct arch_vcpu *v, bool vm86)
{
	u64 efer = vcpu_shadow_efer(v->guest.efer, v->guest.cr0);
	u64 cr4 = v->guest.cr4 & (CR4_OWN & ~(vm86 ? CR4_VME | CR4_PVI : 0));

	if (v->guest.cr0 & CR0_PG)
		cr4 |= v->guest.cr4 & (CR4_SMEP | CR4_SMAP);
	return (struct vcpu_shadow_real){
	        .cr0 = (v->guest.cr0 & ~(CR0_CD | CR0_NW)) | CR0_PG | CR0_WP | CR0_ET,
	        .cr4 = cr4 | CR4_PAE,
	        .efer = (efer & EFER_SCE) | EFER_NXE | (efer & EFER_LMA ? EFER_LME | EFER_LMA : 0),
	};
}

u64 vcpu_shadow_get(const struct arch_vcpu *v, enum vreg reg)
{
	switch (reg) {
	case VREG_CR0:
		return v->guest.cr0;
	case VREG_CR3:
		return v->guest.cr3;
	case VREG_CR4:
		return v->guest.cr4;
	default:
		return v->guest.efer;
	}
}

void vcpu_shadow_set(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	if (reg == VREG_CR3)
		v->guest.cr3 = value;
	else if (reg == VREG_CR4)
		v->guest.cr4 = value;
	else if (reg == VREG_CR0)
		v->guest.cr0 = value;
	else
		v->guest.efer = value;
	v->guest.efer = vcpu_shadow_efer(v->guest.efer, v->guest.cr0);
}
