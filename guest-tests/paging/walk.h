/*
 * The software walker: what an address translates to in the model, now or as the tables were some changes
 * ago. And the rules of access. Changes nothing.
 */
#pragma once

#include "guest-tests/paging/world.h"

/* Changes of table entries since the last flush of all translations, oldest first. */
#define JOURNAL_MAX 256

struct journal {
	struct {
		u64 at, old;
	} change[JOURNAL_MAX];
	unsigned count;
};

/* Registers as they are at an operation. */
struct state {
	u64 cr0, cr3, cr4;
	bool nxe;
};

struct walk {
	u64 entry_at[LEVELS_MAX], entry[LEVELS_MAX]; /* from the top down */
	unsigned count;                              /* of entries read */
	bool complete;                               /* ended in a page */
	bool reserved;                               /* ended at a reserved bit */
	u64 gpa, page_bytes;
	bool write, user, no_execute;
};

/* Translation by the tables as they were before change number `version`; journal->count: as they are. */
void walk_run(const struct world *world, const struct state *state, const struct journal *journal,
              unsigned version, u64 at, struct walk *walk);

struct access {
	bool write, user, fetch, ac;
};

/* 0: allowed; otherwise the error code of the page fault, with bit 31 set in case it is zero. */
#define WALK_FAULT BIT(31)
u32 walk_check(const struct world *world, const struct state *state, const struct walk *walk,
               const struct access *access);
