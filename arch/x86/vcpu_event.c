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
 * INT n, INT1, INT3 and INTO are not queued: RIP still points at the instruction, nothing of it has
 * happened, and the guest simply executes it again. That needs no instruction length, which an AMD
 * CPU without NRIP save would not tell. (AMD reports INT3 and INTO as exceptions 3 and 4.)
 */
void vcpu_event_interrupted(struct arch_vcpu *v, u32 info, u32 error)
{
	u32 type = info & EVENT_TYPE, vector = info & EVENT_VECTOR;

	v->event = 0;
	if (likely(!(info & EVENT_VALID)))
		return;
	if (type == EVENT_TYPE_NMI) {
		v->nmi_wanted = true;
	} else if (type == EVENT_TYPE_EXT ||
	           (type == EVENT_TYPE_EXC && vector != 3 && vector != 4)) {
		v->event = info & (EVENT_VALID | EVENT_TYPE | EVENT_VECTOR | EVENT_HAS_ERROR);
		v->event_error = error;
	}
}
