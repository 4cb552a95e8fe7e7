/* Formatted text into a buffer: %d %u %x %s %c %p %% with width, 0, -, l, ll and z, and .precision for %s. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* As vsnprintf(3): always ends with NUL if size > 0, returns the length the whole text has. */
int fmt_vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
        __attribute__((format(printf, 3, 0)));
int fmt_snprintf(char *buf, size_t size, const char *fmt, ...) printf_like(3, 4);
