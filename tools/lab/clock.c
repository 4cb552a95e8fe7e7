/* CLOCK: a queue with a second chance for what was touched since it was last looked at. */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

struct clock {
	struct lab_env *e;
	struct lists l;
	u8 *touched;
};

static void *clock_create(struct lab_env *e)
{
	struct clock *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->touched = lab_alloc(e->pages, 1);
	lists_create(&p->l, e->pages, 1);
	return p;
}

static void clock_destroy(void *arg)
{
	struct clock *p = arg;

	lists_destroy(&p->l);
	free(p->touched);
	free(p);
}

static void clock_hit(void *arg, u32 page)
{
	struct clock *p = arg;

	p->touched[page] = 1;
}

static void clock_miss(void *arg, u32 page)
{
	struct clock *p = arg;

	while (lab_full(p->e)) {
		u32 victim = list_tail(&p->l, 0);

		p->e->scanned++;
		list_remove(&p->l, victim);
		if (lab_young(p->e, victim) || p->touched[victim])
			list_push(&p->l, 0, victim);
		else
			lab_evict(p->e, victim);
		p->touched[victim] = 0;
	}
	list_push(&p->l, 0, page);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_clock = {
        .name = "clock",
        .about = "CLOCK, one reference bit",
        .create = clock_create,
        .destroy = clock_destroy,
        .miss = clock_miss,
        .hit = clock_hit,
};
