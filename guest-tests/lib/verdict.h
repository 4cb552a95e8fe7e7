/* How a guest ends. The first CPU that gets here decides; the others stop. */
#pragma once

#include "guest-tests/lib/types.h"

/* Prints PASS and writes 0 to the exit port. */
_Noreturn void verdict_pass(void);

/* Prints "FAIL <why>" and writes 1 to the exit port. */
__attribute__((format(printf, 1, 2))) _Noreturn void verdict_fail(const char *fmt, ...);

#define VERDICT_CHECK(cond, ...)                   \
	do {                                       \
		if (!(cond))                       \
			verdict_fail(__VA_ARGS__); \
	} while (0)
