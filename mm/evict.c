/*
 * The order of an eviction, and what each step is good for:
 *
 *   isolate              the frame is on no list: no other evictor, no pin, no promotion
 *   ask                  young pages go back, younger
 *   invalidate_begin     no fault installs a translation of these pages from here on
 *   zap by exchange      what hardware wrote into the entry until now, its Dirty bit, comes with it (I8)
 *   resident -> evicting a fault from here on rescues the page instead of bringing it in (I5)
 *   invalidate_end
 *   shoot down           no TLB can write the page any more: only now its contents stand still
 *   store                reads them
 *   evicting -> away     by compare-exchange; fails if the page was rescued, and then what was stored is
 *                        dropped, for the guest may be writing already
 *   free                 after the grace period (I7)
 *
 * Dirty found by the zap goes into the state word before the word becomes evicting: a rescue makes a new
 * entry that knows nothing of it.
 */
#include "mm/evict.h"

#include "arch/hal.h"
#include "lib/profile.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/guard.h"
#include "mm/huge.h"
#include "mm/limits.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/probation.h"
#include "mm/refault.h"
#include "mm/space.h"
#include "mm/store.h"
#include "mm/trace.h"
#include "mm/twolist.h"

/* Isolated frames on their way through the steps; `n` shrinks as they drop out. */
struct batch {
	struct space *space;
	struct gen_chunk chunk;
	struct evict_result *result;
	u16 gone[GEN_BATCH]; /* what the shadows of those say that went */
	unsigned ngone;
};

static a32 at_work; /* CPUs that have frames isolated */

bool evict_active(void)
{
	return a32_load(&at_work) != 0;
}

/* A frame of the chunk stays in it: moves to the next place of those that do. */
static void keep_in_chunk(struct gen_chunk *chunk, unsigned *kept, unsigned i)
{
	chunk->seen[*kept] = chunk->seen[i];
	chunk->frame[(*kept)++] = chunk->frame[i];
}

/* Is an Accessed bit of this page a reason to keep it? mm/probation.h: not if it may be that of the retried access. */
static bool sighting_counts(const struct gen_chunk *chunk, u32 frame)
{
	return !chunk->probation || a32_load(&policy.fault_touch) ||
	       a64_load(&frame_at(frame)->state) & (FRAME_REFERENCED | FRAME_WORKINGSET);
}

static void ask(struct batch *b)
{
	struct space *s = b->space;
	unsigned kept = 0;

	for (unsigned i = 0; i < b->chunk.n; i++) {
		u32 frame = b->chunk.frame[i];
		gfn_t g = frame_gfn(frame_at(frame));
		unsigned young;

		if (frame_is_huge(frame) && !(a64_load(&frame_at(frame)->state) & FRAME_SEEN))
			huge_ask(s, g);
		young = notifier_age_one(s, g, NOTIFIER_CLEAR);
		/* A walker, or our own look-around, may have harvested it a moment ago. */
		if ((!(young & NOTIFIER_YOUNG) &&
		     !(a64_load(&frame_at(frame)->state) & FRAME_SEEN)) ||
		    !sighting_counts(&b->chunk, frame)) {
			keep_in_chunk(&b->chunk, &kept, i);
			continue;
		}
		guard_kept(&s->lru, b->chunk.seen[i]);
		age_look_around(s, g, young);
		gen_insert(&s->lru, frame, GEN_ENTER_REJECTED);
		a64_count(&s->stats.rejected_total, 1);
		b->result->rejected++;
		trace_event(TRACE_REJECT, s->id, g, young, frame);
	}
	b->chunk.n = kept;
}

/* False if the word is in somebody's hands: a fault is about to change it. */
static bool word_to_evicting(struct space *s, gfn_t g, u32 frame)
{
	u64 word = gfn_word(GFN_RESIDENT, frame);
	bool done;

	epoch_enter();
	/* ord M6: the zap and its Dirty come before; a rescue that sees this pairs with ord M7 */
	done = a64_cas(gfnmap_word(s, g), &word, gfn_word(GFN_EVICTING, frame));
	epoch_exit();
	return done;
}

