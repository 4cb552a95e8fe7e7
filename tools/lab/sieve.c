/*
 * SIEVE (Zhang and others, NSDI 2024): a queue in which pages stay where they are; a hand goes from the tail to
 * the head, takes the mark from what was touched and evicts the first page without one.
 */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

struct sieve {
	struct lab_env *e;
	struct lists l;
	u8 *visited;
	u32 hand; /* a page, or the list: begin at the tail */
};

static void *sieve_create(struct lab_env *e)
{
	struct sieve *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->visited = lab_alloc(e->pages, 1);
	lists_create(&p->l, e->pages, 1);
	p->hand = e->pages;
	return p;
}

static void sieve_destroy(void *arg)
{
	struct sieve *p = arg;

	lists_destroy(&p->l);
	free(p->visited);
	free(p);
}

static void sieve_hit(void *arg, u32 page)
{
	struct sieve *p = arg;

	p->visited[page] = 1;
}

static void sieve_miss(void *arg, u32 page)
{
	struct sieve *p = arg;

	while (lab_full(p->e)) {
		u32 at = p->hand == p->l.pages ? list_tail(&p->l, 0) : p->hand;
		bool stays = lab_young(p->e, at) || p->visited[at];

		p->e->scanned++;
		p->hand = p->l.prev[at];
		p->visited[at] = 0;
		if (stays)
			continue;
		list_remove(&p->l, at);
		lab_evict(p->e, at);
	}
	list_push(&p->l, 0, page);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_sieve = {
        .name = "sieve",
        .about = "SIEVE",
        .create = sieve_create,
        .destroy = sieve_destroy,
        .miss = sieve_miss,
        .hit = sieve_hit,
};
