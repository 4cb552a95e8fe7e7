/* What of arch/hal.h is not at home elsewhere (percpu.c, hostmem.c, fpu.c). */
#include "arch/hal.h"

#include "arch/x86/console.h"
#include "arch/x86/insn.h"
#include "arch/x86/panic.h"
#include "arch/x86/time.h"

void __stack_chk_fail(void); /* called by what -fstack-protector adds */

void hal_pause(void)
{
	cpu_pause();
}

u64 hal_time_ns(void)
{
	return time_ns();
}

void *hal_frame_ptr(pfn_t pfn)
{
	return (void *)(uintptr_t)pfn_hpa(pfn).v;
}

pfn_t hal_ptr_pfn(const void *ptr)
{
	return hpa_pfn(hpa((u64)(uintptr_t)ptr));
}

void hal_log(enum hal_log level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	console_log(level, fmt, args);
	va_end(args);
}

void hal_panic(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	panic_text(fmt, args);
}

void __stack_chk_fail(void)
{
	hal_panic("a stack frame was written over");
}
