/*
 * The only atomics of the project: named after what they order, over the compiler's builtins.
 *
 * Memory that several CPUs (or a hardware page walker) change is declared a32 or a64; a table that
 * hardware walks is an array of a64. There is no `volatile` for shared memory anywhere else.
 *
 * ATOMIC_YIELD() stands before every operation. It is empty in the hypervisor; the interleaving
 * explorer of the host tests defines it and switches between actors there.
 *
 * Every operation stronger than relaxed carries a tag at its use (`ord`, a letter and a number, and its partner) that is
 * tabled in docs/ordering.md.
 */
#pragma once

#include "lib/types.h"

#ifndef ATOMIC_YIELD
#define ATOMIC_YIELD() ((void)0)
#endif

typedef struct {
	u32 raw;
} a32;
typedef struct {
	u64 raw;
} a64;
/* A pointer published to lockless readers. */
typedef struct {
	void *raw;
} aptr;

#define ATOMIC_DEFINE(A, U)                                                             \
	static inline U A##_load(const A *a)                                            \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_load_n(&a->raw, __ATOMIC_RELAXED);                      \
	}                                                                               \
	static inline U A##_load_acquire(const A *a)                                    \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_load_n(&a->raw, __ATOMIC_ACQUIRE);                      \
	}                                                                               \
	static inline void A##_store(A *a, U v)                                         \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		__atomic_store_n(&a->raw, v, __ATOMIC_RELAXED);                         \
	}                                                                               \
	static inline void A##_store_release(A *a, U v)                                 \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		__atomic_store_n(&a->raw, v, __ATOMIC_RELEASE);                         \
	}                                                                               \
	/* Store that is visible before any later load of this CPU (full barrier). */   \
	static inline void A##_store_full(A *a, U v)                                    \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		__atomic_store_n(&a->raw, v, __ATOMIC_SEQ_CST);                         \
	}                                                                               \
	/* The read-modify-writes are full barriers; they return the old value. */      \
	static inline U A##_xchg(A *a, U v)                                             \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_exchange_n(&a->raw, v, __ATOMIC_SEQ_CST);               \
	}                                                                               \
	static inline U A##_fetch_add(A *a, U v)                                        \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_fetch_add(&a->raw, v, __ATOMIC_SEQ_CST);                \
	}                                                                               \
	static inline U A##_fetch_or(A *a, U v)                                         \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_fetch_or(&a->raw, v, __ATOMIC_SEQ_CST);                 \
	}                                                                               \
	static inline U A##_fetch_and(A *a, U v)                                        \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_fetch_and(&a->raw, v, __ATOMIC_SEQ_CST);                \
	}                                                                               \
	/* One compare-exchange; on failure *expected is what was found. */             \
	static inline bool A##_cas(A *a, U *expected, U desired)                        \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_compare_exchange_n(&a->raw, expected, desired, false,   \
		                                   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED); \
	}                                                                               \
	/* A statistics counter: no order, no tearing. */                               \
	static inline void A##_count(A *a, U v)                                         \
	{                                                                               \
		__atomic_fetch_add(&a->raw, v, __ATOMIC_RELAXED);                       \
	}

ATOMIC_DEFINE(a32, u32)
ATOMIC_DEFINE(a64, u64)

static inline void *aptr_load_acquire(const aptr *a)
{
	ATOMIC_YIELD();
	return __atomic_load_n(&a->raw, __ATOMIC_ACQUIRE);
}
static inline void aptr_store_release(aptr *a, void *p)
{
	ATOMIC_YIELD();
	__atomic_store_n(&a->raw, p, __ATOMIC_RELEASE);
}

/* Orders every earlier access of this CPU before every later one, store-to-load included. */
static inline void fence_full(void)
{
	ATOMIC_YIELD();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
/* Keeps the compiler from moving memory accesses; orders nothing between CPUs. */
static inline void fence_compiler(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}
