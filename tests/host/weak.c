#include "tests/host/weak.h"

#include <string.h>

#include "tests/host/explorer.h"

#define PLACES   64u
#define MESSAGES 60u

/* How much of each place must have been seen: number of its newest message that was. */
struct view {
	u8 at[PLACES];
};

struct message {
	u64 value;
	struct view view; /* handed to who acquires it */
};

/* An atomic word; or who wrote, and who read, a piece of plain data. */
struct place {
	const void *where;
	unsigned kind; /* WORD, WRITTEN, READ_BY + actor */
	unsigned bytes;
	unsigned n;
	struct message message[MESSAGES];
};
enum { WORD, WRITTEN, READ_BY };

static struct {
	unsigned nr_places, old_reads;
	struct place place[PLACES];
	struct view view[EXPLORER_ACTORS];
	struct view loose[EXPLORER_ACTORS]; /* of what was read relaxed: a barrier takes it over */
	struct view
	        fenced[EXPLORER_ACTORS]; /* at the last barrier: every later store hands it on */
	struct view barriers;            /* all that any full barrier had seen */
} m;

void weak_reset(unsigned old_reads)
{
	m.nr_places = 0;
	m.old_reads = old_reads;
	memset(m.view, 0, sizeof(m.view));
	memset(m.loose, 0, sizeof(m.loose));
	memset(m.fenced, 0, sizeof(m.fenced));
	memset(&m.barriers, 0, sizeof(m.barriers));
}

static void join(struct view *to, const struct view *from)
{
	for (unsigned i = 0; i < m.nr_places; i++)
		if (to->at[i] < from->at[i])
			to->at[i] = from->at[i];
}

static u64 raw_load(const void *where, unsigned bytes)
{
	return bytes == 4 ? *(const u32 *)where : *(const u64 *)where;
}

static void raw_store(void *where, unsigned bytes, u64 value)
{
	if (bytes == 4)
		*(u32 *)where = (u32)value;
	else
		*(u64 *)where = value;
}

static struct message *append(struct place *p, u64 value)
{
	struct message *new = &p->message[p->n];

	if (p->n == MESSAGES)
		explorer_panic("weak: more than %u stores to one word", MESSAGES);
	*new = (struct message){.value = value};
	new->view.at[p - m.place] = (u8)p->n++;
	return new;
}

static struct place *place_of(const void *where, unsigned kind, unsigned bytes)
{
	struct place *p = m.place;
	u64 raw = kind == WORD ? raw_load(where, bytes) : 0;

	while (p < m.place + m.nr_places && (p->where != where || p->kind != kind))
		p++;
	if (p == m.place + PLACES)
		explorer_panic("weak: more than %u places", PLACES);
	if (p == m.place + m.nr_places) {
		m.nr_places++;
		*p = (struct place){.where = where, .kind = kind, .bytes = bytes};
		append(p, raw);
	} else if (kind == WORD && p->message[p->n - 1].value != raw) {
		append(p, raw); /* written by what is no operation here: a statistics counter */
	}
	return p;
}

static unsigned number(const struct place *p)
{
	return (unsigned)(p - m.place);
}

static struct view *mine(void)
{
	return &m.view[explorer_self()];
}

/* Everything that was read counts, and all barriers before it. */
static void barrier(void)
{
	join(mine(), &m.loose[explorer_self()]);
	join(mine(), &m.barriers);
	m.barriers = *mine();
	m.fenced[explorer_self()] = *mine();
}

static void take(struct place *p, unsigned index, bool acquire)
{
	mine()->at[number(p)] = (u8)index;
	join(acquire ? mine() : &m.loose[explorer_self()], &p->message[index].view);
}

/* An old value, if there is one that may still be seen. */
static unsigned choose_message(const struct place *p)
{
	unsigned old = p->n - 1 - mine()->at[number(p)], back;

	back = m.old_reads ? explorer_choose(old + 1) : 0;
	m.old_reads -= back != 0;
	return p->n - 1 - back;
}

