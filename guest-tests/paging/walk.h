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
	unsigned until; /* the first change that ends it; journal->count: it is the present one */
};

/* Translation by the tables as they are. */
void walk_run(const struct world *world, const struct state *state, u64 at, struct walk *walk);

/*
 * Calls visit() for every translation that may still be cached, the present one left out: paths of which each entry is
 * as it was at some time since the last flush, none earlier than the one above it (a processor may cache the upper
 * part of a path and read the lower part later). `since`: what was cached before so many changes is forgotten.
 * `any`: also paths that end without a page, for walks at the same time as the changes.
 */
typedef void (*walk_visit_t)(void *arg, const struct walk *walk);
void walk_variants(const struct world *world, const struct state *state,
                   const struct journal *journal, unsigned since, bool any, u64 at,
                   walk_visit_t visit, void *arg);

struct access {
	bool write, user, fetch, ac;
};

/* 0: allowed; otherwise the error code of the page fault, with bit 31 set in case it is zero. */
#define WALK_FAULT BIT(31)
u32 walk_check(const struct world *world, const struct state *state, const struct walk *walk,
               const struct access *access);
