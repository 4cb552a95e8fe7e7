/* The disk below the store of model_mm.c: late, narrow, and failing now and then. Without MODEL_DISK there is none. */
#pragma once

#include <stdio.h>

#include "lib/types.h"
#include "lib/util.h"
#include "mm/fault.h"
#include "mm/space.h"

/* Of all seeds. */
struct disk_totals {
	u64 moved, reads, victims;
};

#ifdef MODEL_DISK
#include "mm/swap.h"
#include "tests/host/disk.h"
#include "tests/host/hal.h"

#define DISK_SECTORS 900u

static inline u64 disk_below(u64 *rnd, u64 n)
{
	return (host_random(rnd) >> 11) % n;
}

static inline void disk_begin(u64 *rnd)
{
	host_swap_create(DISK_SECTORS, (unsigned)disk_below(rnd, 15));
	host_disk.seed = host_random(rnd) | 1;
	host_disk.late = (unsigned)disk_below(rnd, 4);
	host_disk.room = 1 + (unsigned)disk_below(rnd, 20);
}

static inline void disk_end(struct disk_totals *t)
{
	struct swap_stats st;

	swap_snapshot(&st);
	t->moved += st.written_objects_total;
	t->reads += st.reads_total;
	host_swap_destroy();
}

/* Its thread comes in between like everybody else. */
static inline void disk_work(u64 *rnd)
{
	if (disk_below(rnd, 100) < 30)
		(void)swap_turn();
}

static inline void disk_mood(u64 *rnd)
{
	if (disk_below(rnd, 100) < 10)
		host_disk.bad_reads = 1;
	if (disk_below(rnd, 100) < 2)
		host_disk.bad_writes = 1;
	host_disk.late = (unsigned)disk_below(rnd, 4);
}

/* The page cannot be read: that was the guest's end, and nobody else's. */
static inline bool disk_is_why(struct space *s, enum fault_result result, struct disk_totals *t)
{
	struct swap_stats st;

	swap_snapshot(&st);
	if (result != FAULT_BAD_PAGE || !st.errors_total)
		return false;
	t->victims++;
	a32_store(&s->dying, 1);
	return true;
}

static inline bool disk_was_used(const struct disk_totals *t)
{
	printf("%llu pages moved to the disk, %llu reads, %llu guests ended by it\n",
	       (unsigned long long)t->moved, (unsigned long long)t->reads,
	       (unsigned long long)t->victims);
	return t->moved && t->reads && t->victims;
}
#else
static inline void disk_begin(u64 *rnd)
{
	(void)rnd;
}

static inline void disk_end(struct disk_totals *t)
{
	(void)t;
}

static inline void disk_work(u64 *rnd)
{
	(void)rnd;
}

static inline void disk_mood(u64 *rnd)
{
	(void)rnd;
}

static inline bool disk_is_why(struct space *s, enum fault_result result, struct disk_totals *t)
{
	(void)s;
	(void)result;
	(void)t;
	return false;
}

static inline bool disk_was_used(const struct disk_totals *t)
{
	(void)t;
	return true;
}
#endif
