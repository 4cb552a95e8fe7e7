/*
 * A page fault on shadow tables: one walk of the guest's tables under the MMU lock, then down the shadow tables, making
 * what is missing. What takes long, or other locks, is put off: the walk is given up, the lock dropped, the thing done
 * (`todo`), and all begun again. Why a page that was found is still there when it is mapped: the top of shadow.h.
 *
 * The commonest thing to be put off is a page that is not resident, and it is known by a walk without the lock, which
 * comes first (look()). It reads the guest's tables in an epoch section: the frame of a page that was resident in there
 * may be taken from the page meanwhile, but does not become another's. What it found is believed under the lock only
 * if every entry on the way is as it was read; where they are, and where the page is, needs no second search if no
 * invalidation ended since before the search or is under way: the snapshot of mm/notifier.h.
 *
 * What the write needs before it gets W, in this order: the guest's tables allow it and have Accessed and Dirty set;
 * the page's copy in a store is dropped; if the page holds a table that is tracked, it is unsync from now on.
 */
#include "hv/mmu/shadow_core.h"

#include "arch/hal.h"
#include "lib/hist.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/space.h"

#define ERROR_W BIT(1)
#define ERROR_U BIT(2)
#define ERROR_I BIT(4)

/* Each page that has to be brought in takes one; then lost races. After that the guest is entered again. */
#define TRIES 16u
/* So many translations of one page are rather made anew than kept. */
#define OVERFULL 1000u

enum todo { TODO_NOTHING, TODO_BRING_IN, TODO_MAKE_DIRTY, TODO_FLUSH };

struct fault {
	struct shadow_vcpu *v;
	struct shadow *sh;
	gva_t at;
	unsigned access; /* GWALK_* */
	struct gwalk_state state;
	struct gwalk_out walk;
	bool walked; /* `walk` is complete */
	bool locked;
	bool here; /* under the lock: what was found since `seq` is where it was; else it may be */
	u64 seq;   /* snapshot before anything was searched for: */
	u32 frame; /* the page that was brought in, or FRAME_NONE */
	const void *entry[GWALK_LEVELS]; /* where the steps of `walk` were read */
	struct shadow_outcome *out;
	enum todo todo;
	gfn_t gfn; /* to bring in, to make dirty */
	bool write, table;
	u64 gen; /* flush */
};

static enum shadow_result put_off(struct fault *f, enum todo todo, gfn_t g)
{
	f->todo = todo;
	f->gfn = g;
	f->table = false;
	f->write = false;
	return SHADOW_RETRY;
}

/* An MMU that cannot tell lets nobody write before the copy is dropped (mm/fault.h). */
static bool may_be_written(u32 frame)
{
	return (a64_load(&frame_at(frame)->state) & (FRAME_DIRTY | FRAME_UNPACKABLE)) ==
	       FRAME_DIRTY;
}

/* --- the guest's tables ---------------------------------------------------------------------------- */

static u64 load_entry(const void *at, unsigned bytes)
{
	return bytes == 8 ? a64_load((const a64 *)at) : a32_load((const a32 *)at);
}

static bool read_entry(void *ctx, gpa_t at, unsigned bytes, u64 *entry)
{
	struct fault *f = ctx;
	gfn_t g = gpa_gfn(at);
	u32 frame = f->locked ? shadow_resident(f->sh, g) : shadow_resident_now(f->sh, g);
	const u8 *p;

	if (frame == FRAME_NONE)
		return false;
	p = (const u8 *)frame_ptr(frame) + at.v % PAGE_SIZE;
	f->entry[f->walk.steps] = p;
	*entry = load_entry(p, bytes);
	return true;
}

/* The frame stays, and stays the page's: nothing else is needed to write it here. Other CPUs may write as well. */
static bool set_entry(void *ctx, gpa_t at, unsigned bytes, u64 expected, u64 want)
{
	struct fault *f = ctx;
	u32 frame = shadow_resident(f->sh, gpa_gfn(at)), expected_4 = (u32)expected;
	void *p;

	if (frame == FRAME_NONE)
		return false;
	if (!may_be_written(frame)) {
		(void)put_off(f, TODO_MAKE_DIRTY, gpa_gfn(at));
		return false;
	}
	p = (u8 *)frame_ptr(frame) + at.v % PAGE_SIZE;
	/* What hardware does, where it does it: so that no write of the guest's is lost. It orders nothing of ours. */
	if (bytes == 8)
		return a64_cas((a64 *)p, &expected, want);
	return a32_cas((a32 *)p, &expected_4, (u32)want);
}

