/*
 * Nodes hang in two hash tables, by checksum for puts and by handle for drops, and come from pages that are given back
 * when the last node goes. The tables are made with the first node: two pointers for every four frames.
 *
 * Why no holder is lost: a node is found and its holders are counted in one section of the lock. The last drop takes
 * the node out there, and only then the object; so nobody finds an object that is going. Who holds a handle got it
 * from a put that is over: if that made a node, there is one, and so a look at the number of nodes without the lock
 * tells whether there may be one.
 */
#include "mm/share.h"

#include "arch/hal.h"
#include "lib/atomic.h"
#include "lib/lock.h"
#include "mm/frame.h"
#include "mm/pool.h"

typedef unsigned long long ull;

struct node {
	struct node *next_sum, *next_handle; /* in its buckets; next_sum also among free nodes */
	u64 handle;
	u32 sum, bytes, holders;
};
#define NODES_PER_PAGE ((PAGE_SIZE - sizeof(void *)) / sizeof(struct node))

struct node_page {
	struct node_page *next;
	struct node node[NODES_PER_PAGE];
};
static_assert(sizeof(struct node_page) <= PAGE_SIZE, "a page of nodes");

static struct {
	struct spinlock lock;
	a64 nodes; /* read without the lock by share_drop() */
	struct node **by_sum, **by_handle;
	u32 buckets; /* a power of two; 0: no tables yet */
	struct node *free;
	struct node_page *pages;
	u64 nr_pages;
	u64 extra, extra_bytes, found_total;
} share = {.lock = SPINLOCK_INIT(LOCK_SHARE, "shared objects")};

#ifdef VARVE_HOST
u32 share_test_sum_bits = ~0u;
#else
#define share_test_sum_bits (~0u)
#endif

static u64 table_pages(void)
{
	return (share.buckets * sizeof(struct node *)) >> PAGE_SHIFT;
}

static struct node **sum_bucket(u32 sum)
{
	return &share.by_sum[sum & (share.buckets - 1)];
}

static struct node **handle_bucket(u64 handle)
{
	return &share.by_handle[((handle ^ handle >> 32) * 0x9e3779b1u) & (share.buckets - 1)];
}

/* --- memory; lock held ------------------------------------------------------------------------------ */

static bool tables_make(void)
{
	u32 n = PAGE_SIZE / sizeof(struct node *);

	if (share.buckets)
		return true;
	while (n < frame_total() / 4)
		n *= 2;
	share.buckets = n;
	share.by_sum = hal_pages_alloc(table_pages());
	share.by_handle = hal_pages_alloc(table_pages());
	if (share.by_sum && share.by_handle)
		return true;
	if (share.by_sum)
		hal_pages_free(share.by_sum, table_pages());
	if (share.by_handle)
		hal_pages_free(share.by_handle, table_pages());
	share.buckets = 0;
	return false;
}

static bool nodes_make(void)
{
	struct node_page *page = hal_pages_alloc(1);

	if (!page)
		return false;
	page->next = share.pages;
	share.pages = page;
	share.nr_pages++;
	for (unsigned i = 0; i < NODES_PER_PAGE; i++) {
		page->node[i].next_sum = share.free;
		share.free = &page->node[i];
	}
	return true;
}

static struct node *node_take(void)
{
	struct node *n;

	if (!tables_make() || (!share.free && !nodes_make()))
		return NULL;
	n = share.free;
	share.free = n->next_sum;
	a64_store(&share.nodes, a64_load(&share.nodes) + 1);
	return n;
}

/* The last node takes all memory along. */
static void node_give(struct node *n)
{
	n->next_sum = share.free;
	share.free = n;
	a64_store(&share.nodes, a64_load(&share.nodes) - 1);
	if (a64_load(&share.nodes))
		return;
	while (share.pages) {
		struct node_page *page = share.pages;

		share.pages = page->next;
		hal_pages_free(page, 1);
	}
	hal_pages_free(share.by_sum, table_pages());
	hal_pages_free(share.by_handle, table_pages());
	share.free = NULL;
	share.nr_pages = 0;
	share.buckets = 0;
}

/* --- the index; lock held ---------------------------------------------------------------------------- */

static struct node *find_equal(const void *data, u32 bytes, u32 sum)
{
	if (!share.buckets)
		return NULL;
	for (struct node *n = *sum_bucket(sum); n; n = n->next_sum)
		if (n->sum == sum && n->bytes == bytes && n->holders != ~0u &&
		    pool_equal(n->handle, data, bytes))
			return n;
	return NULL;
}

