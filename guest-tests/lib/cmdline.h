/* Arguments: words separated by blanks, `key=value` or a bare `key`. Copied at start. */
#pragma once

#include "guest-tests/lib/types.h"

void cmdline_init(const char *text);
/* Number behind `key=`, decimal or 0x, with K, M, G (powers of 1024); `fallback` if absent. FAILs
 * the guest if it is not a number. */
u64 cmdline_u64(const char *key, u64 fallback);
/* Decimal fraction behind `key=`, in millionths ("0.99" is 990000). */
u64 cmdline_micro(const char *key, u64 fallback);
/* Text behind `key=`, NULL if absent; valid until the next call. */
const char *cmdline_text(const char *key);
/* The bare word `key` is there, or `key=` with a number other than 0. */
bool cmdline_flag(const char *key);
