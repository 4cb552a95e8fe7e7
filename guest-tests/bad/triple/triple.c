/*
 * triple: triple fault. Varve must stop the VM with a line that says so; the guest can print no verdict.
 *
 *   ap            on CPU 1 instead of CPU 0
 */
#include "guest-tests/lib/guest.h"

static void fault(void *arg)
{
	static const struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) empty = {0, 0};

	if (cpu_self()->id != (arg ? 1 : 0))
		return;
	__asm__ volatile("lidt %0; ud2" : : "m"(empty) : "memory");
}

void guest_main(void)
{
	bool ap = cmdline_flag("ap");

	console_printf("triple: faulting on cpu %d\n", ap);
	if (ap) {
		VERDICT_CHECK(smp_count() > 1, "argument ap: there is one CPU only");
		smp_start();
		smp_run(fault, &ap);
	} else {
		fault(NULL);
	}
	verdict_fail("survived a triple fault");
}
