/* Small helpers that every layer uses. */
#pragma once

#include "lib/types.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)        (1ull << (n))
/* Bits HIGH..LOW, both included. */
#define BITS(high, low)               ((~0ull >> (63 - (high))) & ~((1ull << (low)) - 1))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define align_up(x, a)                (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define align_down(x, a)              ((x) & ~((__typeof__(x))(a)-1))
#define min_of(a, b)                    \
	({                              \
		__typeof__(a) a_ = (a); \
		__typeof__(b) b_ = (b); \
		a_ < b_ ? a_ : b_;      \
	})
#define max_of(a, b)                    \
	({                              \
		__typeof__(a) a_ = (a); \
		__typeof__(b) b_ = (b); \
		a_ > b_ ? a_ : b_;      \
	})

#define must_check  __attribute__((warn_unused_result))
#define noreturn_fn __attribute__((noreturn))
#define noinline_fn __attribute__((noinline))
#define packed      __attribute__((packed))
/* Has the cache line on its way before it is written: it may be another CPU's. A hint, any address will do. */
#define prefetch_write(p)      __builtin_prefetch((p), 1)
#define aligned_to(n)          __attribute__((aligned(n)))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define likely(x)              __builtin_expect(!!(x), 1)
#define unlikely(x)            __builtin_expect(!!(x), 0)
