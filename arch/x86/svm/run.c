/*
 * One entry and the exit that ends it.
 *
 * A kick must not get lost between the caller's last look at its requests and the entry. From CLGI
 * on, interrupts and NMIs wait and make the guest leave at once; an NMI that was handled before it is
 * found in nmi_seen. Kicks are NMIs too because Bochs keeps interrupts away from a guest that is
 * entered with IF = 0.
 */
#include "arch/hal.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/svm/control.h"

/*
 * ASIDs are handed out per CPU in rising order. When they are used up, everything cached under any
 * of them is dropped and a new generation starts; a vCPU whose generation is over, or that comes
 * from another CPU, takes a new one, under which nothing is cached.
 */
static u8 asid_renew(struct svm_vcpu *c, struct svm_cpu *cpu)
{
	u8 flush = SVM_TLB_KEEP;

	if (cpu->asid_next >= svm_caps.nr_asids) {
		cpu->asid_generation++;
		cpu->asid_next = 1;
		flush = SVM_TLB_ALL;
	}
	c->vmcb.control.asid = cpu->asid_next++;
	c->asid_generation = cpu->asid_generation;
	svm_touch(c, SVM_DIRTY_ASID);
	return flush;
}

static void run_prepare_tlb(struct svm_vcpu *c, struct svm_cpu *cpu)
{
	struct vmcb_control *control = &c->vmcb.control;

	control->tlb_control = SVM_TLB_KEEP;
	if (unlikely(c->asid_generation != cpu->asid_generation))
		control->tlb_control = asid_renew(c, cpu);
	else if (c->flush)
		control->tlb_control = svm_caps.flush_asid ? SVM_TLB_ASID : SVM_TLB_ALL;
	c->flush = false;
}

void svm_flush(struct arch_vcpu *v)
{
	svm_of(v)->flush = true;
}

static void run_prepare(struct arch_vcpu *v, struct svm_vcpu *c)
{
	struct vmcb *vmcb = &c->vmcb;
	u64 *root = v->shadow ? &vmcb->save.cr3 : &vmcb->control.nested_cr3;

	vmcb->save.rax = v->gpr[GPR_RAX];
	vmcb->save.rsp = v->gpr[GPR_RSP];
	vmcb->save.rip = v->rip;
	vmcb->save.rflags = v->rflags | 2;
	if (unlikely(*root != v->root.v)) {
		*root = v->root.v;
		svm_touch(c, v->shadow ? SVM_DIRTY_CR : SVM_DIRTY_NESTED);
		c->flush = true;
	}
	if (unlikely((vmcb->control.int_control & SVM_V_TPR) != v->cr8)) {
		vmcb->control.int_control = (vmcb->control.int_control & ~SVM_V_TPR) | v->cr8;
		svm_touch(c, SVM_DIRTY_INT);
	}
	/* VMRUN loads it from the VMCB, but for Bochs 2.7, which keeps what is there. */
	if (cr2_read() != vmcb->save.cr2)
		cr2_write(vmcb->save.cr2);
	run_prepare_tlb(c, this_cpu()->vendor);
	vmcb->control.clean = svm_caps.clean_bits ? ~c->dirty & SVM_CLEAN_KNOWN : 0;
	c->dirty = 0;
}

void svm_nmi(void)
{
	struct svm_cpu *cpu = this_cpu()->vendor;

	if (cpu)
		a32_store(&cpu->nmi_seen, 1);
}

void svm_run(struct arch_vcpu *v, struct vexit *exit)
{
	struct svm_vcpu *c = svm_of(v);
	struct svm_cpu *cpu = this_cpu()->vendor;
	struct vmcb *vmcb = &c->vmcb;

	DEBUG_ASSERT(v->loaded_cpu == (s32)hal_cpu_id());
	gif_clear();
	if (unlikely(a32_load(&cpu->nmi_seen))) {
		a32_store(&cpu->nmi_seen, 0);
		gif_set();
		*exit = (struct vexit){.kind = VEXIT_NMI};
		return;
	}
	svm_event_enter(v);
	run_prepare(v, c);
	svm_enter(v, hpa((u64)vmcb), hpa((u64)&cpu->host));
	v->gpr[GPR_RAX] = vmcb->save.rax;
	v->gpr[GPR_RSP] = vmcb->save.rsp;
	v->rip = vmcb->save.rip;
	v->rflags = vmcb->save.rflags;
	v->cr8 = vmcb->control.int_control & SVM_V_TPR;
	svm_event_exit(v);
	svm_exit_decode(v, exit);
}
