#include "arch/x86/apic.h"

#include "arch/hal.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/time.h"

/* Registers by their xAPIC offset; the x2APIC MSR is 0x800 + offset / 16. SDM vol. 3, ch. 11. */
enum reg {
	REG_ID = 0x020,
	REG_VERSION = 0x030,
	REG_TPR = 0x080,
	REG_EOI = 0x0b0,
	REG_SVR = 0x0f0,
	REG_ISR = 0x100,
	REG_ICR = 0x300,
	REG_ICR_HIGH = 0x310,
	REG_LVT_CMCI = 0x2f0,
	REG_LVT_TIMER = 0x320,
	REG_LVT_THERMAL = 0x330,
	REG_LVT_PERF = 0x340,
	REG_LVT_LINT0 = 0x350,
	REG_LVT_LINT1 = 0x360,
	REG_LVT_ERROR = 0x370,
	REG_TIMER_INITIAL = 0x380,
	REG_TIMER_CURRENT = 0x390,
	REG_TIMER_DIVIDE = 0x3e0,
};

#define SVR_ENABLE      BIT(8)
#define LVT_MASKED      (1u << 16)
#define LVT_DEADLINE    (2u << 17)
#define DIVIDE_BY_1     0xbu
#define ICR_FIXED       0x000u
#define ICR_NMI         0x400u
#define ICR_INIT        0x500u
#define ICR_STARTUP     0x600u
#define ICR_PENDING     (1u << 12)
#define ICR_ASSERT      (1u << 14)
#define BASE_ADDR       BITS(51, 12)
#define ICR_POLLS       1000000u
#define CALIBRATE_NS    2000000ull
#define CALIBRATE_TRIES 5u
#define TIMER_MAX_NS    500000000ull /* longer waits take several turns */

static u8 *mmio; /* xAPIC registers */
static bool x2;
static u64 timer_hz; /* of the one-shot counter; 0 with TSC deadline */

static u32 reg_read(enum reg reg)
{
	return x2 ? (u32)msr_read(MSR_X2APIC + reg / 16) : mmio_read32(mmio + reg);
}

static void reg_write(enum reg reg, u32 v)
{
	if (x2)
		msr_write(MSR_X2APIC + reg / 16, v);
	else
		mmio_write32(mmio + reg, v);
}

bool apic_is_x2apic(void)
{
	return x2;
}

const char *apic_mode_name(void)
{
	if (x2)
		return timer_hz ? "x2APIC, one-shot timer" : "x2APIC, TSC deadline";
	return timer_hz ? "xAPIC, one-shot timer" : "xAPIC, TSC deadline";
}

u32 apic_id(void)
{
	return x2 ? reg_read(REG_ID) : reg_read(REG_ID) >> 24;
}

void apic_eoi(void)
{
	reg_write(REG_EOI, 0);
}

/* xAPIC: two writes; the first must not overtake a command that is still on its way. */
static void icr_send(u32 id, u32 command)
{
	if (x2) {
		/* A WRMSR to an x2APIC register orders nothing by itself; SDM vol. 3, 11.12.3. */
		__asm__ volatile("mfence\n lfence" ::: "memory");
		msr_write(MSR_X2APIC + REG_ICR / 16, (u64)id << 32 | command);
		return;
	}
	for (u32 i = 0; i < ICR_POLLS && (reg_read(REG_ICR) & ICR_PENDING); i++)
		cpu_pause();
	reg_write(REG_ICR_HIGH, id << 24);
	reg_write(REG_ICR, command);
}

static void send_to_cpu(unsigned cpu, u32 command)
{
	const struct percpu *pc = percpu_of(cpu);

	if (pc)
		icr_send(pc->apic_id, command);
}

void apic_ipi(unsigned cpu, u8 vector)
{
	send_to_cpu(cpu, ICR_ASSERT | ICR_FIXED | vector);
}

void apic_nmi(unsigned cpu)
{
	send_to_cpu(cpu, ICR_ASSERT | ICR_NMI);
}

/* One by one: the shorthand would also reach CPUs that were given up and have no IDT. */
static void send_to_others(u32 command)
{
	for (unsigned i = 0; i < hal_cpu_count(); i++)
		if (i != hal_cpu_id())
			send_to_cpu(i, command);
}

void apic_nmi_others(void)
{
	send_to_others(ICR_ASSERT | ICR_NMI);
}

void apic_send_init(u32 id)
{
	icr_send(id, ICR_ASSERT | ICR_INIT);
}

void apic_send_startup(u32 id, u8 page)
{
	icr_send(id, ICR_ASSERT | ICR_STARTUP | page);
}

