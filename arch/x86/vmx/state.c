#include "arch/x86/insn.h"
#include "arch/x86/regs.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_state.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"

#define ACCESS_BITS 0x1f0ffu

/* STAR to KERNEL_GS_BASE are in the CPU while the vCPU is loaded: we have no use for them. */
static const u32 msr_of[VREG_COUNT] = {
        [VREG_STAR] = MSR_STAR,
        [VREG_LSTAR] = MSR_LSTAR,
        [VREG_CSTAR] = MSR_CSTAR,
        [VREG_SFMASK] = MSR_FMASK,
        [VREG_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
};

static const u32 field_of[VREG_COUNT] = {
        [VREG_CR3] = VMCS_GUEST_CR3,
        [VREG_EFER] = VMCS_GUEST_EFER,
        [VREG_DR7] = VMCS_GUEST_DR7,
        [VREG_PAT] = VMCS_GUEST_PAT,
        [VREG_SYSENTER_CS] = VMCS_GUEST_SYSENTER_CS,
        [VREG_SYSENTER_ESP] = VMCS_GUEST_SYSENTER_ESP,
        [VREG_SYSENTER_EIP] = VMCS_GUEST_SYSENTER_EIP,
        [VREG_TSC_OFFSET] = VMCS_TSC_OFFSET,
};

void vmx_msrs_load(const struct vmx_vcpu *c)
{
	msr_write(MSR_STAR, c->star);
	msr_write(MSR_LSTAR, c->lstar);
	msr_write(MSR_CSTAR, c->cstar);
	msr_write(MSR_FMASK, c->sfmask);
	msr_write(MSR_KERNEL_GS_BASE, c->kernel_gs_base);
}

void vmx_msrs_save(struct vmx_vcpu *c)
{
	c->star = msr_read(MSR_STAR);
	c->lstar = msr_read(MSR_LSTAR);
	c->cstar = msr_read(MSR_CSTAR);
	c->sfmask = msr_read(MSR_FMASK);
	c->kernel_gs_base = msr_read(MSR_KERNEL_GS_BASE);
}

/* What the guest sees: its own bits, and the shadow of those it does not own. */
static u64 cr_get(u32 real, u32 shadow, u64 owned)
{
	return (vmread(real) & ~owned) | (vmread(shadow) & owned);
}

u64 vmx_get(struct arch_vcpu *v, enum vreg reg)
{
	if (reg == VREG_CR0)
		return cr_get(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, vmx_cr0_owned());
	if (reg == VREG_CR4)
		return cr_get(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, vmx_cr4_owned());
	if (reg == VREG_CR2)
		return vmx_of(v)->cr2;
	if (reg == VREG_PAT && !vmx_caps.pat)
		return vmx_of(v)->pat;
	if (msr_of[reg])
		return msr_read(msr_of[reg]);
	return vmread(field_of[reg]);
}

/* LMA and the entry control follow from LME and PG (SDM vol. 3, section 27.3.1.1). */
static void efer_set(u64 efer)
{
	u32 entry = vmread32(VMCS_ENTRY_CONTROLS) & ~ENTRY_GUEST_64;

	efer &= ~EFER_LMA;
	if ((efer & EFER_LME) && (vmread(VMCS_GUEST_CR0) & CR0_PG)) {
		efer |= EFER_LMA;
		entry |= ENTRY_GUEST_64;
	}
	vmwrite(VMCS_GUEST_EFER, efer);
	vmwrite(VMCS_ENTRY_CONTROLS, entry);
}

static void cr0_set(u64 value)
{
	u64 owned = vmx_cr0_owned();

	vmwrite(VMCS_CR0_SHADOW, value);
	vmwrite(VMCS_GUEST_CR0, (value & ~owned) | CR0_ET | (owned & ~(CR0_CD | CR0_NW)));
	efer_set(vmread(VMCS_GUEST_EFER));
}

void vmx_set(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	if (reg == VREG_CR0) {
		cr0_set(value);
	} else if (reg == VREG_CR4) {
		vmwrite(VMCS_CR4_SHADOW, value);
		vmwrite(VMCS_GUEST_CR4, (value & ~vmx_cr4_owned()) | vmx_caps.cr4_fixed0);
	} else if (reg == VREG_CR2) {
		vmx_of(v)->cr2 = value;
	} else if (reg == VREG_EFER) {
		efer_set(value);
	} else if (reg == VREG_PAT && !vmx_caps.pat) {
		vmx_of(v)->pat = value;
	} else if (msr_of[reg]) {
		msr_write(msr_of[reg], value);
	} else {
		vmwrite(field_of[reg], value);
	}
}

/* Limits and bases of GDTR and IDTR stand behind those of the segments; they have nothing else. */
void vmx_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out)
{
	u32 at = 2 * (u32)seg;

	(void)v;
	*out = (struct seg_state){
	        .base = vmread(VMCS_GUEST_BASE + at),
	        .limit = vmread32(VMCS_GUEST_LIMIT + at),
	};
	if (seg == SEG_GDTR || seg == SEG_IDTR)
		return;
	out->selector = (u16)vmread(VMCS_GUEST_SELECTOR + at);
	out->access = vmread32(VMCS_GUEST_ACCESS + at);
}

void vmx_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in)
{
	u32 at = 2 * (u32)seg;

	(void)v;
	vmwrite(VMCS_GUEST_BASE + at, in->base);
	vmwrite(VMCS_GUEST_LIMIT + at, in->limit);
	if (seg == SEG_GDTR || seg == SEG_IDTR)
		return;
	vmwrite(VMCS_GUEST_SELECTOR + at, in->selector);
	vmwrite(VMCS_GUEST_ACCESS + at, in->access & ACCESS_BITS);
}

/* 64-bit mode: LMA and CS.L. */
static bool long_code(void)
{
	return (vmread(VMCS_GUEST_EFER) & EFER_LMA) &&
	       (vmread32(VMCS_GUEST_ACCESS + 2 * SEG_CS) & SEG_LONG);
}

void vmx_advance(struct arch_vcpu *v, unsigned length)
{
	u64 shadow = vmread(VMCS_GUEST_SHADOW), dr6;

	if (unlikely((v->rip ^ (v->rip + length)) >> 32))
		v->rip = vcpu_next_rip(v->rip, length, long_code());
	else
		v->rip += length;
	v->rflags &= ~RFLAGS_RF;
	if (unlikely(shadow & (SHADOW_STI | SHADOW_MOV_SS)))
		vmwrite(VMCS_GUEST_SHADOW, shadow & ~(u64)(SHADOW_STI | SHADOW_MOV_SS));
	/* The trap that a single step over the instruction would have ended with. */
	if (unlikely(v->rflags & RFLAGS_TF) && !v->event) {
		__asm__ volatile("movq %%db6, %0" : "=r"(dr6));
		__asm__ volatile("movq %0, %%db6" ::"r"(dr6 | DR6_BS));
		vcpu_event_exception(v, 1, false, 0);
	}
}
