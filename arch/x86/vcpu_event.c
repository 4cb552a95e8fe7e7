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
 * INT n on SVM, whatever event came before, as long as ours is known by its place as well.
 */
void vcpu_event_interrupted(struct arch_vcpu *v, u32 info)
{
	const u32 same = EVENT_VALID | EVENT_TYPE | EVENT_VECTOR;

	if (likely(!(info & EVENT_VALID))) {
		v->event = v->vectoring = 0;
		return;
	}
	v->vectoring = info;
	if (((info ^ v->event) & same) || v->rip != v->event_rip)
		v->event = 0;
}

static bool is_exception(u32 info, u32 vector)
{
	const u32 mask = EVENT_VALID | EVENT_TYPE | EVENT_VECTOR;

	return (info & mask) == (EVENT_VALID | EVENT_TYPE_EXC | vector);
}

/*
 * Only page faults and double faults count: what else was being delivered is followed by the page
 * fault as if it had not been there (Intel SDM vol. 3, table 6-5). Every page fault of a guest is
 * injected by us, so the one before is `event`; a double fault may have been the CPU's own.
 */
enum vcpu_event_next vcpu_event_page_fault(struct arch_vcpu *v, u32 error)
{
	if (is_exception(v->event, VECTOR_DF) || is_exception(v->vectoring, VECTOR_DF))
		return VCPU_EVENT_TRIPLE;
	if (is_exception(v->event, VECTOR_PF)) {
		vcpu_event_exception(v, VECTOR_DF, true, 0);
		return VCPU_EVENT_DOUBLE;
	}
	if ((v->event & (EVENT_VALID | EVENT_TYPE)) == (EVENT_VALID | EVENT_TYPE_NMI))
		v->nmi_wanted = true;
	vcpu_event_exception(v, VECTOR_PF, true, error);
	return VCPU_EVENT_PAGE_FAULT;
}
