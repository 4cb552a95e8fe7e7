#include "arch/x86/vcpu_event.h"

void vcpu_event_inject(struct arch_vcpu *v, const struct vevent *event)
{
	u32 info = EVENT_VALID | (u32)event->type << 8 | event->vector;

	if (!event->valid)
		return;
	if ((info & EVENT_TYPE) == EVENT_TYPE_NMI) {
		v->nmi_wanted = true;
		return;
	}
	v->event = event->has_error ? info | EVENT_HAS_ERROR : info;
	v->event_error = event->error;
}

void vcpu_event_exception(struct arch_vcpu *v, u8 vector, bool has_error, u32 error)
{
	v->event = EVENT_VALID | EVENT_TYPE_EXC | vector | (has_error ? EVENT_HAS_ERROR : 0);
	v->event_error = error;
}

/*
 * Only what we injected ourselves has to be injected again. Everything else whose delivery can be
 * cut short began with an instruction at which RIP still points: a fault, INT n, INT3, INTO. Nothing
 * of it has happened, and the guest simply executes it again. (Debug traps leave the guest and are
 * injected; the machine's interrupts never reach it.) So no instruction length is needed, which an
 * AMD CPU without NRIP save would not tell; and it does not matter that Bochs 2.7 reports, for an
 * INT n on SVM, whatever event came before.
 */
void vcpu_event_interrupted(struct arch_vcpu *v, u32 info)
{
	const u32 same = EVENT_VALID | EVENT_TYPE | EVENT_VECTOR;

	if (likely(!(info & EVENT_VALID)) || ((info ^ v->event) & same))
		v->event = 0;
}
