/*
 * Whether XSETBV can be intercepted. QEMU 7.2 accepts the intercept and ignores it, and no CPUID bit
 * says so; a guest that could change XCR0 behind our back would make us save and load the wrong
 * part of the FPU state. So it is tried once: a guest of two instructions that runs in our own
 * address space, without nested paging, writes XCR0's present value. If it comes to its VMMCALL,
 * nobody may be offered XSAVE.
 */
#include "arch/hal.h"
#include "arch/x86/cpu.h"
#include "arch/x86/desc.h"
#include "arch/x86/svm/control.h"
#include "lib/string.h"

#define EXIT_XSETBV 0x8du

void svm_xsetbv_guest(void);

static void guest_init(struct vmcb *vmcb)
{
	struct vmcb_save *save = &vmcb->save;
	struct vmcb_seg data = {SEL_DATA, 0xc93, ~0u, 0};

	svm_control_init(vmcb);
	vmcb->control.nested_control = 0;
	vmcb->control.asid = 1;
	vmcb->control.tlb_control = SVM_TLB_ALL;
	save->cs = (struct vmcb_seg){SEL_CODE, 0xa9b, ~0u, 0};
	save->es = save->ss = save->ds = save->fs = save->gs = data;
	save->efer = msr_read(MSR_EFER);
	save->cr0 = cr0_read();
	save->cr3 = cr3_read();
	save->cr4 = cr4_read();
	save->dr6 = 0xffff0ff0u;
	save->dr7 = 0x400;
	save->rflags = 2;
	save->rip = (u64)svm_xsetbv_guest;
	save->pat = PAT_DEFAULT;
}

bool svm_xsetbv_exits(void)
{
	struct svm_cpu *cpu = this_cpu()->vendor;
	struct svm_vcpu *c;
	struct arch_vcpu v;
	u64 xcr0, code;

	if (!(cr4_read() & CR4_OSXSAVE))
		return false;
	c = hal_pages_alloc(align_up(sizeof(*c), PAGE_SIZE) / PAGE_SIZE);
	if (!c)
		return false;
	memset(&v, 0, sizeof(v));
	xcr0 = xcr0_read();
	guest_init(&c->vmcb);
	c->vmcb.save.rax = (u32)xcr0;
	v.gpr[GPR_RDX] = xcr0 >> 32;
	do {
		gif_clear();
		svm_enter(&v, hpa((u64)&c->vmcb), hpa((u64)&cpu->host));
		code = c->vmcb.control.exit_code;
		irq_window();
	} while (code == 0x60 || code == 0x61);
	hal_pages_free(c, align_up(sizeof(*c), PAGE_SIZE) / PAGE_SIZE);
	return code == EXIT_XSETBV;
}
