/*
 * Shadow pages: found by gfn and role, made from a frame that was brought along, taken apart, recycled.
 *
 * Recycling is a clock: from the oldest on, a page that was used since it was looked at last, by a fault or as
 * the Accessed bits of the entries that lead to it say, becomes the newest; the first that was not goes. Looking is
 * bounded, for it happens under the MMU lock; if all that were looked at are in use, the oldest goes nevertheless.
 */
#include "hv/mmu/shadow_core.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

#define LOOKS     32u /* pages that recycling looks at for each that goes */
#define RECYCLE_N 8u  /* pages that go when there are too many */

struct shadow_page *shadow_page_of(const a64 *entry)
{
	return frame_at(frame_of_pfn(hal_ptr_pfn(entry)))->table;
}

struct shadow_page *shadow_child(const struct shadow *sh, u64 spte)
{
	return frame_at(frame_of_pfn(spte_pfn(sh->format, spte)))->table;
}

struct shadow_page *shadow_find(const struct shadow *sh, gfn_t g, u32 role)
{
	shadow_for_each_of(sh, sp, g) if (sp->role == role) return sp;
	return NULL;
}

bool shadow_tracks(const struct shadow *sh, gfn_t g)
{
	if (!a64_load(&sh->tracked))
		return false;
	shadow_for_each_of(sh, sp,
	                   g) if (shadow_mirrors(sp) && (!sp->unsync || sp->settling)) return true;
	return false;
}

/* --- LRU ------------------------------------------------------------------------------------------- */

static void lru_add(struct shadow *sh, struct shadow_page *sp)
{
	sp->newer = NULL;
	sp->older = sh->newest;
	if (sh->newest)
		sh->newest->newer = sp;
	else
		sh->oldest = sp;
	sh->newest = sp;
}

static void lru_remove(struct shadow *sh, struct shadow_page *sp)
{
	if (sp->older)
		sp->older->newer = sp->newer;
	else
		sh->oldest = sp->newer;
	if (sp->newer)
		sp->newer->older = sp->older;
	else
		sh->newest = sp->older;
}

/* Did hardware walk through it since the last look? Forgets it. Bare entries of PAE roots never say so. */
static bool walked(struct shadow *sh, struct shadow_page *sp)
{
	const struct spte_format *f = sh->format;
	struct rmap_iter it;
	bool young = false;

	if (!spte_has_dirty(f)) /* these bits are not to be used */
		return false;
	rmap_for_each(&it, rmap_word(&sp->parents), entry)
	{
		u64 seen = a64_load(entry);

		if (!spte_young(f, seen))
			continue;
		young = true;
		(void)!spte_replace(f, role_level(sp->role) + 1, entry, &seen, seen & ~f->accessed);
	}
	return young;
}

static bool in_use(struct shadow *sh, struct shadow_page *sp)
{
	bool used = walked(sh, sp) | sp->used;

	sp->used = false;
	return used;
}

static struct shadow_page *recycle_choose(struct shadow *sh)
{
	for (unsigned i = 0; i < LOOKS && sh->oldest != sh->newest; i++) {
		struct shadow_page *sp = sh->oldest;

		if (!in_use(sh, sp))
			return sp;
		lru_remove(sh, sp);
		lru_add(sh, sp);
	}
	return sh->oldest;
}

u64 shadow_recycle(struct shadow *sh, u64 n)
{
	u64 done = 0;

	for (; done < n && sh->oldest; done++) {
		shadow_kill(sh, recycle_choose(sh));
		a64_count(&sh->stats.recycled_total, 1);
	}
	return done;
}

void shadow_make_room(struct shadow *sh)
{
	if (unlikely(a64_load(&sh->pages) + SHADOW_CACHE_FRAMES > sh->limit))
		(void)shadow_recycle(sh, RECYCLE_N);
	while (unlikely(a64_load(&sh->unsynced) + SHADOW_CACHE_FRAMES > SHADOW_UNSYNC_MAX))
		shadow_kill(sh, sh->unsync[0]);
}

/* Does a shadow page mirror a table of this page, besides `but`? */
static bool is_mirrored(const struct shadow *sh, gfn_t g, const struct shadow_page *but)
{
	shadow_for_each_of(sh, sp, g) if (sp != but && shadow_mirrors(sp)) return true;
	return false;
}

