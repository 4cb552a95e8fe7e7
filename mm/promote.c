/*
 * Promotion: what a sighting does to a page, without a lock, by one compare-exchange of its state word.
 *
 * A batch has one generation that it promotes to, `to`: max_seq when it began. A frame whose label is younger
 * keeps its label; so labels never shrink, in whatever order states and max_seq were read and however old
 * both are. That is all the lists ask for (top of mm/gen.c). If the window has passed `to` meanwhile, the
 * frame is in the oldest generation, as one with this label would be that had been promoted in time.
 *
 * Succeeding late: a state word that is again what it was, after the frame went and came back, has the same
 * label, which is what the promotion compared with and what the batch counts as its old one. That it is of the
 * same lruvec, with the same meaning of labels, the epoch section guarantees: a frame that a gfn word named
 * within it comes to no other owner before its end (I7).
 *
 * The batch counts by label, relative to `to`: min_seq is never more than GEN_MAX - 1 behind max_seq, so labels
 * from to - (GEN_MAX - 1) down to anything are in one generation from the start and stay so, and share the
 * first entry. The flush finds the generation of each entry under the lock, as that of a label.
 */
#include "mm/gen.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/gen_word.h"
#include "mm/gfnmap.h"

/* The oldest generation that a batch tells from those before. */
static u64 batch_first(const struct gen_batch *b)
{
	return b->to - (GEN_MAX - 1);
}

static void batch_begin(const struct lruvec *l, struct gen_batch *b)
{
	if (unlikely(!b->to))
		b->to = a64_load(&l->max_seq); /* at least GEN_MAX - 1 */
}

static void batch_count(struct gen_batch *b, u64 label, enum gen_type type)
{
	u64 first = batch_first(b);

	b->delta[label > first ? label - first : 0][type]--;
	b->delta[GEN_MAX - 1][type]++;
	b->promoted++;
}

void gen_batch_flush(struct lruvec *l, struct gen_batch *b)
{
	spin_lock(&l->lock);
	for (unsigned i = 0; b->to && i < GEN_MAX; i++)
		for (unsigned type = 0; type < GEN_TYPES; type++)
			size_add(l, max_of(batch_first(b) + i, l->min_seq[type]), type,
			         b->delta[i][type]);
	/* The last is what they are promoted to. */
	for (unsigned i = 0; b->to && i < GEN_MAX - 1; i++)
		guard_seen_locked(l, batch_first(b) + i,
		                  (u64) - (b->delta[i][GEN_CLEAN] + b->delta[i][GEN_DIRTY]));
	spin_unlock(&l->lock);
	*b = (struct gen_batch){.promoted = 0};
}

/* What a sighting makes of a state word. */
static u64 state_promoted(u64 state, u64 to)
{
	u64 next;

	/* The Accessed bit is cleared by now: the evictor would not find it any more. */
	if (state & FRAME_ISOLATED)
		return state | FRAME_SEEN;
	if (!(state & FRAME_LISTED))
		return state;
	next = state_touched(state);
	if (state_moves(next) && gen_label_seq(state, to) < to)
		next = state_listed(next, to);
	return next;
}

bool gen_promote(struct lruvec *l, u32 frame, u16 space_id, struct gen_batch *b)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state), next, label;

	batch_begin(l, b);
	do {
		if (frame_use(state) != FRAME_GUEST || frame_space_id(f) != space_id)
			return false;
		next = state_promoted(state, b->to);
	} while (next != state && !a64_cas(&f->state, &state, next));
	b->clean += !(state & FRAME_DIRTY);
	if (!(state & FRAME_LISTED))
		return false;
	label = gen_label_seq(state, b->to);
	/* By what was written: settings may change meanwhile. */
	if (gen_label_seq(next, b->to) != label)
		batch_count(b, label, state_type(state));
	return true;
}

/*
 * The same once more, for many pages and few instructions. A frame that is in a generation is a guest's, and
 * the one whose word named it within this epoch section: neither use nor owner needs a look. All that is
 * unusual goes the way above.
 */
#define TOUCHED (FRAME_REFERENCED | FRAME_WORKINGSET)
/* What stays of a state word: all below the label but this. Fits an instruction. */
#define KEPT ((u32) ~(FRAME_REFS | TOUCHED))
/* Of label and type, which stand side by side, number those of a batch: type is the lowest bit. */
#define TALLIES (GEN_MAX * GEN_TYPES)

struct promotion {
	struct lruvec *l;
	struct frame *frames; /* number 0 */
	u64 set;              /* what is added to a state word, */
	u64 first;            /* ... label and type of the first tally, */
	u16 tally[TALLIES];   /* ... and how many were promoted, by label and type before */
	u64 slow;
	u16 space_id;
	struct gen_batch *batch;
};

static void promotion_start(struct promotion *p)
{
	batch_begin(p->l, p->batch);
	p->set = state_label(p->batch->to) | FRAME_WORKINGSET;
	p->first = state_label(batch_first(p->batch)) >> FRAME_DIRTY_SHIFT;
}

/* Moves the tally to the batch; returns how many there were. */
static u64 promotion_end(struct promotion *p)
{
	struct gen_batch *b = p->batch;
	u64 all = 0;

	for (unsigned i = 0; i < TALLIES; i++) {
		unsigned from = i / GEN_TYPES, type = i % GEN_TYPES, n = p->tally[i];

		b->delta[from][type] -= (s32)n;
		b->delta[GEN_MAX - 1][type] += (s32)n;
		b->promoted += from == GEN_MAX - 1 ? 0 : n;
		b->clean += type == GEN_CLEAN ? n : 0;
		all += n;
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

/* The tally of a frame with a label that is none of the batch's; TALLIES if it is younger, or not listed. */
static u64 tally_of_others(const struct promotion *p, u64 state)
{
	u64 first = batch_first(p->batch);

	if (!(state & FRAME_LISTED) || gen_label_seq(state, first) >= first)
		return TALLIES;
	return state_type(state);
}

/* Promotes the page of a gfn word, if it is the usual case: resident, listed, and touched before. */
static inline bool promote_quickly(struct promotion *p, const a64 *where)
{
	/* ord M5: the frame stands before the word names it; pairs with ord M4 */
	u64 word = a64_load_acquire(where), state, tally;
	struct frame *f;

	if (unlikely((u8)word !=
	             GFN_RESIDENT)) /* neither away nor busy: all other low bits are 0 */
		return false;
	f = p->frames + gfn_word_payload(word);
	state = a64_load(&f->state);
	tally = (state >> FRAME_DIRTY_SHIFT) - p->first;
	if (unlikely(tally >= TALLIES)) {
		tally = tally_of_others(p, state);
		if (tally == TALLIES)
			return false;
	}
	if (unlikely(!(state & TOUCHED)))
		return false;
	if (unlikely(!a64_cas(&f->state, &state, (state & KEPT) | p->set)))
		return false;
	DEBUG_ASSERT(frame_use(state) == FRAME_GUEST && frame_space_id(f) == p->space_id);
	p->tally[tally]++;
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
