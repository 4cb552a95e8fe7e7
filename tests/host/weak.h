/*
 * A weak memory for the explorer: what C11 promises and no more, where x86 promises a lot.
 *
 * Every atomic word keeps the values that were stored to it, in their order. An actor has a view: how much of
 * each word it must have seen. A load may return any value that is not older than the actor's view, so two loads, two
 * stores, or a store and a load of one actor are seen in any order by another, unless:
 *
 *	release		a store hands on all that its actor has seen
 *	acquire		a load that reads it takes that over
 *	full barrier	store_full(), fence_full() and every exchange: takes over what all barriers before it
 *			had seen, and hands it on
 *
 * An exchange reads the newest value (it is locked on every machine) and is a full barrier, as lib/atomic.h
 * says. Stores to one word are ordered as they happen.
 *
 * Data that is not atomic is marked where it is used: weak_write() and weak_read() end the schedule when another
 * actor's access to the same data is not ordered with them, whatever value was there.
 *
 * Include after tests/host/explorer.h and before the sources; the macros below stand in for lib/atomic.h.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

#define WEAK_MODEL

enum weak_order { WEAK_RELAXED, WEAK_ACQUIRE, WEAK_RELEASE, WEAK_FULL };

/* Forgets everything; in the scene's setup. At most `old_reads` loads of a schedule return an old value. */
void weak_reset(unsigned old_reads);

u64 weak_load(const void *where, unsigned bytes, enum weak_order order);
void weak_store(void *where, unsigned bytes, u64 value, enum weak_order order);
enum weak_change { WEAK_XCHG, WEAK_ADD, WEAK_OR, WEAK_AND };
u64 weak_change(void *where, unsigned bytes, enum weak_change how, u64 value,
                enum weak_order order);
bool weak_cas(void *where, unsigned bytes, void *expected, u64 desired, enum weak_order order);
void weak_fence(void);

/* Plain data: the address stands for all of it. */
void weak_read(const void *data);
void weak_write(const void *data);

static inline u32 weak_change32(u32 *at, enum weak_change how, u32 v, enum weak_order order)
{
	return (u32)weak_change(at, sizeof(v), how, v, order);
}
static inline u64 weak_change64(u64 *at, enum weak_change how, u64 v, enum weak_order order)
{
	return weak_change(at, sizeof(v), how, v, order);
}

#define a32_load(a)                 ((u32)weak_load(&(a)->raw, 4u, WEAK_RELAXED))
#define a32_load_acquire(a)         ((u32)weak_load(&(a)->raw, 4u, WEAK_ACQUIRE))
#define a32_store(a, v)             weak_store(&(a)->raw, 4u, v, WEAK_RELAXED)
#define a32_store_release(a, v)     weak_store(&(a)->raw, 4u, v, WEAK_RELEASE)
#define a32_store_full(a, v)        weak_store(&(a)->raw, 4u, v, WEAK_FULL)
#define a32_xchg(a, v)              weak_change32(&(a)->raw, WEAK_XCHG, v, WEAK_FULL)
#define a32_fetch_add(a, v)         weak_change32(&(a)->raw, WEAK_ADD, v, WEAK_FULL)
#define a32_fetch_or(a, v)          weak_change32(&(a)->raw, WEAK_OR, v, WEAK_FULL)
#define a32_fetch_and(a, v)         weak_change32(&(a)->raw, WEAK_AND, v, WEAK_FULL)
#define a32_cas(a, e, v)            weak_cas(&(a)->raw, 4u, e, v, WEAK_FULL)
#define a32_xchg_relaxed(a, v)      weak_change32(&(a)->raw, WEAK_XCHG, v, WEAK_RELAXED)
#define a32_fetch_add_relaxed(a, v) weak_change32(&(a)->raw, WEAK_ADD, v, WEAK_RELAXED)
#define a32_fetch_or_relaxed(a, v)  weak_change32(&(a)->raw, WEAK_OR, v, WEAK_RELAXED)
#define a32_fetch_and_relaxed(a, v) weak_change32(&(a)->raw, WEAK_AND, v, WEAK_RELAXED)
#define a32_cas_relaxed(a, e, v)    weak_cas(&(a)->raw, 4u, e, v, WEAK_RELAXED)
#define a64_load(a)                 weak_load(&(a)->raw, 8u, WEAK_RELAXED)
#define a64_load_acquire(a)         weak_load(&(a)->raw, 8u, WEAK_ACQUIRE)
#define a64_store(a, v)             weak_store(&(a)->raw, 8u, v, WEAK_RELAXED)
#define a64_store_release(a, v)     weak_store(&(a)->raw, 8u, v, WEAK_RELEASE)
#define a64_store_full(a, v)        weak_store(&(a)->raw, 8u, v, WEAK_FULL)
#define a64_xchg(a, v)              weak_change64(&(a)->raw, WEAK_XCHG, v, WEAK_FULL)
#define a64_fetch_add(a, v)         weak_change64(&(a)->raw, WEAK_ADD, v, WEAK_FULL)
#define a64_fetch_or(a, v)          weak_change64(&(a)->raw, WEAK_OR, v, WEAK_FULL)
#define a64_fetch_and(a, v)         weak_change64(&(a)->raw, WEAK_AND, v, WEAK_FULL)
#define a64_cas(a, e, v)            weak_cas(&(a)->raw, 8u, e, v, WEAK_FULL)
#define a64_xchg_relaxed(a, v)      weak_change64(&(a)->raw, WEAK_XCHG, v, WEAK_RELAXED)
#define a64_fetch_add_relaxed(a, v) weak_change64(&(a)->raw, WEAK_ADD, v, WEAK_RELAXED)
#define a64_fetch_or_relaxed(a, v)  weak_change64(&(a)->raw, WEAK_OR, v, WEAK_RELAXED)
#define a64_fetch_and_relaxed(a, v) weak_change64(&(a)->raw, WEAK_AND, v, WEAK_RELAXED)
#define a64_cas_relaxed(a, e, v)    weak_cas(&(a)->raw, 8u, e, v, WEAK_RELAXED)
#define aptr_load_acquire(a)        ((void *)weak_load(&(a)->raw, 8u, WEAK_ACQUIRE))
#define aptr_load_relaxed(a)        ((void *)weak_load(&(a)->raw, 8u, WEAK_RELAXED))
#define aptr_store_release(a, p)    weak_store(&(a)->raw, 8u, (u64)(p), WEAK_RELEASE)
#define aptr_store_relaxed(a, p)    weak_store(&(a)->raw, 8u, (u64)(p), WEAK_RELAXED)
#define fence_full()                weak_fence()
