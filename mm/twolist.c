#include "mm/twolist.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/gen_word.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/space.h"

/*
 * Steps of the count that make all of memory, at most. 12 bits keep 4096 of them: what comes back after so many
 * is taken for recent again, so it has to be many memories, and a step a small part of one.
 */
#define STAMPS_PER_MEMORY 256u

static u64 size_of(const struct lruvec *l, u64 seq, enum gen_type type)
{
	s64 n = (s64)a64_load(&l->size[gen_index(seq)][type]);

	return n > 0 ? (u64)n : 0;
}

static struct frame_list *list_of(struct lruvec *l, u64 seq, enum gen_type type)
{
	return &l->list[gen_index(seq)][type];
}

/* --- refaults -------------------------------------------------------------------------------------- */

void twolist_count(struct lruvec *l)
{
	a64_count(&l->turnover, 1);
}

void twolist_set_memory(struct lruvec *l, u64 frames)
{
	u64 n = frames / STAMPS_PER_MEMORY;

	a32_store(&l->stamp_shift, n ? 64 - (u32)__builtin_clzll(n) : 0);
}

u64 twolist_stamp(const struct lruvec *l)
{
	return a64_load(&l->turnover) >> a32_load(&l->stamp_shift);
}

unsigned twolist_distance(const struct lruvec *l, u64 word)
{
	enum gen_type type = word & GFN_CLEAN ? GEN_CLEAN : GEN_DIRTY;
	enum gen_type other = type == GEN_CLEAN ? GEN_DIRTY : GEN_CLEAN;
	u64 stamps = (twolist_stamp(l) - gfn_word_seq(word)) & GFN_SEQ_MASK;
	u64 rivals = size_of(l, twolist_active(l), GEN_CLEAN) +
	             size_of(l, twolist_active(l), GEN_DIRTY) +
	             size_of(l, twolist_inactive(l), other);
	u64 quarters = (stamps << a32_load(&l->stamp_shift)) * GEN_MAX / (rivals + 1);

	return (unsigned)min_of(quarters, (u64)GFN_SEQ_MASK);
}

/* --- entering -------------------------------------------------------------------------------------- */

void twolist_init(struct lruvec *l)
{
	a32_store(&l->twolist, 1);
	for (unsigned type = 0; type < GEN_TYPES; type++)
		l->min_seq[type] = l->oldest_label[type] = twolist_inactive(l);
}

u64 twolist_entry(const struct lruvec *l, enum gen_entry how, u64 *state)
{
	u64 was = *state;

	switch (how) {
	case GEN_ENTER_REFAULT_HOT:
		*state |= FRAME_WORKINGSET;
		return twolist_active(l);
	case GEN_ENTER_REJECTED:
	case GEN_ENTER_RESCUED:
		*state &= ~(FRAME_REFERENCED | FRAME_REFS);
		if (was & FRAME_REFERENCED || !a32_load(&policy.two_touch)) {
			*state |= FRAME_WORKINGSET;
			return twolist_active(l);
		}
		*state |= FRAME_REFERENCED;
		return twolist_inactive(l);
	case GEN_ENTER_FRESH:
	case GEN_ENTER_REFAULT:
	case GEN_ENTER_UNPACKABLE:
	case GEN_ENTER_DEACTIVATED:
		break;
	}
	return twolist_inactive(l);
}

/* --- the inactive end ------------------------------------------------------------------------------ */

/*
 * Both types in proportion to what is inactive of them, weighted by swappiness: each chunk all gain credit, and who
 * has most pays for it. What is empty has none.
 */
static enum gen_type choose_type_locked(struct lruvec *l, unsigned swappiness)
{
	const u64 weight[GEN_TYPES] = {
	        [GEN_CLEAN] = POLICY_SWAPPINESS_MAX - swappiness, [GEN_DIRTY] = swappiness};
	enum gen_type best;
	s64 sum = 0;

	for (unsigned type = 0; type < GEN_TYPES; type++) {
		s64 gain = (s64)(weight[type] *
		                 size_of(l, twolist_inactive(l), (enum gen_type)type));

		sum += gain;
		l->credit[type] = gain ? l->credit[type] + gain : 0;
	}
	best = l->credit[GEN_CLEAN] >= l->credit[GEN_DIRTY] ? GEN_CLEAN : GEN_DIRTY;
	if (!weight[best])
		best = weight[GEN_CLEAN] ? GEN_CLEAN : GEN_DIRTY;
	l->credit[best] -= sum;
	return best;
}