static enum shadow_result unreadable(struct fault *f)
{
	gfn_t g = gpa_gfn(f->walk.gpa);

	f->out->gpa = f->walk.gpa;
	if (!shadow_has(f->sh, g))
		return SHADOW_NO_TABLE;
	(void)put_off(f, TODO_BRING_IN, g);
	f->table = true;
	return SHADOW_RETRY;
}

/* The lock was dropped since the walk; if every entry on its way is as it was, so would be another. */
static bool walk_holds(struct fault *f)
{
	f->here = invalidate_quiet(f->sh->notifier.space, f->seq);
	for (unsigned i = 0; i < f->walk.steps && f->walked; i++) {
		const struct gwalk_step *step = &f->walk.step[i];
		u64 entry;

		if (likely(f->here))
			entry = load_entry(f->entry[i], step->bytes);
		else
			f->walked = shadow_read_entry(f->sh, step->at, step->bytes, &entry);
		f->walked = f->walked && entry == step->entry;
	}
	return f->walked;
}

/* A walk of the guest's tables as they are now. */
static enum gwalk_result walk_now(struct fault *f)
{
	enum gwalk_result result;

	f->seq = invalidate_seq(f->sh->notifier.space);
	f->frame = FRAME_NONE;
	result = gwalk(&f->state, f->at, f->access, read_entry, f, &f->walk);
	f->walked = result == GWALK_OK;
	return result;
}

static enum shadow_result walk_guest(struct fault *f)
{
	if (!walk_holds(f)) {
		switch (walk_now(f)) {
		case GWALK_OK:
			break;
		case GWALK_FAULT:
			f->out->error = f->walk.error;
			return SHADOW_GUEST_FAULT;
		case GWALK_NONCANONICAL:
			return SHADOW_NONCANONICAL;
		case GWALK_UNREADABLE:
			return unreadable(f);
		}
	}
	f->out->gpa = f->walk.gpa;
	f->walked = gwalk_is_marked(&f->walk, f->access) ||
	            gwalk_mark(&f->walk, f->access, set_entry, f);
	return f->walked ? SHADOW_FIXED : SHADOW_RETRY;
}

/* --- the page -------------------------------------------------------------------------------------- */

static enum shadow_result find_page(struct fault *f, u32 *frame)
{
	gfn_t g = gpa_gfn(f->walk.gpa);
	bool write = f->access & GWALK_WRITE;

	/* The lock makes it exact, or an invalidation is under way; what W there was, that takes. */
	if (write && unlikely(space_write_protected(f->sh->notifier.space, g)))
		return SHADOW_PROTECTED;
	*frame = f->frame != FRAME_NONE && f->here ? f->frame : shadow_resident(f->sh, g);
	if (*frame == FRAME_NONE) {
		if (!shadow_has(f->sh, g))
			return SHADOW_NO_SLOT;
		(void)put_off(f, TODO_BRING_IN, g);
		f->write = write;
		return SHADOW_RETRY;
	}
	if (!write)
		return SHADOW_FIXED;
	if (!may_be_written(*frame))
		return put_off(f, TODO_MAKE_DIRTY, g);
	if (shadow_tracks(f->sh, g))
		shadow_unsync(f->sh, g);
	return SHADOW_FIXED;
}

/* --- the shadow tables ----------------------------------------------------------------------------- */

static unsigned index_at(const struct fault *f, unsigned level)
{
	return (unsigned)(f->at.v >> (PAGE_SHIFT + 9 * (level - 1))) % TABLE_PAGES;
}

/* What the entry of a page on the way is to be, from the entry of the guest that was read on the walk. */
static struct shadow_want wanted(const struct fault *f, const struct shadow_page *sp, unsigned i)
{
	unsigned step;

	if (role_direct(sp->role))
		return shadow_want_direct(sp, i);
	step = f->walk.step[0].level - role_level(sp->role);
	return shadow_want(f->sh, sp, i, step < f->walk.steps ? f->walk.step[step].entry : 0);
}

/* NULL: a descriptor is needed and there is none; cannot be, for the cache was filled. */
static struct shadow_page *link_child(struct fault *f, struct shadow_page *sp, a64 *entry,
                                      const struct shadow_want *want)
{
	struct shadow *sh = f->sh;
	struct shadow_page *child;
	u64 seen = a64_load(entry);

	if (!spte_is_empty(seen)) {
		child = shadow_child(sh, seen);
		if (likely(child->gfn.v == want->gfn.v && child->role == want->role))
			return child;
		shadow_drop(sh, sp, entry);
		seen = SPTE_EMPTY;
	}
	child = shadow_find(sh, want->gfn, want->role);
	if (child)
		shadow_refresh(sh, child);
	else
		child = shadow_make(sh, &f->v->cache, want->gfn, want->role);
	if (!rmap_add(&sh->pool, &f->v->cache.descs, &child->parents, entry))
		return NULL;
	/* ord T1: the table's entries are written before; hardware that finds the entry finds them. */
	if (!spte_replace(sh->format, role_level(sp->role), entry, &seen,
	                  spte_make_table(sh->format, frame_pfn(child->frame))))
		return NULL;
	return child;
}

