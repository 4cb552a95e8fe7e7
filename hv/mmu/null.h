/*
 * The null MMU: second-level translations of a software device, in the simplest MMU there can be. It has
 * no Accessed bits and no Dirty bits; all it can do for the core is take a translation away. So it is
 *
 *   - slow (has_fast_aging is false): walks and look-around never ask it;
 *   - judged at eviction: a page that it maps is young, for the device asked for it since it was last
 *     taken away. Clearing "accessed" takes the translation away, and the next use brings it back.
 *
 * That makes it one of those that the invalidate protocol is for: its aging removes translations. Removing
 * one here ends with taking `lock`, which the device holds for as long as it uses a translation: who has it
 * afterwards knows that nobody does. So there is nothing left to flush. The device needs no pin for the same
 * reason: a page stays as long as it is mapped and the lock is held.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/lock.h"
#include "lib/types.h"
#include "mm/fault.h"
#include "mm/notifier.h"

#define NULL_ENTRIES 64u /* translations at a time; by gfn, the newer one wins */

struct null_entry {
	gfn_t g;
	u32 frame;
	bool mapped, writable;
};

struct null_mmu {
	struct notifier notifier; /* registered with the space */
	struct spinlock lock;     /* LOCK_NULL: the entries, and their use */
	struct null_entry entry[NULL_ENTRIES];
	a64 mapped;
	a64 asked_total; /* calls of age() */
	a64 aged_total;  /* translations that were taken away by aging */
};

/* Registers it with the space, behind what is there. Before the first fault. */
void null_create(struct null_mmu *n, struct space *s);

/*
 * Brings the page in and maps it. RETRY: it raced an eviction; the others as fault_bring_in(). May take
 * long; no lock held.
 */
enum fault_result null_map(struct null_mmu *n, gfn_t g, bool write) must_check;
/* The device has no more use for the page. */
void null_unmap(struct null_mmu *n, gfn_t g);
/*
 * The device copies from or to guest memory, mapping what it needs. Returns the bytes copied: short where
 * there is no slot, or no memory. May take long; no lock held.
 */
u64 null_read(struct null_mmu *n, gpa_t from, void *to, u64 bytes);
u64 null_write(struct null_mmu *n, gpa_t to, const void *from, u64 bytes);
