/*
 * The TDP MMU: guest-physical to machine-physical tables that hardware walks (EPT or NPT).
 *
 * Faults and zaps run under the read side of the space's MMU lock and race each other by
 * compare-exchange; aging takes no lock at all. Tables are freed through the epoch, after a flush.
 */
#pragma once

#include "hv/mmu/spte.h"
#include "lib/lock.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/notifier.h"

struct tdp_spare;
struct shadow;

struct tdp {
	struct notifier notifier; /* registered with the space */
	const struct spte_format *format;
	hpa_t root;
	struct shadow
	        *shadow; /* beside it: what that tracks is not mapped writable here; NULL: none */
	a64 tables;      /* table pages, root included */
	/* Changed by every fault, and on a cache line that a harvest does not read. */
	a64 leaves aligned_to(64); /* present leaves */
	struct spinlock huge_lock; /* LOCK_TDP_HUGE: large leaves come and go, with their spares */
	struct tdp_spare *spare;   /* pages, as many as large leaves */
	a64 fixed_fast_total; /* faults answered without the MMU lock (access-track restore, spurious) */
	struct epoch_node dead; /* defers the freeing of all tables */
};

/* An access that missed, as the hardware reported it. */
struct tdp_access {
	gpa_t gpa;
	bool write, fetch;
};

/* Builds the root and registers the MMU with the space. False: no memory. */
bool tdp_create(struct tdp *t, struct space *s, const struct spte_format *format) must_check;
/* After space_drain(): frees all tables. No vCPU uses them any more. */
void tdp_destroy(struct tdp *t);

/*
 * Resolves a second-level fault: restores access-tracked entries without the lock, else brings the
 * page in and installs it. No lock held, interrupts off, on the CPU of the vCPU's thread. May take
 * long (direct reclaim). FAULT_NO_SLOT: the caller emulates. The caller enters the guest again after
 * FIXED and RETRY alike.
 */
enum fault_result tdp_fault(struct tdp *t, const struct tdp_access *access);

/*
 * Takes W from the page's translation; whether it had it, and is to be flushed. Dirty stays. MMU lock held for writing:
 * a fault that would grant W again asks whether it may, under the read side.
 */
bool tdp_write_protect_locked(struct tdp *t, gfn_t g);