static void chunk_bounds(const struct gen_chunk *chunk, gfn_t *first, gfn_t *last)
{
	*first = gfn(~0ull);
	*last = gfn(0);
	for (unsigned i = 0; i < chunk->n; i++) {
		u64 g = frame_gfn(frame_at(chunk->frame[i])).v;

		first->v = min_of(first->v, g);
		last->v = max_of(last->v, g);
	}
}

/* Takes all translations of the chunk away. Frames that stay come back in `stay`, to be listed again. */
static unsigned unmap(struct batch *b, u32 *stay)
{
	struct space *s = b->space;
	unsigned kept = 0, nstay = 0;
	struct notifier_zap zap;
	gfn_t first, last;
	u64 gen;

	chunk_bounds(&b->chunk, &first, &last);
	invalidate_begin(s, first, last);
	for (unsigned i = 0; i < b->chunk.n; i++) {
		u32 frame = b->chunk.frame[i];
		gfn_t g = frame_gfn(frame_at(frame));

		notifier_zap(s, g, &zap);
		/* ord FR3: before the word says evicting and a rescue can come */
		if (zap.dirty)
			frame_state_change(frame, FRAME_UNPACKABLE, FRAME_DIRTY);
		if (word_to_evicting(s, g, frame))
			keep_in_chunk(&b->chunk, &kept, i);
		else
			stay[nstay++] = frame;
	}
	invalidate_end(s, first, last);
	b->chunk.n = kept;

	/* Even if nothing was mapped: another zap may not have been flushed yet. */
	gen = flush_request(s);
	flush_wait(s, gen);
	ASSERT(flush_is_done(s, gen)); /* I7 */
	return nstay;
}

static void evicted(struct batch *b, u32 frame, u64 state, u64 word, bool reused)
{
	struct space *s = b->space;

	a64_count(&s->lru.evicted[b->chunk.type][refault_tier(state)], 1);
	a64_count(&s->stats.evictions_total, 1);
	if (twolist_on())
		twolist_count(&s->lru);
	a64_count(&s->resident, -1ull);
	if (space_counter(s, word))
		a64_count(space_counter(s, word), 1);
	b->result->freed++;
	trace_event(TRACE_EVICT, s->id, frame_gfn(frame_at(frame)),
	            (word & (GFN_TAG | GFN_SHADOW)) | (reused ? TRACE_EVICT_REUSED : 0), frame);
	/* ord M6 (the exchange that made the word away) comes before the grace period begins: pairs with ord E4 */
	frame_retire(frame);
}

/*
 * Contents to a store, unless a valid copy is there. Who rescues the page may change `copy` under our
 * eyes; then the exchange that follows fails and nothing of it matters.
 */
static enum store_result keep(struct space *s, u32 frame, u64 state, u64 copy, u64 *word)
{
	enum store_result result;
	u32 saved = 0;

	if (!(state & FRAME_DIRTY)) {
		*word = copy;
		return STORE_OK;
	}
	/* Neither written since it was declined, nor worth another try. */
	if (state & FRAME_UNPACKABLE)
		return STORE_INCOMPRESSIBLE;
	if (!s->shares)
		return store_put(frame, word);
	result = store_put_shared(frame, word, &saved);
	a64_count(&s->stats.shared_total, saved != 0);
	a64_count(&s->stats.shared_bytes_total, saved);
	return result;
}

/* evicting -> `to` by compare-exchange; false if the page was rescued. */
static bool word_leave_evicting(struct space *s, u32 frame, u64 to)
{
	u64 word = gfn_word(GFN_EVICTING, frame);
	bool done;

	epoch_enter();
	/* ord M6: what was stored is complete before anybody can find it; pairs with ord M5, ord M7 */
	done = a64_cas(gfnmap_word(s, frame_gfn(frame_at(frame))), &word, to);
	epoch_exit();
	return done;
}

static bool word_is_evicting(struct space *s, u32 frame)
{
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(s, frame_gfn(frame_at(frame))));
	epoch_exit();
	return word == gfn_word(GFN_EVICTING, frame);
}

