#include "arch/hal.h"
#include "arch/x86/regs.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_shadow.h"
#include "arch/x86/vcpu_state.h"

#define ATTR_LONG 0x200u

/* Where a register lives in the VMCB, and the clean group it belongs to. */
static u64 *vmcb_reg(struct vmcb *vmcb, enum vreg reg, u64 *group)
{
	struct vmcb_save *save = &vmcb->save;

	*group = 0; /* loaded by every VMRUN or by VMLOAD */
	switch (reg) {
	case VREG_CR0:
		*group = SVM_DIRTY_CR;
		return &save->cr0;
	case VREG_CR2:
		*group = SVM_DIRTY_CR2;
		return &save->cr2;
	case VREG_CR3:
		*group = SVM_DIRTY_CR;
		return &save->cr3;
	case VREG_CR4:
		*group = SVM_DIRTY_CR;
		return &save->cr4;
	case VREG_EFER:
		*group = SVM_DIRTY_CR;
		return &save->efer;
	case VREG_DR7:
		*group = SVM_DIRTY_DR;
		return &save->dr7;
	case VREG_PAT:
		*group = SVM_DIRTY_NESTED;
		return &save->pat;
	case VREG_TSC_OFFSET:
		*group = SVM_DIRTY_INTERCEPTS;
		return &vmcb->control.tsc_offset;
	case VREG_STAR:
		return &save->star;
	case VREG_LSTAR:
		return &save->lstar;
	case VREG_CSTAR:
		return &save->cstar;
	case VREG_SFMASK:
		return &save->sfmask;
	case VREG_KERNEL_GS_BASE:
		return &save->kernel_gs_base;
	case VREG_SYSENTER_CS:
		return &save->sysenter_cs;
	case VREG_SYSENTER_ESP:
		return &save->sysenter_esp;
	case VREG_SYSENTER_EIP:
		return &save->sysenter_eip;
	case VREG_COUNT:
		break;
	}
	hal_panic("svm: no register %d", reg);
}

static u64 efer_with_lma(u64 efer, u64 cr0)
{
	return (efer & EFER_LME) && (cr0 & CR0_PG) ? efer | EFER_LMA : efer & ~EFER_LMA;
}

/*
 * EFER.SVME has to be set while a guest runs (APM vol. 2, section 15.5.1); the guest reads 0. LMA is
 * computed: Bochs 2.7 leaves it out of the VMCB when it leaves a guest in compatibility mode.
 */
u64 svm_get(struct arch_vcpu *v, enum vreg reg)
{
	u64 group, value = *vmcb_reg(&svm_of(v)->vmcb, reg, &group);

	if (vcpu_shadow_keeps(v, reg))
		return vcpu_shadow_get(v, reg);
	if (reg == VREG_EFER)
		value = efer_with_lma(value, svm_of(v)->vmcb.save.cr0) & ~EFER_SVME;
	return value;
}

/* CR3 is what run() loads. Real mode with PG set is paged real mode (APM vol. 2, section 15.9). */
static void set_shadow(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	struct svm_vcpu *c = svm_of(v);
	struct vcpu_shadow_real real;

	vcpu_shadow_set(v, reg, value);
	real = vcpu_shadow_real(v, false);
	c->vmcb.save.cr0 = real.cr0;
	c->vmcb.save.cr4 = real.cr4;
	c->vmcb.save.efer = real.efer | EFER_SVME;
	svm_touch(c, SVM_DIRTY_CR);
}

void svm_set(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	struct svm_vcpu *c = svm_of(v);
	struct vmcb_save *save = &c->vmcb.save;
	u64 group, *at = vmcb_reg(&c->vmcb, reg, &group);

	if (vcpu_shadow_keeps(v, reg)) {
		set_shadow(v, reg, value);
		return;
	}
	*at = value;
	if (reg == VREG_CR0 || reg == VREG_EFER)
		save->efer = efer_with_lma(save->efer, save->cr0) | EFER_SVME;
	svm_touch(c, group);
}

static struct vmcb_seg *vmcb_seg(struct vmcb_save *save, enum seg seg)
{
	struct vmcb_seg *const at[SEG_COUNT] = {
	        [SEG_ES] = &save->es,     [SEG_CS] = &save->cs, [SEG_SS] = &save->ss,
	        [SEG_DS] = &save->ds,     [SEG_FS] = &save->fs, [SEG_GS] = &save->gs,
	        [SEG_LDTR] = &save->ldtr, [SEG_TR] = &save->tr, [SEG_GDTR] = &save->gdtr,
	        [SEG_IDTR] = &save->idtr,
	};

	return at[seg];
}

/* The VMCB packs the attributes (APM vol. 2, section 15.5.1) and knows no "unusable" but P = 0. */
void svm_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out)
{
	struct vmcb_save *save = &svm_of(v)->vmcb.save;
	const struct vmcb_seg *in = vmcb_seg(save, seg);

	*out = (struct seg_state){.base = in->base, .limit = in->limit, .selector = in->selector};
	if (seg == SEG_GDTR || seg == SEG_IDTR)
		return;
	out->access = (in->attr & 0xffu) | (in->attr & 0xf00u) << 4;
	if (!(out->access & SEG_PRESENT))
		out->access |= SEG_UNUSABLE;
	if (seg == SEG_SS)
		out->access = (out->access & ~SEG_DPL) | (u32)save->cpl << SEG_DPL_SHIFT;
}

void svm_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in)
{
	struct svm_vcpu *c = svm_of(v);
	struct vmcb_seg *out = vmcb_seg(&c->vmcb.save, seg);
	u32 access = in->access & SEG_UNUSABLE ? 0 : in->access;

	out->base = in->base;
	out->limit = in->limit;
	out->selector = in->selector;
	out->attr = (u16)((access & 0xff) | (access >> 4 & 0xf00));
	if (seg == SEG_SS)
		c->vmcb.save.cpl = (u8)((in->access & SEG_DPL) >> SEG_DPL_SHIFT);
	svm_touch(c, seg == SEG_GDTR || seg == SEG_IDTR ? SVM_DIRTY_TABLES : SVM_DIRTY_SEGS);
}

/* 64-bit mode: LMA and CS.L. */
static bool long_code(const struct vmcb_save *save)
{
	return (save->efer & EFER_LME) && (save->cr0 & CR0_PG) && (save->cs.attr & ATTR_LONG);
}

void svm_advance(struct arch_vcpu *v, unsigned length)
{
	struct vmcb *vmcb = &svm_of(v)->vmcb;

	v->rip = vcpu_next_rip(v->rip, length, long_code(&vmcb->save));
	v->rflags &= ~RFLAGS_RF;
	vmcb->control.int_state &= ~(u64)SVM_SHADOW;
	/* The trap that a single step over the instruction would have ended with. */
	if (unlikely(v->rflags & RFLAGS_TF) && !v->event) {
		vmcb->save.dr6 |= DR6_BS;
		svm_touch(svm_of(v), SVM_DIRTY_DR);
		vcpu_event_exception(v, 1, false, 0);
	}
}