/* What an evictor is told of the page from now on. One that is in no slot is never asked about. */
static void tell_mirrored(struct shadow *sh, gfn_t g, bool mirrored)
{
	const struct shadow_slot *slot = shadow_slot(sh, g);
	u64 page = slot ? g.v - slot->base.v : 0, others;
	a64 *word;

	if (!slot)
		return;
	word = &slot->mirrored[page / 64];
	others = a64_load(word) & ~BIT(page % 64);
	a64_store(word, others | (mirrored ? BIT(page % 64) : 0));
}

/* --- coming ---------------------------------------------------------------------------------------- */

/*
 * The first page that mirrors a table makes it tracked: W is taken away, and `ready` is the flush after which its
 * entries may be believed. While other pages of the same table are unsync, so is a new one.
 */
static void track(struct shadow *sh, struct shadow_page *sp)
{
	struct shadow_page *other = NULL;
	u32 frame = shadow_resident(sh, sp->gfn);

	/* We read it, as hardware would far more often. */
	if (frame != FRAME_NONE)
		frame_mark_accessed(frame);
	shadow_for_each_of(sh, p, sp->gfn) if (shadow_mirrors(p)) other = p;
	a64_count(&sh->tracked, 1);
	tell_mirrored(sh, sp->gfn, true);
	if (other && other->unsync) {
		sp->unsync = true;
		sp->settling = other->settling;
		sp->ready = other->ready;
		sh->unsync[a64_load(&sh->unsynced)] = sp;
		a64_count(&sh->unsynced, 1);
	} else if (other) {
		sp->ready = other->ready;
	} else {
		shadow_protect(sh, sp->gfn);
		sp->ready = shadow_stale_flush(sh);
	}
}

struct shadow_page *shadow_make(struct shadow *sh, struct shadow_cache *cache, gfn_t g, u32 role)
{
	struct shadow_page *sp = sh->unused;
	u32 frame = cache->frame[--cache->nr];

	sh->unused = sp->older;
	*sp = (struct shadow_page){
	        .gfn = g,
	        .role = role,
	        .frame = frame,
	        .entry = frame_ptr(frame),
	        .used = true,
	};
	frame_at(frame)->table = sp;
	if (!role_direct(role))
		track(sh, sp);
	sp->hash_next = sh->hash[shadow_bucket(sh, g)];
	sh->hash[shadow_bucket(sh, g)] = sp;
	lru_add(sh, sp);
	a64_count(&sh->pages, 1);
	a64_count(&sh->stats.made_total, 1);
	return sp;
}

/* --- going ----------------------------------------------------------------------------------------- */

void shadow_leaf_gone_locked(struct shadow *sh)
{
	a64_count(&sh->leaves, -1ull);
	sh->stale = true;
}

/* A root's child, or a root, is gone: what vCPUs have loaded may be wrong now. */
static void roots_changed(struct shadow *sh)
{
	/* Under the MMU lock, and before the flush generation that frees the table (ord N3): that orders it. */
	a64_count(&sh->roots_gen, 1);
}

static void drop_leaf(struct shadow *sh, a64 *entry)
{
	u64 was = spte_zap(sh->format, 1, entry);
	u32 frame = frame_of_pfn(spte_pfn(sh->format, was));

	rmap_remove(&sh->pool, shadow_rmap(sh, frame_gfn(frame_at(frame))), entry);
	shadow_leaf_gone_locked(sh);
}

static void unlink_child(struct shadow *sh, struct shadow_page *sp, a64 *entry)
{
	u64 was = spte_unlink(sh->format, role_level(sp->role), entry);

	rmap_remove(&sh->pool, &shadow_child(sh, was)->parents, entry);
	sh->stale = true;
	if (role_mode(sp->role) != SHADOW_LONG && role_is_root(sp->role))
		roots_changed(sh);
}

void shadow_drop(struct shadow *sh, struct shadow_page *sp, a64 *entry)
{
	u64 spte = a64_load(entry);

	if (spte_is_empty(spte))
		return;
	if (role_level(sp->role) == 1)
		drop_leaf(sh, entry);
	else
		unlink_child(sh, sp, entry);
}

static void leave_parents(struct shadow *sh, struct shadow_page *sp)
{
	struct rmap_iter it;
	u64 word;

	while ((word = rmap_word(&sp->parents))) {
		a64 *entry = rmap_first(&it, word);

		unlink_child(sh, shadow_page_of(entry), entry);
	}
}

