/*
 * Owns the lruvec. Which generation a frame is in, the state word says; which list it hangs on may lag
 * behind.
 *
 * The word has a label: the generation that the frame was put into last, by who listed, moved or promoted
 * it. Windows move on and labels stay, so a frame is in the generation max(label, min_seq of its type): one
 * with an older label is in the oldest. That makes one of two generations by one splice of lists and one sum
 * of sizes, whatever the number of frames, and nobody's compare-exchange fails because of it. Wherever a
 * generation is read from a word, it is read this way: gen_seq_locked(), under the lock, where neither
 * min_seq nor max_seq moves.
 *
 * What keeps it right:
 *
 *   - A label never shrinks while its frame is listed. The owner of the lock moves to younger lists only; a
 *     promotion compares (mm/promote.c) and is made by compare-exchange.
 *   - So a frame's generation is never older than its list's (I4): lists are entered with both equal, the owner
 *     of the lock moves both together, a promotion moves the frame's alone, and a merge moves the oldest list
 *     together with min_seq, which is what older labels mean.
 *   - A label is at most max_seq: listing takes it from inside the window, a promotion from what max_seq was.
 *   - The window moves past a generation only when its lists are empty, or were joined to the next.
 *   - A label older than min_seq comes from a merge, so the type had GEN_MAX generations then, and has as long
 *     as anything is left on the oldest list: before, it is not trimmed.
 *
 * Sizes are counted by generation in this sense, too. A walker's batch has differences that it takes for those
 * of labels; who moves min_seq adds what stands for the oldest to the next, and a flush finds the generation
 * of a label as everybody does. Both are sums over frames, so it does not matter which comes first.
 *
 * A label is 31 bits of the sequence number and means what it says while it is less than 2^30 behind max_seq.
 * oldest_label[type] is a bound for all that are listed: when the oldest list is empty, all others are of
 * min_seq or younger; a merge leaves the bound where it is. Before a merge that finds it GEN_RELABEL behind,
 * the frames of the oldest list get the label of the next generation, in their order, at most GEN_MAX_BATCH per
 * hold of the lock. (Only of that list: what hangs on a younger one has a label at least as young.) Nothing
 * young is lost if a frame is promoted meanwhile: then it fails to be older, and hangs on the next list like
 * any that waits to be sorted. max_seq does not move before it is done, unless somebody else is asked for the
 * same generation and does the rest. 2^28 generations are years; the cost is none.
 *
 * There is no other mark of age in the word, such as a counter of changes. A compare-exchange that succeeds long
 * after its read finds the frame in the state it read, and that is all that any of them goes by: whoever
 * holds the lock reads min_seq and max_seq under it, and for a promotion see mm/promote.c.
 *
 * The type changes under the lock, together with the list, or while the frame is on no list.
 */
#include "mm/gen.h"

#include "arch/hal.h"
#include "mm/gen_word.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/probation.h"
#include "mm/refault.h"
#include "mm/twolist.h"

/* What a shadow keeps of a generation. */

_Static_assert(POLICY_CHUNK_MAX == GEN_BATCH, "the largest chunk is a full one");

/* max_seq for somebody who holds the lock. */
static u64 max_locked(const struct lruvec *l)
{
	DEBUG_ASSERT(spin_held(&l->lock));
	return a64_load(&l->max_seq);
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
	for (unsigned type = 0; type < GEN_TYPES; type++)
		frame_list_init(&l->probation[type]);
	l->since_pass = ~0ull >> 1; /* nothing was seen yet */
	guard_init(l);
	if (twolist_on())
		twolist_init(l);
}

/* --- lists ----------------------------------------------------------------------------------------- */

/* The list that a listed frame hangs on, by its ends; any list will do for one in the middle. */
static struct frame_list *list_of_locked(struct lruvec *l, u32 frame, u64 state)
{
	const struct frame *f = frame_at(frame);
	struct frame_list *list = &l->list[0][0];

