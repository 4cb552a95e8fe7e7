/*
 * spin: computes for ever and never exits, for time slices and forced stops.
 *
 *   cli           with IF = 0 (default: interrupts on, none is asked for)
 *   all           on all CPUs (default: CPU 0 only)
 */
#include "guest-tests/lib/guest.h"

static void spin(void *arg)
{
	u64 x = 1;

	if (cmdline_flag("cli"))
		cpu_cli();
	(void)arg;
	for (;;) {
		x = rng_mix(x);
		__asm__ volatile("" : : "r"(x) : "memory");
	}
}

void guest_main(void)
{
	console_printf("spin: for ever%s\n", cmdline_flag("cli") ? ", interrupts off" : "");
	if (cmdline_flag("all")) {
		smp_start();
		smp_run(spin, NULL);
	}
	spin(NULL);
}
