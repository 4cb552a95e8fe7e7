/*
 * Owns the lruvec. Which generation a frame is in, the state word says; which list it hangs on may lag
 * behind. What keeps that right:
 *
 *   - A frame's generation is never older than its list's: lists are entered with both equal, the owner
 *     of the lock moves both together, and gen_promote(), the only one that works without the lock, goes
 *     to a max_seq that it read after the frame's state, or, by the block, found unchanged after it.
 *   - The window moves past a generation only when its lists are empty, so nothing listed has a generation
 *     older than min_seq (I4).
 *   - A promotion whose state word is out of date fails: every change of gen changes the stamp. While it
 *     is not out of date, the frame holds the window open at its own generation, so that the max_seq that
 *     was read still is inside the window, and its index means what it meant.
 *
 * The type changes under the lock, together with the list, or while the frame is on no list.
 */
#include "mm/gen.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/refault.h"

/* Of so many meetings of the evictor with unpackable pages, one makes it try again. */
#define UNPACKABLE_RETRY 16u

static unsigned state_index(u64 state)
{
	return (unsigned)(state & FRAME_GEN) - 1;
}

static enum gen_type state_type(u64 state)
{
	return state & FRAME_DIRTY ? GEN_DIRTY : GEN_CLEAN;
}

/* The state with another generation: gen is an index + 1, or 0 for none. */
static u64 state_regen(u64 state, unsigned gen)
{
	return ((state & ~FRAME_GEN) | gen) + FRAME_STAMP_ONE;
}

static void size_add(struct lruvec *l, unsigned index, enum gen_type type, s64 n)
{
	a64_count(&l->size[index][type], (u64)n);
}

/* max_seq for somebody who holds the lock. */
static u64 max_locked(const struct lruvec *l)
{
	DEBUG_ASSERT(spin_held(&l->lock));
	return a64_load(&l->max_seq);
}

/* The generation of the window that has this index. */
static u64 seq_of_locked(const struct lruvec *l, unsigned index)
{
	return gen_seq_at(max_locked(l), index);
}

static bool evictable_locked(const struct lruvec *l, enum gen_type type)
{
	return l->min_seq[type] + GEN_MIN <= max_locked(l);
}

void gen_init(struct lruvec *l)
{
	u64 now = hal_time_ns();

	spin_init(&l->lock, LOCK_LRUVEC, "lruvec");
	a64_store(&l->max_seq, GEN_MAX - 1);
	for (unsigned g = 0; g < GEN_MAX; g++) {
		l->birth_ns[g] = now;
		for (unsigned type = 0; type < GEN_TYPES; type++)
			frame_list_init(&l->list[g][type]);
	}
}

void gen_batch_flush(struct lruvec *l, struct gen_batch *b)
{
	spin_lock(&l->lock);
	for (unsigned g = 0; g < GEN_MAX; g++)
		for (unsigned type = 0; type < GEN_TYPES; type++)
			size_add(l, g, type, b->delta[g][type]);
	spin_unlock(&l->lock);
	*b = (struct gen_batch){.promoted = 0};
}

/* --- lists ----------------------------------------------------------------------------------------- */

/* The oldest generation of a type is used up: its figures become history. */
static void advance_min_locked(struct lruvec *l, enum gen_type type)
{
	refault_fold_locked(l, type);
	l->min_seq[type]++;
}

/* The list that a listed frame hangs on, by its ends; any list will do for one in the middle. */
static struct frame_list *list_of_locked(struct lruvec *l, u32 frame)
{
	const struct frame *f = frame_at(frame);
	struct frame_list *list = &l->list[0][0];

	if (f->next != FRAME_NONE && f->prev != FRAME_NONE)
		return list;
	for (unsigned i = 0; i < GEN_MAX * GEN_TYPES; i++)
		if (list[i].head == frame || list[i].tail == frame)
			return &list[i];
	hal_panic("frame %u is on no list of its lruvec", frame);
}

static u64 entry_seq_locked(const struct lruvec *l, enum gen_entry how, u64 state)
{
	u64 max = max_locked(l), seq = max;

	switch (how) {
	case GEN_ENTER_REFAULT_HOT:
		break;
	case GEN_ENTER_REJECTED:
	case GEN_ENTER_RESCUED:
		if (!(state & FRAME_WORKINGSET))
			seq = max - 1;
		break;
	case GEN_ENTER_FRESH:
	case GEN_ENTER_UNPACKABLE:
		seq = max - 1;
		break;
	case GEN_ENTER_REFAULT:
		seq = max - 2;
		break;
	}
	return max_of(seq, l->min_seq[state_type(state)]);
}

