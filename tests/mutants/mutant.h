/*
 * What tools/mutants writes in place of an ordering operation. Included at the top of a spoilt file, never by
 * the project itself.
 *
 * TORN: load, then store, with a gap in which another thread may come between. RELAXED: still one operation,
 * but it orders nothing. Under tests/host/weak.h these go to its model like every other operation.
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

#define MUTANT_TORN_cas(A, at, expected, desired)           \
	({                                                  \
		__auto_type at_ = (at);                     \
		__auto_type expected_ = (expected);         \
		__typeof__(at_->raw) desired_ = (desired);  \
		__typeof__(at_->raw) seen_ = A##_load(at_); \
		_Bool same_ = seen_ == *expected_;          \
		MUTANT_GAP();                               \
		if (same_)                                  \
			A##_store(at_, desired_);           \
		else                                        \
			*expected_ = seen_;                 \
		same_;                                      \
	})
#define MUTANT_TORN(A, at, value, expression)                                                      \
	({                                                                                         \
		__auto_type at_ = (at);                                                            \
		__typeof__(at_->raw) value_ = (__typeof__(at_->raw))(value), was_ = A##_load(at_); \
		MUTANT_GAP();                                                                      \
		A##_store(at_, (expression));                                                      \
		was_;                                                                              \
	})
#define MUTANT_TORN_xchg(A, at, value)      MUTANT_TORN(A, at, value, value_)
#define MUTANT_TORN_fetch_add(A, at, value) MUTANT_TORN(A, at, value, was_ + value_)
#define MUTANT_TORN_fetch_or(A, at, value)  MUTANT_TORN(A, at, value, was_ | value_)
#define MUTANT_TORN_fetch_and(A, at, value) MUTANT_TORN(A, at, value, was_ &value_)

#ifdef WEAK_MODEL
#define MUTANT_RELAXED_cas(A, at, expected, desired) A##_cas_relaxed(at, expected, desired)
#define MUTANT_RELAXED_xchg(A, at, value)            A##_xchg_relaxed(at, value)
#define MUTANT_RELAXED_fetch_add(A, at, value)       A##_fetch_add_relaxed(at, value)
#define MUTANT_RELAXED_fetch_or(A, at, value)        A##_fetch_or_relaxed(at, value)
#define MUTANT_RELAXED_fetch_and(A, at, value)       A##_fetch_and_relaxed(at, value)
#else
#define MUTANT_RELAXED_cas(A, at, expected, desired)                                   \
	(ATOMIC_YIELD(), __atomic_compare_exchange_n(&(at)->raw, expected, desired, 0, \
	                                             __ATOMIC_RELAXED, __ATOMIC_RELAXED))
#define MUTANT_RELAXED(at, value, operation) \
	(ATOMIC_YIELD(), __atomic_##operation(&(at)->raw, value, __ATOMIC_RELAXED))
#define MUTANT_RELAXED_xchg(A, at, value)      MUTANT_RELAXED(at, value, exchange_n)
#define MUTANT_RELAXED_fetch_add(A, at, value) MUTANT_RELAXED(at, value, fetch_add)
#define MUTANT_RELAXED_fetch_or(A, at, value)  MUTANT_RELAXED(at, value, fetch_or)
#define MUTANT_RELAXED_fetch_and(A, at, value) MUTANT_RELAXED(at, value, fetch_and)
#endif

/* A pointer has no relaxed operations in lib/atomic.h: what is weakened needs them. */
#ifdef WEAK_MODEL
#define MUTANT_RELAXED_aptr_load(at)     aptr_load_relaxed(at)
#define MUTANT_RELAXED_aptr_store(at, p) aptr_store_relaxed(at, p)
#else
#define MUTANT_RELAXED_aptr_load(at) (ATOMIC_YIELD(), __atomic_load_n(&(at)->raw, __ATOMIC_RELAXED))
#define MUTANT_RELAXED_aptr_store(at, p) \
	(ATOMIC_YIELD(), __atomic_store_n(&(at)->raw, p, __ATOMIC_RELAXED))
#endif
