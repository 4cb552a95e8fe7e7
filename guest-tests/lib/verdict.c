#include "guest-tests/lib/verdict.h"

#include "guest-tests/lib/console.h"
#include "guest-tests/lib/cpu.h"

#define EXIT_PORT 0xf4

static u32 verdict_given;

_Noreturn static void give(u32 code, const char *prefix, const char *fmt, va_list ap)
{
	if (__atomic_exchange_n(&verdict_given, 1, __ATOMIC_ACQ_REL))
		cpu_stop();
	console_last_line(prefix, fmt, ap);
	outl(EXIT_PORT, code);
	cpu_stop();
}

__attribute__((format(printf, 3, 4))) _Noreturn static void give_args(u32 code, const char *prefix,
                                                                      const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	give(code, prefix, fmt, ap);
}

_Noreturn void verdict_pass(void)
{
	give_args(0, "PASS", "%s", "");
}

_Noreturn void verdict_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	give(1, "FAIL ", fmt, ap);
}