/* One more touch, where one counts for little and two for much; unless policy says that one is enough. */
static u64 state_touched(u64 state)
{
	if (state & (FRAME_REFERENCED | FRAME_WORKINGSET) || !a32_load(&policy.two_touch))
		return (state & ~(FRAME_REFERENCED | FRAME_REFS)) | FRAME_WORKINGSET;
	return state | FRAME_REFERENCED;
}

static u64 entry_flags(enum gen_entry how, u64 state)
{
	switch (how) {
	case GEN_ENTER_FRESH:
	case GEN_ENTER_REFAULT:
		return state | FRAME_REFERENCED; /* the fault was its first touch */
	case GEN_ENTER_REFAULT_HOT:
		return state | FRAME_WORKINGSET;
	case GEN_ENTER_REJECTED:
	case GEN_ENTER_RESCUED:
		return state_touched(state);
	case GEN_ENTER_UNPACKABLE:
		break;
	}
	return state;
}

void gen_insert(struct lruvec *l, u32 frame, enum gen_entry how)
{
	struct frame *f = frame_at(frame);
	u64 state, next;
	unsigned index;

	spin_lock(&l->lock);
	state = a64_load(&f->state);
	do {
		ASSERT(!(state & FRAME_GEN) && frame_use(state) == FRAME_GUEST);
		next = entry_flags(how, state) & ~(FRAME_ISOLATED | FRAME_SEEN);
		index = gen_index(entry_seq_locked(l, how, next));
		next = state_regen(next, index + 1);
		/* ord L2: pairs with ord L1 of the next evictor, ord FR1 of who pins it */
	} while (!a64_cas(&f->state, &state, next));
	frame_list_push_head(&l->list[index][state_type(next)], frame);
	size_add(l, index, state_type(next), 1);
	spin_unlock(&l->lock);
}

bool gen_remove(struct lruvec *l, u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state;

	spin_lock(&l->lock);
	state = a64_load(&f->state);
	do {
		if (!(state & FRAME_GEN)) {
			spin_unlock(&l->lock);
			return false;
		}
	} while (!a64_cas(&f->state, &state, state_regen(state, 0)));
	frame_list_remove(list_of_locked(l, frame), frame);
	size_add(l, state_index(state), state_type(state), -1);
	spin_unlock(&l->lock);
	return true;
}

void gen_make_dirty(struct lruvec *l, u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state, next, seq;
	unsigned index = 0;

	spin_lock(&l->lock);
	state = a64_load(&f->state);
	do {
		next = (state | FRAME_DIRTY) & ~FRAME_UNPACKABLE;
		if (state & FRAME_GEN) {
			/* The oldest generation of dirty pages may be younger than that of clean ones. */
			seq = max_of(seq_of_locked(l, state_index(state)), l->min_seq[GEN_DIRTY]);
			index = gen_index(seq);
			next = state_regen(next, index + 1);
		}
	} while (!a64_cas(&f->state, &state, next));
	frame_count_unpackable(state, next);
	if (state & FRAME_GEN && !(state & FRAME_DIRTY)) {
		frame_list_remove(list_of_locked(l, frame), frame);
		frame_list_push_head(&l->list[index][GEN_DIRTY], frame);
	}
	if (state & FRAME_GEN) {
		size_add(l, state_index(state), state_type(state), -1);
		size_add(l, index, GEN_DIRTY, 1);
	}
	spin_unlock(&l->lock);
}

/* What a sighting makes of a state word, `index` being that of the youngest generation. */
static u64 state_promoted(u64 state, unsigned index)
{
	u64 next;

	/* The Accessed bit is cleared by now: the evictor would not find it any more. */
	if (state & FRAME_ISOLATED)
		return state | FRAME_SEEN;
	if (!(state & FRAME_GEN))
		return state;
	next = state_touched(state);
	return next & FRAME_WORKINGSET ? state_regen(next, index + 1) : next;
}

bool gen_promote(struct lruvec *l, u32 frame, u16 space_id, struct gen_batch *b)
{
	struct frame *f = frame_at(frame);
	u64 state, next;
	unsigned index;

	do {
		/* ord L3: the state is read before max_seq, see above; pairs with ord L4 */
		state = a64_load_acquire(&f->state);
		if (frame_use(state) != FRAME_GUEST || frame_space_id(f) != space_id)
			return false;
		index = gen_index(a64_load_acquire(&l->max_seq)); /* ord L3 */
		next = state_promoted(state, index);
	} while (next != state && !a64_cas(&f->state, &state, next));
	b->clean += !(state & FRAME_DIRTY);
	if (!(state & FRAME_GEN))
		return false;
	if (next & FRAME_WORKINGSET && state_index(state) != index) {
		b->delta[state_index(state)][state_type(state)]--;
		b->delta[index][state_type(state)]++;
		b->promoted++;
	}
	return true;
}

