#include <stdlib.h>
#include <string.h>

#include "tools/lab/file.h"

#define SLOTS      (1u << 20) /* of the hash table of pages */
#define FILTER_MAX 2u

/* Numbers of the text, and ids in the order in which they were met. */
struct names {
	u64 *number; /* by id */
	u32 *slot;   /* id + 1, 0: free */
	u32 n;
};

static u32 name_of(struct names *names, u64 number)
{
	u32 at = (u32)((number * 0x9e3779b97f4a7c15ull) >> 44) % SLOTS;

	while (names->slot[at]) {
		if (names->number[names->slot[at] - 1] == number)
			return names->slot[at] - 1;
		at = (at + 1) % SLOTS;
	}
	if (names->n == SLOTS / 2)
		lab_die("more than %u pages", SLOTS / 2);
	names->number[names->n] = number;
	names->slot[at] = ++names->n;
	return names->n - 1;
}

static const u64 *sorted_by;

static int by_number(const void *a, const void *b)
{
	u64 x = sorted_by[*(const u32 *)a], y = sorted_by[*(const u32 *)b];

	return x < y ? -1 : x > y;
}

/* From ids to dense numbers in the order of what the text called them. */
static void renumber(struct lab_trace *t, const struct names *names)
{
	u32 *order = lab_alloc(names->n, sizeof(u32)), *rank = lab_alloc(names->n, sizeof(u32));

	for (u32 i = 0; i < names->n; i++)
		order[i] = i;
	sorted_by = names->number;
	qsort(order, names->n, sizeof(u32), by_number);
	for (u32 i = 0; i < names->n; i++)
		rank[order[i]] = i;
	for (u32 i = 0; i < t->n; i++)
		t->access[i] = rank[lab_page(t->access[i])] << 1 | lab_write(t->access[i]);
	t->pages = names->n;
	free(order);
	free(rank);
}

static bool parse_plain(char *line, u64 *page, bool *write)
{
	char *end;

	*page = strtoull(line, &end, 0);
	if (end == line) {
		if (*line != '\n' && *line != '#')
			lab_die("not understood: %s", line);
		return false;
	}
	*write = end[0] == ' ' && end[1] == 'w';
	return true;
}

/* "I  ADDRESS,SIZE", " L ", " S " or " M "; what valgrind says besides has other beginnings. */
static bool parse_lackey(char *line, u64 *page, bool *write)
{
	bool fetch = line[0] == 'I' && line[1] == ' ';

	if (!fetch && (line[0] != ' ' || !line[1] || !strchr("LSM", line[1])))
		return false;
	*page = strtoull(line + 3, NULL, 16) >> PAGE_SHIFT;
	*write = !fetch && line[1] != 'L';
	return true;
}

/* The accesses that hide others, last used first. */
struct filter {
	u32 size, n;
	u32 at[FILTER_MAX]; /* index in the trace */
};

static void use_first(struct filter *f, u32 index, u32 from)
{
	for (u32 i = from; i > 0; i--)
		f->at[i] = f->at[i - 1];
	f->at[0] = index;
}

/* True if the access is hidden by an earlier one. */
static bool filter_out(struct filter *f, struct lab_trace *t, u32 page, bool write)
{
	for (u32 i = 0; i < f->n; i++) {
		u32 index = f->at[i];

		if (lab_page(t->access[index]) != page)
			continue;
		t->access[index] |= write;
		use_first(f, index, i);
		return true;
	}
	if (f->size) {
		f->n = min_of(f->n + 1, f->size);
		use_first(f, t->n, f->n - 1);
	}
	return false;
}

void lab_convert(FILE *in, const struct lab_convert *c, struct lab_trace *t)
{
	struct names names = {.number = lab_alloc(SLOTS, sizeof(u64)),
	                      .slot = lab_alloc(SLOTS, sizeof(u32))};
	struct filter f = {.size = c->filter};
	u32 room = 1 << 20;
	char line[256];
	u64 met = 0;

	if (c->filter > FILTER_MAX)
		lab_die("a filter of more than %u ruins a trace", FILTER_MAX);
	t->filter = c->filter;
	t->n = 0;
	t->access = lab_alloc(room, sizeof(u32));
	while (fgets(line, sizeof(line), in) && (!c->max || t->n < c->max)) {
		bool write, good;
		u64 number;
		u32 page;

		good = (c->text == LAB_TEXT_PLAIN ? parse_plain : parse_lackey)(line, &number,
		                                                                &write);
		if (!good || met++ < c->skip)
			continue;
		page = name_of(&names, number);
		if (filter_out(&f, t, page, write))
			continue;
		if (t->n == room)
			t->access = realloc(t->access, (room *= 2) * sizeof(u32));
		if (!t->access)
			lab_die("no memory");
		t->access[t->n++] = page << 1 | write;
	}
	renumber(t, &names);
	free(names.number);
	free(names.slot);
}