static void drop_all(struct shadow *sh, struct rmap *r)
{
	struct rmap_iter it;
	u64 word;

	while ((word = rmap_word(r))) {
		a64 *entry = rmap_first(&it, word);

		shadow_drop(sh, shadow_page_of(entry), entry);
	}
	a64_count(&sh->stats.overfull_total, 1);
}

static enum shadow_result add_leaf(struct fault *f, a64 *entry, gfn_t g, u64 spte)
{
	struct shadow *sh = f->sh;
	struct rmap *r = shadow_rmap(sh, g);
	u64 empty = SPTE_EMPTY;

	if (unlikely(rmap_count(r) >= OVERFULL))
		drop_all(sh, r);
	if (!rmap_add(&sh->pool, &f->v->cache.descs, r, entry))
		return SHADOW_NO_MEMORY;
	/* ord T2: the page was filled before; hardware that finds the entry finds that. */
	if (!spte_replace(sh->format, 1, entry, &empty, spte))
		return SHADOW_RETRY;
	a64_count(&sh->leaves, 1);
	return SHADOW_FIXED;
}

/* Rights of the leaf for this access, given what the guest's tables say, and what we have to keep from it. */
static u64 leaf_rights(const struct fault *f, const struct shadow_want *want, u32 role, u32 frame)
{
	bool write = f->access & GWALK_WRITE;
	bool kernel_form = write && want->kernel_writes && !(f->access & GWALK_USER);
	u64 rights = shadow_rights(want, role, kernel_form);

	if (!write && (!may_be_written(frame) || shadow_tracks(f->sh, want->gfn) ||
	               unlikely(space_write_protected(f->sh->notifier.space, want->gfn))))
		rights &= ~(u64)SPTE_W;
	return rights;
}

static enum shadow_result install(struct fault *f, struct shadow_page *sp, unsigned i, u32 frame)
{
	const struct spte_format *format = f->sh->format;
	struct shadow_want want = wanted(f, sp, i);
	bool write = f->access & GWALK_WRITE;
	a64 *entry = &sp->entry[i];
	u64 rights, seen;

	if (want.kind != SHADOW_LEAF || want.gfn.v != gpa_gfn(f->walk.gpa).v)
		return SHADOW_RETRY;
	/* A table that this very fault began to mirror; there is room for its pages, so none of them goes. */
	if (write && unlikely(f->v->cache.nr < SHADOW_CACHE_FRAMES) &&
	    shadow_tracks(f->sh, want.gfn))
		shadow_unsync(f->sh, want.gfn);
	rights = leaf_rights(f, &want, sp->role, frame);
	seen = a64_load(entry);
	if (!spte_is_empty(seen) && (spte_pfn(format, seen).v != frame_pfn(frame).v ||
	                             spte_saved_rights(format, seen) & ~rights))
		shadow_drop(f->sh, sp, entry);
	seen = a64_load(entry);
	if (spte_is_empty(seen))
		return add_leaf(f, entry, want.gfn,
		                spte_make_leaf(format, 1, frame_pfn(frame), rights, write));
	/* Agers and hardware change it as well. */
	while (!spte_replace(format, 1, entry, &seen,
	                     spte_make_young(format, 1, seen, rights, write)))
		;
	return SHADOW_FIXED;
}

/* Did the walk go through the table that the page mirrors, or, direct, end above it? */
static bool on_the_way(const struct fault *f, const struct shadow_page *sp)
{
	unsigned step = f->walk.step[0].level - role_level(sp->role);

	if (role_direct(sp->role))
		return step >= f->walk.steps;
	return step < f->walk.steps && gpa_gfn(f->walk.step[step].at).v == sp->gfn.v;
}

/*
 * The child that the entry leads to, if there is no need to ask the guest's table whether it should: a direct page's
 * entries never change, and those of a page in sync agree with the table. But for Dirty, which may have come since,
 * and for a write of the hypervisor that has not been told of yet (shadow_written()).
 */