static struct node *find_handle(u64 handle)
{
	if (!share.buckets)
		return NULL;
	for (struct node *n = *handle_bucket(handle); n; n = n->next_handle)
		if (n->handle == handle)
			return n;
	return NULL;
}

static void index_add(u64 handle, u32 bytes, u32 sum)
{
	struct node *n = node_take();

	if (!n)
		return;
	*n = (struct node){.next_sum = *sum_bucket(sum),
	                   .next_handle = *handle_bucket(handle),
	                   .handle = handle,
	                   .sum = sum,
	                   .bytes = bytes,
	                   .holders = 1};
	*sum_bucket(sum) = n;
	*handle_bucket(handle) = n;
}

static void index_remove(struct node *n)
{
	struct node **at;

	for (at = sum_bucket(n->sum); *at != n; at = &(*at)->next_sum)
		;
	*at = n->next_sum;
	for (at = handle_bucket(n->handle); *at != n; at = &(*at)->next_handle)
		;
	*at = n->next_handle;
	node_give(n);
}

static u64 put_locked(const void *data, u32 bytes, u32 sum, bool *found)
{
	struct node *n = find_equal(data, bytes, sum);
	u64 handle;

	*found = n != NULL;
	if (n) {
		n->holders++;
		share.extra++;
		share.extra_bytes += bytes;
		share.found_total++;
		return n->handle;
	}
	handle = pool_put(data, bytes);
	if (handle != POOL_NONE)
		index_add(handle, bytes, sum);
	return handle;
}

u64 share_put(const void *data, u32 bytes, u32 sum, bool *found)
{
	u64 handle;

	spin_lock(&share.lock);
	handle = put_locked(data, bytes, sum & share_test_sum_bits, found);
	spin_unlock(&share.lock);
	return handle;
}

/* Was that the last holder? */
static bool drop_locked(u64 handle)
{
	struct node *n = find_handle(handle);

	if (!n)
		return true;
	if (--n->holders) {
		share.extra--;
		share.extra_bytes -= n->bytes;
		return false;
	}
	index_remove(n);
	return true;
}

void share_drop(u64 handle)
{
	bool last = true;

	if (a64_load(&share.nodes)) {
		spin_lock(&share.lock);
		last = drop_locked(handle);
		spin_unlock(&share.lock);
	}
	if (last)
		pool_drop(handle);
}

void share_snapshot(struct share_stats *out)
{
	spin_lock(&share.lock);
	out->extra = share.extra;
	out->extra_bytes = share.extra_bytes;
	out->found_total = share.found_total;
	out->meta_bytes = (share.nr_pages + 2 * table_pages()) << PAGE_SHIFT;
	spin_unlock(&share.lock);
}

static u64 audit_fault(const char *what, u64 found, u64 expected)
{
	hal_log(HAL_ERROR, "share: audit: %s: found %llu, expected %llu", what, (ull)found,
	        (ull)expected);
	return 1;
}

struct recount {
	u64 nodes, extra, extra_bytes, faults;
};

static void audit_bucket(u32 bucket, struct recount *c)
{
	u8 none;

	for (const struct node *n = share.by_sum[bucket]; n; n = n->next_sum) {
		u32 bytes = pool_get(n->handle, &none, 0);

		c->nodes++;
		c->extra += n->holders - 1;
		c->extra_bytes += (u64)(n->holders - 1) * n->bytes;
		if (!n->holders)
			c->faults += audit_fault("holders of an object", 0, 1);
		if (bytes != n->bytes)
			c->faults += audit_fault("bytes of an object", bytes, n->bytes);
		if (find_handle(n->handle) != n)
			c->faults += audit_fault("object by its handle", 0, n->handle);
	}
}

u64 share_audit(void)
{
	struct recount c = {0};

	spin_lock(&share.lock);
	for (u32 i = 0; i < share.buckets; i++)
		audit_bucket(i, &c);
	if (c.nodes != a64_load(&share.nodes))
		c.faults += audit_fault("objects", c.nodes, a64_load(&share.nodes));
	if (c.extra != share.extra)
		c.faults += audit_fault("holders", c.extra, share.extra);
	if (c.extra_bytes != share.extra_bytes)
		c.faults += audit_fault("bytes", c.extra_bytes, share.extra_bytes);
	spin_unlock(&share.lock);
	return c.faults;
}
