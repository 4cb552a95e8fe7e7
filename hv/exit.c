#include "hv/exit.h"

#include "arch/hal.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/cpuid.h"
#include "hv/sched.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

/* The figure that is promised (at most 800 instructions there and back) is this path. */
static void exit_cpuid(struct vcpu *v)
{
	u64 *gpr = v->arch.gpr;
	struct cpuid_vcpu self = {.apic_id = v->index, .xcr0 = v->xcr0};
	struct cpuid_regs out;

	if ((u32)gpr[GPR_RAX] == 1)
		self.osxsave = vendor->get(&v->arch, VREG_CR4) & CR4_OSXSAVE;
	cpuid_answer(&v->vm->cpuid, &self, (u32)gpr[GPR_RAX], (u32)gpr[GPR_RCX], &out);
	if (!exit_step(v))
		return;
	gpr[GPR_RAX] = out.eax;
	gpr[GPR_RBX] = out.ebx;
	gpr[GPR_RCX] = out.ecx;
	gpr[GPR_RDX] = out.edx;
}

static void exit_hlt(struct vcpu *v)
{
	if (!exit_step(v))
		return;
	v->activity = VCPU_HALTED;
	a32_fetch_or(&v->requests, VCPU_REQ_EVENT); /* what is pending already wakes it */
}

/* A guest that spins lets the others run. */
static void exit_pause(struct vcpu *v)
{
	if (exit_step(v))
		exit_yield(v);
}

static void exit_stop(struct vcpu *v, const char *what)
{
	vm_stop(v->vm, VM_STOPPED, "%s on vCPU %u at rip 0x%llx (exit 0x%llx, info 0x%llx)", what,
	        v->index, (unsigned long long)v->arch.rip, (unsigned long long)v->exit.code,
	        (unsigned long long)v->exit.info);
}

/* The guest changed its priority class by CR8. */
static void cr8_changed(struct vcpu *v)
{
	v->cr8_seen = v->arch.cr8;
	vlapic_set_cr8(&v->apic, v->arch.cr8);
	a32_fetch_or(&v->requests, VCPU_REQ_EVENT);
}

/* Those that only shadow guests have. */
static void dispatch_shadow(struct vcpu *v)
{
	switch (v->exit.kind) {
	case VEXIT_PAGE_FAULT:
		exit_page_fault(v, &v->exit.page_fault);
		break;
	case VEXIT_INVPCID:
		exit_invpcid(v);
		break;
	case VEXIT_INVLPG:
		exit_invlpg(v);
		break;
	case VEXIT_REAL_GP:
		exit_real_gp(v);
		break;
	case VEXIT_REAL_EVENT:
		exit_real_event(v);
		break;
	default: /* VEXIT_REAL_UNFIT */
		exit_real_unfit(v);
		break;
	}
}

void exit_dispatch(struct vcpu *v)
{
	switch (v->exit.kind) {
	case VEXIT_HANDLED:
	case VEXIT_NMI: /* a kick: the loop looks at what it was for; or the tick, with an interrupt behind it */
	case VEXIT_IRQ:
		sched_irq_window();
		break;
	case VEXIT_TIMER:
		sched_check();
		break;
	case VEXIT_IRQ_WINDOW: /* it may have closed itself: opened again if it is still needed */
		vcpu_window(v, false);
		a32_fetch_or(&v->requests, VCPU_REQ_EVENT);
		break;
	case VEXIT_CPUID:
		exit_cpuid(v);
		break;
	case VEXIT_FAULT:
		exit_fault(v, &v->exit.fault);
		break;
	case VEXIT_IO:
		exit_io(v, &v->exit.io);
		break;
	case VEXIT_HLT:
		exit_hlt(v);
		break;
	case VEXIT_PAUSE:
		exit_pause(v);
		break;
	case VEXIT_RDMSR:
		exit_rdmsr(v);
		break;
	case VEXIT_WRMSR:
		exit_wrmsr(v);
		break;
	case VEXIT_XSETBV:
		exit_xsetbv(v);
		break;
	case VEXIT_CR:
		exit_cr(v);
		break;
	case VEXIT_PAGE_FAULT:
	case VEXIT_INVPCID:
	case VEXIT_INVLPG:
	case VEXIT_REAL_GP:
	case VEXIT_REAL_EVENT:
	case VEXIT_REAL_UNFIT:
		dispatch_shadow(v);
		break;
	case VEXIT_WBINVD: /* memory is coherent, devices are ours */
		(void)!exit_step(v);
		break;
	case VEXIT_HYPERCALL: /* there are none */
	case VEXIT_UNDEFINED:
		vcpu_inject_ud(v);
		break;
	case VEXIT_PRIVILEGED:
		vcpu_inject_gp(v);
		break;
	case VEXIT_TRIPLE:
		exit_stop(v, "triple fault");
		break;
	case VEXIT_INVALID:
		exit_stop(v, "the CPU refuses the guest's state");
		break;
	case VEXIT_UNKNOWN:
		exit_stop(v, "exit of an unknown kind");
		break;
	}
}

void exit_handle(struct vcpu *v)
{
	v->exits_total++;
	if (unlikely(v->arch.cr8 != v->cr8_seen))
		cr8_changed(v);
	if (unlikely(v->window)) /* it may be behind a STI now, where none can be asked for */
		a32_fetch_or(&v->requests, VCPU_REQ_EVENT);
	exit_dispatch(v);
}
