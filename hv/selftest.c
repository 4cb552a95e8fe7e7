#include "hv/selftest.h"

#include "arch/hal.h"
#include "arch/x86/apic.h"
#include "arch/x86/paging.h"
#include "hv/verdict.h"
#include "lib/cmdline.h"
#include "lib/string.h"
#include "mm/trace.h"

#define NMI_WAIT_NS 1000000000ull

typedef unsigned long long ull;

static bool show_bad(u64 va, u64 bytes, u32 flags)
{
	if ((flags & PAGING_WRITE) && (flags & PAGING_EXEC))
		hal_log(HAL_ERROR, "selftest wx: %llu bytes at 0x%llx are writable and executable",
		        (ull)bytes, (ull)va);
	return true;
}

static void selftest_wx(void)
{
	struct paging_audit a = paging_audit(show_bad);

	hal_log(HAL_INFO,
	        "selftest wx: %llu mappings, %llu writable and executable, %llu executable outside "
	        ".text, %llu wrong in the image, %llu for user mode, page 0 %smapped, protection "
	        "%s",
	        (ull)a.mappings, (ull)a.write_exec, (ull)a.exec_outside, (ull)a.image_wrong,
	        (ull)a.user, a.null_mapped ? "" : "not ", a.protect_off ? "off" : "on");
	if (!a.mappings || a.write_exec || a.exec_outside || a.image_wrong || a.user ||
	    a.null_mapped || a.protect_off)
		verdict_fail("selftest wx");
}

static void selftest_nmi(void)
{
	u64 until = hal_time_ns() + NMI_WAIT_NS / 1000;

	apic_nmi(hal_cpu_id());
	while (hal_time_ns() < until)
		hal_pause();
	hal_log(HAL_INFO, "selftest nmi: still here");
}

/* What was recorded before a panic is in its report. */
static void selftest_trace(void)
{
	if (!trace_switch(true))
		verdict_fail("the machine has no memory left for the trace");
	trace_event(TRACE_PASS, 0, gfn(0), 0x5eed, 0);
	hal_panic("selftest trace");
}

/* The depth is not known to the compiler, and the buffer is used after the call. */
static __attribute__((noinline)) u64 eat_stack(u64 depth)
{
	u8 buffer[512];

	memset(buffer, (int)depth, sizeof(buffer));
	if (depth)
		buffer[depth % sizeof(buffer)] = (u8)eat_stack(depth + 1);
	return buffer[depth / 2 % sizeof(buffer)];
}

void selftest_run(const char *cmdline)
{
	char name[16];

	if (!cmdline_get(cmdline, "selftest", name, sizeof(name)))
		return;
	if (!strcmp(name, "wx"))
		selftest_wx();
	else if (!strcmp(name, "nmi"))
		selftest_nmi();
	else if (!strcmp(name, "trap"))
		__builtin_trap();
	else if (!strcmp(name, "stack"))
		hal_log(HAL_ERROR, "selftest stack: came back with %llu", (ull)eat_stack(1));
	else if (!strcmp(name, "panic"))
		hal_panic("selftest panic");
	else if (!strcmp(name, "trace"))
		selftest_trace();
	else
		verdict_fail("selftest=%s: there are wx, nmi, trap, stack, panic and trace", name);
}
