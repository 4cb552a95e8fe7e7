/* The four functions a compiler may call on its own, and one comparison. */
#pragma once

#include "guest-tests/lib/types.h"

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
bool string_equal(const char *a, const char *b);
