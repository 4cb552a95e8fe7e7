/*
 * Second-level faults.
 *
 * Fast path, no lock: the entry is there and only has to be given back what aging took, or the
 * access is allowed already (another CPU was first, or a TLB was stale). One compare-exchange on the
 * entry that was judged; whatever else happened to it meanwhile makes it fail and is judged again.
 *
 * Slow path: the page has to be brought in (mm/fault.h), then installed under the read side of the
 * MMU lock. Why a page that is being evicted cannot be installed:
 *
 *	fault				evictor
 *	-----				-------
 *	seq = invalidate_seq()
 *	fault_bring_in()		invalidate_begin()  write lock: in_progress
 *	read_lock			zap
 *	invalidate_retry()?		gfn map: resident -> evicting
 *	install				invalidate_end()    write lock: seq, in_progress
 *	read_unlock			flush, store, free
 *
 * If the read section comes before begin's write section, the zap finds the entry and removes it.
 * If it comes after, invalidate_retry() sees in_progress, or a new seq, and the fault starts over.
 *
 * A page that was mapped clean in a format without Dirty bits faults when it is first written; its copy is dropped and
 * then W is granted. No MMU lock is needed for that, nor the number of the invalidations, for the page's gfn word is
 * BUSY meanwhile (fault_write_begin()):
 *
 *	fault					evictor				who protects a range
 *	-----					-------				--------------------
 *	resident -> BUSY, copy dropped		isolate				protect.first, .pages
 *	protected? then not			zap				resident -> BUSY
 *	entry -> entry with W, exchange		resident -> evicting		zap
 *	BUSY -> resident			store				BUSY -> resident
 *
 * As long as the word is BUSY, the evictor's exchange of it fails and the page stays in its frame, whose state says
 * dirty: so W comes to no page that could be taken for clean (I8), and the page cannot have been brought back with a
 * copy between the two. If the evictor's zap came first, the exchange of the entry fails, or it is made on one that
 * another fault installed since, in the same frame. If it comes after, it finds W, and says dirty of what is dirty
 * already. Whoever protects a range takes the word of each page as well: either that comes first, then BUSY (ord M4,
 * M3) shows us the range; or we do, and its zap takes W away.
 *
 * LOGGED -> W, for a write to what only the dirty log protects, needs no more than the entry: the exchange succeeds
 * only on an entry that says so then. Who sets LOGGED had W, or would have installed it, under all the rules above;
 * who means to keep the page from being written takes LOGGED as it takes W; and the frame has counted as dirty since
 * before there was W, where no Dirty bit tells. Whatever happened to the page between our look and the exchange, and
 * be it that it was evicted and brought back to the same frame: what the entry says is true of the page it maps now.
 *
 * A page that a shadow MMU beside us tracks, for it holds a table of the guest, is not mapped writable here. What is
 * tracked changes under the write side of the MMU lock, together with W in our entry (tdp_write_protect_locked());
 * W is granted under the read side, and only if the page is not tracked then. Nothing else grants it: restoring an
 * access-tracked entry gives back what the entry says, by an exchange that fails if W went meanwhile, and large leaves
 * are not made. A write to a tracked page tells the shadow MMU first, which lets go of it.
 */
#include "hv/mmu/tdp.h"

#include "arch/hal.h"
#include "hv/mmu/shadow.h"
#include "hv/mmu/tdp_huge.h"
#include "hv/mmu/tdp_iter.h"
#include "lib/hist.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/space.h"

/* Lost races in a row before the guest is entered again without a result: its CPU has other duties.
 */
#define FAULT_TRIES 8

enum tdp_fast {
	FAST_FIXED,
	FAST_ABSENT, /* nothing mapped there, or not with this right */
	FAST_CLEAN,  /* mapped read-only because it is clean; this is a write */
};

static u64 access_needs(const struct tdp_access *a)
{
	return a->write ? SPTE_W : a->fetch ? SPTE_X : SPTE_R;
}

static enum tdp_fast tdp_fault_fast(struct tdp *t, const struct tdp_access *a)
{
	const struct spte_format *f = t->format;
	enum tdp_fast result = FAST_ABSENT;
	struct tdp_entry e;

