/*
 * A window of physical memory for the tests of boot's parsers. Every piece a parser asks for is given to
 * it as a copy of exactly that size, so that the sanitizer sees a read that goes further.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "boot/raw.h"

#define BASE  0x10000ull
#define BYTES 0x8000u

/* A window of physical memory, BASE to BASE + limit. */
static u8 memory[BYTES];
static u64 limit;
static void *copies[20000];
static size_t nr_copies;

static const u8 *window_at(void *ctx, u64 addr, u64 bytes)
{
	void *copy;

	(void)ctx;
	if (addr < BASE || addr - BASE > limit || bytes > limit - (addr - BASE))
		return NULL;
	assert_true(nr_copies < ARRAY_SIZE(copies));
	copy = malloc(bytes);
	assert_non_null(copy);
	memcpy(copy, memory + (addr - BASE), bytes);
	copies[nr_copies++] = copy;
	return copy;
}

static const struct bootmem window = {.at = window_at};

static void forget_copies(void)
{
	while (nr_copies)
		free(copies[--nr_copies]);
}

static int teardown(void **state)
{
	(void)state;
	forget_copies();
	return 0;
}

static void clear(void)
{
	forget_copies();
	memset(memory, 0, sizeof(memory));
	limit = BYTES;
}

static void put32(u32 at, u64 v)
{
	u32 w = (u32)v;

	memcpy(memory + at, &w, 4);
}

static void put64(u32 at, u64 v)
{
	memcpy(memory + at, &v, 8);
}
