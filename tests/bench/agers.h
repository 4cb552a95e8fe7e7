/*
 * Agers of which only the lock differs, for those who measure what that costs a faulting vCPU:
 *
 *   lockless   a pass harvests table after table without a lock
 *   per-table  ... each harvest under the write side of the MMU lock (reclaim = locked)
 *   per-block  ... and what is then done with the pages that were young, too: all work on a table in one hold
 *   per-walk   ... all tables in one hold
 *   per-page   asks page by page, each under the write side: what two lists do, which have no walk
 */
#pragma once

#include "tests/bench/bench.h"

#include "mm/age.h"
#include "mm/gen.h"
#include "mm/notifier.h"
#include "mm/policy.h"

enum ager { NO_AGER, LOCKLESS, PER_TABLE, PER_BLOCK, PER_WALK, PER_PAGE, AGERS };

static const char *const ager_name[AGERS] = {"alone",     "lockless", "per-table",
                                             "per-block", "per-walk", "per-page"};

/* Before the first pass of each; nobody ages meanwhile. */
static inline void ager_select(enum ager how)
{
	a32_store(&policy.locked, how == PER_TABLE || how == PER_PAGE);
}

/* As the evictor asks, of which two lists have nothing else. */
static inline void ager_ask_pages(struct host_vm *vm, u64 first)
{
	for (u64 g = first; g < first + TABLE_PAGES; g++)
		(void)notifier_age_one(vm->space, gfn(g), NOTIFIER_CLEAR);
}

/* All tables of the guest once; makes no generation. Returns how many pages were young (per-page: 0, nobody counts). */
static inline u64 ager_pass(struct host_vm *vm, unsigned tables, enum ager how)
{
	struct gen_batch batch = {.promoted = 0};
	u64 visited = 0, young = 0;

	if (how == PER_WALK)
		write_lock(&vm->space->mmu_lock);
	for (unsigned t = 0; t < tables; t++) {
		if (how == PER_PAGE) {
			ager_ask_pages(vm, t * TABLE_PAGES);
			continue;
		}
		if (how == PER_BLOCK)
			write_lock(&vm->space->mmu_lock);
		young += age_block(vm->space, gfn(t * TABLE_PAGES), TABLE_PAGES, &batch, &visited);
		if (how == PER_BLOCK)
			write_unlock(&vm->space->mmu_lock);
	}
	gen_batch_flush(&vm->space->lru, &batch);
	if (how == PER_WALK)
		write_unlock(&vm->space->mmu_lock);
	return young;
}
