/* The local APIC of each CPU, in x2APIC mode where the CPU has it. CPU numbers, not APIC IDs. */
#pragma once

#include "arch/x86/trap.h"
#include "lib/types.h"
#include "lib/util.h"

/* Boot CPU: maps the APIC (xAPIC only), enables it and calibrates the timer. After time_init(). */
void apic_init(hpa_t base);
/* Enables the APIC of this CPU, everything masked but the spurious vector. */
void apic_init_cpu(void);
bool apic_is_x2apic(void);
/* "x2APIC, TSC deadline" for a line of log. */
const char *apic_mode_name(void);

/* This CPU's own ID as the APIC has it. */
u32 apic_id(void);
void apic_eoi(void);
/* Interrupt `vector` for CPU `cpu` (also for oneself). Any context. */
void apic_ipi(unsigned cpu, u8 vector);
void apic_nmi(unsigned cpu);
/* Every CPU but this one. */
void apic_nmi_others(void);
/* By APIC ID, for starting CPUs; `page` is the number of the page where the CPU begins. */
void apic_send_init(u32 id);
void apic_send_startup(u32 id, u8 page);

/*
 * IRQ_TIMER on this CPU at `deadline_ns` of time_ns(), at once if that is over. It may come early
 * when the hardware counter is too short: the handler compares the time and sets it again.
 */
void apic_timer_set(u64 deadline_ns);
void apic_timer_stop(void);
