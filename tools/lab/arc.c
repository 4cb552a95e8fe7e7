/*
 * ARC (Megiddo and Modha, FAST 2003): T1 has pages seen once lately, T2 those seen twice; B1 and B2 remember
 * what left them. A hit in B1 says that T1 should be larger, one in B2 that it should be smaller: `target`.
 * Cases I to IV are those of the paper's figure 4.
 */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

enum { T1, T2, B1, B2, QUEUES };

struct arc {
	struct lab_env *e;
	struct lists l;
	double target; /* p: size of T1 */
};

static void *arc_create(struct lab_env *e)
{
	struct arc *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	lists_create(&p->l, e->pages, QUEUES);
	return p;
}

static void arc_destroy(void *arg)
{
	struct arc *p = arg;

	lists_destroy(&p->l);
	free(p);
}

/* Case I */
static void arc_hit(void *arg, u32 page)
{
	struct arc *p = arg;

	list_move(&p->l, T2, page);
}

/* The oldest of a list leaves memory; false if it was young, and moved. */
static bool arc_drop(struct arc *p, u32 from)
{
	u32 victim = list_tail(&p->l, from);

	p->e->scanned++;
	if (lab_young(p->e, victim)) {
		arc_hit(p, victim);
		return false;
	}
	lab_evict(p->e, victim);
	list_remove(&p->l, victim);
	list_push(&p->l, from == T1 ? B1 : B2, victim);
	return true;
}

/* REPLACE; `in_b2`: it is for a page that B2 remembers. */
static void arc_replace(struct arc *p, bool in_b2)
{
	bool done = false;

	while (!done) {
		u32 t1 = p->l.size[T1];
		bool first = t1 && (t1 > p->target || (in_b2 && t1 == (u32)p->target));

		done = arc_drop(p, first || !p->l.size[T2] ? T1 : T2);
	}
}

/* Cases II and III: a ghost comes back. */
static void arc_ghost(struct arc *p, u32 page)
{
	double b1 = p->l.size[B1], b2 = p->l.size[B2];
	bool in_b2 = list_has(&p->l, B2, page);
	double step = in_b2 ? max_of(b1 / b2, 1.0) : max_of(b2 / b1, 1.0);

	if (in_b2)
		p->target = max_of(p->target - step, 0.0);
	else
		p->target = min_of(p->target + step, (double)p->e->capacity);
	if (lab_full(p->e))
		arc_replace(p, in_b2);
	list_move(&p->l, T2, page);
}

/* Case IV: nobody remembers it. */
static void arc_new(struct arc *p, u32 page)
{
	u32 c = p->e->capacity, *size = p->l.size;

	if (size[T1] + size[B1] == c) {
		if (size[T1] < c) {
			list_remove(&p->l, list_tail(&p->l, B1));
			arc_replace(p, false);
		} else {
			/* B1 is empty and T1 all there is: its oldest goes and is not remembered. */
			while (lab_full(p->e))
				if (arc_drop(p, size[T1] ? T1 : T2) && size[B1])
					list_remove(&p->l, list_tail(&p->l, B1));
		}
	} else if (size[T1] + size[T2] + size[B1] + size[B2] >= c) {
		if (size[T1] + size[T2] + size[B1] + size[B2] == 2 * c)
			list_remove(&p->l, list_tail(&p->l, B2));
		if (lab_full(p->e))
			arc_replace(p, false);
	}
	list_push(&p->l, T1, page);
}

static void arc_miss(void *arg, u32 page)
{
	struct arc *p = arg;

	if (list_has(&p->l, B1, page) || list_has(&p->l, B2, page))
		arc_ghost(p, page);
	else
		arc_new(p, page);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_arc = {
        .name = "arc",
        .about = "ARC",
        .create = arc_create,
        .destroy = arc_destroy,
        .miss = arc_miss,
        .hit = arc_hit,
};
