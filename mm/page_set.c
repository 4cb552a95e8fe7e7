#include "mm/page_set.h"

#include "arch/hal.h"
#include "lib/atomic.h"
#include "mm/epoch.h"
#include "mm/gfnmap.h"

struct piece {
	u64 base, npages;
	a64 *bits;
	u64 hal_pages;
};

struct page_set {
	u32 nr;
	struct piece piece[SLOTS_MAX];
};
_Static_assert(sizeof(struct page_set) <= PAGE_SIZE, "is given a page");

static u32 slots_copy(struct space *s, struct piece *piece)
{
	const struct slots *slots;
	u32 nr;

	epoch_enter();
	slots = gfnmap_slots(s);
	nr = slots->nr;
	for (u32 i = 0; i < nr; i++)
		piece[i] = (struct piece){.base = slots->slot[i].base.v,
		                          .npages = slots->slot[i].npages};
	epoch_exit();
	return nr;
}

static bool piece_fill(struct piece *p)
{
	p->hal_pages = align_up(p->npages, (u64)PAGE_SIZE * 8) / (PAGE_SIZE * 8);
	p->bits = hal_pages_alloc(p->hal_pages);
	return p->bits != NULL;
}

struct page_set *page_set_create(struct space *s)
{
	struct page_set *set = hal_pages_alloc(1);
	bool full = set != NULL;

	if (!set)
		return NULL;
	set->nr = slots_copy(s, set->piece);
	for (u32 i = 0; full && i < set->nr; i++)
		full = piece_fill(&set->piece[i]);
	if (full)
		return set;
	page_set_destroy(set);
	return NULL;
}

void page_set_destroy(struct page_set *set)
{
	if (!set)
		return;
	for (u32 i = 0; i < set->nr; i++)
		if (set->piece[i].bits)
			hal_pages_free(set->piece[i].bits, set->piece[i].hal_pages);
	hal_pages_free(set, 1);
}

static const struct piece *piece_of(const struct page_set *set, u64 page)
{
	for (u32 i = 0; i < set->nr; i++)
		if (page - set->piece[i].base < set->piece[i].npages)
			return &set->piece[i];
	return NULL;
}

/* A range may go from slot to slot. */
bool page_set_covers(const struct page_set *set, gfn_t first, u64 npages)
{
	u64 page = first.v;

	while (npages) {
		const struct piece *p = piece_of(set, page);
		u64 n;

		if (!p)
			return false;
		n = min_of(npages, p->base + p->npages - page);
		page += n;
		npages -= n;
	}
	return true;
}

static a64 *word_of(const struct page_set *set, gfn_t g, u64 *bit)
{
	const struct piece *p = piece_of(set, g.v);
	u64 at;

	if (!p)
		return NULL;
	at = g.v - p->base;
	*bit = BIT(at % 64);
	return &p->bits[at / 64];
}

/* ord BA1: before what the caller reads next, the gfn word; pairs with ord BA2 */
bool page_set_add(struct page_set *set, gfn_t g)
{
	u64 bit;
	a64 *word = word_of(set, g, &bit);

	return !(a64_fetch_or(word, bit) & bit);
}

bool page_set_remove(struct page_set *set, gfn_t g)
{
	u64 bit;
	a64 *word = word_of(set, g, &bit);

	if (!word || !(a64_load(word) & bit))
		return false;
	return a64_fetch_and(word, ~bit) & bit; /* only that one of two removes it */
}

bool page_set_has(const struct page_set *set, gfn_t g)
{
	u64 bit;
	const a64 *word = word_of(set, g, &bit);

	return word && a64_load(word) & bit;
}

u64 page_set_count(const struct page_set *set, gfn_t first, u64 npages)
{
	u64 n = 0;

	for (u64 i = 0; i < npages; i++)
		n += page_set_has(set, gfn_add(first, i));
	return n;
}
