/*
 * OPT (Belady): the page goes whose next use is farthest away. Resident pages are a heap by next use, with the
 * farthest on top; the next use of a page only ever moves away.
 */
#include "tools/lab/lab.h"

#include <stdlib.h>

struct opt {
	struct lab_env *e;
	u32 *heap;  /* pages */
	u32 *where; /* in the heap, by page */
	u32 *next;  /* by page */
	u32 n;
};

static void *opt_create(struct lab_env *e)
{
	struct opt *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->heap = lab_alloc(e->capacity + 1, sizeof(u32));
	p->where = lab_alloc(e->pages, sizeof(u32));
	p->next = lab_alloc(e->pages, sizeof(u32));
	return p;
}

static void opt_destroy(void *arg)
{
	struct opt *p = arg;

	free(p->heap);
	free(p->where);
	free(p->next);
	free(p);
}

static void put(struct opt *p, u32 at, u32 page)
{
	p->heap[at] = page;
	p->where[page] = at;
}

static void sift_up(struct opt *p, u32 at)
{
	u32 page = p->heap[at];

	while (at && p->next[p->heap[(at - 1) / 2]] < p->next[page]) {
		put(p, at, p->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(p, at, page);
}

static void sift_down(struct opt *p, u32 at)
{
	u32 page = p->heap[at], child;

	while ((child = 2 * at + 1) < p->n) {
		if (child + 1 < p->n && p->next[p->heap[child + 1]] > p->next[p->heap[child]])
			child++;
		if (p->next[p->heap[child]] <= p->next[page])
			break;
		put(p, at, p->heap[child]);
		at = child;
	}
	put(p, at, page);
}

static void opt_hit(void *arg, u32 page)
{
	struct opt *p = arg;

	p->next[page] = p->e->next[p->e->now];
	sift_up(p, p->where[page]);
}

static void opt_miss(void *arg, u32 page)
{
	struct opt *p = arg;

	if (lab_full(p->e)) {
		p->e->scanned++;
		lab_evict(p->e, p->heap[0]);
		put(p, 0, p->heap[--p->n]);
		sift_down(p, 0);
	}
	p->next[page] = p->e->next[p->e->now];
	put(p, p->n++, page);
	sift_up(p, p->n - 1);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_opt = {
        .name = "opt",
        .about = "Belady: knows the future",
        .create = opt_create,
        .destroy = opt_destroy,
        .miss = opt_miss,
        .hit = opt_hit,
        .future = true,
};
