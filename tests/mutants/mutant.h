/*
 * What tools/mutants writes in place of an ordering operation. Included at the top of a spoilt file, never by
 * the project itself.
 *
 * TORN: load, then store, with a gap in which another thread may come between; what it orders is as it was. RELAXED:
 * still one operation, but it orders nothing. Under tests/host/weak.h these go to its model like every other operation.
 */
#pragma once

#include "lib/atomic.h"

#ifndef MUTANT_GAP
int sched_yield(void);
static inline void mutant_gap(void)
{
	static __thread unsigned turn;

	if (++turn % 8 == 0)
		(void)sched_yield();
}
#define MUTANT_GAP() mutant_gap()
#endif

#define MUTANT_TORN_cas(A, at, expected, desired)                   \
	({                                                          \
		A *at_ = (A *)(at);                                 \
		__auto_type expected_ = (expected);                 \
		__typeof__(at_->raw) desired_ = (desired);          \
		__typeof__(at_->raw) seen_ = A##_load_acquire(at_); \
		_Bool same_ = seen_ == *expected_;                  \
		fence_full();                                       \
		MUTANT_GAP();                                       \
		if (same_)                                          \
			A##_store_full(at_, desired_);              \
		else                                                \
			*expected_ = seen_;                         \
		same_;                                              \
	})
#define MUTANT_TORN(A, at, value, expression)                                \
	({                                                                   \
		A *at_ = (A *)(at);                                          \
		__typeof__(at_->raw) value_ = (__typeof__(at_->raw))(value), \
		                     was_ = A##_load_acquire(at_);           \
		fence_full();                                                \
		MUTANT_GAP();                                                \
		A##_store_full(at_, (expression));                           \
		was_;                                                        \
	})
#define MUTANT_TORN_xchg(A, at, value)      MUTANT_TORN(A, at, value, value_)
#define MUTANT_TORN_fetch_add(A, at, value) MUTANT_TORN(A, at, value, was_ + value_)
#define MUTANT_TORN_fetch_or(A, at, value)  MUTANT_TORN(A, at, value, was_ | value_)
#define MUTANT_TORN_fetch_and(A, at, value) MUTANT_TORN(A, at, value, was_ &value_)

/* What lib/atomic.h has no name for. The weak model has names of its own: these. */
#ifndef WEAK_MODEL
#define MUTANT_ATOMIC(A, U)                                                             \
	static inline bool A##_cas_relaxed(A *a, U *expected, U desired)                \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_compare_exchange_n(&a->raw, expected, desired, false,   \
		                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
	}                                                                               \
	static inline U A##_xchg_relaxed(A *a, U v)                                     \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_exchange_n(&a->raw, v, __ATOMIC_RELAXED);               \
	}                                                                               \
	static inline U A##_fetch_add_relaxed(A *a, U v)                                \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_fetch_add(&a->raw, v, __ATOMIC_RELAXED);                \
	}                                                                               \
	static inline U A##_fetch_or_relaxed(A *a, U v)                                 \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_fetch_or(&a->raw, v, __ATOMIC_RELAXED);                 \
	}                                                                               \
	static inline U A##_fetch_and_relaxed(A *a, U v)                                \
	{                                                                               \
		ATOMIC_YIELD();                                                         \
		return __atomic_fetch_and(&a->raw, v, __ATOMIC_RELAXED);                \
	}

MUTANT_ATOMIC(a32, u32)
MUTANT_ATOMIC(a64, u64)

static inline void *aptr_load_relaxed(const aptr *a)
{
	ATOMIC_YIELD();
	return __atomic_load_n(&a->raw, __ATOMIC_RELAXED);
}
static inline void aptr_store_relaxed(aptr *a, void *p)
{
	ATOMIC_YIELD();
	__atomic_store_n(&a->raw, p, __ATOMIC_RELAXED);
}
#endif

#define MUTANT_RELAXED_cas(A, at, expected, desired) A##_cas_relaxed(at, expected, desired)
#define MUTANT_RELAXED_xchg(A, at, value)            A##_xchg_relaxed(at, value)
#define MUTANT_RELAXED_fetch_add(A, at, value)       A##_fetch_add_relaxed(at, value)
#define MUTANT_RELAXED_fetch_or(A, at, value)        A##_fetch_or_relaxed(at, value)
#define MUTANT_RELAXED_fetch_and(A, at, value)       A##_fetch_and_relaxed(at, value)
#define MUTANT_RELAXED_aptr_load(at)                 aptr_load_relaxed(at)
#define MUTANT_RELAXED_aptr_store(at, p)             aptr_store_relaxed(at, p)

/*
 * Many mutants in one program, of which the environment chooses one by its number: VARVE_MUTANT. The file that
 * VARVE_REACHED names has a byte for each, which is set when its place is reached.
 */
#ifdef MUTANT_NUMBERS
/* By other names: a spoilt file may have an open() of its own. */
char *mutant_getenv(const char *) __asm__("getenv");
int mutant_atoi(const char *) __asm__("atoi");
int mutant_open(const char *, int, ...) __asm__("open");
void *mutant_mmap(void *, unsigned long, int, int, int, long) __asm__("mmap");
#define MUTANT_OPEN_RDWR   2
#define MUTANT_MMAP_WRITE  3 /* and read */
#define MUTANT_MMAP_SHARED 1
#define MUTANT_MMAP_FAILED ((void *)-1)

__attribute__((weak)) int mutant_chosen;
__attribute__((weak)) unsigned char mutant_nowhere[MUTANT_NUMBERS];
__attribute__((weak)) unsigned char *mutant_reached = mutant_nowhere;

__attribute__((weak, constructor)) void mutant_choose(void)
{
	const char *number = mutant_getenv("VARVE_MUTANT"), *path = mutant_getenv("VARVE_REACHED");
	int file = path ? mutant_open(path, MUTANT_OPEN_RDWR) : -1;
	void *map = file < 0 ? MUTANT_MMAP_FAILED
	                     : mutant_mmap((void *)0, MUTANT_NUMBERS, MUTANT_MMAP_WRITE,
	                                   MUTANT_MMAP_SHARED, file, 0);

	if (map != MUTANT_MMAP_FAILED)
		mutant_reached = (unsigned char *)map;
	mutant_chosen = number ? mutant_atoi(number) : 0;
}

#define MUTANT_IS(n) \
	(__atomic_store_n(&mutant_reached[n], 1, __ATOMIC_RELAXED), mutant_chosen == (n))
#endif