/* The frame stays: at the young end, or on the active list if something promoted it meanwhile. */
static void keep_locked(struct lruvec *l, u32 frame, enum gen_type type, bool promoted,
                        struct gen_chunk *out)
{
	frame_list_remove(list_of(l, twolist_inactive(l), type), frame);
	frame_list_push_head(list_of(l, promoted ? twolist_active(l) : twolist_inactive(l), type),
	                     frame);
	out->sorted += promoted;
	out->rotated += !promoted;
}

static void isolate_one_locked(struct lruvec *l, u32 frame, enum gen_type type,
                               struct gen_chunk *out)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state);

	do {
		bool promoted = gen_seq_locked(l, state) != twolist_inactive(l);

		if (promoted || state & FRAME_PINS || gen_unpackable_rests_locked(l, state)) {
			keep_locked(l, frame, type, promoted, out);
			return;
		}
		/* ord L1: who pinned it and let go has used it before (ord FR2); no pin from here on (ord FR1) */
	} while (!a64_cas(&f->state, &state, state_unlisted(state) | FRAME_ISOLATED));
	frame_list_remove(list_of(l, twolist_inactive(l), type), frame);
	size_add(l, twolist_inactive(l), type, -1);
	out->seen[out->n] = (u16)(out->seq & GFN_SEQ_MASK);
	out->frame[out->n++] = frame;
}

/* Once around the list at most. */
static void isolate_type_locked(struct lruvec *l, enum gen_type type, struct gen_chunk *out)
{
	struct frame_list *list = list_of(l, twolist_inactive(l), type);
	u32 end = list->head;
	bool last = false;

	out->type = type;
	while (list->tail != FRAME_NONE && !last && out->n < out->most &&
	       out->scanned < GEN_MAX_BATCH) {
		last = list->tail == end;
		isolate_one_locked(l, list->tail, type, out);
		out->scanned++;
	}
}

void twolist_isolate_locked(struct lruvec *l, unsigned swappiness, struct gen_chunk *out)
{
	enum gen_type type = choose_type_locked(l, swappiness);

	out->seq = twolist_stamp(l);
	isolate_type_locked(l, type, out);
	if (!out->scanned && swappiness)
		isolate_type_locked(l, type == GEN_CLEAN ? GEN_DIRTY : GEN_CLEAN, out);
	out->need_aging = false;
}

/* --- the balance ----------------------------------------------------------------------------------- */

static u64 square_root(u64 x)
{
	u64 r = 0;

	while ((r + 1) * (r + 1) <= x)
		r++;
	return r;
}

/* Inactive pages are to be one of (1 + ratio); the ratio is the root of ten times the gigabytes, at least 1. */
static bool inactive_is_low(const struct lruvec *l, enum gen_type type)
{
	u64 inactive = size_of(l, twolist_inactive(l), type);
	u64 active = size_of(l, twolist_active(l), type);
	u64 ratio = square_root(10 * ((inactive + active) >> (30 - PAGE_SHIFT)));

	return inactive * max_of(ratio, 1ull) < active;
}

/* Takes frames from the old end of an active list; returns how many. */
static unsigned take_active(struct lruvec *l, enum gen_type type, u32 *out)
{
	struct frame_list *list = list_of(l, twolist_active(l), type);
	unsigned n = 0;

	spin_lock(&l->lock);
	for (unsigned i = 0; twolist_in(l) && i < GEN_BATCH && list->tail != FRAME_NONE; i++) {
		u32 frame = list->tail;
		struct frame *f = frame_at(frame);
		u64 state = a64_load(&f->state);

		/* ord L1: as above; who has pinned it finds it in its place */
		while (!(state & FRAME_PINS) &&
		       !a64_cas(&f->state, &state, state_unlisted(state) | FRAME_ISOLATED))
			;
		frame_list_remove(list, frame);
		if (state & FRAME_PINS) {
			frame_list_push_head(list, frame);
			continue;
		}
		size_add(l, twolist_active(l), type, -1);
		out[n++] = frame;
	}
	spin_unlock(&l->lock);
	return n;
}

static void deactivate(struct space *s, enum gen_type type)
{
	u32 frame[GEN_BATCH];
	unsigned n = take_active(&s->lru, type, frame);

	for (unsigned i = 0; i < n; i++) {
		(void)notifier_age_one(s, frame_gfn(frame_at(frame[i])), NOTIFIER_CLEAR);
		gen_insert(&s->lru, frame[i], GEN_ENTER_DEACTIVATED);
	}
	a64_count(&s->stats.scanned_total, n);
	a64_count(&s->stats.deactivated_total, n);
}

void twolist_balance(struct space *s)
{
	DEBUG_ASSERT(!epoch_active());
	for (unsigned type = 0; type < GEN_TYPES; type++)
		if (inactive_is_low(&s->lru, (enum gen_type)type))
			deactivate(s, (enum gen_type)type);
}
