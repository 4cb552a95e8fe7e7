/*
 * The region sampler: the second consumer of the Accessed bits, beside the generations. How much of a guest's
 * memory is in use, and where, for a price that depends on neither: a space is cut into a few regions, and in each
 * interval one random page of each region is asked whether it was touched since the last. After SAMPLER_SAMPLES
 * intervals a region has a count; neighbours with like counts become one region, then each is split at a random
 * place, so that borders between what is hot and what is not are found and followed.
 *
 * It asks through the notifier contract, fast-only, with CLEAR. What it finds the generations learn of as well,
 * and the other way round: mm/ledger.h.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/lock.h"
#include "lib/types.h"
#include "lib/util.h"

struct space;
struct sampler;

#define SAMPLER_MIN_REGIONS \
	10u /* a region is at most this part of the space, unless a slot is smaller */
#define SAMPLER_MAX_REGIONS 64u
#define SAMPLER_SAMPLES     20u /* intervals of a report */
#define SAMPLER_INTERVAL_NS 10000000ull

struct sampler_region {
	gfn_t first;
	u64 npages;
	u32 accesses; /* of SAMPLER_SAMPLES: samples that were found touched; the mean if regions were joined */
	u32 age; /* reports since that has changed by more than a tenth of SAMPLER_SAMPLES */
};

struct sampler_report {
	u64 nr_reports; /* made since it was switched on */
	u32 nr;
	struct sampler_region region[SAMPLER_MAX_REGIONS]; /* ascending */
};

/* What a space has of it. */
struct sampler_link {
	a32 wanted;
	struct spinlock lock;    /* LOCK_SAMPLER: the pointer, and the report behind it */
	struct sampler *sampler; /* changed by the sampling thread only */
};
void sampler_init(struct sampler_link *link);
/* For a space that nobody uses any more. */
void sampler_free(struct space *s);

/* From the next interval on; any context. Who runs the sampling thread wakes it. */
void sampler_switch(struct space *s, bool on);
static inline bool sampler_wanted(const struct sampler_link *link)
{
	return a32_load(&link->wanted) != 0;
}

/*
 * One interval of a space: looks at the pages chosen in the last one, and chooses others; makes the report if
 * enough were seen; begins and ends what sampler_switch() asked for. One thread, always the same; no lock held, not
 * in an epoch section; the space is pinned.
 */
void sampler_step(struct space *s);
/* The same for all spaces. False: none is sampled, and there is nothing to do until one is switched on. */
bool sampler_run(void) must_check;

/* Copies the last report; false: there is none (yet). Takes LOCK_SAMPLER. */
bool sampler_report(struct space *s, struct sampler_report *out) must_check;
/* How many reports were made, and the regions of the last; 0 if there is none. Takes LOCK_SAMPLER. */
void sampler_extent(struct space *s, u64 *reports, u64 *regions);
/* The region that has the page; false: none has, or there is no report. Takes LOCK_SAMPLER. */
bool sampler_region_of(struct space *s, gfn_t g, struct sampler_region *out) must_check;
