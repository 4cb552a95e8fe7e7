/*
 * Memory of the chains of a reverse map (hv/mmu/rmap.h): descriptors of 128 bytes, 31 to a page.
 *
 * One pool for each shadow MMU, under the write side of its space's MMU lock. Nothing is allocated under that
 * lock: who is going to need descriptors brings a page along in a cache of its own, filled before. Pages go
 * back as soon as no descriptor of theirs is in use, but for one.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define RMAP_DESC_BYTES 128u

struct rmap_desc;
struct rmap_page;

struct rmap_pool {
	struct rmap_page *partial; /* pages with a free descriptor */
	u64 pages;
	u64 used; /* descriptors */
};

/* Descriptors that a filled cache is good for. */
#define RMAP_CACHE_DESCS 31u
struct rmap_cache {
	void *page;
};

/* Makes sure that there is a page; false: no memory. No lock held. */
bool rmap_cache_fill(struct rmap_cache *cache) must_check;
/* Gives it back, if there is one. No lock held. */
void rmap_cache_empty(struct rmap_cache *cache);

/* MMU lock held for writing. A descriptor, zeroed; if the pool has none, it gets the cache's page. NULL: neither has. */
struct rmap_desc *rmap_pool_take(struct rmap_pool *pool, struct rmap_cache *cache) must_check;
void rmap_pool_give(struct rmap_pool *pool, struct rmap_desc *desc);
/* Gives the last page back. Every descriptor was given back before. */
void rmap_pool_destroy(struct rmap_pool *pool);
