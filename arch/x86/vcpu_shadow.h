/*
 * Control registers of a guest whose linear addresses are translated by our own tables (shadow
 * paging): what the guest believes and what the CPU runs with are different values, on both vendors
 * in the same way. Pure.
 *
 * Real tables are always of 64-bit entries: three levels (PAE) while the guest is not in long mode,
 * paging off included, else four.
 */
#pragma once

#include "arch/x86/vcpu.h"
#include "lib/types.h"

struct vcpu_shadow_real {
	u64 cr0, cr4, efer;
};

/* The guest's EFER with LMA as LME and CR0.PG make it. */
u64 vcpu_shadow_efer(u64 efer, u64 cr0);
/*
 * What the CPU runs with. CR0.PE is the guest's; VMX adds what VMX operation insists on, SVM adds
 * EFER.SVME. `vm86`: real mode is run in virtual-8086 mode.
 */
struct vcpu_shadow_real vcpu_shadow_real(const struct arch_vcpu *v, bool vm86);
/* Is this one of the registers of which a shadow vCPU keeps the guest's value apart? */
static inline bool vcpu_shadow_keeps(const struct arch_vcpu *v, enum vreg reg)
{
	return v->shadow &&
	       (reg == VREG_CR0 || reg == VREG_CR3 || reg == VREG_CR4 || reg == VREG_EFER);
}
/* get() and the first half of set() for such a register; the second is to load the real values. */
u64 vcpu_shadow_get(const struct arch_vcpu *v, enum vreg reg);
void vcpu_shadow_set(struct arch_vcpu *v, enum vreg reg, u64 value);
