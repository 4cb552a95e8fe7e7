/*
 * Tracked tables, tables that may be written, and the points at which the guest may expect that we have looked at
 * what it wrote. Why that is right: the top of shadow.h.
 *
 * A page that is tracked again passes through `settling`: W is taken away and counts as taken (shadow_tracks()), but
 * until the flush is done somebody may still be writing through a TLB, so the page stays among those that are read
 * again at every such point; after the flush it is read once more and is in sync. A write that faults meanwhile
 * ends it.
 */
#include "hv/mmu/shadow_core.h"

#include "arch/hal.h"
#include "hv/mmu/tdp.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

/* Times a page is read again without a change before it is tracked again. */
#define QUIET 3u

u64 shadow_stale_flush(struct shadow *sh)
{
	/* A TDP beside us drops W and leaves without telling us. */
	if (sh->stale || sh->tdp) {
		sh->stale = false;
		sh->stale_flush = flush_request(sh->notifier.space);
	}
	return sh->stale_flush;
}

void shadow_protect(struct shadow *sh, gfn_t g)
{
	struct rmap *r = shadow_rmap(sh, g);
	struct rmap_iter it;

	if (!r)
		return;
	if (sh->tdp)
		(void)tdp_write_protect_locked(sh->tdp, g);
	rmap_for_each(&it, rmap_word(r), entry) if (spte_protect(sh->format, 1, entry))
	        sh->stale = true;
}

void shadow_unsync_remove(struct shadow *sh, struct shadow_page *sp)
{
	u64 n = a64_load(&sh->unsynced);

	for (u64 i = 0; i < n; i++)
		if (sh->unsync[i] == sp) {
			for (; i + 1 < n; i++)
				sh->unsync[i] = sh->unsync[i + 1];
			a64_store(&sh->unsynced, n - 1);
		}
	sp->unsync = false;
	sp->settling = false;
}

static void unsync_one(struct shadow *sh, struct shadow_page *sp)
{
	u64 n = a64_load(&sh->unsynced);

	sp->quiet = 0;
	sp->settling = false;
	sp->ready = 0;
	if (sp->unsync)
		return;
	if (n == SHADOW_UNSYNC_MAX) {
		shadow_kill(sh, sp);
		return;
	}
	sp->unsync = true;
	sh->unsync[n] = sp;
	a64_store(&sh->unsynced, n + 1);
	a64_count(&sh->stats.unsync_total, 1);
}

void shadow_unsync(struct shadow *sh, gfn_t g)
{
	struct shadow_page *sp = a64_load(&sh->tracked) ? sh->hash[shadow_bucket(sh, g)] : NULL;

	while (sp) {
		struct shadow_page *next = sp->hash_next;

		if (sp->gfn.v == g.v && shadow_mirrors(sp))
			unsync_one(sh, sp);
		sp = next;
	}
}

void shadow_let_write(struct shadow *sh, gfn_t g)
{
	struct space *s = sh->notifier.space;

	write_lock(&s->mmu_lock);
	shadow_unsync(sh, g);
	write_unlock(&s->mmu_lock);
}

/*
 * The bytes are there already. A shadow page that is made from now on reads them; one that was there before is
 * found here. Either takes the MMU lock.
 */
void shadow_written(struct shadow *sh, gpa_t at, u64 bytes)
{
	if (!a64_load(&sh->tracked) || !bytes)
		return;
	for (u64 g = gpa_gfn(at).v; g <= gpa_gfn(gpa(at.v + bytes - 1)).v; g++)
		shadow_let_write(sh, gfn(g));
}

/* --- reading again --------------------------------------------------------------------------------- */

/* True if the entry went. The page's table is resident. */
static bool sync_entry(struct shadow *sh, struct shadow_page *sp, unsigned i)
{
	u64 spte = a64_load(&sp->entry[i]), entry = 0;
	struct shadow_want want;
	unsigned bytes;
	gpa_t at;

	if (spte_is_empty(spte))
		return false;
	if (shadow_guest_entry(sp, i, &at, &bytes) && !shadow_read_entry(sh, at, bytes, &entry))
		entry = 0;
	want = shadow_want(sh, sp, i, entry);
	if (shadow_agrees(sh, &want, sp->role, spte))
		return false;
	shadow_drop(sh, sp, &sp->entry[i]);
	a64_count(&sh->stats.stale_total, 1);
	return true;
}

/* Reads all of a page again. False: it went, for its table is not there. */
static bool sync_page(struct shadow *sh, struct shadow_page *sp)
{
	bool changed = false;

	if (shadow_resident(sh, sp->gfn) == FRAME_NONE) {
		shadow_kill(sh, sp);
		return false;
	}
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		changed |= sync_entry(sh, sp, i);
	sp->quiet = changed ? 0 : (u8)min_of(sp->quiet + 1u, QUIET);
	a64_count(&sh->stats.synced_total, 1);
	return true;
}