	epoch_enter();
	e = tdp_find_lockless(t, gpa_gfn(a->gpa));
	prefetch_write(
	        e.at); /* a harvester may have read it; it is changed here or after the page came */
	while (spte_is_leaf(f, e.level, e.seen)) {
		u64 more = access_needs(a) & ~spte_saved_rights(f, e.seen);

		if (more && !(a->write && e.seen & SPTE_LOGGED)) {
			result = a->write ? FAST_CLEAN : FAST_ABSENT;
			break;
		}
		/* Dirty, where there is such a bit, is hardware's to set: it may be logging that (PML). */
		if ((!more && !spte_is_tracked(f, e.seen)) ||
		    spte_replace(f, e.level, e.at, &e.seen,
		                 spte_make_young(f, e.level, e.seen, more, false))) {
			result = FAST_FIXED;
			break;
		}
	}
	epoch_exit();
	return result;
}

/* MMU lock held, either side. */
static bool may_write_locked(const struct tdp *t, gfn_t g)
{
	if (unlikely(space_write_protected(t->notifier.space, g)))
		return false;
	return likely(!t->shadow) || !shadow_tracks(t->shadow, g);
}

/* A write is about to be let through. Who grants W asks again, for the page may be tracked anew until then. */
static void let_write(struct tdp *t, gfn_t g)
{
	struct space *s = t->notifier.space;
	bool tracked;

	if (likely(!t->shadow))
		return;
	read_lock(&s->mmu_lock);
	tracked = shadow_tracks(t->shadow, g);
	read_unlock(&s->mmu_lock);
	if (tracked)
		shadow_let_write(t->shadow, g);
}

/* MMU lock held, nothing invalidated since the page was looked up. */
static enum fault_result tdp_install_locked(struct tdp *t, gfn_t g, pfn_t page, u64 rights,
                                            bool dirty)
{
	const struct spte_format *f = t->format;
	struct tdp_entry e = tdp_find(t, g);
	bool fresh = spte_is_empty(e.seen), write = dirty;
	enum dirty_log_mode log = dirty_log_mode(t->notifier.space);
	u64 want;

	if (rights & SPTE_W && unlikely(!may_write_locked(t, g))) {
		if (dirty) /* protected a moment ago: the next attempt finds that out */
			return FAULT_RETRY;
		rights &= ~(u64)SPTE_W;
	}
	dirty &= log != DIRTY_LOG_HARDWARE; /* the CPU logs what it sets itself */
	if (fresh) {
		DEBUG_ASSERT(e.level == 1);
		want = spte_make_leaf(f, e.level, page, rights, dirty);
	} else {
		DEBUG_ASSERT(spte_pfn(f, e.seen).v + g.v % tdp_span(e.level) == page.v);
		want = spte_make_young(f, e.level, e.seen, rights, dirty);
	}
	/* What was not written yet is not to look so; but what has W has it from a write, which nobody took. */
	if (unlikely(log == DIRTY_LOG_PROTECT) && !write &&
	    (fresh || !(spte_saved_rights(f, e.seen) & SPTE_W)))
		want = spte_make_logged(f, want);
	/* ord T2: the page was filled by fault_bring_in(); hardware that finds the entry finds
	 * that. */
	if (!spte_replace(f, e.level, e.at, &e.seen, want))
		return FAULT_RETRY;
	/* Inside the read section: the zap that comes after it does not take the MMU for empty. */
	a64_count(&t->leaves, fresh);
	return FAULT_FIXED;
}

static enum fault_result tdp_install(struct tdp *t, gfn_t g, u64 seq, pfn_t page, u64 rights,
                                     bool dirty)
{
	struct space *s = t->notifier.space;
	enum fault_result result = FAULT_RETRY;

	read_lock(&s->mmu_lock);
	if (!invalidate_retry(s, seq, g))
		result = tdp_install_locked(t, g, page, rights, dirty);
	read_unlock(&s->mmu_lock);
	return result;
}

/* Tables are built before the lock is taken: they are never in anybody's way. */
static bool tdp_prepare(struct tdp *t, gfn_t g)
{
	bool built;

	epoch_enter();
	built = tdp_build(t, g);
	epoch_exit();
	return built;
}

static enum fault_result tdp_fault_absent(struct tdp *t, const struct tdp_access *a)
{
	struct space *s = t->notifier.space;
	gfn_t g = gpa_gfn(a->gpa);
	struct fault_page page;
	enum fault_result result;
	bool writable;
	u64 seq;

