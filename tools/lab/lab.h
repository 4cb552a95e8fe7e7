/*
 * The policy laboratory: replays an access trace at a given capacity against one policy after the other.
 *
 * A policy is a const table of operations in one file of its own, which LAB_POLICY() adds. Two kinds:
 * a simple one sees which pages are touched and missed, and says which one to evict; it need not know
 * about Accessed bits, the replayer keeps them. One that brings its own memory (ours) takes each access
 * as hardware would, and answers whether the page was there.
 *
 * What a policy may know of hits is the mode of a run:
 *   order  each hit, when it happens, in order
 *   bits   hardware sets the page's Accessed bit. The bits are harvested at an interval: one hit for each
 *          page whose bit was set, by page number, as who walks tables finds them. Besides, a policy may ask
 *          for the bit of a page that it is about to evict: lab_young().
 * A miss is always seen. The access that is retried after it is part of it, and no touch of its own, in both
 * modes (ours is told of it as the hardware is, and has a setting of its own about what it means).
 */
#pragma once

#include <stdio.h>

#include "lib/types.h"
#include "lib/util.h"

#define LAB_NEVER 0xffffffffu
#define LAB_NAME  48u

/* Accesses in order, pages numbered densely 0 .. pages - 1 by address. */
struct lab_trace {
	char name[LAB_NAME];
	u32 pages;
	u32 n;
	u32 filter; /* accesses to one of so many pages used last were left out when it was recorded */
	bool real;   /* recorded, not made */
	u32 from;    /* the first access that is measured; those before it warm up */
	u64 sum;     /* of a guest's touches, as it prints it; else 0 */
	u32 *access; /* page << 1 | write */
};
static inline u32 lab_page(u32 access)
{
	return access >> 1;
}
static inline bool lab_write(u32 access)
{
	return access & 1;
}

/* One replay, as a policy sees it. */
struct lab_env {
	u32 pages, capacity;
	bool bits;    /* mode */
	u8 *young;    /* Accessed bits, per page; mode bits only */
	u8 *resident; /* per page */
	u32 nr_resident;
	u32 *next; /* if `future`: where in the trace the page of each access is used next, or LAB_NEVER */
	u32 now;       /* index of the access */
	u64 scanned;   /* pages looked at in search of a victim */
	u64 harvested; /* entries read by harvests */
	u64 evictions;
};

/* Test and clear the Accessed bit: for the victim-to-be. False in mode order, where there are none. */
static inline bool lab_young(struct lab_env *e, u32 page)
{
	bool young = e->young[page];

	e->young[page] = 0;
	return young;
}
void lab_bring_in(struct lab_env *e, u32 page);
void lab_evict(struct lab_env *e, u32 page);
static inline bool lab_full(const struct lab_env *e)
{
	return e->nr_resident >= e->capacity;
}

struct lab_policy {
	const char *name, *about;
	void *(*create)(struct lab_env *e);
	void (*destroy)(void *p);
	/* Simple: the page is not resident. Evicts if memory is full, then brings it in. */
	void (*miss)(void *p, u32 page);
	/* Simple: the page is resident, and touched. NULL: does not care. */
	void (*hit)(void *p, u32 page);
	/* With memory of its own: one access; whether the page was resident. */
	bool (*access)(void *p, u32 page, bool write);
	/* ... and the interval of harvests is over. */
	void (*harvest)(void *p);
	/* ... and whether it looks at Accessed bits only, so that there is no other mode. */
	bool bits_only;
	bool future; /* is told where each page is used next */
};
/* In the file of a policy that policies.c does not name: it comes behind those. */
#define LAB_POLICY(policy)                                   \
	static const struct lab_policy *const policy##_added \
	        __attribute__((used, section("lab_added"))) = &(policy)
/* All of them, in the order of reports; NULL behind the last. */
const struct lab_policy *lab_policy(unsigned number);
const struct lab_policy *lab_policy_find(const char *name);

struct lab_setup {
	u32 capacity;
	u32 interval; /* accesses between harvests */
	bool bits;
	u32 from;      /* refaults of earlier accesses are counted apart */
	char *outcome; /* if not NULL: one character for each access, h(it), m(iss, first), r(efault) */
};
struct lab_result {
	u64 accesses, first;
	u64 refaults, before; /* from setup.from on, and before it */
	u64 evictions, scanned, harvested;
	double seconds;
};
struct lab_result lab_replay(const struct lab_policy *p, const struct lab_trace *t,
                             const struct lab_setup *setup);

/* Where the page of each access is used next; LAB_NEVER if it is not. The caller frees it. */
u32 *lab_next_use(const struct lab_trace *t);

void *lab_alloc(size_t n, size_t size); /* zeroed; ends the program when there is none */
noreturn_fn void lab_die(const char *fmt, ...) printf_like(1, 2);
