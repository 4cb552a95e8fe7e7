/* Time from the TSC; rates from Varve's CPUID leaves or, on another machine, from its PIT. */
#pragma once

#include "guest-tests/lib/types.h"

/* CPU 0, once, interrupts off. */
void time_init(void);
/* The machine carries Varve's signature. */
bool time_is_varve(void);
u64 time_tsc_khz(void);
u64 time_apic_khz(void);

u64 time_tsc_to_ns(u64 tsc);
/* Nanoseconds since time_init(). */
u64 time_ns(void);

void time_spin_us(u64 us);
/* Halts until the APIC timer rings or another interrupt comes. Interrupts must be on. */
void time_doze_us(u64 us);
/* Halts, again and again, until the time is over. Interrupts must be on. */
void time_sleep_ms(u64 ms);