/*
 * The same once more, for many pages and few instructions. A frame that is in a generation is a guest's, and
 * the one whose word named it within this epoch section: neither use nor owner needs a look. All that is
 * unusual goes the way above.
 */
#define TALLY    (FRAME_DIRTY | FRAME_GEN) /* what sizes are counted by */
#define TOUCHED  (FRAME_REFERENCED | FRAME_WORKINGSET)
#define PROMOTED (FRAME_GEN | FRAME_REFS | TOUCHED) /* what changes, besides the stamp */

struct promotion {
	struct lruvec *l;
	struct frame *frames; /* number 0 */
	u64 max;              /* max_seq: what all are promoted to, */
	u64 set;              /* ... and what that adds to a state word, */
	u16 tally[TALLY + 1]; /* ... and how many were, by type and generation before */
	u64 slow;
	u16 space_id;
	struct gen_batch *batch;
};

static void promotion_start(struct promotion *p)
{
	p->max = a64_load_acquire(&p->l->max_seq); /* ord L3: checked again after each state */
	p->set = FRAME_STAMP_ONE | FRAME_WORKINGSET | (gen_index(p->max) + 1);
}

/* Moves the tally to the batch; returns how many there were. */
static u64 promotion_end(struct promotion *p)
{
	unsigned to = gen_index(p->max);
	u64 all = 0;

	for (unsigned type = 0; type < GEN_TYPES; type++) {
		for (unsigned from = 0; from < GEN_MAX; from++) {
			u16 *n = &p->tally[(type == GEN_DIRTY ? FRAME_DIRTY : 0) | (from + 1)];

			p->batch->delta[from][type] -= *n;
			p->batch->delta[to][type] += *n;
			p->batch->promoted += from == to ? 0 : *n;
			p->batch->clean += type == GEN_CLEAN ? *n : 0;
			all += *n;
			*n = 0;
		}
	}
	return all;
}

static void promote_slowly(struct promotion *p, const a64 *where)
{
	u64 word = a64_load_acquire(where); /* ord M5: as below */

	p->slow++;
	if (gfn_word_tag(word) == GFN_RESIDENT)
		(void)gen_promote(p->l, gfn_word_frame(word), p->space_id, p->batch);
}

/* Promotes the page of a gfn word, if it is the usual case: resident, listed, and touched before. */
static inline bool promote_quickly(struct promotion *p, const a64 *where)
{
	/* ord M5: the frame stands before the word names it; pairs with ord M4 */
	u64 word = a64_load_acquire(where), state;
	struct frame *f;

	if (unlikely((u8)word !=
	             GFN_RESIDENT)) /* neither away nor busy: all other low bits are 0 */
		return false;
	f = p->frames + gfn_word_payload(word);
	/* ord L3: the state is read before max_seq; pairs with ord L4 */
	state = a64_load_acquire(&f->state);
	if (unlikely(!(state & FRAME_GEN)) || unlikely(!(state & TOUCHED)))
		return false;
	if (unlikely(a64_load_acquire(&p->l->max_seq) != p->max)) /* ord L3 */
		return false;
	DEBUG_ASSERT(frame_use(state) == FRAME_GUEST && frame_space_id(f) == p->space_id);
	if (unlikely(!a64_cas(&f->state, &state, (state & ~PROMOTED) + p->set)))
		return false;
	p->tally[state & TALLY]++;
	return true;
}

static inline void promote_one(struct promotion *p, const a64 *where)
{
	if (!promote_quickly(p, where))
		promote_slowly(p, where);
}

u64 gen_promote_block(struct lruvec *l, const a64 *word, unsigned npages, const u64 *young,
                      u16 space_id, struct gen_batch *b)
{
	struct promotion p = {.l = l, .frames = frame_at(0), .space_id = space_id, .batch = b};

	DEBUG_ASSERT(npages <= TABLE_PAGES && epoch_active());
	promotion_start(&p);
	for (unsigned i = 0; i < npages; i += 64, word += 64) {
		u64 left = young[i / 64] & (npages - i < 64 ? BIT(npages - i) - 1 : ~0ull);

		/* All of them is the rule where a table is in use, and needs no search. */
		if (left == ~0ull) {
			for (unsigned j = 0; j < 64; j++)
				promote_one(&p, word + j);
			continue;
		}
		for (; left; left &= left - 1)
			promote_one(&p, word + (unsigned)__builtin_ctzll(left));
	}
	return promotion_end(&p) + p.slow;
}

