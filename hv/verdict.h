/* The last line of a boot. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* `VARVE: PASS`, and the end of the machine. */
noreturn_fn void verdict_pass(void);
/* `VARVE: FAIL <why>`, and the end of the machine. */
noreturn_fn void verdict_fail(const char *fmt, ...) printf_like(1, 2);
