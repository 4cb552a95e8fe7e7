#include "guest-tests/paging/walk.h"

static u64 entry_before(const struct world *w, const struct journal *j, unsigned version, u64 at)
{
	for (unsigned i = version; i < j->count; i++)
		if (j->change[i].at == at)
			return j->change[i].old;
	return world_load(w, at, w->mode->bytes);
}

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

void walk_run(const struct world *w, const struct state *s, const struct journal *j,
              unsigned version, u64 at, struct walk *walk)
{
	const struct mode *m = w->mode;
	u64 table = s->cr3 & (m->bytes == 8 ? ENTRY_ADDR8 : ENTRY_ADDR4);

	*walk = (struct walk){.write = true, .user = true};
	if (!m->levels) {
		walk->complete = true;
		walk->gpa = at;
		walk->page_bytes = PAGE_SIZE;
		return;
	}
	for (unsigned level = m->levels;; level--) {
		unsigned n = walk->count++;

		walk->entry_at[n] = table + mode_index(m, at, level) * m->bytes;
		walk->entry[n] = entry_before(w, j, version, walk->entry_at[n]);
		if (!step(m, s, level, walk->entry[n], &table, walk))
			break;
	}
	if (walk->complete)
		walk->gpa = (table & ~(walk->page_bytes - 1)) | (at & (walk->page_bytes - 1));
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
