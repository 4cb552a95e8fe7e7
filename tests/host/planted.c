#include "tests/host/planted.h"

#include "arch/x86/vendor.h"

static const struct vendor_ops *sound;

static bool ready_always(struct arch_vcpu *v)
{
	(void)v;
	return true;
}

static bool ready_in_shadow(struct arch_vcpu *v)
{
	return (v->rflags & BIT(9)) && !v->event;
}

static void set_without_pe(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	sound->set(v, reg, reg == VREG_CR0 && value & BIT(31) ? value & ~1ull : value);
}

void planted_vendor(enum planted what)
{
	static struct vendor_ops wrong;

	sound = vendor;
	wrong = *vendor;
	if (what == PLANTED_IRQ)
		wrong.irq_ready = ready_always;
	else if (what == PLANTED_SHADOW)
		wrong.irq_ready = ready_in_shadow;
	else if (what == PLANTED_CR0)
		wrong.set = set_without_pe;
	else
		return;
	vendor = &wrong;
}