u64 weak_load(const void *where, unsigned bytes, enum weak_order order)
{
	struct place *p;
	unsigned index;

	explorer_yield();
	if (!explorer_active())
		return raw_load(where, bytes);
	p = place_of(where, WORD, bytes);
	index = choose_message(p);
	take(p, index, order == WEAK_ACQUIRE);
	return p->message[index].value;
}

static void put(struct place *p, void *where, u64 value, bool release, const struct view *chain)
{
	struct message *new;

	raw_store(where, p->bytes, value);
	value = raw_load(where, p->bytes);
	new = append(p, value);
	mine()->at[number(p)] = (u8)(p->n - 1);
	join(&new->view, release ? mine() : &m.fenced[explorer_self()]);
	if (chain)
		join(&new->view, chain);
}

void weak_store(void *where, unsigned bytes, u64 value, enum weak_order order)
{
	explorer_yield();
	if (!explorer_active()) {
		raw_store(where, bytes, value);
		return;
	}
	put(place_of(where, WORD, bytes), where, value, order >= WEAK_RELEASE, NULL);
	if (order == WEAK_FULL)
		barrier();
}

/* What a locked operation read, it took over if it is a barrier; its store goes on what that began. */
static void exchange(struct place *p, void *where, u64 value, enum weak_order order)
{
	struct view chain = p->message[p->n - 1].view;

	take(p, p->n - 1, order == WEAK_FULL);
	if (order == WEAK_FULL)
		barrier();
	put(p, where, value, order == WEAK_FULL, &chain);
	if (order == WEAK_FULL)
		barrier();
}

static u64 changed(u64 was, enum weak_change how, u64 value)
{
	switch (how) {
	case WEAK_ADD:
		return was + value;
	case WEAK_OR:
		return was | value;
	case WEAK_AND:
		return was & value;
	case WEAK_XCHG:
		break;
	}
	return value;
}

u64 weak_change(void *where, unsigned bytes, enum weak_change how, u64 value, enum weak_order order)
{
	u64 was;

	explorer_yield();
	was = raw_load(where, bytes);
	if (explorer_active())
		exchange(place_of(where, WORD, bytes), where, changed(was, how, value), order);
	else
		raw_store(where, bytes, changed(was, how, value));
	return was;
}

bool weak_cas(void *where, unsigned bytes, void *expected, u64 desired, enum weak_order order)
{
	u64 was;

	explorer_yield();
	was = raw_load(where, bytes);
	if (was != raw_load(expected, bytes)) {
		raw_store(expected, bytes, was);
		if (explorer_active()) {
			struct place *p = place_of(where, WORD, bytes);

			take(p, p->n - 1, false);
		}
		return false;
	}
	if (explorer_active())
		exchange(place_of(where, WORD, bytes), where, desired, order);
	else
		raw_store(where, bytes, desired);
	return true;
}

void weak_fence(void)
{
	explorer_yield();
	if (explorer_active())
		barrier();
}

static void must_have_seen(const struct place *p, const char *what)
{
	if (mine()->at[number(p)] != p->n - 1)
		explorer_panic("race: %s", what);
}

void weak_read(const void *data)
{
	struct place *p;

	explorer_yield();
	if (!explorer_active())
		return;
	must_have_seen(place_of(data, WRITTEN, 0), "data is read while another writes it");
	p = place_of(data, READ_BY + explorer_self(), 0);
	append(p, 0);
	mine()->at[number(p)] = (u8)(p->n - 1);
}

void weak_write(const void *data)
{
	struct place *p;

	explorer_yield();
	if (!explorer_active())
		return;
	for (unsigned i = 0; i < EXPLORER_ACTORS; i++)
		must_have_seen(place_of(data, READ_BY + i, 0),
		               "data is written while another reads it");
	p = place_of(data, WRITTEN, 0);
	must_have_seen(p, "data is written by two");
	append(p, 0);
	mine()->at[number(p)] = (u8)(p->n - 1);
}
