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

static void virq_set(struct svm_vcpu *c, u32 bits, u32 vector)
{
	struct vmcb_control *control = &c->vmcb.control;

	control->int_control = (control->int_control & ~SVM_VIRQ_ALL) | bits;
	control->int_vector = vector;
	svm_touch(c, SVM_DIRTY_INT);
}

/* A virtual interrupt of the highest priority that is intercepted instead of being taken. */
static void window_set(struct svm_vcpu *c, bool on)
{
	if (on == !!(c->vmcb.control.intercept1 & SVM_VINTR))
		return;
	intercept_set(c, SVM_VINTR, on);
	virq_set(c, on ? SVM_VIRQ_ALL : 0, 0);
}

static bool in_shadow(const struct svm_vcpu *c)
{
	return c->vmcb.control.int_state & SVM_SHADOW;
}

/*
 * QEMU (7.2 to 10) does not load the interrupt shadow at VMRUN. A window opens at once there, and the
 * interrupt comes between STI and the HLT that was to wait for it: the guest sleeps on.
 */
static bool shadow_is_lost(void)
{
	return svm_caps.tcg;
}

/*
 * A guest that is still where it was has executed nothing: the shadow goes on. Unless it jumps to itself;
 * so many exits without a step are not to be expected otherwise.
 */
#define SHADOW_KEEP 16u

static void shadow_enter(struct svm_vcpu *c, u64 rip)
{
	c->shadow_rip = in_shadow(c) && shadow_is_lost() ? rip : 0;
	if (!c->shadow_rip)
		c->shadow_kept = 0;
}

static void shadow_exit(struct svm_vcpu *c, u64 rip)
{
	if (likely(!c->shadow_rip))
		return;
	if (rip == c->shadow_rip && c->shadow_kept++ < SHADOW_KEEP)
		c->vmcb.control.int_state |= SVM_SHADOW;
}

/*
 * NMIs are not virtualized by the CPUs we ask: after one was injected, the next waits until the
 * guest executes IRET. The intercept comes before the IRET, so a second NMI can arrive one
 * instruction early; guests must expect that anyway, since an IRET of a fault in the handler does
 * the same.
 */
static void nmi_enter(struct arch_vcpu *v, struct svm_vcpu *c)
{
	bool shadow = in_shadow(c) && !shadow_is_lost();

	/* The interrupt window opens behind the shadow; without it the NMI would wait for any exit. */
	window_set(c, c->irq_window || (shadow && (v->rflags & RFLAGS_IF)));
	if (v->event || c->nmi_blocked || shadow)
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

/*
 * QEMU (7.2 to 10) leaves the vector of an injected external interrupt behind as if an exception
 * were still to be raised; if the emulation is interrupted before the guest's first instruction, the
 * guest gets it a second time. So there it is offered as the virtual interrupt, which the guest takes
 * before its next instruction. QEMU is known by its hypervisor leaf. Not so anywhere else: Bochs 2.7
 * does not say whether the virtual interrupt was taken. It is busy while a window is asked for; then it
 * has to be injection.
 */
static bool by_virq(const struct arch_vcpu *v, const struct svm_vcpu *c)
{
	return svm_caps.tcg && !(v->event & EVENT_TYPE) && /* 0: external interrupt */
	       !(c->vmcb.control.intercept1 & SVM_VINTR);
}

void svm_event_enter(struct arch_vcpu *v)
{
	struct svm_vcpu *c = svm_of(v);

	shadow_enter(c, v->rip);
	v->event_rip = v->rip;
	if (unlikely(v->nmi_wanted))
		nmi_enter(v, c);
	c->vmcb.control.event_inject = 0;
	if (likely(!v->event))
		return;
	c->virq = by_virq(v, c);
	if (c->virq)
		virq_set(c, SVM_VIRQ_ALL, v->event & EVENT_VECTOR);
	else
		c->vmcb.control.event_inject = (u64)v->event_error << 32 |
		                               vcpu_event_info(v, c->vmcb.save.cr0);
}

void svm_event_exit(struct arch_vcpu *v)
{
	struct svm_vcpu *c = svm_of(v);

	shadow_exit(c, v->rip);
	if (unlikely(c->virq)) {
		bool waits = c->vmcb.control.int_control & SVM_V_IRQ;

		c->virq = false;
		virq_set(c, 0, 0);
		if (waits) /* the guest left before it took the interrupt */
			return;
	}
	vcpu_event_interrupted(v, (u32)c->vmcb.control.exit_int_info);
}

bool svm_irq_ready(struct arch_vcpu *v)
{
	return (v->rflags & RFLAGS_IF) && !v->event && !in_shadow(svm_of(v));
}

bool svm_irq_window(struct arch_vcpu *v, bool on)
{
	struct svm_vcpu *c = svm_of(v);

	bool now = on && !(in_shadow(c) && shadow_is_lost());

	c->irq_window = now;
	window_set(c, now);
	return now == on;
}
