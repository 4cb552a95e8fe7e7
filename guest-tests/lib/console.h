/* The UART at 0x3f8, by polling, and a small printf. Lines of different CPUs do not mix. */
#pragma once

#include <stdarg.h>

#include "guest-tests/lib/types.h"

/* Sets the UART up: 115200 baud, 8N1. May be called again, after something wrote its registers. */
void console_init(void);

/* %d %i %u %x %X %p %s %c %%, with l, ll, z, a width, '-' and '0'. Any CPU, also in a trap. */
__attribute__((format(printf, 1, 2))) void console_printf(const char *fmt, ...);

/* Prints "PREFIX text" as the very last line: the console stays locked afterwards. */
void console_last_line(const char *prefix, const char *fmt, va_list ap);
