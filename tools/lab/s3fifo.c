/*
 * S3-FIFO (Yang and others, SOSP 2023): new pages go through a small queue of a tenth of the memory; who was
 * touched more than once there, or comes back while the ghost queue remembers it, gets into the main one,
 * which is a CLOCK with two bits. The ghost queue remembers as many pages as the main one holds.
 */
#include "tools/lab/lab.h"

#include <stdlib.h>

#include "tools/lab/list.h"

enum { SMALL, MAIN, GHOST, QUEUES };
#define FREQ_MAX 3

struct s3fifo {
	struct lab_env *e;
	struct lists l;
	u8 *freq;
	u32 small, ghosts; /* sizes */
};

static void *s3fifo_create(struct lab_env *e)
{
	struct s3fifo *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->freq = lab_alloc(e->pages, 1);
	p->small = max_of(e->capacity / 10, 1u);
	p->ghosts = e->capacity - p->small;
	lists_create(&p->l, e->pages, QUEUES);
	return p;
}

static void s3fifo_destroy(void *arg)
{
	struct s3fifo *p = arg;

	lists_destroy(&p->l);
	free(p->freq);
	free(p);
}

static void s3fifo_hit(void *arg, u32 page)
{
	struct s3fifo *p = arg;

	p->freq[page] = (u8)min_of(p->freq[page] + 1, FREQ_MAX);
}

static u32 take_tail(struct s3fifo *p, u32 queue)
{
	u32 page = list_tail(&p->l, queue);

	list_remove(&p->l, page);
	if (queue == GHOST)
		return page;
	p->e->scanned++;
	if (lab_young(p->e, page))
		s3fifo_hit(p, page);
	return page;
}

static void evict_main(struct s3fifo *p)
{
	u32 page = take_tail(p, MAIN);

	if (!p->freq[page]) {
		lab_evict(p->e, page);
		return;
	}
	p->freq[page]--;
	list_push(&p->l, MAIN, page);
}

static void evict_small(struct s3fifo *p)
{
	u32 page = take_tail(p, SMALL);

	if (p->freq[page] > 1) {
		p->freq[page] = 0;
		list_push(&p->l, MAIN, page);
		return;
	}
	lab_evict(p->e, page);
	list_push(&p->l, GHOST, page);
	if (p->l.size[GHOST] > p->ghosts)
		take_tail(p, GHOST);
}

static void s3fifo_miss(void *arg, u32 page)
{
	struct s3fifo *p = arg;

	while (lab_full(p->e)) {
		if (p->l.size[SMALL] >= p->small || !p->l.size[MAIN])
			evict_small(p);
		else
			evict_main(p);
	}
	p->freq[page] = 0;
	if (list_has(&p->l, GHOST, page))
		list_move(&p->l, MAIN, page);
	else
		list_push(&p->l, SMALL, page);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_s3fifo = {
        .name = "s3-fifo",
        .about = "S3-FIFO, small queue 10 %",
        .create = s3fifo_create,
        .destroy = s3fifo_destroy,
        .miss = s3fifo_miss,
        .hit = s3fifo_hit,
};
