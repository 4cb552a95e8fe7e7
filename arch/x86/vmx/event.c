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

/*
 * Only an NMI that we injected blocks others. Bochs 2.7 forgets at an entry what the VMCS before had left
 * blocked, and writes it into this one at the exit: nothing would ever unblock it, so the bit is no answer
 * where none was injected.
 */
u64 vmx_event_shadow(const struct vmx_vcpu *c)
{
	u64 shadow = vmread(VMCS_GUEST_SHADOW);

	if (likely(!(shadow & SHADOW_NMI) || c->nmi_blocked))
		return shadow;
	shadow &= ~(u64)SHADOW_NMI;
	vmwrite(VMCS_GUEST_SHADOW, shadow);
	return shadow;
}

/*
 * Entry with an NMI needs virtual NMIs and nothing that blocks one (SDM vol. 3, section 27.3.1.5).
 * The shadow of STI is waited for by the interrupt window, which opens behind it: a CPU may report an
 * NMI window inside (26.2), and would do so for ever.
 */
static void nmi_enter(struct arch_vcpu *v, struct vmx_vcpu *c)
{
	u64 shadow;

	if (!vmx_caps.virtual_nmi) {
		v->nmi_wanted = false;
		return;
	}
	shadow = vmx_event_shadow(c);
	vmx_proc_set(c, PROC_IRQ_WINDOW, c->irq_window || (shadow & SHADOW_STI));
	if (shadow & SHADOW_STI)
		return;
	if (v->event || (shadow & (SHADOW_NMI | SHADOW_MOV_SS))) {
		vmx_proc_set(c, PROC_NMI_WINDOW, true);
		return;
	}
	v->nmi_wanted = false;
	v->event = EVENT_VALID | EVENT_TYPE_NMI | 2;
	c->nmi_blocked = true;
}

/* Hardware takes the field's valid bit back with the exit. */
void vmx_event_enter(struct arch_vcpu *v)
{
	u32 info;

	v->event_rip = v->rip;
	if (unlikely(v->nmi_wanted))
		nmi_enter(v, vmx_of(v));
	if (likely(!v->event))
		return;
	info = vcpu_event_info(v, vmread(VMCS_GUEST_CR0));
	if (info & EVENT_HAS_ERROR)
		vmwrite(VMCS_ENTRY_ERROR, v->event_error);
	vmwrite(VMCS_ENTRY_EVENT, info);
}

void vmx_event_exit(struct arch_vcpu *v)
{
	struct vmx_vcpu *c = vmx_of(v);

	vcpu_event_interrupted(v, vmread32(VMCS_VECTORING));
	if (likely(!c->nmi_blocked))
		return;
	/* An NMI that was not delivered blocks nothing. */
	if (unlikely(v->event) && (v->event & EVENT_TYPE) == EVENT_TYPE_NMI) {
		vmwrite(VMCS_GUEST_SHADOW, vmread(VMCS_GUEST_SHADOW) & ~(u64)SHADOW_NMI);
		c->nmi_blocked = false;
	} else {
		c->nmi_blocked = vmread(VMCS_GUEST_SHADOW) & SHADOW_NMI;
	}
}

/* An IRET that left the guest half-way has unblocked NMIs already; it will be executed again. */
void vmx_event_iret_undone(struct arch_vcpu *v)
{
	vmx_of(v)->nmi_blocked = true;
	vmwrite(VMCS_GUEST_SHADOW, vmread(VMCS_GUEST_SHADOW) | SHADOW_NMI);
}

bool vmx_irq_ready(struct arch_vcpu *v)
{
	return (v->rflags & RFLAGS_IF) && !v->event &&
	       !(vmread(VMCS_GUEST_SHADOW) & (SHADOW_STI | SHADOW_MOV_SS));
}

bool vmx_irq_window(struct arch_vcpu *v, bool on)
{
	vmx_of(v)->irq_window = on;
	vmx_proc_set(vmx_of(v), PROC_IRQ_WINDOW, on);
	return true;
}
