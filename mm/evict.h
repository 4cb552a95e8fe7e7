/* Eviction: consumes the oldest generation of a space and packs its frames away. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"
#include "mm/gen.h"

struct space;

/* What is wanted; evict_any() is the usual. */
struct evict_request {
	u64 target;     /* frames to free */
	int swappiness; /* 0 .. POLICY_SWAPPINESS_MAX; EVICT_SWAPPINESS_POLICY: policy.swappiness */
	u64 last_seq;   /* only from generations up to this one; EVICT_ANY_SEQ: no matter */
	unsigned most;  /* frames of a chunk, at most: 1 .. GEN_BATCH */
};
#define EVICT_SWAPPINESS_POLICY (-1)
#define EVICT_ANY_SEQ           (~0ull) /* GEN_ANY_SEQ */

static inline struct evict_request evict_any(u64 target)
{
	return (struct evict_request){target, EVICT_SWAPPINESS_POLICY, EVICT_ANY_SEQ, GEN_BATCH};
}

struct evict_result {
	u64 scanned;      /* frames looked at */
	u64 sorted;       /* promoted meanwhile: put where they belong */
	u64 protected_;   /* of a tier that comes back too often: next generation */
	u64 rotated;      /* pinned, or declined by a store before: next generation */
	u64 rejected;     /* found young by the accurate question */
	u64 freed;        /* frames that went back to the allocator */
	u64 store_full;   /* not packed: no room or incompressible */
	u64 declined;     /* of these, packed in vain: incompressible, and not known to be */
	u64 dirty;        /* had no valid copy, so that a store was asked to take them */
	u64 dirty_chunks; /* chunks in which all were */
	bool need_aging;  /* only the two youngest generations are left */
};
/* A call ends with the chunk in which it has packed so many pages in vain: nobody else has a turn on its CPU meanwhile. */
#define EVICT_DECLINED_MAX (4 * GEN_BATCH)
/*
 * Tries to free frames of a space in chunks of at most GEN_BATCH. Order of each chunk: isolate >
 * ask (accurate) > invalidate_begin > zap by exchange > resident->evicting > invalidate_end > shoot
 * down > store > evicting->away (fails if rescued) > free after the epoch. No lock held, not in an
 * epoch section; the caller pinned the space with space_get().
 */
struct evict_result evict_space(struct space *s, struct evict_request request);
enum evict_page_result {
	EVICT_PAGE_DONE,
	EVICT_PAGE_NOT_RESIDENT, /* away already, never touched, on its way in, or no RAM */
	EVICT_PAGE_IN_USE,       /* pinned, or in another evictor's hands */
	EVICT_PAGE_RESCUED,      /* a fault was faster, or somebody gives the page back */
	EVICT_PAGE_KEPT,         /* no store took it */
	EVICT_PAGE_RESULTS,
};
/*
 * Evicts one page whatever its age: a chunk of one, of which nobody asks whether it is young. Context as for
 * evict_space().
 */
enum evict_page_result evict_page(struct space *s, gfn_t g) must_check;
/* Does any CPU have frames in its hands right now? */
bool evict_active(void);