	if (state & FRAME_PROBATION)
		return &l->probation[state_type(state)];
	if (f->next != FRAME_NONE && f->prev != FRAME_NONE)
		return list;
	for (unsigned i = 0; i < GEN_MAX * GEN_TYPES; i++)
		if (list[i].head == frame || list[i].tail == frame)
			return &list[i];
	hal_panic("frame %u is on no list of its lruvec", frame);
}

/* Takes a frame off its list; `state` is what its word said while it was on it. */
static void leave_list_locked(struct lruvec *l, u32 frame, u64 state)
{
	frame_list_remove(list_of_locked(l, frame, state), frame);
	l->on_probation -= state & FRAME_PROBATION ? 1 : 0;
}

/* Puts it at the young end of the list that its word says, where generation and list are the same. */
static void join_list_locked(struct lruvec *l, u32 frame, u64 state, u64 seq)
{
	enum gen_type type = state_type(state);

	l->on_probation += state & FRAME_PROBATION ? 1 : 0;
	frame_list_push_head(state & FRAME_PROBATION ? &l->probation[type]
	                                             : &l->list[gen_index(seq)][type],
	                     frame);
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
	case GEN_ENTER_DEACTIVATED:
		seq = max - 1;
		break;
	case GEN_ENTER_REFAULT:
		if (!guard_rules(l))
			seq = probation_takes_locked(l, how) ? max - 1 : max - 2;
		break;
	}
	return max_of(seq, l->min_seq[state_type(state)]);
}

static u64 entry_flags(enum gen_entry how, u64 state)
{
	switch (how) {
	case GEN_ENTER_FRESH:
	case GEN_ENTER_REFAULT:
		/* The fault was its first touch, or the harvest of the retried access will be. */
		return a32_load(&policy.fault_touch) ? state | FRAME_REFERENCED : state;
	case GEN_ENTER_REFAULT_HOT:
		return state | FRAME_WORKINGSET;
	case GEN_ENTER_REJECTED:
	case GEN_ENTER_RESCUED:
		return state_touched(state);
	case GEN_ENTER_UNPACKABLE:
	case GEN_ENTER_DEACTIVATED:
		break;
	}
	return state;
}

/* The generation that a frame enters; *state gets the flags that go with it. */
static u64 enter_locked(const struct lruvec *l, enum gen_entry how, u64 *state)
{
	if (twolist_in(l))
		return twolist_entry(l, how, state);
	*state = entry_flags(how, *state);
	return entry_seq_locked(l, how, *state);
}

void gen_insert(struct lruvec *l, u32 frame, enum gen_entry how)
{
	struct frame *f = frame_at(frame);
	u64 state, next, seq, probation;

	spin_lock(&l->lock);
	probation = probation_takes_locked(l, how) ? FRAME_PROBATION : 0;
	state = a64_load(&f->state);
	do {
		ASSERT(!(state & FRAME_LISTED) && frame_use(state) == FRAME_GUEST);
		next = state;
		seq = enter_locked(l, how, &next);
		next = state_listed(next & ~(FRAME_ISOLATED | FRAME_SEEN), seq);
		next |= probation;
		/* ord L2: pairs with ord L1 of the next evictor, ord FR1 of who pins it */
	} while (!a64_cas(&f->state, &state, next));
	join_list_locked(l, frame, next, seq);
	size_add(l, seq, state_type(next), 1);
	if (twolist_in(l) && seq == twolist_active(l))
		twolist_count(l);
	spin_unlock(&l->lock);
}

bool gen_remove(struct lruvec *l, u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state;

	spin_lock(&l->lock);
	state = a64_load(&f->state);
	do {
		if (!(state & FRAME_LISTED)) {
			spin_unlock(&l->lock);
			return false;
		}
	} while (!a64_cas(&f->state, &state, state_unlisted(state)));
	leave_list_locked(l, frame, state);
	size_add(l, gen_seq_locked(l, state), state_type(state), -1);
	spin_unlock(&l->lock);
	return true;
}

