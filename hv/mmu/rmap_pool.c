#include "hv/mmu/rmap_pool.h"

#include "arch/hal.h"
#include "lib/string.h"

struct rmap_free {
	struct rmap_free *next;
};

/* Stands in the place of a page's first descriptor. */
struct rmap_page {
	struct rmap_page *next, *prev; /* in the pool's list while something is free */
	struct rmap_free *free;
	u32 used;
};
static_assert(sizeof(struct rmap_page) <= RMAP_DESC_BYTES, "the head takes one descriptor's place");
static_assert(PAGE_SIZE / RMAP_DESC_BYTES - 1 == RMAP_CACHE_DESCS, "and leaves all others");

bool rmap_cache_fill(struct rmap_cache *cache)
{
	if (!cache->page)
		cache->page = hal_pages_alloc(1);
	return cache->page;
}

void rmap_cache_empty(struct rmap_cache *cache)
{
	if (cache->page)
		hal_pages_free(cache->page, 1);
	cache->page = NULL;
}

static void list_add(struct rmap_pool *pool, struct rmap_page *page)
{
	page->prev = NULL;
	page->next = pool->partial;
	if (page->next)
		page->next->prev = page;
	pool->partial = page;
}

static void list_remove(struct rmap_pool *pool, struct rmap_page *page)
{
	if (page->prev)
		page->prev->next = page->next;
	else
		pool->partial = page->next;
	if (page->next)
		page->next->prev = page->prev;
}

static void pool_grow(struct rmap_pool *pool, void *memory)
{
	struct rmap_page *page = memory;

	*page = (struct rmap_page){.used = 0};
	for (unsigned i = RMAP_CACHE_DESCS; i > 0; i--) {
		struct rmap_free *desc = (void *)((char *)memory + (size_t)i * RMAP_DESC_BYTES);

		desc->next = page->free;
		page->free = desc;
	}
	list_add(pool, page);
	pool->pages++;
}

struct rmap_desc *rmap_pool_take(struct rmap_pool *pool, struct rmap_cache *cache)
{
	struct rmap_page *page;
	struct rmap_free *desc;

	if (!pool->partial && cache && cache->page) {
		pool_grow(pool, cache->page);
		cache->page = NULL;
	}
	page = pool->partial;
	if (!page)
		return NULL;
	desc = page->free;
	page->free = desc->next;
	page->used++;
	pool->used++;
	if (!page->free)
		list_remove(pool, page);
	memset(desc, 0, RMAP_DESC_BYTES);
	return (struct rmap_desc *)desc;
}

static void page_free(struct rmap_pool *pool, struct rmap_page *page)
{
	list_remove(pool, page);
	pool->pages--;
	hal_pages_free(page, 1);
}

void rmap_pool_give(struct rmap_pool *pool, struct rmap_desc *desc)
{
	struct rmap_page *page = (void *)align_down((uintptr_t)desc, PAGE_SIZE);
	struct rmap_free *mem = (void *)desc;

	DEBUG_ASSERT(page->used && pool->used);
	if (!page->free)
		list_add(pool, page);
	mem->next = page->free;
	page->free = mem;
	page->used--;
	pool->used--;
	/* One is kept: what goes is likely to come again. */
	if (!page->used && (page->next || page->prev))
		page_free(pool, page);
}

void rmap_pool_destroy(struct rmap_pool *pool)
{
	ASSERT(!pool->used);
	while (pool->partial)
		page_free(pool, pool->partial);
	DEBUG_ASSERT(!pool->pages);
}
