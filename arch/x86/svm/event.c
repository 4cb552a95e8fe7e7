#include "arch/x86/svm/control.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_state.h"

static void intercept_set(struct svm_vcpu *c, u32 which, bool on)
{
	struct vmcb_control *control = &c->vmcb.control;
	u32 old = control->intercept1;

	control->intercept1 = on ? old | which : old & ~which;
	if (control->intercept1 != old)
		svm_touch(c, SVM_DIRTY_INTERCEPTS);
}

/*
 * NMIs are not virtualized by the CPUs we ask: after one was injected, the next waits until the
 * guest executes IRET. The intercept comes before the IRET, so a second NMI can arrive one
 * instruction early; guests must expect that anyway, since an IRET of a fault in the handler does
 * the same.
 */
static void nmi_enter(struct arch_vcpu *v, struct svm_vcpu *c)
{
	if (v->event || c->nmi_blocked || c->vmcb.control.int_state & SVM_SHADOW)
		return;
	v->nmi_wanted = false;
	v->event = EVENT_VALID | EVENT_TYPE_NMI | 2;
	c->nmi_blocked = true;
	intercept_set(c, SVM_IRET, true);
}

void svm_event_iret(struct arch_vcpu *v)
{
	svm_of(v)->nmi_blocked = false;
	intercept_set(svm_of(v), SVM_IRET, false);
}

void svm_event_enter(struct arch_vcpu *v)
{
	struct svm_vcpu *c = svm_of(v);

	if (unlikely(v->nmi_wanted))
		nmi_enter(v, c);
	c->vmcb.control.event_inject = 0;
	if (unlikely(v->event))
		c->vmcb.control.event_inject = (u64)v->event_error << 32 |
		                               vcpu_event_info(v, c->vmcb.save.cr0);
}

void svm_event_exit(struct arch_vcpu *v)
{
	vcpu_event_interrupted(v, (u32)svm_of(v)->vmcb.control.exit_int_info);
}

bool svm_irq_ready(struct arch_vcpu *v)
{
	return (v->rflags & RFLAGS_IF) && !v->event &&
	       !(svm_of(v)->vmcb.control.int_state & SVM_SHADOW);
}

/* A virtual interrupt of the highest priority that is intercepted instead of being taken. */
void svm_irq_window(struct arch_vcpu *v, bool on)
{
	struct svm_vcpu *c = svm_of(v);
	struct vmcb_control *control = &c->vmcb.control;
	u32 virq = SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_PRIO;

	if (!on && !(control->intercept1 & SVM_VINTR))
		return;
	intercept_set(c, SVM_VINTR, on);
	control->int_control = on ? control->int_control | virq : control->int_control & ~virq;
	svm_touch(c, SVM_DIRTY_INT);
}
