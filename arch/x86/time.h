/* Monotonic time from the TSC. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* Finds the TSC's frequency (CPUID checked against the PIT, else the PIT). Boot CPU, once. */
void time_init(void);
u64 tsc_hz(void);
/* Where tsc_hz() comes from, for a line of log. */
const char *tsc_source(void);
/* Nanoseconds since time_init(); 0 before. Any context. */
u64 time_ns(void);
/* TSC value at which time_ns() will be `ns`; saturates. */
u64 time_to_tsc(u64 ns);
/* TSC ticks as nanoseconds and back; no overflow for any value whose result fits 64 bits. */
u64 tsc_to_ns(u64 ticks);
u64 ns_to_tsc(u64 ns);
/* Waits, with `pause`. */
void time_wait_ns(u64 ns);