void gen_make_dirty(struct lruvec *l, u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state, next, seq = 0;

	spin_lock(&l->lock);
	state = a64_load(&f->state);
	do {
		next = (state | FRAME_DIRTY) & ~FRAME_UNPACKABLE;
		if (state & FRAME_LISTED) {
			/* The oldest generation of dirty pages may be younger than that of clean ones. */
			seq = max_of(gen_seq_locked(l, state), l->min_seq[GEN_DIRTY]);
			next = state_listed(next, seq);
		}
	} while (!a64_cas(&f->state, &state, next));
	frame_count_unpackable(state, next);
	if (state & FRAME_LISTED && !(state & FRAME_DIRTY)) {
		leave_list_locked(l, frame, state);
		join_list_locked(l, frame, next, seq);
	}
	if (state & FRAME_LISTED) {
		size_add(l, gen_seq_locked(l, state), state_type(state), -1);
		size_add(l, seq, GEN_DIRTY, 1);
	}
	spin_unlock(&l->lock);
}

/* --- the window ------------------------------------------------------------------------------------ */

/* The oldest generation of a type is used up: its figures become history. */
static void advance_min_locked(struct lruvec *l, enum gen_type type)
{
	u64 min = l->min_seq[type];

	/* If the lists are empty: what walkers have not flushed yet. It finds the same generation then. */
	size_add(l, min + 1, type, (s64)a64_xchg(&l->size[gen_index(min)][type], 0));
	refault_fold_locked(l, type);
	l->min_seq[type]++;
}

/* Has the oldest generation of a type nothing left, on its list or on probation? */
static bool oldest_empty_locked(const struct lruvec *l, enum gen_type type)
{
	unsigned min = gen_index(l->min_seq[type]);

	return l->list[min][type].tail == FRAME_NONE &&
	       (l->probation[type].tail == FRAME_NONE || (s64)a64_load(&l->size[min][type]) <= 0);
}

void gen_trim_locked(struct lruvec *l, enum gen_type type)
{
	if (twolist_in(l)) /* its window stands still */
		return;
	while (evictable_locked(l, type) && oldest_empty_locked(l, type)) {
		advance_min_locked(l, type);
		l->oldest_label[type] = l->min_seq[type];
	}
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

	while (gen_seq_locked(l, state) == seq && !moved)
		moved = a64_cas(&f->state, &state, state_listed(state & ~spent, seq + 1));
	frame_list_remove(&l->list[from][type], frame);
	if (!moved) {
		frame_list_push_head(&l->list[gen_index(gen_seq_locked(l, state))][type], frame);
		return false;
	}
	if (protect)
		l->protected_[type][refault_tier(state)]++;
	size_add(l, seq, type, -1);
	size_add(l, seq + 1, type, 1);
	frame_list_push_head(&l->list[to][type], frame);
	return true;
}

/* Writes the label of a frame of the generation before `seq` anew; false if it is in another, promoted. */
static bool relabel_locked(const struct lruvec *l, struct frame *f, u64 seq)
{
	u64 state = a64_load(&f->state);

	while (gen_seq_locked(l, state) < seq)
		if (a64_cas(&f->state, &state, state_listed(state, seq)))
			return true;
	return false;
}

/*
 * Takes frames of the oldest generation to the next one by writing it into each; false when the budget ran out
 * before the last. What is done is on the far end of the next list by then, so it goes on where it stopped.
 */
static bool relabel_oldest_locked(struct lruvec *l, enum gen_type type, unsigned *budget)
{
	u64 min = l->min_seq[type];
	struct frame_list *list = &l->list[gen_index(min)][type];
	u32 frame = list->head, last = FRAME_NONE;
	s64 moved = 0;

	for (; frame != FRAME_NONE && *budget; --*budget) {
		moved += relabel_locked(l, frame_at(frame), min + 1);
		last = frame;
		frame = frame_at(frame)->next;
	}
	size_add(l, min, type, -moved);
	size_add(l, min + 1, type, moved);
	if (last != FRAME_NONE)
		frame_list_splice_tail(&l->list[gen_index(min + 1)][type], list, last);
	if (frame != FRAME_NONE)
		return false;
	l->oldest_label[type] = min + 1;
	return true;
}

