/*
 * Where the time of reclaim goes: spans of time, nested, in a tree for each CPU. A span is opened and closed by the
 * code that does the work; the time in between is that of the TSC, whatever happens meanwhile, so a wait counts
 * as much as work.
 *
 * Off it costs a load and a branch where a span could begin or end. On, a writer takes no lock and waits for nobody: a
 * CPU writes its own tree, because the hypervisor is not preemptible. So no span may be open where a thread gives up its CPU.
 *
 * Only what is below one of the roots (PROFILE_ROOTS) counts: a lock that a fault waits for is none of reclaim's.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

enum profile_kind {
	PROFILE_NONE, /* no span */
	/* Roots. */
	PROFILE_DIRECT,     /* by the vCPU that found no frame */
	PROFILE_BACKGROUND, /* by the reclaimer's thread, or asked for */
	PROFILE_EVICT,      /* taking pages from one space: within the former, or at its limit */
	PROFILE_AGE,        /* a pass over one space: within the former, or in its time */
	/* Parts. */
	PROFILE_LISTS,  /* taking pages off the lists, sorting them; making a generation */
	PROFILE_CHECK,  /* is the page young after all? */
	PROFILE_AROUND, /* ... then its neighbours may be */
	PROFILE_ASK,    /* MMUs are asked through the notifier */
	PROFILE_TABLES, /* ... second-level tables */
	PROFILE_RMAP,   /* ... shadow tables, through reverse maps */
	PROFILE_DEVICE, /* ... one without Accessed bits */
	PROFILE_UNMAP,  /* translations go */
	PROFILE_LOCK,   /* waiting for a lock that somebody holds */
	PROFILE_FLUSH,  /* waiting for CPUs to forget translations */
	PROFILE_PACK,   /* contents to a store */
	PROFILE_SHRINK, /* shadow tables given back */
	PROFILE_KINDS,
};
#define PROFILE_ROOTS \
	(BIT(PROFILE_DIRECT) | BIT(PROFILE_BACKGROUND) | BIT(PROFILE_EVICT) | BIT(PROFILE_AGE))

extern const char *const profile_name[PROFILE_KINDS];

/* Not to be used: what the two below look at, and where they go. */
extern a32 profile_session;
void profile_enter(enum profile_kind kind) __attribute__((cold, noinline));
void profile_leave(enum profile_kind kind) __attribute__((cold, noinline));

/* Any context but an interrupt or NMI handler; they pair on the same CPU. PROFILE_NONE: nothing. */
static inline bool profile_on(void)
{
#ifdef UNTIMED /* models of the order of memory: no clock, and not a load more than there is to explore */
	return false;
#else
	return unlikely(a32_load(&profile_session) != 0);
#endif
}
static inline void profile_begin(enum profile_kind kind)
{
	if (profile_on())
		profile_enter(kind);
}
static inline void profile_end(enum profile_kind kind)
{
	if (profile_on())
		profile_leave(kind);
}

/*
 * On: everything counted before is forgotten, and what is open now is not counted. Off: what was counted stays. One
 * caller at a time, which is also the only one to collect.
 */
void profile_switch(bool on);
#define PROFILE_NODES 64u
/* A place in the tree; node 0 is that above all roots. A parent stands before its children. */
struct profile_node {
	u8 kind; /* enum profile_kind */
	u8 parent;
	u64 ns, spans;
};
struct profile_tree {
	u32 nr;
	struct profile_node node[PROFILE_NODES];
};
/*
 * What all CPUs have together, now; *tree is written whole. The time of node 0 is that of the roots. A span that is
 * open is not counted yet, so that a node may show less than its children.
 */
void profile_collect(struct profile_tree *tree);