	if (!t->shadow && tdp_fault_huge(t, a))
		return FAULT_FIXED;
	seq = invalidate_seq(s);
	result = fault_bring_in(s, g, a->write, !a->write, &page);
	if (result != FAULT_FIXED)
		return result;
	writable = spte_has_dirty(t->format) || a->write || !page.clean;
	if (!tdp_prepare(t, g))
		return FAULT_NO_MEMORY;
	return tdp_install(t, g, seq, frame_pfn(page.frame),
	                   SPTE_R | SPTE_X | (writable ? SPTE_W : 0), a->write);
}

/* MMU lock held, nothing invalidated since the copy was dropped. */
static enum fault_result tdp_grant_write_locked(struct tdp *t, gfn_t g)
{
	struct tdp_entry e = tdp_find(t, g);

	if (!spte_is_leaf(t->format, e.level, e.seen) || !may_write_locked(t, g))
		return FAULT_RETRY;
	if (!spte_replace(t->format, e.level, e.at, &e.seen,
	                  spte_make_young(t->format, e.level, e.seen, SPTE_W, true)))
		return FAULT_RETRY;
	return FAULT_FIXED;
}

/* What a shadow MMU tracks changes under the write side of the lock: to be asked under it. */
static enum fault_result tdp_fault_clean_beside(struct tdp *t, gfn_t g)
{
	struct space *s = t->notifier.space;
	u64 seq = invalidate_seq(s);
	enum fault_result result = fault_make_dirty(s, g);

	if (result != FAULT_FIXED)
		return result;
	read_lock(&s->mmu_lock);
	result = invalidate_retry(s, seq, g) ? FAULT_RETRY : tdp_grant_write_locked(t, g);
	read_unlock(&s->mmu_lock);
	return result;
}

/* The page's gfn word is BUSY and names the frame, which is dirty. */
static enum fault_result tdp_grant_write_busy(struct tdp *t, gfn_t g, u32 frame)
{
	const struct spte_format *f = t->format;
	enum fault_result result = FAULT_RETRY;
	struct tdp_entry e;

	epoch_enter();
	e = tdp_find_lockless(t, g);
	if (spte_is_leaf(f, e.level, e.seen) && !space_write_protected(t->notifier.space, g)) {
		DEBUG_ASSERT(spte_pfn(f, e.seen).v + g.v % tdp_span(e.level) == frame_pfn(frame).v);
		if (spte_replace(f, e.level, e.at, &e.seen,
		                 spte_make_young(f, e.level, e.seen, SPTE_W, false)))
			result = FAULT_FIXED;
	}
	epoch_exit();
	return result;
}

static enum fault_result tdp_fault_clean(struct tdp *t, gfn_t g)
{
	struct space *s = t->notifier.space;
	enum fault_result result;
	u64 word;

	if (unlikely(t->shadow))
		return tdp_fault_clean_beside(t, g);
	result = fault_write_begin(s, g, &word);
	if (result != FAULT_FIXED)
		return result;
	result = tdp_grant_write_busy(t, g, gfn_word_frame(word));
	fault_write_end(s, g, word);
	return result;
}

static enum fault_result tdp_fault_once(struct tdp *t, const struct tdp_access *a, bool *absent)
{
	enum tdp_fast fast = tdp_fault_fast(t, a);

	if (fast != FAST_FIXED && a->write)
		let_write(t, gpa_gfn(a->gpa));
	switch (fast) {
	case FAST_FIXED:
		a64_count(&t->fixed_fast_total, 1);
		return FAULT_FIXED;
	case FAST_CLEAN:
		return tdp_fault_clean(t, gpa_gfn(a->gpa));
	default:
		*absent = true;
		return tdp_fault_absent(t, a);
	}
}

enum fault_result tdp_fault(struct tdp *t, const struct tdp_access *access)
{
	struct space *s = t->notifier.space;
	enum fault_result result = FAULT_RETRY;
	u64 start = hal_time_ns();
	bool absent = false;

	if (!tdp_reaches(gpa_gfn(access->gpa)))
		return FAULT_NO_SLOT;
	for (unsigned i = 0; i < FAULT_TRIES && result == FAULT_RETRY; i++) {
		if (i)
			hal_pause();
		result = tdp_fault_once(t, access, &absent);
	}
	if (result == FAULT_FIXED && absent) {
		a64_count(&s->stats.faults_total, 1);
		hist_add(&s->stats.fault_ns, hal_time_ns() - start);
	}
	return result;
}
