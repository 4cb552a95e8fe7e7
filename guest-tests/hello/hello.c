/* hello: prints what machine it finds and passes. No arguments. */
#include "guest-tests/lib/guest.h"

void guest_main(void)
{
	console_printf("hello: %s, %u cpus, %lu free pages, tsc %lu kHz, apic %lu kHz\n",
	               time_is_varve() ? "varve" : "another machine", smp_count(), mem_pages(),
	               time_tsc_khz(), time_apic_khz());
}
