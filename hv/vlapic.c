#include "hv/vlapic.h"

#include "lib/string.h"

#define LVT_TIMER_BITS   (VLAPIC_LVT_MASKED | VLAPIC_LVT_PERIODIC | 0xffu)
#define LVT_LINT_BITS    0x1a7ffu /* mask, trigger, polarity, delivery mode, vector */
#define LVT_OTHER_BITS   0x107ffu /* mask, delivery mode, vector */
#define SVR_BITS         0x3ffu
#define ICR_LOW_BITS     0xccfffu /* shorthand, trigger, level, destination mode, delivery, vector */
#define ICR_DELIVERY(v)  ((v) >> 8 & 7u)
#define ICR_LOGICAL      BIT(11)
#define ICR_LEVEL_ASSERT BIT(14)
#define ICR_TRIGGER      BIT(15)
#define FIRST_VECTOR     16u

void vlapic_reset(struct vlapic *a, u32 id)
{
	for (unsigned i = 0; i < 8; i++)
		a32_store(&a->irr[i], 0);
	memset(a->isr, 0, sizeof(a->isr));
	a->id = id;
	a->tpr = a->ldr = a->esr = a->esr_pending = 0;
	a->dfr = ~0u;
	a->svr = 0xff;
	a->icr_low = a->icr_high = 0;
	a->lvt_timer = a->lvt_thermal = a->lvt_perf = a->lvt_error = VLAPIC_LVT_MASKED;
	a->lvt_lint[0] = a->lvt_lint[1] = VLAPIC_LVT_MASKED;
	a->divide = a->initial = 0;
	a->timer_on = false;
}

static bool enabled(const struct vlapic *a)
{
	return a->svr & VLAPIC_SVR_ENABLE;
}

/* Number of the highest bit in 256 bits that stand in eight words, -1 if all are clear. */
static int highest_isr(const struct vlapic *a)
{
	for (int i = 7; i >= 0; i--)
		if (a->isr[i])
			return i * 32 + 31 - __builtin_clz(a->isr[i]);
	return -1;
}

static int highest_irr(const struct vlapic *a)
{
	for (int i = 7; i >= 0; i--) {
		u32 word = a32_load(&a->irr[i]);

		if (word)
			return i * 32 + 31 - __builtin_clz(word);
	}
	return -1;
}

/* SDM 11.8.3.1: the higher of TPR and the class of what is in service. */
static u32 priority(const struct vlapic *a)
{
	int isr = highest_isr(a);
	u32 class = isr < 0 ? 0 : (u32)isr & 0xf0u;

	return (a->tpr & 0xf0u) >= class ? a->tpr : class;
}

bool vlapic_post(struct vlapic *a, u8 vector)
{
	u32 bit = 1u << vector % 32;

	if (vector < FIRST_VECTOR)
		return false;
	return !(a32_fetch_or(&a->irr[vector / 32], bit) & bit);
}

int vlapic_pending(const struct vlapic *a)
{
	int irr = highest_irr(a);

	if (irr < 0 || !enabled(a) || ((u32)irr & 0xf0u) <= (priority(a) & 0xf0u))
		return -1;
	return irr;
}

void vlapic_accept(struct vlapic *a, u8 vector)
{
	u32 bit = 1u << vector % 32;

	a32_fetch_and(&a->irr[vector / 32], ~bit);
	a->isr[vector / 32] |= bit;
}

void vlapic_give_back(struct vlapic *a, u8 vector)
{
	a->isr[vector / 32] &= ~(1u << vector % 32);
	(void)vlapic_post(a, vector);
}

static void end_of_interrupt(struct vlapic *a)
{
	int isr = highest_isr(a);

	if (isr >= 0)
		a->isr[isr / 32] &= ~(1u << isr % 32);
}

void vlapic_set_cr8(struct vlapic *a, u8 class)
{
	a->tpr = (u32) class << 4;
}

/* SDM 11.6.2.2: DFR chooses between eight flags and two levels of clusters. */
static bool logical_match(const struct vlapic *a, u8 dest)
{
	u32 ldr = a->ldr >> 24;

	if (dest == 0xff)
		return true;
	if (a->dfr >> 28 == 0xf)
		return ldr & dest;
	return ldr >> 4 == (u32)dest >> 4 && (ldr & dest & 0xf);
}

bool vlapic_is_dest(const struct vlapic *a, const struct vlapic_ipi *ipi, const struct vlapic *from)
{
	switch (ipi->shorthand) {
	case VLAPIC_TO_SELF:
		return a == from;
	case VLAPIC_TO_ALL:
		return true;
	case VLAPIC_TO_OTHERS:
		return a != from;
	default:
		return ipi->logical ? logical_match(a, ipi->dest)
		                    : ipi->dest == 0xff || ipi->dest == a->id;
	}
}

