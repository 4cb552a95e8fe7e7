/*
 * LIRS (Jiang and Zhang, SIGMETRICS 2002). Pages with a short reuse distance (LIR) have 99 % of the memory; all
 * others (HIR) pass through queue Q, the remaining 1 %. Stack S orders by recency all pages that are more
 * recent than the oldest LIR page, resident or not: a HIR page found there when touched was reused sooner than
 * the LIR page at the bottom, and changes places with it. The bottom is always LIR.
 *
 * The paper lets S grow without a bound; here at most two times the memory of pages that are gone are in it.
 */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

#define GHOSTS 2u /* times the memory */

enum state { UNKNOWN, LIR, HIR, GONE };
enum { Q, GHOST, QUEUES };

struct lirs {
	struct lab_env *e;
	struct lists s, q; /* the stack; Q, and those that are gone, by when */
	u8 *state;
	u32 lir, lir_max;
};

static void *lirs_create(struct lab_env *e)
{
	struct lirs *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->state = lab_alloc(e->pages, 1);
	p->lir_max = e->capacity - max_of(e->capacity / 100, 1u);
	lists_create(&p->s, e->pages, 1);
	lists_create(&p->q, e->pages, QUEUES);
	return p;
}

static void lirs_destroy(void *arg)
{
	struct lirs *p = arg;

	lists_destroy(&p->s);
	lists_destroy(&p->q);
	free(p->state);
	free(p);
}

static void to_top(struct lirs *p, u32 page)
{
	if (list_has(&p->s, 0, page))
		list_remove(&p->s, page);
	list_push(&p->s, 0, page);
}

static void forget(struct lirs *p, u32 page)
{
	list_remove(&p->q, page);
	p->state[page] = UNKNOWN;
}

/* What is below the last LIR page leaves the stack. */
static void prune(struct lirs *p)
{
	u32 page;

	while ((page = list_tail(&p->s, 0)) != LAB_NEVER && p->state[page] != LIR) {
		list_remove(&p->s, page);
		if (p->state[page] == GONE)
			forget(p, page);
	}
}

static void become_lir(struct lirs *p, u32 page)
{
	u32 bottom;

	if (list_has(&p->q, Q, page) || list_has(&p->q, GHOST, page))
		list_remove(&p->q, page);
	p->state[page] = LIR;
	to_top(p, page);
	if (++p->lir <= p->lir_max)
		return;
	prune(p);
	bottom = list_tail(&p->s, 0);
	list_remove(&p->s, bottom);
	p->state[bottom] = HIR;
	list_push(&p->q, Q, bottom);
	p->lir--;
	prune(p);
}

static void lirs_hit(void *arg, u32 page)
{
	struct lirs *p = arg;

	if (p->state[page] == LIR) {
		to_top(p, page);
		prune(p);
	} else if (list_has(&p->s, 0, page)) {
		become_lir(p, page);
	} else {
		to_top(p, page);
		list_move(&p->q, Q, page);
	}
}

static void drop_oldest_ghost(struct lirs *p)
{
	u32 page = list_tail(&p->q, GHOST);

	list_remove(&p->s, page);
	forget(p, page);
}

static void lirs_reclaim(struct lirs *p)
{
	u32 victim = list_tail(&p->q, Q);

	p->e->scanned++;
	if (lab_young(p->e, victim)) {
		lirs_hit(p, victim);
		return;
	}
	lab_evict(p->e, victim);
	if (!list_has(&p->s, 0, victim)) {
		forget(p, victim);
		return;
	}
	p->state[victim] = GONE;
	list_move(&p->q, GHOST, victim);
	if (p->q.size[GHOST] > GHOSTS * p->e->capacity)
		drop_oldest_ghost(p);
}

static void lirs_miss(void *arg, u32 page)
{
	struct lirs *p = arg;

	while (lab_full(p->e))
		lirs_reclaim(p);
	lab_bring_in(p->e, page);
	if (p->state[page] == GONE || p->lir < p->lir_max) {
		become_lir(p, page);
		return;
	}
	p->state[page] = HIR;
	to_top(p, page);
	list_push(&p->q, Q, page);
}

const struct lab_policy lab_lirs = {
        .name = "lirs",
        .about = "LIRS, HIR 1 %, at most twice the memory remembered",
        .create = lirs_create,
        .destroy = lirs_destroy,
        .miss = lirs_miss,
        .hit = lirs_hit,
};
