/*
 * hole: executes where there is no memory. Varve must stop the VM with a line that says so; no
 * instruction behind the jump may run. Needs Varve.
 *
 *   to=apic       the APIC page (default)
 *   to=gap        the first 2 MiB boundary above the memory
 *   to=high       4 GiB above the memory
 */
#include "guest-tests/lib/guest.h"

void guest_main(void)
{
	const char *to = cmdline_text("to");
	u64 target = APIC_BASE;

	VERDICT_CHECK(time_is_varve(), "this guest needs Varve");
	if (to && string_equal(to, "gap"))
		target = (mem_top() + LARGE_SIZE) & ~(LARGE_SIZE - 1);
	else if (to && string_equal(to, "high"))
		target = (mem_top() + (4ull << 30)) & ~(LARGE_SIZE - 1);
	else
		VERDICT_CHECK(!to || string_equal(to, "apic"), "argument to= is apic, gap or high");
	mem_map_device(target);
	console_printf("hole: jumping to 0x%lx\n", target);
	((void (*)(void))target)();
	verdict_fail("survived");
}