static void mask_local_vectors(void)
{
	u32 max = reg_read(REG_VERSION) >> 16 & 0xff;

	reg_write(REG_LVT_TIMER, LVT_MASKED);
	reg_write(REG_LVT_LINT0, LVT_MASKED);
	reg_write(REG_LVT_LINT1, LVT_MASKED);
	if (max >= 3)
		reg_write(REG_LVT_ERROR, LVT_MASKED);
	if (max >= 4)
		reg_write(REG_LVT_PERF, LVT_MASKED);
	if (max >= 5)
		reg_write(REG_LVT_THERMAL, LVT_MASKED);
	if (max >= 6)
		reg_write(REG_LVT_CMCI, LVT_MASKED);
}

/* Whatever the firmware left in service would block lower vectors for ever. */
static void finish_in_service(void)
{
	for (unsigned turn = 0; turn < 256; turn++) {
		u32 any = 0;

		for (unsigned i = 0; i < 8; i++)
			any |= reg_read((enum reg)(REG_ISR + 16 * i));
		if (!any)
			return;
		apic_eoi();
	}
}

void apic_init_cpu(void)
{
	u64 base = msr_read(MSR_APIC_BASE) | APIC_BASE_EN;

	/* From disabled to x2APIC it takes two steps; SDM vol. 3, figure 11-27. */
	msr_write(MSR_APIC_BASE, base);
	if (x2)
		msr_write(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	reg_write(REG_SVR, (u32)SVR_ENABLE | IRQ_SPURIOUS);
	mask_local_vectors();
	reg_write(REG_TPR, 0);
	finish_in_service();
	reg_write(REG_TIMER_DIVIDE, DIVIDE_BY_1);
	apic_timer_stop();
}

static u64 timer_measure(void)
{
	u64 start, ticks;
	u32 count;

	reg_write(REG_TIMER_INITIAL, UINT32_MAX);
	start = tsc_read();
	time_wait_ns(CALIBRATE_NS);
	count = UINT32_MAX - reg_read(REG_TIMER_CURRENT);
	ticks = tsc_read() - start;
	reg_write(REG_TIMER_INITIAL, 0);
	/* 32 by 34 bits and the shift by 10 back and forth stay below 64 bits. */
	return ticks ? count * (tsc_hz() >> 10) / ticks << 10 : 0;
}

/* The median: either end of a measurement may be late. */
static void timer_calibrate(void)
{
	u64 v[CALIBRATE_TRIES];

	for (unsigned i = 0; i < CALIBRATE_TRIES; i++) {
		u64 x = timer_measure();
		unsigned at = i;

		for (; at > 0 && v[at - 1] > x; at--)
			v[at] = v[at - 1];
		v[at] = x;
	}
	timer_hz = v[CALIBRATE_TRIES / 2];
	if (timer_hz == 0)
		hal_panic("the timer of the local APIC does not count");
}

void apic_init(hpa_t base)
{
	u64 msr = msr_read(MSR_APIC_BASE);

	/* Firmware that enabled it may not let us go back. */
	x2 = cpu_features.x2apic || (msr & APIC_BASE_X2APIC);
	if (!x2)
		mmio = map_mmio(base.v ? base : hpa(msr & BASE_ADDR), PAGE_SIZE);
	timer_hz = 0;
	apic_init_cpu();
	if (!cpu_features.tsc_deadline)
		timer_calibrate();
}

void apic_timer_set(u64 deadline_ns)
{
	u64 now, ns, ticks;

	if (timer_hz == 0) {
		reg_write(REG_LVT_TIMER, LVT_DEADLINE | IRQ_TIMER);
		/* The mode must be there before the deadline; SDM vol. 3, 11.5.4.1. */
		__asm__ volatile("mfence" ::: "memory");
		msr_write(MSR_TSC_DEADLINE, max_of(time_to_tsc(deadline_ns), (u64)1));
		return;
	}
	now = time_ns();
	ns = deadline_ns > now ? min_of(deadline_ns - now, TIMER_MAX_NS) : 0;
	ticks = ns * (timer_hz >> 10) / (1000000000ull >> 10);
	reg_write(REG_LVT_TIMER, IRQ_TIMER);
	ticks = min_of(ticks, (u64)UINT32_MAX);
	reg_write(REG_TIMER_INITIAL, ticks ? (u32)ticks : 1);
}

void apic_timer_stop(void)
{
	reg_write(REG_LVT_TIMER, LVT_MASKED);
	if (cpu_features.tsc_deadline)
		msr_write(MSR_TSC_DEADLINE, 0);
	else
		reg_write(REG_TIMER_INITIAL, 0);
}