static struct shadow_page *sound_child(const struct fault *f, const struct shadow_page *sp,
                                       const a64 *entry)
{
	u64 spte = a64_load(entry);
	struct shadow_page *child;

	if (spte_is_empty(spte) || sp->unsync)
		return NULL;
	child = shadow_child(f->sh, spte);
	if (role_direct(sp->role))
		return child;
	if (unlikely(!on_the_way(f, child)))
		return NULL;
	if (unlikely(f->access & GWALK_WRITE && role_direct(child->role) &&
	             !(child->role & ROLE_DIRTY)))
		return NULL;
	return child;
}

static enum shadow_result descend(struct fault *f, struct shadow_page *sp, u32 frame)
{
	for (;;) {
		unsigned level = role_level(sp->role), i = index_at(f, level);
		struct shadow_page *child;
		struct shadow_want want;

		/* Somebody may still be writing the table that it mirrors. */
		if (unlikely(sp->ready && !sp->unsync)) {
			f->gen = sp->ready;
			if (!flush_is_done(f->sh->notifier.space, sp->ready))
				return put_off(f, TODO_FLUSH, gfn(0));
			sp->ready = 0;
		}
		shadow_use(sp);
		if (level == 1)
			return install(f, sp, i, frame);
		child = sound_child(f, sp, &sp->entry[i]);
		if (unlikely(!child)) {
			want = wanted(f, sp, i);
			if (want.kind != SHADOW_TABLE)
				return SHADOW_RETRY;
			child = link_child(f, sp, &sp->entry[i], &want);
		}
		if (!child)
			return SHADOW_NO_MEMORY;
		sp = child;
	}
}

static enum shadow_result fault_locked(struct fault *f)
{
	enum shadow_result result = walk_guest(f);
	struct shadow_page *root;
	u32 frame;

	if (result == SHADOW_FIXED)
		result = find_page(f, &frame);
	if (result != SHADOW_FIXED)
		return result;
	shadow_make_room(f->sh);
	root = shadow_root_page(f->v);
	result = descend(f, root, frame);
	shadow_load_root(f->v, root);
	return result;
}

/* --- without the lock ------------------------------------------------------------------------------ */

static enum shadow_result said(const struct fault *f, enum fault_result result)
{
	switch (result) {
	case FAULT_FIXED:
	case FAULT_RETRY:
	case FAULT_WAIT: /* never: see bring_in() */
		break;
	case FAULT_NO_MEMORY:
		return SHADOW_NO_MEMORY;
	case FAULT_NO_SLOT:
		return f->table ? SHADOW_NO_TABLE : SHADOW_NO_SLOT;
	case FAULT_BAD_PAGE:
		f->out->gpa = gfn_gpa(f->gfn);
		return SHADOW_BAD_PAGE;
	case FAULT_STOP_VM:
		return SHADOW_STOP_VM;
	}
	return SHADOW_RETRY;
}

/* The page of `todo`; the one that the access is for is remembered. */
static enum shadow_result bring_in(struct fault *f, bool *absent)
{
	struct fault_page page;
	enum fault_result result = fault_bring_in(f->sh->notifier.space, f->gfn, f->write,
	                                          !f->write, &page);

	*absent = true;
	if (result == FAULT_WAIT) /* to be waited for likewise */
		result = FAULT_NO_MEMORY;
	if (result == FAULT_FIXED && !f->table)
		f->frame = page.frame;
	return said(f, result);
}

/*
 * What can be known without the lock: that the page is not resident. It is brought in then. What else there is to say
 * is said under the lock, about tables that are believed there; but that there is no memory has been said already.
 */
static enum shadow_result look(struct fault *f, bool *absent)
{
	bool missing;
	gfn_t g;

	epoch_enter();
	missing = walk_now(f) == GWALK_OK;
	g = gpa_gfn(f->walk.gpa);
	missing = missing && shadow_resident_now(f->sh, g) == FRAME_NONE;
	epoch_exit();
	f->locked = true;
	if (!missing)
		return SHADOW_RETRY;
	(void)put_off(f, TODO_BRING_IN, g);
	f->write = f->access & GWALK_WRITE;
	return bring_in(f, absent) == SHADOW_NO_MEMORY ? SHADOW_NO_MEMORY : SHADOW_RETRY;
}

static enum shadow_result do_todo(struct fault *f, bool *absent)
{
	struct space *s = f->sh->notifier.space;

	switch (f->todo) {
	case TODO_BRING_IN:
		return bring_in(f, absent);
	case TODO_MAKE_DIRTY:
		return said(f, fault_make_dirty(s, f->gfn));
	case TODO_FLUSH:
		flush_wait(s, f->gen);
		break;
	case TODO_NOTHING:
		break;
	}
	return SHADOW_RETRY;
}

