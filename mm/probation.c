#include "mm/probation.h"

#include "mm/frame.h"
#include "mm/gen_word.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/refault.h"
#include "mm/twolist.h"

bool probation_first_locked(const struct lruvec *l, u64 last_seq)
{
	return last_seq == GEN_ANY_SEQ && l->on_probation;
}

/* --- the list -------------------------------------------------------------------------------------- */

/* Takes a frame off the list, to that of its generation. */
static void release_locked(struct lruvec *l, u32 frame, enum gen_type type, u64 clear)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state), seq;

	do
		seq = gen_seq_locked(l, state);
	while (!a64_cas(&f->state, &state, state & ~(FRAME_PROBATION | FRAME_TESTED | clear)));
	frame_list_remove(&l->probation[type], frame);
	frame_list_push_head(&l->list[gen_index(seq)][type], frame);
	l->on_probation--;
}

bool probation_drain_locked(struct lruvec *l, unsigned *budget)
{
	for (unsigned type = 0; type < GEN_TYPES; type++)
		for (; l->probation[type].tail != FRAME_NONE; --*budget) {
			if (!*budget)
				return false;
			release_locked(l, l->probation[type].tail, (enum gen_type)type, 0);
		}
	return true;
}

/* May a frame in this state not be taken now? *spent: bits that this costs it. */
static bool stays_locked(struct lruvec *l, u64 state, unsigned tier_limit, u64 *spent)
{
	*spent = 0;
	if (state & (FRAME_WORKINGSET | FRAME_PINS) || gen_unpackable_rests_locked(l, state))
		return true;
	*spent = refault_tier(state) > tier_limit ? FRAME_REFS : 0;
	return *spent;
}

static void isolate_one_locked(struct lruvec *l, u32 frame, unsigned tier_limit,
                               struct gen_chunk *out)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state), spent, seq;

	do {
		if (stays_locked(l, state, tier_limit, &spent)) {
			release_locked(l, frame, out->type, spent);
			out->protected_ += spent != 0;
			out->sorted += !spent && state & FRAME_WORKINGSET;
			out->rotated += !spent && !(state & FRAME_WORKINGSET);
			return;
		}
		seq = gen_seq_locked(l, state);
		/* ord L1: who pinned it and let go has used it before (ord FR2); no pin from here on (ord FR1) */
	} while (!a64_cas(&f->state, &state, state_unlisted(state) | FRAME_ISOLATED));
	frame_list_remove(&l->probation[out->type], frame);
	l->on_probation--;
	size_add(l, seq, out->type, -1);
	out->seen[out->n] = (u16)(gen_label_seq(state, a64_load(&l->max_seq)) & GFN_SEQ_MASK);
	if (!(state & FRAME_TESTED))
		out->seen[out->n] |= GEN_FIRST_PROBATION;
	out->frame[out->n++] = frame;
}

static void isolate_type_locked(struct lruvec *l, enum gen_type type, struct gen_chunk *out)
{
	const struct frame_list *list = &l->probation[type];
	unsigned tier_limit = refault_tier_limit_locked(l, type);

	out->type = type;
	for (; list->tail != FRAME_NONE && out->n < out->most && out->scanned < GEN_MAX_BATCH;
	     out->scanned++)
		isolate_one_locked(l, list->tail, tier_limit, out);
}

bool probation_pass_due_locked(struct lruvec *l)
{
	u64 all = gen_total(l) / PROBATION_PASSES + 1;

	if (l->since_pass < all)
		return false;
	l->since_pass = all - all / 8;
	return true;
}

void probation_isolate_locked(struct lruvec *l, unsigned swappiness, struct gen_chunk *out)
{
	enum gen_type type = refault_choose_type_locked(l, swappiness);

	out->probation = true;
	/* Ages are what tells who stays: now and then they have to be new. */
	out->need_aging = probation_pass_due_locked(l);
	if (out->need_aging)
		return;
	isolate_type_locked(l, type, out);
	if (!out->scanned && swappiness)
		isolate_type_locked(l, type == GEN_CLEAN ? GEN_DIRTY : GEN_CLEAN, out);
	l->since_pass += out->n;
}

/* --- the share ------------------------------------------------------------------------------------- */

void probation_came_back(struct lruvec *l)
{
	a64_count(&l->probation_share, PROBATION_GROWTH);
}

void probation_left(struct lruvec *l)
{
	a64_count(&l->probation_share, -1ull);
}

bool probation_in_test(const struct lruvec *l, u64 word)
{
	u64 max = a64_load(&l->max_seq), seen = gfn_word_seq(word);

	return ((max - seen) & GFN_SEQ_MASK) < max - a64_load(&l->probation_horizon);
}

/* Pages that the list is to have. Half of all at the start; never more than all or less than its part of them. */
static u64 share_locked(struct lruvec *l)
{
	s64 all = (s64)gen_total(l), share = (s64)a64_load(&l->probation_share);
	s64 kept = share;

	if (!l->probation_started) {
		kept = all / 2;
		l->probation_started = true;
	}
	kept = min_of(kept, all);
	kept = max_of(kept, all / (s64)PROBATION_PART + 1);
	if (kept != share)
		a64_store(&l->probation_share, (u64)kept);
	return (u64)kept;
}