/* `state` is what the word said before the store was asked. */
static void put_back(struct batch *b, u32 frame, u64 state, enum store_result why)
{
	struct space *s = b->space;

	/* If it fails, the page was rescued: resident either way. */
	(void)word_leave_evicting(s, frame, gfn_word(GFN_RESIDENT, frame));
	if (why == STORE_INCOMPRESSIBLE) {
		b->result->declined += !(state & FRAME_UNPACKABLE);
		frame_state_change(frame, 0, FRAME_UNPACKABLE);
	}
	gen_insert(&s->lru, frame, GEN_ENTER_UNPACKABLE);
	a64_count(&s->stats.store_full_total, 1);
	b->result->store_full++;
}

static void pack(struct batch *b, unsigned i)
{
	u32 frame = b->chunk.frame[i];
	struct space *s = b->space;
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state), copy = a64_load(&f->copy), word = 0;
	bool reused = !(state & FRAME_DIRTY);
	enum store_result result;

	if (!word_is_evicting(s, frame)) {
		gen_insert(&s->lru, frame, GEN_ENTER_RESCUED);
		return;
	}
	profile_begin(PROFILE_PACK);
	result = keep(s, frame, state, copy, &word);
	profile_end(PROFILE_PACK);
	if (result != STORE_OK) {
		put_back(b, frame, state, result);
		return;
	}
	word = (word & ~GFN_SHADOW) | refault_shadow(state, b->chunk.type, b->chunk.seen[i]);
	if (!word_leave_evicting(s, frame, word)) {
		if (!reused)
			store_drop(word & ~GFN_SHADOW);
		gen_insert(&s->lru, frame, GEN_ENTER_RESCUED);
		return;
	}
	DEBUG_ASSERT(gfn_word_away(word));
	if (reused)
		a64_count(&s->stats.clean_evictions_total, 1);
	else if (copy)
		store_drop(copy);
	if (b->chunk.seen[i] & GEN_FIRST_PROBATION)
		probation_left(&s->lru);
	b->gone[b->ngone++] = b->chunk.seen[i];
	evicted(b, frame, state, word, reused);
}

/* Dirty found by the zap is in the state words by now. */
static unsigned count_dirty(const struct gen_chunk *chunk)
{
	unsigned dirty = 0;

	for (unsigned i = 0; i < chunk->n; i++)
		dirty += !!(a64_load(&frame_at(chunk->frame[i])->state) & FRAME_DIRTY);
	return dirty;
}

/* The chunk goes, young or not. */
static void evict_isolated(struct batch *b)
{
	u32 stay[GEN_BATCH];
	unsigned nstay, dirty;

	profile_begin(PROFILE_UNMAP);
	nstay = unmap(b, stay);
	profile_end(PROFILE_UNMAP);
	for (unsigned i = 0; i < nstay; i++)
		gen_insert(&b->space->lru, stay[i], GEN_ENTER_RESCUED);
	dirty = count_dirty(&b->chunk);
	b->result->dirty += dirty;
	b->ngone = 0;
	b->result->dirty_chunks += dirty && dirty == b->chunk.n;
	for (unsigned i = 0; i < b->chunk.n; i++) {
		pack(b, i);
		/* The pool takes frames before it sets some free: let it have those early. */
		if (frame_free_count() <= frame_marks.reserve)
			epoch_poll();
	}
	guard_gone(&b->space->lru, b->gone, b->ngone);
}

static void evict_chunk(struct batch *b)
{
	profile_begin(PROFILE_CHECK);
	ask(b);
	profile_end(PROFILE_CHECK);
	if (b->chunk.n)
		evict_isolated(b);
}

/* What gen_isolate() did besides. */
static void count_isolated(struct batch *b)
{
	const struct gen_chunk *chunk = &b->chunk;
	struct space_stats *stats = &b->space->stats;

	b->result->scanned += chunk->scanned;
	b->result->sorted += chunk->sorted;
	b->result->protected_ += chunk->protected_ + chunk->demoted;
	b->result->rotated += chunk->rotated;
	a64_count(&stats->scanned_total, chunk->scanned);
	a64_count(&stats->sorted_total, chunk->sorted);
	a64_count(&stats->protected_total, chunk->protected_);
	a64_count(&stats->demoted_total, chunk->demoted);
	a64_count(&stats->rotated_total, chunk->rotated);
}