static void hash_remove(struct shadow *sh, const struct shadow_page *sp)
{
	struct shadow_page **at = &sh->hash[shadow_bucket(sh, sp->gfn)];

	while (*at != sp)
		at = &(*at)->hash_next;
	*at = sp->hash_next;
}

void shadow_kill(struct shadow *sh, struct shadow_page *sp)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		shadow_drop(sh, sp, &sp->entry[i]);
	leave_parents(sh, sp);
	if (sp->unsync)
		shadow_unsync_remove(sh, sp);
	if (shadow_mirrors(sp)) {
		a64_count(&sh->tracked, -1ull);
		tell_mirrored(sh, sp->gfn, is_mirrored(sh, sp->gfn, sp));
	}
	hash_remove(sh, sp);
	lru_remove(sh, sp);
	if (role_is_root(sp->role))
		roots_changed(sh);
	/* Its frame stays a table until the flush; nothing leads there any more, but CPUs may be on their way. */
	frame_at(sp->frame)->next = sh->dead;
	sh->dead = sp->frame;
	sh->stale = true;
	sp->older = sh->unused;
	sh->unused = sp;
	a64_count(&sh->pages, -1ull);
	a64_count(&sh->stats.zapped_total, 1);
}

void shadow_unshadow_locked(struct shadow *sh, gfn_t g)
{
	struct shadow_page *sp = a64_load(&sh->tracked) ? sh->hash[shadow_bucket(sh, g)] : NULL;

	while (sp) {
		struct shadow_page *next = sp->hash_next;

		if (sp->gfn.v == g.v && shadow_mirrors(sp)) {
			shadow_kill(sh, sp);
			a64_count(&sh->stats.unshadowed_total, 1);
		}
		sp = next;
	}
}

/*
 * I7: what was unlinked goes through two lists. From `dead` to `leaving` when a flush is requested, and from there to the
 * epoch when it is done. Nobody has to wait for it: an eviction's flush will do.
 */
u32 shadow_take_dead(struct shadow *sh)
{
	u32 frames = sh->leaving;

	if (frames != FRAME_NONE && !flush_is_done(sh->notifier.space, sh->leaving_flush))
		return FRAME_NONE;
	sh->leaving = sh->dead;
	sh->dead = FRAME_NONE;
	if (sh->leaving != FRAME_NONE)
		sh->leaving_flush = shadow_stale_flush(sh);
	return frames;
}

void shadow_free_dead(struct shadow *sh, u32 frame)
{
	while (frame != FRAME_NONE) {
		u32 next = frame_at(frame)->next;

		frame_unmake_table(frame);
		frame_retire(frame);
		a64_count(&sh->notifier.space->tables, -1ull);
		frame = next;
	}
}

void shadow_reap(struct shadow *sh)
{
	struct space *s = sh->notifier.space;
	bool more = true;

	while (more) {
		u32 frames;
		u64 gen;

		write_lock(&s->mmu_lock);
		frames = shadow_take_dead(sh);
		gen = sh->leaving_flush;
		more = sh->leaving != FRAME_NONE;
		write_unlock(&s->mmu_lock);
		shadow_free_dead(sh, frames);
		if (more)
			flush_wait(s, gen);
	}
	epoch_poll();
}

/* Those only that nobody used since they were looked at last; each that stays is looked at once. */
static u64 give_unused(struct shadow *sh, u64 want)
{
	u64 done = 0;

	for (u64 looks = min_of(2 * want, a64_load(&sh->pages)); looks && done < want; looks--) {
		struct shadow_page *sp = sh->oldest;

		if (in_use(sh, sp)) {
			lru_remove(sh, sp);
			lru_add(sh, sp);
			continue;
		}
		shadow_kill(sh, sp);
		done++;
	}
	a64_count(&sh->stats.recycled_total, done);
	return done;
}

static u64 shrink(struct shadow *sh, u64 want, u64 (*give)(struct shadow *sh, u64 want))
{
	struct space *s = sh->notifier.space;
	u64 done;

	write_lock(&s->mmu_lock);
	done = give(sh, want);
	write_unlock(&s->mmu_lock);
	if (done)
		shadow_reap(sh);
	return done;
}

u64 shadow_shrink(struct notifier *n, u64 want)
{
	return shrink(shadow_of(n), want, give_unused);
}

u64 shadow_shrink_used(struct shadow *sh, u64 want)
{
	return shrink(sh, want, shadow_recycle);
}