/*
 * The list of the oldest goes to the far end of the next one as it is, so that the order of eviction stays. Frames
 * that were promoted stay among the others, for the evictor to sort: only what is evicted from needs to be sorted.
 */
bool gen_join_oldest_locked(struct lruvec *l, enum gen_type type, unsigned *budget)
{
	u64 min = l->min_seq[type];
	struct frame_list *list = &l->list[gen_index(min)][type];

	if (min - l->oldest_label[type] >= GEN_RELABEL &&
	    (!probation_drain_locked(l, budget) || !relabel_oldest_locked(l, type, budget)))
		return false;
	if (list->head != FRAME_NONE)
		frame_list_splice_tail(&l->list[gen_index(min + 1)][type], list, list->tail);
	advance_min_locked(l, type);
	return true;
}

/* Makes room for one more generation of a type; false when the budget ran out before. */
static bool make_room_locked(struct lruvec *l, enum gen_type type, unsigned *budget)
{
	return max_locked(l) - l->min_seq[type] + 1 < GEN_MAX ||
	       gen_join_oldest_locked(l, type, budget);
}

bool gen_advance(struct lruvec *l, u64 expected)
{
	for (;;) {
		unsigned budget = GEN_MAX_BATCH;

		spin_lock(&l->lock);
		if (max_locked(l) != expected || twolist_in(l)) {
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
	a64_store(&l->max_seq, expected + 1);
	guard_advance_locked(l);
	l->since_pass = 0;
	spin_unlock(&l->lock);
	return true;
}

/* --- eviction end ---------------------------------------------------------------------------------- */

/* May a frame in this state not be evicted now, and is that because of its tier? */
static bool stays_locked(struct lruvec *l, u64 state, unsigned tier_limit, bool *protect)
{
	*protect = false;
	if (state & FRAME_PINS || gen_unpackable_rests_locked(l, state))
		return true;
	*protect = refault_tier(state) > tier_limit;
	return *protect;
}

/*
 * A page that was promoted once, and has grown old since, has one more turn before it goes, as one that was used
 * once: among the youngest, and if it is seen then, it is promoted again. So what is used now and then outlives
 * what is used once (a second chance, as CLOCK gives it, but for those only that were used twice). False if the
 * frame was promoted meanwhile, or is to go.
 */
static bool demote_locked(struct lruvec *l, u32 frame, struct gen_chunk *out)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state), to = max_locked(l);

	if (!out->demote || l->demoted_in_row >= GEN_DEMOTE_MAX || !(state & FRAME_WORKINGSET) ||
	    state & FRAME_PINS || gen_seq_locked(l, state) != out->seq)
		return false;
	/* One try: who changes the word now promotes it, or pins it. */
	if (!a64_cas(&f->state, &state, state_listed(state_demoted(state), to)))
		return false;
	frame_list_remove(&l->list[gen_index(out->seq)][out->type], frame);
	frame_list_push_head(&l->list[gen_index(to)][out->type], frame);
	size_add(l, out->seq, out->type, -1);
	size_add(l, to, out->type, 1);
	l->demoted_in_row++;
	out->demoted++;
	return true;
}

static void isolate_one_locked(struct lruvec *l, u32 frame, unsigned tier_limit,
                               struct gen_chunk *out)
{
	struct frame *f = frame_at(frame);
	bool protect = false;
	u64 state;