static unsigned swappiness_of(struct evict_request request)
{
	if (request.swappiness == EVICT_SWAPPINESS_POLICY)
		return a32_load(&policy.swappiness);
	return (unsigned)request.swappiness;
}

/*
 * All of a chunk goes before the page that needs the first of its frames comes: with a few hundred frames, a
 * full chunk would be an eighth of memory that nobody uses. What a space without a limit has is what it holds.
 */
static u32 chunk_frames(const struct space *s)
{
	u64 limit = a64_load(&s->limits.limit);
	u64 memory = limit ? limit : gen_total(&s->lru);
	u64 frames = max_of(memory / POLICY_CHUNK_PART, 1ull) + limits_over(s);

	return (u32)min_of(frames, (u64)GEN_BATCH);
}

struct evict_result evict_space(struct space *s, struct evict_request request)
{
	struct evict_result result = {.scanned = 0};
	struct batch b = {.space = s, .result = &result};
	/* Fixed at the start: what is rejected or brought back meanwhile does not prolong it. */
	u64 budget = gen_total(&s->lru) + GEN_BATCH;

	DEBUG_ASSERT(!epoch_active() && request.most);
	a32_store(&s->lru.chunk, chunk_frames(s));
	a32_fetch_add(&at_work, 1);
	profile_begin(PROFILE_EVICT);
	while (result.freed < request.target && result.scanned < budget &&
	       result.declined < EVICT_DECLINED_MAX && !a32_load(&s->dying)) {
		if (twolist_on())
			twolist_balance(s);
		if (request.last_seq == EVICT_ANY_SEQ)
			probation_balance(s);
		profile_begin(PROFILE_LISTS);
		gen_isolate(&s->lru, swappiness_of(request), request.last_seq, request.most,
		            &b.chunk);
		profile_end(PROFILE_LISTS);
		count_isolated(&b);
		if (b.chunk.n)
			evict_chunk(&b);
		epoch_poll();
		if (b.chunk.need_aging || !b.chunk.scanned)
			break;
	}
	result.need_aging = b.chunk.need_aging;
	profile_end(PROFILE_EVICT);
	a32_fetch_add(&at_work, -1u);
	return result;
}

static enum evict_page_result isolate_page(struct space *s, gfn_t g, struct gen_chunk *chunk)
{
	enum evict_page_result result = EVICT_PAGE_NOT_RESIDENT;
	const a64 *where;
	u64 word;

	epoch_enter();
	where = gfnmap_word(s, g);
	/* ord M5: the frame's owner stands before the word names it; pairs with ord M4 */
	word = where ? a64_load_acquire(where) : 0;
	if (gfn_word_tag(word) == GFN_RESIDENT)
		result = gen_isolate_page(&s->lru, gfn_word_frame(word), s->id, g, chunk)
		                 ? EVICT_PAGE_DONE
		                 : EVICT_PAGE_IN_USE;
	else if (gfn_word_tag(word) == GFN_EVICTING)
		result = EVICT_PAGE_IN_USE;
	epoch_exit();
	return result;
}

enum evict_page_result evict_page(struct space *s, gfn_t g)
{
	struct evict_result done = {.freed = 0};
	struct batch b = {.space = s, .result = &done};
	enum evict_page_result result;

	DEBUG_ASSERT(!epoch_active());
	a32_fetch_add(&at_work, 1);
	result = isolate_page(s, g, &b.chunk);
	if (result == EVICT_PAGE_DONE) {
		evict_isolated(&b);
		result = done.freed        ? EVICT_PAGE_DONE
		         : done.store_full ? EVICT_PAGE_KEPT
		                           : EVICT_PAGE_RESCUED;
	}
	epoch_poll();
	a32_fetch_add(&at_work, -1u);
	return result;
}