/* SDM 11.6.1. An INIT with level "deassert" was for older processors and does nothing. */
static void send(struct vlapic *a, struct vlapic_effect *out)
{
	u32 low = a->icr_low, delivery = ICR_DELIVERY(low);

	if (delivery == VLAPIC_INIT && (low & ICR_TRIGGER) && !(low & ICR_LEVEL_ASSERT))
		return;
	if ((delivery == VLAPIC_FIXED || delivery == VLAPIC_LOWEST) &&
	    (low & 0xff) < FIRST_VECTOR) {
		a->esr_pending |= VLAPIC_ESR_SEND_BAD;
		return;
	}
	if (delivery != VLAPIC_FIXED && delivery != VLAPIC_LOWEST && delivery < VLAPIC_NMI)
		return; /* SMI and reserved modes */
	if (delivery > VLAPIC_STARTUP)
		return;
	out->send = true;
	out->ipi.delivery = (enum vlapic_delivery)delivery;
	out->ipi.vector = (u8)low;
	out->ipi.shorthand = low >> 18 & 3;
	out->ipi.logical = low & ICR_LOGICAL;
	out->ipi.dest = (u8)(a->icr_high >> 24);
}

/* Bits 0, 1 and 3 of the divide register: 2, 4, ... 128, 1. */
static u32 divisor_shift(const struct vlapic *a)
{
	u32 code = (a->divide & 3) | (a->divide >> 1 & 4);

	return (code + 1) & 7;
}

static u64 period_ns(const struct vlapic *a)
{
	return (u64)a->initial << divisor_shift(a); /* VLAPIC_HZ: a tick is a nanosecond */
}

static void timer_start(struct vlapic *a, u64 now_ns, struct vlapic_effect *out)
{
	a->timer_on = a->initial != 0;
	a->timer_start_ns = now_ns;
	out->timer_changed = true;
}

static u32 timer_current(const struct vlapic *a, u64 now_ns)
{
	u64 period = period_ns(a), gone = now_ns - a->timer_start_ns;

	if (!a->timer_on)
		return 0;
	if (gone >= period) {
		if (!(a->lvt_timer & VLAPIC_LVT_PERIODIC))
			return 0;
		gone %= period;
	}
	return (u32)((period - gone) >> divisor_shift(a));
}

u64 vlapic_timer_deadline(const struct vlapic *a)
{
	return a->timer_on ? a->timer_start_ns + period_ns(a) : ~0ull;
}

/* A period that passed more than once makes one interrupt, and the next is a whole period away. */
bool vlapic_timer_fire(struct vlapic *a, u64 now_ns)
{
	u64 period = period_ns(a);

	if (!a->timer_on || now_ns < vlapic_timer_deadline(a))
		return false;
	if (a->lvt_timer & VLAPIC_LVT_PERIODIC)
		a->timer_start_ns += (now_ns - a->timer_start_ns) / period * period;
	else
		a->timer_on = false;
	if (!enabled(a) || (a->lvt_timer & VLAPIC_LVT_MASKED))
		return false;
	return vlapic_post(a, (u8)a->lvt_timer);
}

static u32 read_bits(const struct vlapic *a, u32 offset)
{
	u32 word = offset >> 4 & 7;

	if (offset >= VLAPIC_IRR)
		return a32_load(&a->irr[word]);
	if (offset >= VLAPIC_TMR)
		return 0; /* everything we deliver is edge triggered */
	return a->isr[word];
}

u32 vlapic_read(struct vlapic *a, u32 offset, u64 now_ns)
{
	if (offset >= VLAPIC_ISR && offset < VLAPIC_ESR)
		return read_bits(a, offset);
	switch (offset) {
	case VLAPIC_ID:
		return a->id << 24;
	case VLAPIC_VER:
		return VLAPIC_VERSION;
	case VLAPIC_TPR:
		return a->tpr;
	case VLAPIC_PPR:
		return priority(a);
	case VLAPIC_LDR:
		return a->ldr;
	case VLAPIC_DFR:
		return a->dfr;
	case VLAPIC_SVR:
		return a->svr;
	case VLAPIC_ESR:
		return a->esr;
	case VLAPIC_ICR:
		return a->icr_low;
	case VLAPIC_ICR_HIGH:
		return a->icr_high;
	case VLAPIC_LVT_TIMER:
		return a->lvt_timer;
	case VLAPIC_LVT_THERMAL:
		return a->lvt_thermal;
	case VLAPIC_LVT_PERF:
		return a->lvt_perf;
	case VLAPIC_LVT_LINT0:
		return a->lvt_lint[0];
	case VLAPIC_LVT_LINT1:
		return a->lvt_lint[1];
	case VLAPIC_LVT_ERROR:
		return a->lvt_error;
	case VLAPIC_TIMER_INITIAL:
		return a->initial;
	case VLAPIC_TIMER_CURRENT:
		return timer_current(a, now_ns);
	case VLAPIC_TIMER_DIVIDE:
		return a->divide;
	case VLAPIC_APR:
	case VLAPIC_EOI:
	case VLAPIC_LVT_CMCI:
		return 0;
	default:
		a->esr_pending |= VLAPIC_ESR_ILLEGAL;
		return 0;
	}
}

