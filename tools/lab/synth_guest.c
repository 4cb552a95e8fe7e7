/* The guest's touches (guest.h) as traces of the laboratory. */
#include <stdlib.h>
#include <string.h>

#include "tools/lab/guest.h"
#include "tools/lab/synth.h"

/* The number of accesses is known when they are drawn. */
struct growing {
	struct lab_trace *t;
	u32 room;
};

static void take(void *arg, u32 page, bool write)
{
	struct growing *g = arg;
	struct lab_trace *t = g->t;

	if (t->n == g->room) {
		g->room = g->room ? 2 * g->room : 1u << 18;
		t->access = realloc(t->access, g->room * sizeof(u32));
		if (!t->access)
			lab_die("no memory for %u accesses", g->room);
	}
	t->access[t->n++] = page << 1 | write;
}

/* NULL if the name is none of a guest's work. */
static const char *arguments(const char *name)
{
	static char both[256];

	if (!strncmp(name, "work=", 5))
		return name;
	for (unsigned i = 0; i < guest_nr_works; i++)
		if (!strcmp(guest_works[i].name, name)) {
			snprintf(both, sizeof(both), "%s " GUEST_COMMON, guest_works[i].args);
			return both;
		}
	return NULL;
}

bool lab_guest_make(const char *name, u64 seed, struct lab_trace *t)
{
	struct growing g = {.t = t};
	struct guest_sink sink = {.touch = take, .arg = &g};
	const char *args = arguments(name);

	if (!args)
		return false;
	*t = (struct lab_trace){0};
	snprintf(t->name, sizeof(t->name), "%s", name);
	guest_draw(args, seed ? seed : 1, &sink);
	t->pages = sink.pages;
	t->from = sink.from;
	t->sum = sink.sum;
	return true;
}
