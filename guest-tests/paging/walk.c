#include "guest-tests/paging/walk.h"

static bool is_reserved(const struct mode *m, const struct state *s, unsigned level, u64 e)
{
	bool large = level > 1 && e & ENTRY_PS;

	if (mode_is_pdpte(m, level))
		return false;
	if (m->bytes == 4)
		return large && mode_large(m, level) && e & ENTRY_RSVD4;
	if (e & ENTRY_RSVD8 || (e & ENTRY_NX && !s->nxe))
		return true;
	if (!large)
		return false;
	return !mode_large(m, level) || e & (BIT(mode_shift(m, level)) - BIT(13));
}

/* Down one level. Returns false at the end. */
static bool step(const struct mode *m, const struct state *s, unsigned level, u64 e, u64 *table,
                 struct walk *walk)
{
	if (!(e & ENTRY_P))
		return false;
	if (is_reserved(m, s, level, e)) {
		walk->reserved = true;
		return false;
	}
	if (!mode_is_pdpte(m, level)) {
		walk->write &= !!(e & ENTRY_W);
		walk->user &= !!(e & ENTRY_U);
		walk->no_execute |= m->bytes == 8 && e & ENTRY_NX;
	}
	*table = e & (m->bytes == 8 ? ENTRY_ADDR8 : ENTRY_ADDR4);
	walk->complete = level == 1 || (e & ENTRY_PS && mode_large(m, level));
	walk->page_bytes = BIT(mode_shift(m, level));
	return !walk->complete;
}

static u64 root_of(const struct world *w, const struct state *s)
{
	return s->cr3 & (w->mode->bytes == 8 ? ENTRY_ADDR8 : ENTRY_ADDR4);
}

static void begin(struct walk *walk)
{
	*walk = (struct walk){.write = true, .user = true, .until = ~0u};
}

static void finish(struct walk *walk, u64 table, u64 at)
{
	if (walk->complete)
		walk->gpa = (table & ~(walk->page_bytes - 1)) | (at & (walk->page_bytes - 1));
}

void walk_run(const struct world *w, const struct state *s, u64 at, struct walk *walk)
{
	const struct mode *m = w->mode;
	u64 table = root_of(w, s);

	begin(walk);
	if (!m->levels) {
		walk->complete = true;
		walk->gpa = at;
		walk->page_bytes = PAGE_SIZE;
		return;
	}
	for (unsigned level = m->levels;; level--) {
		unsigned n = walk->count++;

		walk->entry_at[n] = table + mode_index(m, at, level) * m->bytes;
		walk->entry[n] = world_load(w, walk->entry_at[n], m->bytes);
		if (!step(m, s, level, walk->entry[n], &table, walk))
			break;
	}
	finish(walk, table, at);
}

struct search {
	const struct world *world;
	const struct state *state;
	const struct journal *journal;
	u64 at;
	bool any;
	walk_visit_t visit;
	void *arg;
};

static void descend(const struct search *s, const struct walk *above, u64 table, unsigned level,
                    unsigned since);

/* The entry as it was until change `until`, when the entries above were read after `since` changes. */
static void take(const struct search *s, const struct walk *above, unsigned level, u64 entry,
                 unsigned since, unsigned until)
{
	struct walk walk = *above;
	u64 table = 0;

	walk.entry[walk.count - 1] = entry;
	if (until < walk.until)
		walk.until = until;
	if (step(s->world->mode, s->state, level, entry, &table, &walk)) {
		descend(s, &walk, table, level - 1, since);
		return;
	}
	finish(&walk, table, s->at);
	if (walk.until < s->journal->count && (walk.complete || s->any))
		s->visit(s->arg, &walk);
}

/* Each value that the entry had from `since` on: change i ended the one that it tells. */
static void descend(const struct search *s, const struct walk *above, u64 table, unsigned level,
                    unsigned since)
{
	const struct mode *m = s->world->mode;
	const struct journal *j = s->journal;
	struct walk walk = *above;
	u64 at = table + mode_index(m, s->at, level) * m->bytes;
	unsigned from = since;

	walk.entry_at[walk.count++] = at;
	for (unsigned i = since; i < j->count; i++)
		if (j->change[i].at == at) {
			take(s, &walk, level, j->change[i].old, from, i);
			from = i + 1;
		}
	take(s, &walk, level, world_load(s->world, at, m->bytes), from, j->count);
}

void walk_variants(const struct world *w, const struct state *state, const struct journal *j,
                   unsigned since, bool any, u64 at, walk_visit_t visit, void *arg)
{
	struct search search = {w, state, j, at, any, visit, arg};
	struct walk walk;

	begin(&walk);
	if (w->mode->levels && since < j->count)
		descend(&search, &walk, root_of(w, state), w->mode->levels, since);
}

static bool allowed_user(const struct walk *walk, const struct access *a)
{
	return walk->user && (!a->write || walk->write) && (!a->fetch || !walk->no_execute);
}

static bool allowed_supervisor(const struct state *s, const struct walk *walk,
                               const struct access *a)
{
	if (a->fetch)
		return !walk->no_execute && !(walk->user && s->cr4 & CR4_SMEP);
	if (walk->user && s->cr4 & CR4_SMAP && !a->ac)
		return false;
	return !a->write || walk->write || !(s->cr0 & CR0_WP);
}

u32 walk_check(const struct world *w, const struct state *s, const struct walk *walk,
               const struct access *a)
{
	u32 error = WALK_FAULT;

	if (!w->mode->levels)
		return 0;
	if (walk->complete && (a->user ? allowed_user(walk, a) : allowed_supervisor(s, walk, a)))
		return 0;
	error |= walk->complete || walk->reserved ? ERROR_P : 0;
	error |= a->write ? ERROR_W : 0;
	error |= a->user ? ERROR_U : 0;
	error |= walk->reserved ? ERROR_RSVD : 0;
	if (a->fetch && (s->cr4 & CR4_SMEP || (w->mode->bytes == 8 && s->nxe)))
		error |= ERROR_I;
	return error;
}