	if (demote_locked(l, frame, out))
		return;
	state = a64_load(&f->state);
	do {
		if (gen_seq_locked(l, state) != out->seq ||
		    stays_locked(l, state, tier_limit, &protect)) {
			bool moved = move_on_locked(l, frame, out->type, out->seq, protect);

			out->sorted += !moved;
			out->protected_ += moved && protect;
			out->rotated += moved && !protect;
			return;
		}
		/* ord L1: who pinned it and let go has used it before (ord FR2); no pin from here on (ord FR1) */
	} while (!a64_cas(&f->state, &state, state_unlisted(state) | FRAME_ISOLATED));
	frame_list_remove(&l->list[gen_index(out->seq)][out->type], frame);
	size_add(l, out->seq, out->type, -1);
	out->seen[out->n] = (u16)(out->seq & GFN_SEQ_MASK);
	out->frame[out->n++] = frame;
	l->demoted_in_row = 0;
}

unsigned gen_chunk_frames(const struct lruvec *l)
{
	u32 chunk = a32_load(&policy.chunk);

	if (chunk == POLICY_CHUNK_AUTO)
		chunk = a32_load(&l->chunk);
	return chunk ? (unsigned)min_of(chunk, GEN_BATCH) : GEN_BATCH;
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
	for (; list->tail != FRAME_NONE && out->n < out->most && out->scanned < GEN_MAX_BATCH;
	     out->scanned++)
		isolate_one_locked(l, list->tail, tier_limit, out);
}

static void isolate_locked(struct lruvec *l, unsigned swappiness, u64 last_seq,
                           struct gen_chunk *out)
{
	enum gen_type type;

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
}

/* Takes the lock, with nothing on probation unless that is where frames are to be taken from. */
static void lock_drained(struct lruvec *l, bool probation)
{
	unsigned budget = GEN_MAX_BATCH;

	spin_lock(&l->lock);
	while (!probation && !probation_drain_locked(l, &budget)) {
		spin_unlock(&l->lock);
		hal_pause();
		budget = GEN_MAX_BATCH;
		spin_lock(&l->lock);
	}
}

void gen_isolate(struct lruvec *l, unsigned swappiness, u64 last_seq, unsigned most,
                 struct gen_chunk *out)
{
	out->n = 0;
	out->most = min_of(most, gen_chunk_frames(l));
	out->scanned = out->sorted = out->protected_ = out->rotated = out->demoted = 0;
	/* Who asks for generations wants what is in them. */
	out->demote = a32_load(&policy.demote) && last_seq == GEN_ANY_SEQ && !guard_rules(l);
	out->probation = out->need_aging = false;
	lock_drained(l, last_seq == GEN_ANY_SEQ && a32_load(&policy.probation) && !guard_rules(l));
	if (twolist_in(l))
		twolist_isolate_locked(l, swappiness, out);
	else if (probation_first_locked(l, last_seq))
		probation_isolate_locked(l, swappiness, out);
	/* Where the type that may be taken has nobody on probation, it has its generations. */
	if (!twolist_in(l) && !out->scanned && !(out->probation && out->need_aging)) {
		out->probation = false;
		isolate_locked(l, swappiness, last_seq, out);
		l->since_pass += out->n;
		out->need_aging |= guard_rules(l) && probation_pass_due_locked(l);
	}
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
	while (!taken && state & FRAME_LISTED && !(state & FRAME_PINS) &&
	       frame_use(state) == FRAME_GUEST && frame_space_id(f) == space_id &&
	       frame_gfn(f).v == g.v)
		/* ord L1: as in isolate_one_locked(); pairs with ord L2, ord FR1, ord FR2 */
		taken = a64_cas(&f->state, &state, state_unlisted(state) | FRAME_ISOLATED);
	if (taken) {
		out->type = state_type(state);
		out->seq = twolist_in(l) ? twolist_stamp(l) : gen_seq_locked(l, state);
		out->frame[out->n++] = frame;
		out->scanned = 1;
		out->seen[0] = (u16)(out->seq & GFN_SEQ_MASK);
		leave_list_locked(l, frame, state);
		size_add(l, gen_seq_locked(l, state), out->type, -1);
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
