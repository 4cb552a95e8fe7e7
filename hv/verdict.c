#include "hv/verdict.h"

#include "arch/x86/console.h"
#include "arch/x86/cover.h"
#include "arch/x86/power.h"
#include "lib/fmt.h"

static noreturn_fn void end(const char *text, size_t len, bool pass)
{
	cover_drain();
	console_typed_end();
	console_write(text, len);
	machine_exit(pass);
}

void verdict_pass(void)
{
	static const char text[] = "VARVE: PASS\n";

	end(text, sizeof(text) - 1, true);
}

void verdict_fail(const char *fmt, ...)
{
	char text[512] = "VARVE: FAIL ";
	size_t len = 12;
	va_list args;
	int n;

	va_start(args, fmt);
	n = fmt_vsnprintf(text + len, sizeof(text) - len - 1, fmt, args);
	va_end(args);
	len += min_of((size_t)n, sizeof(text) - len - 2);
	text[len++] = '\n';
	end(text, len, false);
}
