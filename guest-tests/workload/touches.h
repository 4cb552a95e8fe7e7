/*
 * Which pages the guest `workload` touches, in which order, and which touches write: a function of its arguments, of how many
 * pages and CPUs there are, and of nothing else.
 *
 * It stands here, beside the guest, and not in the library, because no other guest draws like this; the policy laboratory
 * compiles it unchanged (tools/lab/guest.c), so that it replays what the guest does. Hence nothing but cmdline, rng and zipf.
 */
#pragma once

#include "guest-tests/lib/rng.h"
#include "guest-tests/lib/types.h"
#include "guest-tests/lib/zipf.h"

enum touches_work { WORK_DENSE, WORK_STRIDE, WORK_ZIPF, WORK_SCAN, WORK_PHASE, WORKS };

struct touches {
	enum touches_work work;
	u64 pages, cpus;
	u64 hot;       /* pages; 0: all of them, by zipf */
	u64 ops, warm; /* touches of each CPU */
	u64 seed, step, every, phases, write_every;
	struct zipf zipf;
	struct perm order; /* of the phase that is on: which page has which rank */
};

struct touches_phase {
	u64 number;    /* what is drawn follows from it */
	u64 from, ops; /* touches of each CPU: the first, and how many */
};

/* From the command line (workload.c says what is in it). NULL, or what is wrong with it. pages, cpus: at least 1. */
const char *touches_read(struct touches *t, u64 pages, u64 cpus);
const char *touches_name(const struct touches *t);

/* What comes first and is not measured; loops go on where it ends. Changes t->order. */
struct touches_phase touches_warm_up(struct touches *t);
/* One of the t->phases, by number. Changes t->order. */
struct touches_phase touches_phase(struct touches *t, u64 number);

/* A CPU draws from a generator of its own, which it starts with each phase. */
struct rng touches_rng(const struct touches *t, const struct touches_phase *p, u64 cpu);
/* The page of touch `op` of a CPU, 0 .. pages - 1; in order, for the generator goes on. */
u64 touches_page(const struct touches *t, u64 op, u64 cpu, struct rng *rng);
bool touches_write(const struct touches *t, u64 op);

/* A sum over touches in order, begun with 0: two that have the same one drew the same. */
static inline u64 touches_sum(u64 sum, u64 page, bool write)
{
	return rng_mix(sum ^ (page << 1 | write)) + 1;
}
