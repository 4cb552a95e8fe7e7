#include "guest-tests/lib/apic.h"

#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/smp.h"
#include "guest-tests/lib/time.h"
#include "guest-tests/lib/trap.h"
#include "guest-tests/lib/verdict.h"

#define SVR_ENABLE 0x100u

static void timer_handler(struct trap_frame *frame)
{
	(void)frame;
	cpu_self()->timer_ticks++;
}

void apic_init(void)
{
	trap_set(TRAP_VECTOR_TIMER, timer_handler);
	apic_write(APIC_SVR, SVR_ENABLE | TRAP_VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | TRAP_VECTOR_TIMER);
	apic_write(APIC_TDCR, APIC_DIVIDE_BY_1);
}

u32 apic_id(void)
{
	return apic_read(APIC_ID) >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

/* The two halves must not be torn by a handler that sends as well. */
void apic_command(u32 id, u32 command)
{
	u64 flags = cpu_flags(), limit = time_ns() + 1000000000;

	cpu_cli();
	apic_write(APIC_ICR_HIGH, id << 24);
	apic_write(APIC_ICR_LOW, command);
	while (apic_read(APIC_ICR_LOW) & APIC_ICR_PENDING) {
		VERDICT_CHECK(time_ns() < limit, "interrupt command 0x%x to %u stays pending",
		              command, id);
		cpu_pause();
	}
	if (flags & 0x200)
		cpu_sti();
}

void apic_ipi(u32 id, u8 vector)
{
	apic_command(id, APIC_ICR_FIXED | vector);
}

/* Waiting times of the MP specification, appendix B.4: 10 ms after INIT, 200 us after SIPI. */
void apic_start_cpu(u32 id, u32 address)
{
	apic_command(id, APIC_ICR_INIT);
	time_spin_us(10000);
	apic_command(id, APIC_ICR_SIPI | address >> 12);
	time_spin_us(200);
	apic_command(id, APIC_ICR_SIPI | address >> 12);
}

void apic_timer_start(u32 ticks, bool periodic)
{
	apic_write(APIC_LVT_TIMER, (periodic ? APIC_LVT_PERIODIC : 0) | TRAP_VECTOR_TIMER);
	apic_write(APIC_TMICT, ticks);
}

void apic_timer_stop(void)
{
	apic_write(APIC_TMICT, 0);
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | TRAP_VECTOR_TIMER);
}