/* --- the window ------------------------------------------------------------------------------------ */

void gen_trim_locked(struct lruvec *l, enum gen_type type)
{
	while (evictable_locked(l, type) &&
	       l->list[gen_index(l->min_seq[type])][type].tail == FRAME_NONE)
		advance_min_locked(l, type);
}

/*
 * Takes a frame of the generation `seq` to the young end of the next one; false if it was promoted meanwhile,
 * then it goes to the list of its own.
 *
 * `protect`: its tier comes back too often. Protection is bought with software accesses: they are spent here,
 * or what was accessed a lot once would be protected for ever. The workingset flag stays.
 */
static bool move_on_locked(struct lruvec *l, u32 frame, enum gen_type type, u64 seq, bool protect)
{
	u64 spent = protect ? FRAME_REFS | FRAME_REFERENCED : 0;
	struct frame *f = frame_at(frame);
	unsigned from = gen_index(seq), to = gen_index(seq + 1);
	u64 state = a64_load(&f->state);
	bool moved = false;

	while (state_index(state) == from && !moved)
		moved = a64_cas(&f->state, &state, state_regen(state & ~spent, to + 1));
	frame_list_remove(&l->list[from][type], frame);
	if (!moved) {
		frame_list_push_head(&l->list[state_index(state)][type], frame);
		return false;
	}
	if (protect)
		l->protected_[type][refault_tier(state)]++;
	size_add(l, from, type, -1);
	size_add(l, to, type, 1);
	frame_list_push_head(&l->list[to][type], frame);
	return true;
}

/* Makes a frame of generation index `from` one of the next; false if it is in another, promoted meanwhile. */
static inline bool merge_locked(struct frame *f, unsigned from)
{
	const u64 add = FRAME_STAMP_ONE | ((from + 1) % GEN_MAX + 1);
	u64 state = a64_load(&f->state);

	while ((state & FRAME_GEN) == from + 1)
		if (a64_cas(&f->state, &state, (state & ~FRAME_GEN) + add))
			return true;
	return false;
}

/*
 * Makes room for one more generation of a type; false when the budget ran out before. The list of the oldest
 * goes to the far end of the next one as it is, so that the order of eviction stays. Frames that were promoted
 * stay among the others, for the evictor to sort: only what is evicted from needs to be sorted.
 */
static bool make_room_locked(struct lruvec *l, enum gen_type type, unsigned *budget)
{
	u64 min = l->min_seq[type];
	unsigned index = gen_index(min), next = gen_index(min + 1), left = *budget;
	struct frame_list *list = &l->list[index][type];
	struct frame *base = frame_at(0);
	u32 frame = list->head;
	s64 merged = 0;

	if (max_locked(l) - min + 1 < GEN_MAX)
		return true;
	for (; frame != FRAME_NONE && left; left--, frame = base[frame].next)
		merged += merge_locked(&base[frame], index);
	size_add(l, index, type, -merged);
	size_add(l, next, type, merged);
	if (left != *budget)
		frame_list_splice_tail(&l->list[next][type], list,
		                       frame == FRAME_NONE ? list->tail : base[frame].prev);
	*budget = left;
	if (frame != FRAME_NONE)
		return false;
	advance_min_locked(l, type);
	return true;
}

bool gen_advance(struct lruvec *l, u64 expected)
{
	for (;;) {
		unsigned budget = GEN_MAX_BATCH;

		spin_lock(&l->lock);
		if (max_locked(l) != expected) {
			spin_unlock(&l->lock);
			return false;
		}
		if (make_room_locked(l, GEN_CLEAN, &budget) &&
		    make_room_locked(l, GEN_DIRTY, &budget))
			break;
		spin_unlock(&l->lock);
		hal_pause();
	}
	l->birth_ns[gen_index(expected + 1)] = hal_time_ns();
	/* ord L4: who sees the new generation sees a window that has room for it; pairs with ord L3 */
	a64_store_release(&l->max_seq, expected + 1);
	spin_unlock(&l->lock);
	return true;
}

/* --- eviction end ---------------------------------------------------------------------------------- */

/*
 * A page that no store took is tried again now and then, for it may have been written since; every time
 * would mean to unmap and flush it for nothing at each turn of the window.
 */
static bool unpackable_rests_locked(struct lruvec *l, u64 state)
{
	return state & FRAME_UNPACKABLE && ++l->unpackable_met % UNPACKABLE_RETRY;
}

