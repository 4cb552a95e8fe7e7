/*
 * A group is HINT_GROUP places, and where a page is, is its place: group * HINT_GROUP + number, plus one, for 0 is none.
 * Both directions are kept: the page in each place, the place of each page. They are stored one after the other and read
 * without order, so a reader believes a page in a place only if its place is that one. Who joins takes the next number of
 * the group by an atomic increment; numbers beyond the last are nobody's.
 *
 * Groups are handed out in order and never taken back one by one: pages that moved on leave places behind that count
 * for nothing. When there are no more, the guest is told, and may begin anew.
 */
#include "mm/hint.h"

#include "arch/hal.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/gfnmap.h"
#include "mm/space.h"

#define PER_PAGE (PAGE_SIZE / sizeof(u32))
/* Places for each page: so many times a guest may change its mind about all of them. */
#define PLACES_A_PAGE 2u

struct piece {
	u64 base, npages, index; /* of a slot; its first page is the index-th of all */
};

struct hints {
	u32 nr_pieces;
	struct piece piece[SLOTS_MAX];
	u64 pages;
	u32 nr_groups;
	a32 next_group;
	a32 *place_of, *gfn_at,
	        *joined; /* by page; by place: page number + 1; by group: numbers taken */
	u64 place_pages, gfn_pages, joined_pages;
};
_Static_assert(sizeof(struct hints) <= PAGE_SIZE, "is given a page");

/* --- making it -------------------------------------------------------------------------------------- */

static void read_slots(struct space *s, struct hints *h)
{
	const struct slots *slots;

	epoch_enter();
	slots = gfnmap_slots(s);
	for (u32 i = 0; i < slots->nr; i++) {
		h->piece[h->nr_pieces++] = (struct piece){slots->slot[i].base.v,
		                                          slots->slot[i].npages, h->pages};
		h->pages += slots->slot[i].npages;
	}
	epoch_exit();
}

static a32 *array(u64 n, u64 *pages)
{
	*pages = align_up(n, (u64)PER_PAGE) / PER_PAGE;
	return hal_pages_alloc(*pages);
}

static void destroy(struct hints *h)
{
	if (h->place_of)
		hal_pages_free(h->place_of, h->place_pages);
	if (h->gfn_at)
		hal_pages_free(h->gfn_at, h->gfn_pages);
	if (h->joined)
		hal_pages_free(h->joined, h->joined_pages);
	hal_pages_free(h, 1);
}

static struct hints *create(struct space *s)
{
	struct hints *h = hal_pages_alloc(1);

	if (!h)
		return NULL;
	read_slots(s, h);
	h->nr_groups = (u32)min_of(h->pages * PLACES_A_PAGE / HINT_GROUP + 1, (u64)1 << 24);
	h->place_of = array(h->pages, &h->place_pages);
	h->gfn_at = array((u64)h->nr_groups * HINT_GROUP, &h->gfn_pages);
	h->joined = array(h->nr_groups, &h->joined_pages);
	if (h->place_of && h->gfn_at && h->joined)
		return h;
	destroy(h);
	return NULL;
}

static struct hints *hints_of(const struct space *s)
{
	/* ord HI1: complete before anybody finds it; pairs with ord HI2 */
	return (struct hints *)(uintptr_t)a64_load_acquire(&s->hints);
}

/* Those of the space, made by whoever is first. */
static struct hints *hints_get(struct space *s)
{
	struct hints *h = hints_of(s);
	u64 none = 0;

	if (h)
		return h;
	h = create(s);
	/* ord HI2: pairs with ord HI1 */
	if (!h || a64_cas(&s->hints, &none, (u64)(uintptr_t)h))
		return h;
	destroy(h);
	return hints_of(s);
}

void hint_free(struct space *s)
{
	struct hints *h = hints_of(s);

	if (h)
		destroy(h);
	a64_store(&s->hints, 0);
}

/* --- pages and places ------------------------------------------------------------------------------- */

static bool index_of(const struct hints *h, gfn_t g, u64 *index)
{
	for (u32 i = 0; i < h->nr_pieces; i++) {
		const struct piece *p = &h->piece[i];

		*index = p->index + (g.v - p->base);
		if (g.v - p->base < p->npages)
			return true;
	}
	return false;
}

static gfn_t gfn_of(const struct hints *h, u64 index)
{
	u32 i = h->nr_pieces - 1;

	while (i && h->piece[i].index > index)
		i--;
	return gfn(h->piece[i].base + (index - h->piece[i].index));
}

static void put(struct hints *h, u64 index, u64 place)
{
	a32_store(&h->gfn_at[place], (u32)index + 1);
	a32_store(&h->place_of[index], (u32)place + 1);
}

/* Joins a page to a group; false: it is full. */
static bool join(struct hints *h, u64 group, u64 index)
{
	u32 number;

	/* A full group stays as it is, however often somebody tries. */
	if (a32_load(&h->joined[group]) >= HINT_GROUP)
		return false;
	number = a32_fetch_add(&h->joined[group], 1); /* only that two get two */
	if (number >= HINT_GROUP)
		return false;
	put(h, index, group * HINT_GROUP + number);
	return true;
}

static bool begin(struct hints *h, u64 first, u64 second)
{
	u32 group;

	if (a32_load(&h->next_group) >= h->nr_groups)
		return false;
	group = a32_fetch_add(&h->next_group, 1); /* only that two get two */
	return group < h->nr_groups && join(h, group, first) &&
	       (first == second || join(h, group, second));
}

enum hint_result hint_together(struct space *s, gfn_t g, gfn_t next)
{
	struct hints *h = hints_get(s);
	u64 first, second;
	u32 place;

	if (!h)
		return HINT_FULL;
	if (!index_of(h, g, &first) || !index_of(h, next, &second))
		return HINT_RANGE;
	place = a32_load(&h->place_of[first]);
	if (!place)
		return begin(h, first, second) ? HINT_OK : HINT_FULL;
	if (join(h, (place - 1) / HINT_GROUP, second))
		return HINT_OK;
	return begin(h, second, second) ? HINT_OK : HINT_FULL;
}

void hint_forget(struct space *s)
{
	struct hints *h = hints_of(s);

	if (!h)
		return;
	for (u64 i = 0; i < h->pages; i++)
		a32_store(&h->place_of[i], 0);
	for (u32 i = 0; i < h->nr_groups; i++)
		a32_store(&h->joined[i], 0);
	a32_store(&h->next_group, 0);
}

unsigned hint_group(struct space *s, gfn_t g, gfn_t out[HINT_GROUP])
{
	struct hints *h = hints_of(s);
	u32 place, n = 0;
	u64 index, from;

	if (likely(!h) || !index_of(h, g, &index))
		return 0;
	place = a32_load(&h->place_of[index]);
	if (!place)
		return 0;
	from = (place - 1) / HINT_GROUP * HINT_GROUP;
	for (u64 at = from; at < from + HINT_GROUP; at++) {
		u32 page = a32_load(&h->gfn_at[at]);

		if (page && a32_load(&h->place_of[page - 1]) == at + 1)
			out[n++] = gfn_of(h, page - 1);
	}
	return n;
}
