#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "tools/lab/lab.h"
#include "tools/lab/list.h"

void lab_die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("lab: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

void *lab_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		lab_die("no memory for %zu times %zu bytes", n, size);
	return p;
}

void lists_destroy(struct lists *l)
{
	free(l->next);
	free(l->prev);
	free(l->on);
	free(l->size);
}

void lab_bring_in(struct lab_env *e, u32 page)
{
	if (e->resident[page] || lab_full(e))
		lab_die("a policy brings in page %u, which is there, or has no room for it", page);
	e->resident[page] = 1;
	e->young[page] = 0;
	e->nr_resident++;
}

void lab_evict(struct lab_env *e, u32 page)
{
	if (!e->resident[page])
		lab_die("a policy evicts page %u, which is not there", page);
	e->resident[page] = 0;
	e->young[page] = 0;
	e->nr_resident--;
	e->evictions++;
}

u32 *lab_next_use(const struct lab_trace *t)
{
	u32 *next = lab_alloc(t->n, sizeof(u32)), *later = lab_alloc(t->pages, sizeof(u32));

	for (u32 i = 0; i < t->pages; i++)
		later[i] = LAB_NEVER;
	for (u32 i = t->n; i-- > 0;) {
		u32 page = lab_page(t->access[i]);

		next[i] = later[page];
		later[page] = i;
	}
	free(later);
	return next;
}

static void harvest(const struct lab_policy *p, void *state, struct lab_env *e)
{
	if (p->harvest)
		p->harvest(state);
	if (p->access || !e->bits)
		return;
	e->harvested += e->nr_resident;
	if (!p->hit)
		return;
	for (u32 page = 0; page < e->pages; page++)
		if (e->young[page]) {
			e->young[page] = 0;
			p->hit(state, page);
		}
}

/* Whether the page was there. */
static bool access_one(const struct lab_policy *p, void *state, struct lab_env *e, u32 access)
{
	u32 page = lab_page(access);

	if (p->access)
		return p->access(state, page, lab_write(access));
	if (!e->resident[page]) {
		p->miss(state, page);
		if (!e->resident[page])
			lab_die("%s did not bring in page %u", p->name, page);
		return false;
	}
	if (e->bits)
		e->young[page] = 1;
	else if (p->hit)
		p->hit(state, page);
	return true;
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void replay_all(const struct lab_policy *p, void *state, struct lab_env *e,
                       const struct lab_trace *t, const struct lab_setup *setup,
                       struct lab_result *r)
{
	u8 *seen = lab_alloc(t->pages, 1);

	for (u32 i = 0; i < t->n; i++) {
		u32 page = lab_page(t->access[i]);
		bool hit;

		e->now = i;
		if (setup->interval && i && i % setup->interval == 0)
			harvest(p, state, e);
		hit = access_one(p, state, e, t->access[i]);
		r->first += !hit && !seen[page];
		*(i < setup->from ? &r->before : &r->refaults) += !hit && seen[page];
		if (setup->outcome)
			setup->outcome[i] = hit ? 'h' : seen[page] ? 'r' : 'm';
		seen[page] = 1;
	}
	free(seen);
}

struct lab_result lab_replay(const struct lab_policy *p, const struct lab_trace *t,
                             const struct lab_setup *setup)
{
	struct lab_env e = {.pages = t->pages, .capacity = setup->capacity, .bits = setup->bits};
	struct lab_result r = {.accesses = t->n};
	double start = seconds_now();
	void *state;

	e.young = lab_alloc(t->pages, 1);
	e.resident = lab_alloc(t->pages, 1);
	e.next = p->future ? lab_next_use(t) : NULL;
	state = p->create(&e);
	replay_all(p, state, &e, t, setup, &r);
	p->destroy(state);
	r.evictions = e.evictions;
	r.scanned = e.scanned;
	r.harvested = e.harvested;
	free(e.next);
	free(e.young);
	free(e.resident);
	r.seconds = seconds_now() - start;
	return r;
}