/* All unsync pages of at least this level. */
static void sync_all(struct shadow *sh, unsigned level)
{
	for (u64 i = a64_load(&sh->unsynced); i-- > 0;)
		if (role_level(sh->unsync[i]->role) >= level)
			(void)!sync_page(sh, sh->unsync[i]);
}

/* Whether it may still be tracked again is not asked here: that counts how often the guest looked. */
static void refresh_entries(struct shadow *sh, struct shadow_page *sp)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		(void)sync_entry(sh, sp, i);
}

/* Of the pages below an upper one those that are not resident have no entries left to be used: they are dropped. */
void shadow_refresh(struct shadow *sh, struct shadow_page *sp)
{
	unsigned level = role_level(sp->role);

	if (sp->unsync)
		refresh_entries(sh, sp);
	for (u64 i = a64_load(&sh->unsynced); level > 1 && i-- > 0;)
		if (role_level(sh->unsync[i]->role) < level)
			refresh_entries(sh, sh->unsync[i]);
}

/* All pages of one table go the same way: one that is not quiet keeps the others. */
static bool table_is_quiet(const struct shadow *sh, gfn_t g)
{
	shadow_for_each_of(sh, sp, g) if (shadow_mirrors(sp) && sp->quiet < QUIET) return false;
	return true;
}

/* Takes W from the tables that are quiet; whether any page is settling now, and then the flush that ends it. */
static bool settle_begin(struct shadow *sh, u64 *gen)
{
	bool any = false;

	for (u64 i = 0; i < a64_load(&sh->unsynced); i++) {
		struct shadow_page *sp = sh->unsync[i];

		if (!sp->settling && sp->quiet >= QUIET && table_is_quiet(sh, sp->gfn)) {
			shadow_protect(sh, sp->gfn);
			shadow_for_each_of(sh, p, sp->gfn) if (p->unsync) p->settling = true;
		}
		any |= sp->settling;
	}
	if (!any)
		return false;
	*gen = shadow_stale_flush(sh);
	for (u64 i = 0; i < a64_load(&sh->unsynced); i++)
		if (sh->unsync[i]->settling && !sh->unsync[i]->ready)
			sh->unsync[i]->ready = *gen;
	return true;
}

/* What is settling and whose flush is done is in sync once it was read. */
static void settle_end(struct shadow *sh)
{
	for (u64 i = a64_load(&sh->unsynced); i-- > 0;) {
		struct shadow_page *sp = sh->unsync[i];

		if (!sp->settling || !flush_is_done(sh->notifier.space, sp->ready) ||
		    !sync_page(sh, sp))
			continue;
		shadow_unsync_remove(sh, sp);
		a64_count(&sh->stats.settled_total, 1);
	}
}

static void settle(struct shadow *sh, u64 gen)
{
	struct space *s = sh->notifier.space;

	flush_wait(s, gen);
	epoch_enter();
	write_lock(&s->mmu_lock);
	settle_end(sh);
	write_unlock(&s->mmu_lock);
	epoch_exit();
}

void shadow_flush_all(struct shadow_vcpu *v)
{
	struct shadow *sh = v->sh;
	struct space *s = sh->notifier.space;
	bool settling;
	u64 gen = 0;
	u32 dead;

	/* What another vCPU wrote before this one could know of it was let through before, under the lock. */
	if (!a64_load(&sh->unsynced))
		return;
	epoch_enter();
	write_lock(&s->mmu_lock);
	sync_all(sh, 1);
	settling = settle_begin(sh, &gen);
	dead = shadow_take_dead(sh);
	write_unlock(&s->mmu_lock);
	epoch_exit();
	if (settling)
		settle(sh, gen);
	shadow_free_dead(sh, dead);
}

/* The page of level 1 that translates the address on the vCPU's present root, if it is unsync; and where. */
static struct shadow_page *unsync_leaf_page(struct shadow_vcpu *v, gva_t at, unsigned *i)
{
	struct shadow *sh = v->sh;
	struct shadow_page *sp = shadow_root_find(v);

	while (sp) {
		unsigned level = role_level(sp->role);
		u64 spte;

		*i = (unsigned)(at.v >> (PAGE_SHIFT + 9 * (level - 1))) % TABLE_PAGES;
		if (level == 1)
			return sp->unsync ? sp : NULL;
		spte = a64_load(&sp->entry[*i]);
		sp = spte_is_empty(spte) ? NULL : shadow_child(sh, spte);
	}
	return NULL;
}

void shadow_invlpg(struct shadow_vcpu *v, gva_t at)
{
	struct shadow *sh = v->sh;
	struct space *s = sh->notifier.space;
	struct shadow_page *sp;
	unsigned i;

	if (!a64_load(&sh->unsynced))
		return;
	epoch_enter();
	write_lock(&s->mmu_lock);
	sync_all(sh, 2);
	sp = unsync_leaf_page(v, at, &i);
	if (sp && shadow_resident(sh, sp->gfn) == FRAME_NONE)
		shadow_kill(sh, sp);
	else if (sp)
		(void)sync_entry(sh, sp, i);
	write_unlock(&s->mmu_lock);
	epoch_exit();
}
