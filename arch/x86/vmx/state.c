#include "arch/x86/insn.h"
#include "arch/x86/regs.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_shadow.h"
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

/*
 * Where entry and exit do not switch EFER, they still set LME and LMA, and NXE is always on; what is left
 * is SCE, for which the hypervisor has no use (SDM vol. 3, sections 27.3.2.1 and 28.5.1). Shadow only.
 */
static void efer_load(u64 guest)
{
	u64 host = msr_read(MSR_EFER);

	if (!vmx_caps.efer && ((guest ^ host) & EFER_SCE))
		msr_write(MSR_EFER, host ^ EFER_SCE);
}

void vmx_msrs_load(const struct arch_vcpu *v)
{
	const struct vmx_vcpu *c = v->control;

	efer_load(v->guest.efer);
	msr_write(MSR_STAR, c->star);
	msr_write(MSR_LSTAR, c->lstar);
	msr_write(MSR_CSTAR, c->cstar);
	msr_write(MSR_FMASK, c->sfmask);
	msr_write(MSR_KERNEL_GS_BASE, c->kernel_gs_base);
}

void vmx_msrs_save(struct arch_vcpu *v)
{
	struct vmx_vcpu *c = vmx_of(v);

	efer_load(0);
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
		return cr_get(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, vmx_cr0_owned(v));
	if (reg == VREG_CR4)
		return cr_get(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, vmx_cr4_owned(v));
	if (vcpu_shadow_keeps(v, reg))
		return vcpu_shadow_get(v, reg);
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

static void cr0_set(const struct arch_vcpu *v, u64 value)
{
	u64 owned = vmx_cr0_owned(v);

	vmwrite(VMCS_CR0_SHADOW, value);
	vmwrite(VMCS_GUEST_CR0, (value & ~owned) | CR0_ET | (owned & ~(CR0_CD | CR0_NW)));
	efer_set(vmread(VMCS_GUEST_EFER));
}

/* A guest in long mode is not in real mode, so the order does not matter. */
static void set_shadow(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	struct vmx_vcpu *c = vmx_of(v);
	struct vcpu_shadow_real real;
	u32 entry;

	if (reg != VREG_CR0) /* some of its bits are the guest's own */
		vcpu_shadow_set(v, VREG_CR0, vmx_get(v, VREG_CR0));
	if (reg != VREG_CR4)
		vcpu_shadow_set(v, VREG_CR4, vmx_get(v, VREG_CR4));
	vcpu_shadow_set(v, reg, value);
	if (c->vm86 != !(v->guest.cr0 & CR0_PE)) {
		if (c->vm86)
			vmx_vm86_leave(v);
		else
			vmx_vm86_enter(v);
	}
	real = vcpu_shadow_real(v, c->vm86);
	vmwrite(VMCS_CR0_SHADOW, v->guest.cr0);
	vmwrite(VMCS_CR4_SHADOW, v->guest.cr4);
	vmwrite(VMCS_GUEST_CR0, real.cr0 | vmx_caps.cr0_fixed0);
	vmwrite(VMCS_GUEST_CR4, real.cr4 | vmx_caps.cr4_fixed0);
	entry = vmread32(VMCS_ENTRY_CONTROLS) & ~ENTRY_GUEST_64;
	vmwrite(VMCS_ENTRY_CONTROLS, entry | (real.efer & EFER_LMA ? ENTRY_GUEST_64 : 0));
	if (vmx_caps.efer)
		vmwrite(VMCS_GUEST_EFER, real.efer);
	else
		efer_load(real.efer);
}

void vmx_set(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	if (vcpu_shadow_keeps(v, reg)) {
		set_shadow(v, reg, value);
	} else if (reg == VREG_CR0) {
		cr0_set(v, value);
	} else if (reg == VREG_CR4) {
		vmwrite(VMCS_CR4_SHADOW, value);
		vmwrite(VMCS_GUEST_CR4, (value & ~vmx_cr4_owned(v)) | vmx_caps.cr4_fixed0);
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
void vmx_seg_read(enum seg seg, struct seg_state *out)
{
	u32 at = 2 * (u32)seg;

	*out = (struct seg_state){
	        .base = vmread(VMCS_GUEST_BASE + at),
	        .limit = vmread32(VMCS_GUEST_LIMIT + at),
	};
	if (seg == SEG_GDTR || seg == SEG_IDTR)
		return;
	out->selector = (u16)vmread(VMCS_GUEST_SELECTOR + at);
	out->access = vmread32(VMCS_GUEST_ACCESS + at);
}

void vmx_seg_write(enum seg seg, const struct seg_state *in)
{
	u32 at = 2 * (u32)seg;

	vmwrite(VMCS_GUEST_BASE + at, in->base);
	vmwrite(VMCS_GUEST_LIMIT + at, in->limit);
	if (seg == SEG_GDTR || seg == SEG_IDTR)
		return;
	vmwrite(VMCS_GUEST_SELECTOR + at, in->selector);
	vmwrite(VMCS_GUEST_ACCESS + at, in->access & ACCESS_BITS);
}

void vmx_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out)
{
	if (unlikely(vmx_of(v)->vm86))
		vmx_vm86_get_seg(v, seg, out);
	else
		vmx_seg_read(seg, out);
}

void vmx_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in)
{
	if (unlikely(vmx_of(v)->vm86))
		vmx_vm86_set_seg(v, seg, in);
	else
		vmx_seg_write(seg, in);
}

/* 64-bit mode: LMA and CS.L. */
static bool long_code(void)
{
	return (vmread32(VMCS_ENTRY_CONTROLS) & ENTRY_GUEST_64) &&
	       (vmread32(VMCS_GUEST_ACCESS + 2 * SEG_CS) & SEG_LONG);
}

void vmx_advance(struct arch_vcpu *v, unsigned length)
{
	u64 shadow = vmread(VMCS_GUEST_SHADOW);

	if (unlikely((v->rip ^ (v->rip + length)) >> 32))
		v->rip = vcpu_next_rip(v->rip, length, long_code());
	else
		v->rip += length;
	v->rflags &= ~RFLAGS_RF;
	if (unlikely(shadow & (SHADOW_STI | SHADOW_MOV_SS)))
		vmwrite(VMCS_GUEST_SHADOW, shadow & ~(u64)(SHADOW_STI | SHADOW_MOV_SS));
	/* The trap that a single step over the instruction would have ended with. */
	if (unlikely(v->rflags & RFLAGS_TF) && !v->event) {
		dr6_write(dr6_read() | DR6_BS);
		vcpu_event_exception(v, 1, false, 0);
	}
}
