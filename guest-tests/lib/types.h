/* Integer names used by every guest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned __int128 u128;

#define PAGE_SIZE  4096ul
#define PAGE_WORDS (PAGE_SIZE / sizeof(u64))
#define LARGE_SIZE (2ul << 20)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