/* May a frame in this state not be evicted now, and is that because of its tier? */
static bool stays_locked(struct lruvec *l, u64 state, unsigned tier_limit, bool *protect)
{
	*protect = false;
	if (state & FRAME_PINS || unpackable_rests_locked(l, state))
		return true;
	*protect = refault_tier(state) > tier_limit;
	return *protect;
}

static void isolate_one_locked(struct lruvec *l, u32 frame, unsigned tier_limit,
                               struct gen_chunk *out)
{
	struct frame *f = frame_at(frame);
	unsigned index = gen_index(out->seq);
	u64 state = a64_load(&f->state);
	bool protect = false;

	do {
		if (state_index(state) != index || stays_locked(l, state, tier_limit, &protect)) {
			bool moved = move_on_locked(l, frame, out->type, out->seq, protect);

			out->sorted += !moved;
			out->protected_ += moved && protect;
			out->rotated += moved && !protect;
			return;
		}
		/* ord L1: who pinned it and let go has used it before (ord FR2); no pin from here on (ord FR1) */
	} while (!a64_cas(&f->state, &state, state_regen(state, 0) | FRAME_ISOLATED));
	frame_list_remove(&l->list[index][out->type], frame);
	size_add(l, index, out->type, -1);
	out->frame[out->n++] = frame;
}

static void isolate_type_locked(struct lruvec *l, enum gen_type type, u64 last_seq,
                                struct gen_chunk *out)
{
	u64 seq = l->min_seq[type];
	struct frame_list *list = &l->list[gen_index(seq)][type];
	unsigned tier_limit = refault_tier_limit_locked(l, type);

	out->type = type;
	out->seq = seq;
	if (!evictable_locked(l, type) || seq > last_seq)
		return;
	for (; list->tail != FRAME_NONE && out->n < GEN_BATCH && out->scanned < GEN_MAX_BATCH;
	     out->scanned++)
		isolate_one_locked(l, list->tail, tier_limit, out);
}

void gen_isolate(struct lruvec *l, unsigned swappiness, u64 last_seq, struct gen_chunk *out)
{
	enum gen_type type;

	out->n = 0;
	out->scanned = out->sorted = out->protected_ = out->rotated = 0;
	spin_lock(&l->lock);
	gen_trim_locked(l, GEN_CLEAN);
	gen_trim_locked(l, GEN_DIRTY);
	type = refault_choose_type_locked(l, swappiness);
	isolate_type_locked(l, type, last_seq, out);
	/* Only when there was nothing at all: falling back earlier would undo the choice. */
	if (!out->scanned && swappiness)
		isolate_type_locked(l, type == GEN_CLEAN ? GEN_DIRTY : GEN_CLEAN, last_seq, out);
	gen_trim_locked(l, GEN_CLEAN);
	gen_trim_locked(l, GEN_DIRTY);
	out->need_aging = !evictable_locked(l, GEN_CLEAN) &&
	                  !(swappiness && evictable_locked(l, GEN_DIRTY));
	spin_unlock(&l->lock);
}

bool gen_isolate_page(struct lruvec *l, u32 frame, u16 space_id, gfn_t g, struct gen_chunk *out)
{
	struct frame *f = frame_at(frame);
	bool taken = false;
	u64 state;

	*out = (struct gen_chunk){.n = 0};
	spin_lock(&l->lock);
	state = a64_load(&f->state);
	while (!taken && state & FRAME_GEN && !(state & FRAME_PINS) &&
	       frame_use(state) == FRAME_GUEST && frame_space_id(f) == space_id &&
	       frame_gfn(f).v == g.v)
		/* ord L1: as in isolate_one_locked(); pairs with ord L2, ord FR1, ord FR2 */
		taken = a64_cas(&f->state, &state, state_regen(state, 0) | FRAME_ISOLATED);
	if (taken) {
		out->type = state_type(state);
		out->seq = seq_of_locked(l, state_index(state));
		out->frame[out->n++] = frame;
		out->scanned = 1;
		frame_list_remove(list_of_locked(l, frame), frame);
		size_add(l, state_index(state), out->type, -1);
	}
	spin_unlock(&l->lock);
	return taken;
}

u64 gen_total(const struct lruvec *l)
{
	s64 total = 0;

	for (unsigned g = 0; g < GEN_MAX; g++)
		for (unsigned type = 0; type < GEN_TYPES; type++)
			total += (s64)a64_load(&l->size[g][type]);
	return total > 0 ? (u64)total : 0;
}
