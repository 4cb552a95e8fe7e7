/*
 * CLOCK-Pro (Jiang, Chen and Zhang, USENIX 2005): LIRS with reference bits. Hot and cold pages, and cold ones that
 * are gone but still in their test period, are on one clock; a page comes in cold, and is hot if it is touched
 * again within its test. Hands:
 *
 *   cold   looks for the victim among the resident cold pages
 *   hot    makes hot pages cold that were not touched, and ends the tests that it comes by
 *   test   ends tests when more pages that are gone are remembered than memory holds
 *
 * Memory for cold pages grows with each page that comes back within its test, and shrinks with each test
 * that ends without.
 */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

enum { HOT, COLD, TEST, HANDS };

struct page {
	bool known, hot, resident, test, touched;
};

struct clockpro {
	struct lab_env *e;
	struct lists l;
	struct page *page;
	u32 hand[HANDS]; /* a page, or the list's own node: nothing, pass on */
	u32 hot, gone;
	u32 cold_target;
};

static void *clockpro_create(struct lab_env *e)
{
	struct clockpro *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->page = lab_alloc(e->pages, sizeof(*p->page));
	p->cold_target = 1;
	lists_create(&p->l, e->pages, 1);
	for (unsigned i = 0; i < HANDS; i++)
		p->hand[i] = e->pages;
	return p;
}

static void clockpro_destroy(void *arg)
{
	struct clockpro *p = arg;

	lists_destroy(&p->l);
	free(p->page);
	free(p);
}

static void clockpro_hit(void *arg, u32 page)
{
	struct clockpro *p = arg;

	p->page[page].touched = true;
}

/* Hands go towards `prev`. */
static void leave_clock(struct clockpro *p, u32 page)
{
	for (unsigned i = 0; i < HANDS; i++)
		if (p->hand[i] == page)
			p->hand[i] = p->l.prev[page];
	list_remove(&p->l, page);
}

/* Where the hot hand comes last. */
static void enter_clock(struct clockpro *p, u32 page)
{
	list_insert_before(&p->l, 0, p->l.next[p->hand[HOT]], page);
}

static void forget(struct clockpro *p, u32 page)
{
	leave_clock(p, page);
	p->page[page] = (struct page){.known = false};
	p->gone--;
}

static bool take_touch(struct clockpro *p, u32 page)
{
	bool young = lab_young(p->e, page), touched = p->page[page].touched;

	p->page[page].touched = false;
	return young || touched;
}

/* The test of a cold page ends in vain. */
static void end_test(struct clockpro *p, u32 page)
{
	if (!p->page[page].test)
		return;
	p->page[page].test = false;
	if (p->cold_target > 1)
		p->cold_target--;
	if (!p->page[page].resident)
		forget(p, page);
}

/* The page under a hand, which goes on; LAB_NEVER for the list's own node. */
static u32 advance(struct clockpro *p, unsigned hand)
{
	u32 page = p->hand[hand];

	p->hand[hand] = p->l.prev[page];
	return page == p->l.pages ? LAB_NEVER : page;
}

/* Until one hot page is cold. */
static void run_hot(struct clockpro *p)
{
	for (u32 before = p->hot; p->hot == before;) {
		u32 page = advance(p, HOT);

		if (page == LAB_NEVER)
			continue;
		if (!p->page[page].hot) {
			end_test(p, page);
			continue;
		}
		p->e->scanned++;
		if (take_touch(p, page))
			continue;
		p->page[page].hot = false;
		p->hot--;
	}
}

static void run_test(struct clockpro *p)
{
	while (p->gone > p->e->capacity) {
		u32 page = advance(p, TEST);

		if (page != LAB_NEVER && !p->page[page].hot)
			end_test(p, page);
	}
}

static void balance(struct clockpro *p)
{
	while (p->hot && p->hot > p->e->capacity - min_of(p->cold_target, p->e->capacity))
		run_hot(p);
}

static void become_hot(struct clockpro *p, u32 page)
{
	p->page[page].hot = true;
	p->page[page].test = false;
	p->hot++;
}

/* Looks at one page. */
static void run_cold(struct clockpro *p)
{
	u32 at = advance(p, COLD);
	struct page *page = at == LAB_NEVER ? NULL : &p->page[at];

	if (!page || page->hot || !page->resident)
		return;
	p->e->scanned++;
	if (take_touch(p, at)) {
		leave_clock(p, at);
		enter_clock(p, at);
		if (page->test)
			become_hot(p, at);
		else
			page->test = true;
		balance(p);
		return;
	}
	lab_evict(p->e, at);
	page->resident = false;
	p->gone++;
	if (!page->test)
		forget(p, at);
	else
		run_test(p);
}

static void clockpro_miss(void *arg, u32 page)
{
	struct clockpro *p = arg;
	bool tested = p->page[page].known;

	if (tested) {
		forget(p, page);
		p->cold_target = min_of(p->cold_target + 1, p->e->capacity);
	}
	while (lab_full(p->e)) {
		/* Tests that ended may have left no room for cold pages. */
		if (p->hot == p->e->nr_resident)
			run_hot(p);
		run_cold(p);
	}
	enter_clock(p, page);
	p->page[page] = (struct page){.known = true, .resident = true, .test = true};
	lab_bring_in(p->e, page);
	if (tested)
		become_hot(p, page);
	balance(p);
}

const struct lab_policy lab_clockpro = {
        .name = "clock-pro",
        .about = "CLOCK-Pro, adaptive",
        .create = clockpro_create,
        .destroy = clockpro_destroy,
        .miss = clockpro_miss,
        .hit = clockpro_hit,
};
