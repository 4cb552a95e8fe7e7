#include "arch/x86/regs.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_state.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"

void vmx_proc_set(struct vmx_vcpu *c, u32 control, bool on)
{
	u32 proc = on ? c->proc | control : c->proc & ~control;

	if (proc != c->proc)
		vmwrite(VMCS_PROC_CONTROLS, c->proc = proc);
}

/* Entry with an NMI needs virtual NMIs and nothing that blocks one (SDM vol. 3, section 27.3.1.5). */
static void nmi_enter(struct arch_vcpu *v, struct vmx_vcpu *c)
{
	if (!vmx_caps.virtual_nmi) {
		v->nmi_wanted = false;
		return;
	}
	if (v->event || vmread(VMCS_GUEST_SHADOW) & (SHADOW_NMI | SHADOW_STI | SHADOW_MOV_SS)) {
		vmx_proc_set(c, PROC_NMI_WINDOW, true);
		return;
	}
	v->nmi_wanted = false;
	v->event = EVENT_VALID | EVENT_TYPE_NMI | 2;
}

/* Hardware takes the field's valid bit back with the exit. In real mode there are no error codes. */
void vmx_event_enter(struct arch_vcpu *v)
{
	u32 info;

	if (unlikely(v->nmi_wanted))
		nmi_enter(v, vmx_of(v));
	info = v->event;
	if (likely(!info))
		return;
	if (info & EVENT_HAS_ERROR) {
		if (vmread(VMCS_GUEST_CR0) & CR0_PE)
			vmwrite(VMCS_ENTRY_ERROR, v->event_error);
		else
			info &= ~EVENT_HAS_ERROR;
	}
	vmwrite(VMCS_ENTRY_EVENT, info);
}

void vmx_event_exit(struct arch_vcpu *v)
{
	vcpu_event_interrupted(v, vmread32(VMCS_VECTORING));
	/* An NMI that was not delivered blocks nothing. */
	if (unlikely(v->event) && (v->event & EVENT_TYPE) == EVENT_TYPE_NMI)
		vmwrite(VMCS_GUEST_SHADOW, vmread(VMCS_GUEST_SHADOW) & ~(u64)SHADOW_NMI);
}

/* An IRET that left the guest half-way has unblocked NMIs already; it will be executed again. */
void vmx_event_iret_undone(void)
{
	vmwrite(VMCS_GUEST_SHADOW, vmread(VMCS_GUEST_SHADOW) | SHADOW_NMI);
}

bool vmx_irq_ready(struct arch_vcpu *v)
{
	return (v->rflags & RFLAGS_IF) && !v->event &&
	       !(vmread(VMCS_GUEST_SHADOW) & (SHADOW_STI | SHADOW_MOV_SS));
}

void vmx_irq_window(struct arch_vcpu *v, bool on)
{
	vmx_proc_set(vmx_of(v), PROC_IRQ_WINDOW, on);
}