/* --- who leaves the generations --------------------------------------------------------------------- */

/* The next to leave a type's generations, and who of those looked at is the last to: by label. */
struct choice {
	struct frame_list *list; /* NULL: nothing is protected */
	u64 seq;                 /* ... whose it is */
	u32 oldest, youngest;    /* frames; FRAME_NONE: all that were looked at were promoted */
	u64 low, high;           /* their labels */
};

/* The oldest list that has frames. */
static struct choice choice_of_locked(struct lruvec *l, enum gen_type type)
{
	struct choice c = {.oldest = FRAME_NONE, .youngest = FRAME_NONE};
	u64 max = a64_load(&l->max_seq);

	for (u64 seq = l->min_seq[type]; seq <= max && !c.list; seq++)
		if (l->list[gen_index(seq)][type].tail != FRAME_NONE) {
			c.list = &l->list[gen_index(seq)][type];
			c.seq = seq;
		}
	return c;
}

/* Of equal labels, the one nearest to the end is the oldest, the one farthest from it the youngest. */
static void consider(struct choice *c, u32 frame, u64 label)
{
	if (c->oldest == FRAME_NONE || label < c->low) {
		c->oldest = frame;
		c->low = label;
	}
	if (c->youngest == FRAME_NONE || label >= c->high) {
		c->youngest = frame;
		c->high = label;
	}
}

/*
 * Looks at the last frames of the oldest list; those that were promoted to another go there. Generations that were
 * joined are in no order of labels, so the oldest of some is taken, and the youngest of them set back.
 */
static struct choice choose_locked(struct lruvec *l, enum gen_type type)
{
	struct choice c = choice_of_locked(l, type);
	u32 frame = c.list ? c.list->tail : FRAME_NONE;

	for (unsigned i = 0; i < PROBATION_WINDOW && frame != FRAME_NONE;) {
		u32 at = frame;
		u64 state = a64_load(&frame_at(at)->state), own = gen_seq_locked(l, state);

		frame = frame_at(at)->prev;
		if (own == c.seq) {
			consider(&c, at, gen_label_seq(state, a64_load(&l->max_seq)));
			i++;
			continue;
		}
		frame_list_remove(c.list, at);
		frame_list_push_head(&l->list[gen_index(own)][type], at);
	}
	if (c.list && c.oldest == FRAME_NONE)
		return choose_locked(l, type);
	return c;
}

static struct choice choose_any_locked(struct lruvec *l, enum gen_type *type)
{
	struct choice clean = choose_locked(l, GEN_CLEAN), dirty = choose_locked(l, GEN_DIRTY);

	bool clean_first = clean.low == dirty.low ? !l->dirty_turn : clean.low < dirty.low;

	*type = !dirty.list || (clean.list && clean_first) ? GEN_CLEAN : GEN_DIRTY;
	return *type == GEN_CLEAN ? clean : dirty;
}

bool probation_demote_locked(struct lruvec *l)
{
	enum gen_type type;
	struct choice c = choose_any_locked(l, &type);
	u64 state;

	if (!c.list)
		return false;
	if (c.low != c.high) {
		frame_list_remove(c.list, c.youngest);
		frame_list_push_head(c.list, c.youngest);
	}
	state = a64_load(&frame_at(c.oldest)->state);
	/* One try: who changes the word now promotes it, or pins it. */
	if (gen_seq_locked(l, state) != c.seq ||
	    !a64_cas(&frame_at(c.oldest)->state, &state,
	             state_demoted(state) | FRAME_PROBATION | FRAME_TESTED))
		return true;
	l->dirty_turn = type == GEN_CLEAN;
	a64_store(&l->probation_horizon, gen_label_seq(state, a64_load(&l->max_seq)));
	frame_list_remove(c.list, c.oldest);
	frame_list_push_head(&l->probation[type], c.oldest);
	l->on_probation++;
	return true;
}

unsigned probation_next_locked(struct lruvec *l, unsigned n, struct probation_page *out)
{
	enum gen_type type;
	unsigned found = 0;
	struct choice c = choose_any_locked(l, &type);

	for (u32 frame = c.list ? c.list->tail : FRAME_NONE; frame != FRAME_NONE && n;
	     frame = frame_at(frame)->prev, n--)
		if (gen_seq_locked(l, a64_load(&frame_at(frame)->state)) == c.seq)
			out[found++] = (struct probation_page){frame, frame_gfn(frame_at(frame))};
	return found;
}

unsigned probation_wanted_locked(struct lruvec *l)
{
	u64 share;

	if (twolist_in(l))
		return 0;
	share = share_locked(l);
	return share > l->on_probation
	               ? (unsigned)min_of(share - l->on_probation, (u64)gen_chunk_frames(l))
	               : 0;
}
