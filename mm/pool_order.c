/*
 * A word an index: 31:0 the next older, 63:32 the next younger, 0 = none. The word of an index that is not listed is 0,
 * as is that of one that is listed alone; then it is the oldest.
 */
#include "mm/pool_order.h"

#include "arch/hal.h"
#include "lib/string.h"

#define WORDS        (PAGE_SIZE / sizeof(u64))
#define DIR_PER_PAGE (PAGE_SIZE / sizeof(u64 *))

static struct {
	u64 **page; /* WORDS indices each, NULL where there are none */
	u32 max_pages, nr_pages;
	u32 oldest, youngest;
	u64 listed;
} order;

static u64 *word(u32 index)
{
	return &order.page[index / WORDS][index % WORDS];
}

static u32 older(u32 index)
{
	return (u32)*word(index);
}

static u32 younger(u32 index)
{
	return (u32)(*word(index) >> 32);
}

static void set_older(u32 index, u32 to)
{
	*word(index) = (u64)younger(index) << 32 | to;
}

static void set_younger(u32 index, u32 to)
{
	*word(index) = (u64)to << 32 | older(index);
}

/* Room in the directory for this page. */
static bool dir_reach(u32 nr)
{
	u32 n = max_of(order.max_pages, (u32)DIR_PER_PAGE);
	u64 **dir;

	if (nr < order.max_pages)
		return true;
	while (n <= nr)
		n *= 2;
	dir = hal_pages_alloc(n / DIR_PER_PAGE);
	if (!dir)
		return false;
	if (order.page) {
		memcpy(dir, order.page, order.max_pages * sizeof(*dir));
		hal_pages_free(order.page, order.max_pages / DIR_PER_PAGE);
	}
	order.page = dir;
	order.max_pages = n;
	return true;
}

static bool word_make(u32 index)
{
	u32 nr = index / WORDS;

	if (!dir_reach(nr))
		return false;
	if (!order.page[nr]) {
		order.page[nr] = hal_pages_alloc(1);
		order.nr_pages += order.page[nr] != NULL;
	}
	return order.page[nr] != NULL;
}

static bool is_listed(u32 index)
{
	u32 nr = index / WORDS;

	if (nr >= order.max_pages || !order.page[nr])
		return false;
	return *word(index) || order.oldest == index;
}

void pool_order_add(u32 index)
{
	if (!word_make(index))
		return;
	DEBUG_ASSERT(index && !is_listed(index));
	*word(index) = order.youngest;
	if (order.youngest)
		set_younger(order.youngest, index);
	else
		order.oldest = index;
	order.youngest = index;
	order.listed++;
}

void pool_order_put_back(u32 index)
{
	DEBUG_ASSERT(index && !is_listed(index));
	*word(index) = (u64)order.oldest << 32;
	if (order.oldest)
		set_older(order.oldest, index);
	else
		order.youngest = index;
	order.oldest = index;
	order.listed++;
}

void pool_order_remove(u32 index)
{
	u32 before, behind;

	if (!is_listed(index))
		return;
	before = older(index);
	behind = younger(index);
	if (before)
		set_younger(before, behind);
	else
		order.oldest = behind;
	if (behind)
		set_older(behind, before);
	else
		order.youngest = before;
	*word(index) = 0;
	order.listed--;
}

u32 pool_order_oldest(void)
{
	return order.oldest;
}

u64 pool_order_listed(void)
{
	return order.listed;
}

u64 pool_order_bytes(void)
{
	return order.nr_pages * (u64)PAGE_SIZE + order.max_pages * sizeof(u64 *);
}

void pool_order_clear(void)
{
	for (u32 i = 0; i < order.max_pages; i++)
		if (order.page[i])
			hal_pages_free(order.page[i], 1);
	if (order.page)
		hal_pages_free(order.page, order.max_pages / DIR_PER_PAGE);
	memset(&order, 0, sizeof(order));
}
