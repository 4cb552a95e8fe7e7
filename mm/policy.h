/*
 * The settings of the policy, for all spaces. Whoever uses one reads it when it needs it, without order: a
 * change counts from the next page, table or pass on. The scenario sets them before the first guest, the
 * monitor at any time.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

#define POLICY_CORE    1u /* generations are produced by aging; off: only when eviction needs one */
#define POLICY_WALK    2u /* aging walks the second-level tables */
#define POLICY_NONLEAF 4u /* ... and skips subtrees whose own Accessed bit is clear */
#define POLICY_SECONDARY \
	8u /* MMUs behind the first one are asked in walks (eviction asks them always) */
#define POLICY_CAPS 0xfu

/* When the evictor looks at the neighbours of a page that it found young. */
enum policy_lookaround {
	POLICY_LOOK_OFF,
	POLICY_LOOK_ANY, /* a fast MMU saw it young (the rule of seed 003) */
	POLICY_LOOK_ALL, /* ... and all MMUs of the space are fast (seed 001, for comparison) */
};

/* What is flushed after Accessed bits were cleared: see docs/decisions.md. */
enum policy_flush { POLICY_FLUSH_NONE, POLICY_FLUSH_PER_PASS, POLICY_FLUSH_SAMPLED };

/* Under which side of the MMU lock the fast MMUs are asked for Accessed bits. Others than the first: for comparison. */
enum policy_locked {
	POLICY_LOCKLESS,
	POLICY_LOCKED, /* the write side, waited for */
	POLICY_READ, /* the read side, tried with growing pauses; then fast-only leaves, accurate waits */
};

/* Whom the walks of a space ask (space.walk); any time. What evictors ask is not changed by it. */
enum walk_mode {
	WALK_OFF,  /* nobody: its pages are judged at eviction */
	WALK_FAST, /* MMUs with fast aging, fast-only; the rule */
	WALK_ALL,  /* every MMU, under its lock if it has to be */
	WALK_ACCURATE, /* ... all that it has, whatever filters say, and a flush that is waited for at the end of
	                  each pass: what is touched after a pass is found by the next */
};

/* How people write the four above, and `twolist`: by value, NULL at the end. */
extern const char *const policy_lookaround_names[],
        *const policy_flush_names[], *const policy_locked_names[], *const walk_mode_names[],
                                                                           *const policy_names[];

/* What `batch` may be. */
static inline bool policy_batch_valid(u32 batch)
{
	return batch == 1 || batch == 64 || batch == TABLE_PAGES;
}

#define POLICY_SWAPPINESS_MAX 200u /* 0: clean pages only; 200: dirty ones only */
#define POLICY_SWAPPINESS     60u
#define POLICY_CHUNK_MAX      64u /* GEN_BATCH */
#define POLICY_CHUNK_AUTO     0u /* full ones; but of a space with a limit, this part of the limit: */
#define POLICY_CHUNK_PART     128u
#define POLICY_FAULT_TOUCH    0u
#define POLICY_PROBATION      1u
#define POLICY_GUARD          1u

struct policy {
	a32 caps;       /* POLICY_CORE | ... */
	a32 lookaround; /* enum policy_lookaround */
	a32 flush;      /* enum policy_flush */
	a32 batch;      /* pages a walk asks for at a time: 1, 64 or 512 */
	a32 two_touch;  /* 1: the second sighting promotes; 0: the first */
	a32 fault_touch; /* 1: the fault that brings a page in is a touch, and the access retried after it the next;
	                    0: the two are one: it makes the page as young as it is, and is no promotion */
	a32 chunk; /* frames that an evictor takes at a time: 1 .. POLICY_CHUNK_MAX, or POLICY_CHUNK_AUTO */
	a32 demote; /* 1: pages that were promoted and have grown old have one more turn; 0: they go */
	a32 probation;  /* 1: pages of one use go first, mm/probation.h; 0: by age alone */
	a32 guard;      /* 1: recency rules where probation has more refaults, mm/guard.h */
	a32 swappiness; /* 0 .. POLICY_SWAPPINESS_MAX */
	a32 twolist; /* 1: active and inactive lists, mm/twolist.h. Once a space is there, by mm/policy_switch.h only */
	a32 locked; /* enum policy_locked */
	a32 direct_rate; /* chunks that faulting vCPUs may reclaim by themselves, a second; 0: no bound */
	a64 min_ttl_ns; /* pages younger than this are not evicted; rather is a VM stopped. 0: off */
};
extern struct policy policy;

/*
 * Which agers are in the image: LOCKLESS of the Makefile. All, and policy.locked says which is used; or those alone
 * that hold the MMU lock.
 */
#ifdef VARVE_LOCKED_ONLY
#define POLICY_AGER       POLICY_LOCKED
#define POLICY_AGERS_NOTE "; the lockless ager is not in this image"
#else
#define POLICY_AGER       POLICY_LOCKLESS
#define POLICY_AGERS_NOTE ""
#endif
static inline bool policy_ager_built(u64 locked)
{
	return locked != POLICY_LOCKLESS || POLICY_AGER == POLICY_LOCKLESS;
}
/* policy.locked; what is not built is never set, and the compiler is to know. */
static inline u32 policy_ager(void)
{
	u32 locked = a32_load(&policy.locked);

	return policy_ager_built(locked) ? locked : POLICY_AGER;
}

/* Back to the defaults: all capabilities, look-around any, no flush, whole tables, two-touch, full chunks. */
void policy_init(void);
static inline bool policy_has(u32 cap)
{
	return a32_load(&policy.caps) & cap;
}
