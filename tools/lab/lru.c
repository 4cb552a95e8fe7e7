/* The page that was used longest ago goes. */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

struct lru {
	struct lab_env *e;
	struct lists l;
};

static void *lru_create(struct lab_env *e)
{
	struct lru *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	lists_create(&p->l, e->pages, 1);
	return p;
}

static void lru_destroy(void *arg)
{
	struct lru *p = arg;

	lists_destroy(&p->l);
	free(p);
}

static void lru_hit(void *arg, u32 page)
{
	struct lru *p = arg;

	list_move(&p->l, 0, page);
}

static void lru_miss(void *arg, u32 page)
{
	struct lru *p = arg;

	while (lab_full(p->e)) {
		u32 victim = list_tail(&p->l, 0);

		p->e->scanned++;
		if (lab_young(p->e, victim)) {
			list_move(&p->l, 0, victim);
			continue;
		}
		list_remove(&p->l, victim);
		lab_evict(p->e, victim);
	}
	list_push(&p->l, 0, page);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_lru = {
        .name = "lru",
        .about = "least recently used",
        .create = lru_create,
        .destroy = lru_destroy,
        .miss = lru_miss,
        .hit = lru_hit,
};
