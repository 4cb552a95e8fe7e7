/* Eviction: consumes the oldest generation of a space and packs its frames away. */
#pragma once

#include "lib/types.h"

struct space;

struct evict_result {
	u64 scanned;     /* frames looked at */
	u64 sorted;      /* promoted meanwhile: put where they belong */
	u64 rejected;    /* found young by the accurate question */
	u64 freed;       /* frames that went back to the allocator */
	u64 store_full;  /* not packed: no room or incompressible */
	bool need_aging; /* only the two youngest generations are left */
};
/*
 * Tries to free `target` frames of a space in chunks of GEN_BATCH. Order of each chunk: isolate >
 * ask (accurate) > invalidate_begin > zap by exchange > resident->evicting > invalidate_end > shoot
 * down > store > evicting->away (fails if rescued) > free after the epoch. No lock held, not in an
 * epoch section; the caller pinned the space with space_get().
 */
struct evict_result evict_space(struct space *s, u64 target);
/* Does any CPU have frames in its hands right now? */
bool evict_active(void);
