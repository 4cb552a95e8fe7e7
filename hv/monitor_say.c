#include "hv/monitor_say.h"

#include "arch/x86/console.h"
#include "lib/fmt.h"

void say(const char *fmt, ...)
{
	char line[257];
	va_list args;
	size_t n;

	va_start(args, fmt);
	n = (size_t)fmt_vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	n = min_of(n, sizeof(line) - 2);
	line[n] = '\n';
	console_write(line, n + 1);
}

void say_text(const char *text, size_t len)
{
	console_write(text, len);
}
