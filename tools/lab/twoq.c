/*
 * 2Q, the full version (Johnson and Shasha, VLDB 1994): A1in is a queue of a quarter of the memory, where a hit
 * changes nothing; A1out remembers half as many pages as memory holds; who comes back from there is hot and
 * gets into Am, an LRU list.
 */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

enum { A1IN, A1OUT, AM, QUEUES };

struct twoq {
	struct lab_env *e;
	struct lists l;
	u32 in, out; /* Kin, Kout */
};

static void *twoq_create(struct lab_env *e)
{
	struct twoq *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->in = max_of(e->capacity / 4, 1u);
	p->out = max_of(e->capacity / 2, 1u);
	lists_create(&p->l, e->pages, QUEUES);
	return p;
}

static void twoq_destroy(void *arg)
{
	struct twoq *p = arg;

	lists_destroy(&p->l);
	free(p);
}

static void twoq_hit(void *arg, u32 page)
{
	struct twoq *p = arg;

	if (list_has(&p->l, AM, page))
		list_move(&p->l, AM, page);
}

static void twoq_reclaim(struct twoq *p)
{
	u32 from = p->l.size[A1IN] > p->in || !p->l.size[AM] ? A1IN : AM;
	u32 victim = list_tail(&p->l, from);

	p->e->scanned++;
	if (from == AM && lab_young(p->e, victim)) {
		list_move(&p->l, AM, victim);
		return;
	}
	list_remove(&p->l, victim);
	lab_evict(p->e, victim);
	if (from == AM)
		return;
	list_push(&p->l, A1OUT, victim);
	if (p->l.size[A1OUT] > p->out)
		list_remove(&p->l, list_tail(&p->l, A1OUT));
}

static void twoq_miss(void *arg, u32 page)
{
	struct twoq *p = arg;
	u32 to;

	while (lab_full(p->e))
		twoq_reclaim(p);
	/* Looked up after room was made: that may have been what A1out forgot it for. */
	to = list_has(&p->l, A1OUT, page) ? AM : A1IN;
	if (to == AM)
		list_remove(&p->l, page);
	list_push(&p->l, to, page);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_twoq = {
        .name = "2q",
        .about = "2Q, full version, Kin 25 %, Kout 50 %",
        .create = twoq_create,
        .destroy = twoq_destroy,
        .miss = twoq_miss,
        .hit = twoq_hit,
};