/* While the APIC is disabled by software every LVT entry stays masked (SDM 11.4.7.2). */
static u32 lvt(const struct vlapic *a, u32 value, u32 bits)
{
	return (value & bits) | (enabled(a) ? 0 : (u32)VLAPIC_LVT_MASKED);
}

static void write_svr(struct vlapic *a, u32 value)
{
	a->svr = value & SVR_BITS;
	if (enabled(a))
		return;
	a->lvt_timer |= VLAPIC_LVT_MASKED;
	a->lvt_thermal |= VLAPIC_LVT_MASKED;
	a->lvt_perf |= VLAPIC_LVT_MASKED;
	a->lvt_lint[0] |= VLAPIC_LVT_MASKED;
	a->lvt_lint[1] |= VLAPIC_LVT_MASKED;
	a->lvt_error |= VLAPIC_LVT_MASKED;
}

static void write_lvt(struct vlapic *a, u32 offset, u32 value, struct vlapic_effect *out)
{
	switch (offset) {
	case VLAPIC_LVT_TIMER:
		a->lvt_timer = lvt(a, value, LVT_TIMER_BITS);
		out->timer_changed = true;
		break;
	case VLAPIC_LVT_THERMAL:
		a->lvt_thermal = lvt(a, value, LVT_OTHER_BITS);
		break;
	case VLAPIC_LVT_PERF:
		a->lvt_perf = lvt(a, value, LVT_OTHER_BITS);
		break;
	case VLAPIC_LVT_ERROR:
		a->lvt_error = lvt(a, value, LVT_OTHER_BITS);
		break;
	default:
		a->lvt_lint[offset == VLAPIC_LVT_LINT1] = lvt(a, value, LVT_LINT_BITS);
	}
}

/* A running count keeps the fraction that is over when only the divider changes. */
static void write_divide(struct vlapic *a, u32 value, u64 now_ns, struct vlapic_effect *out)
{
	u32 left = timer_current(a, now_ns);
	u64 period;

	a->divide = value & 0xb;
	period = period_ns(a);
	a->timer_start_ns = now_ns - (period - ((u64)left << divisor_shift(a)));
	out->timer_changed = a->timer_on;
}

void vlapic_write(struct vlapic *a, u32 offset, u32 value, u64 now_ns, struct vlapic_effect *out)
{
	memset(out, 0, sizeof(*out));
	switch (offset) {
	case VLAPIC_ID: /* fixed: leaf 1 and 0xb of CPUID say it too */
	case VLAPIC_LVT_CMCI:
		break;
	case VLAPIC_TPR:
		a->tpr = value & 0xff;
		out->check = true;
		break;
	case VLAPIC_EOI:
		end_of_interrupt(a);
		out->check = true;
		break;
	case VLAPIC_LDR:
		a->ldr = value & 0xff000000u;
		break;
	case VLAPIC_DFR:
		a->dfr = value | 0x0fffffffu;
		break;
	case VLAPIC_SVR:
		write_svr(a, value);
		out->check = true;
		break;
	case VLAPIC_ESR: /* a write shows what has been collected since the last */
		a->esr = a->esr_pending;
		a->esr_pending = 0;
		break;
	case VLAPIC_ICR:
		a->icr_low = value & ICR_LOW_BITS;
		send(a, out);
		break;
	case VLAPIC_ICR_HIGH:
		a->icr_high = value & 0xff000000u;
		break;
	case VLAPIC_LVT_TIMER:
	case VLAPIC_LVT_THERMAL:
	case VLAPIC_LVT_PERF:
	case VLAPIC_LVT_LINT0:
	case VLAPIC_LVT_LINT1:
	case VLAPIC_LVT_ERROR:
		write_lvt(a, offset, value, out);
		break;
	case VLAPIC_TIMER_INITIAL:
		a->initial = value;
		timer_start(a, now_ns, out);
		break;
	case VLAPIC_TIMER_DIVIDE:
		write_divide(a, value, now_ns, out);
		break;
	default: /* read-only and unknown ones */
		a->esr_pending |= VLAPIC_ESR_ILLEGAL;
	}
}
