#include "guest-tests/lib/time.h"

#include "guest-tests/lib/apic.h"
#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/smp.h"
#include "guest-tests/lib/verdict.h"

#define PIT_HZ       1193182u
#define PIT_CHANNEL2 0x42
#define PIT_COMMAND  0x43
#define PIT_GATE     0x61
#define CALIBRATE_MS 50u

#define LEAF_SIGNATURE 0x40000000u
#define LEAF_RATES     0x40000010u

static bool on_varve;
static u64 tsc_khz, apic_khz, tsc_start;
static u64 ns_factor; /* nanoseconds per TSC tick, times 2^32 */

static bool find_varve(void)
{
	struct cpuid_regs r;

	if (!(cpuid(1, 0).ecx >> 31))
		return false;
	r = cpuid(LEAF_SIGNATURE, 0);
	return r.ebx == 0x76726156 && r.ecx == 0x72615665 && r.edx == 0x61566576; /* VarveVarveVa */
}

/* Channel 2 of the PIT counts down once; its output shows in bit 5 of the gate port. */
static void calibrate(void)
{
	u32 count = PIT_HZ / 1000 * CALIBRATE_MS;
	u64 from, to;
	u32 left;

	outb(PIT_GATE, (u8)((inb(PIT_GATE) & 0xfc) | 1));
	outb(PIT_COMMAND, 0xb0);
	outb(PIT_CHANNEL2, (u8)count);
	apic_write(APIC_TDCR, APIC_DIVIDE_BY_1);
	apic_write(APIC_TMICT, UINT32_MAX);
	outb(PIT_CHANNEL2, (u8)(count >> 8));
	from = rdtsc();
	while (!(inb(PIT_GATE) & 0x20))
		cpu_pause();
	to = rdtsc();
	left = apic_read(APIC_TMCCT);
	apic_write(APIC_TMICT, 0);
	tsc_khz = (to - from) / CALIBRATE_MS;
	apic_khz = (UINT32_MAX - left) / CALIBRATE_MS;
}

void time_init(void)
{
	on_varve = find_varve();
	if (on_varve) {
		struct cpuid_regs r = cpuid(LEAF_RATES, 0);

		tsc_khz = r.eax;
		apic_khz = r.ebx;
	} else {
		outb(0x21, 0xff); /* both PICs: everything masked */
		outb(0xa1, 0xff);
		calibrate();
	}
	VERDICT_CHECK(tsc_khz && apic_khz, "clock rates: tsc %lu kHz, apic %lu kHz", tsc_khz,
	              apic_khz);
	ns_factor = (1000000ull << 32) / tsc_khz;
	tsc_start = rdtsc();
}

bool time_is_varve(void)
{
	return on_varve;
}

u64 time_tsc_khz(void)
{
	return tsc_khz;
}

u64 time_apic_khz(void)
{
	return apic_khz;
}

u64 time_tsc_to_ns(u64 tsc)
{
	return (u64)(((u128)tsc * ns_factor) >> 32);
}

u64 time_ns(void)
{
	return time_tsc_to_ns(rdtsc() - tsc_start);
}

void time_spin_us(u64 us)
{
	u64 end = time_ns() + us * 1000;

	while (time_ns() < end)
		cpu_pause();
}

void time_doze_us(u64 us)
{
	u64 ticks = us * apic_khz / 1000;
	u32 before;

	cpu_cli(); /* the timer must not ring between the look and the HLT */
	before = cpu_self()->timer_ticks;
	apic_timer_start(ticks > UINT32_MAX ? UINT32_MAX : (u32)ticks + 1, false);
	if (cpu_self()->timer_ticks == before)
		cpu_sti_hlt();
	apic_timer_stop();
	cpu_sti();
}

void time_sleep_ms(u64 ms)
{
	u64 now = time_ns(), end = now + ms * 1000000;

	for (; now < end; now = time_ns()) {
		u64 left_us = (end - now) / 1000 + 1;

		time_doze_us(left_us < 1000000 ? left_us : 1000000);
	}
}