static enum shadow_result fault_once(struct fault *f, bool *absent)
{
	struct shadow *sh = f->sh;
	struct space *s = sh->notifier.space;
	enum shadow_result result;
	u32 dead;

	if (!shadow_cache_fill(sh, &f->v->cache))
		return SHADOW_NO_MEMORY;
	f->todo = TODO_NOTHING;
	epoch_enter();
	write_lock(&s->mmu_lock);
	result = fault_locked(f);
	dead = shadow_take_dead(sh);
	write_unlock(&s->mmu_lock);
	epoch_exit();
	shadow_free_dead(sh, dead);
	return result == SHADOW_RETRY ? do_todo(f, absent) : result;
}

/* What an entry leads to that was read without the lock. */
static a64 *table_at(u64 spte)
{
	DEBUG_ASSERT(epoch_active());
	return hal_frame_ptr(pfn((spte & SPTE_ADDRESS) >> PAGE_SHIFT));
}

/*
 * Gives an access-tracked leaf of a direct page its rights back. The way there is found without the lock: as long as
 * roots_gen is what it was, the root was not freed before this epoch section, nor is anything it leads to freed within it.
 * In a direct page the place of an entry says which page it maps, so an entry that came back as it was read is the
 * same translation; in others it may be the table of another by then.
 */
static bool restore_direct(struct shadow_vcpu *v, gva_t at, u64 need)
{
	const struct spte_format *f = v->sh->format;
	a64 *entry = NULL;
	bool done = false;
	u64 seen = 0;

	epoch_enter();
	if (shadow_vcpu_root_valid(v))
		entry = v->pdpt;
	for (unsigned level = 3; entry && level; level--) {
		entry += (at.v >> (PAGE_SHIFT + 9 * (level - 1))) % TABLE_PAGES;
		seen = a64_load(entry);
		if (level > 1)
			entry = seen & BIT(0) ? table_at(seen) : NULL;
	}
	while (entry && spte_is_tracked(f, seen) && !(need & ~spte_saved_rights(f, seen)) && !done)
		done = spte_replace(f, 1, entry, &seen, spte_make_young(f, 1, seen, 0, false));
	epoch_exit();
	return done;
}

static bool fix_fast(struct shadow_vcpu *v, const struct fault *f)
{
	u64 need = f->access & GWALK_WRITE ? SPTE_W : f->access & GWALK_FETCH ? SPTE_X : SPTE_R;

	if (!role_direct(v->root[0].role) || spte_has_dirty(f->sh->format) ||
	    !restore_direct(v, f->at, need))
		return false;
	a64_count(&f->sh->stats.fixed_fast_total, 1);
	return true;
}

static void count(struct fault *f, enum shadow_result result, bool absent, u64 start)
{
	struct shadow_stats *stats = &f->sh->stats;
	struct space *s = f->sh->notifier.space;

	if (result == SHADOW_GUEST_FAULT)
		a64_count(&stats->guest_total, 1);
	if (result == SHADOW_FIXED)
		a64_count(&stats->faults_total, 1);
	if (result == SHADOW_FIXED && absent) {
		a64_count(&s->stats.faults_total, 1);
		hist_add(&s->stats.fault_ns, hal_time_ns() - start);
	}
}

enum shadow_result shadow_fault(struct shadow_vcpu *v, gva_t at, u32 error, bool ac,
                                struct shadow_outcome *out)
{
	struct fault f; /* large: what is not read before it is written stays as it is */
	enum shadow_result result;
	u64 start = hal_time_ns();
	bool absent = false;

	f.v = v;
	f.sh = v->sh;
	f.at = role_mode(v->root[0].role) == SHADOW_LONG ? at : gva((u32)at.v);
	f.access = (error & ERROR_W ? GWALK_WRITE : 0) | (error & ERROR_U ? GWALK_USER : 0) |
	           (error & ERROR_I ? GWALK_FETCH : 0);
	f.state = (struct gwalk_state){.cr0 = v->regs.cr0,
	                               .cr3 = v->regs.cr3,
	                               .cr4 = v->regs.cr4,
	                               .efer = v->regs.efer,
	                               .phys_bits = v->regs.phys_bits,
	                               .page_1g = v->regs.page_1g,
	                               .ac = ac};
	f.locked = false;
	f.out = out;
	if (fix_fast(v, &f))
		return SHADOW_FIXED;
	result = look(&f, &absent);
	for (unsigned i = 0; i < TRIES && result == SHADOW_RETRY; i++) {
		if (i > 1)
			hal_pause();
		result = fault_once(&f, &absent);
	}
	count(&f, result, absent, start);
	return result;
}
