/*
 * The lists are short and everything is under one lock that is held for a few dozen instructions; it is
 * taken once or twice for each chunk of an eviction.
 */
#include "mm/vmlru.h"

#include "lib/lock.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/gen.h"
#include "mm/space.h"

#define GOLDEN 0x9e3779b97f4a7c15ull

_Static_assert(SPACE_MAX <= 64, "a walk remembers whom it met in 64 bits");

struct line {
	struct space *head, *tail;
};

static struct {
	struct spinlock lock; /* LOCK_VM_LRU */
	a64 rounds;           /* the old generation is the one with this index, mod VMLRU_GENS */
	u64 drawn;            /* of the generator */
	struct line line[VMLRU_GENS][VMLRU_SEGMENTS][VMLRU_BINS];
	unsigned nr[VMLRU_GENS];
} lru = {.lock = SPINLOCK_INIT(LOCK_VM_LRU, "vmlru")};

/* Multiples of the golden ratio: spread evenly, the same in every run. */
static unsigned random_bin_locked(void)
{
	return (unsigned)(lru.drawn++ * GOLDEN >> 61) % VMLRU_BINS;
}

static unsigned old_locked(void)
{
	return (unsigned)a64_load(&lru.rounds) % VMLRU_GENS;
}

static unsigned gen_of_locked(const struct vmlru_node *n)
{
	return n->young ? !old_locked() : old_locked();
}

static struct line *line_of_locked(const struct vmlru_node *n)
{
	return &lru.line[gen_of_locked(n)][n->segment][n->bin];
}

static void push_tail_locked(struct space *s)
{
	struct vmlru_node *n = &s->vmlru;
	struct line *line = line_of_locked(n);

	n->next = NULL;
	n->prev = line->tail;
	if (line->tail)
		line->tail->vmlru.next = s;
	else
		line->head = s;
	line->tail = s;
	n->listed = true;
	lru.nr[gen_of_locked(n)]++;
}

static void unlink_locked(struct space *s)
{
	struct vmlru_node *n = &s->vmlru;
	struct line *line = line_of_locked(n);

	if (n->prev)
		n->prev->vmlru.next = n->next;
	else
		line->head = n->next;
	if (n->next)
		n->next->vmlru.prev = n->prev;
	else
		line->tail = n->prev;
	n->listed = false;
	lru.nr[gen_of_locked(n)]--;
}

/* Nobody left in the old generation: the young one takes its place. */
static void turn_over_locked(void)
{
	unsigned young = !old_locked();

	if (lru.nr[old_locked()] || !lru.nr[young])
		return;
	for (unsigned segment = 0; segment < VMLRU_SEGMENTS; segment++)
		for (unsigned bin = 0; bin < VMLRU_BINS; bin++)
			for (struct space *s = lru.line[young][segment][bin].head; s;
			     s = s->vmlru.next)
				s->vmlru.young = false;
	a64_count(&lru.rounds, 1);
}

static void rotate_locked(struct space *s, enum vmlru_op op)
{
	struct vmlru_node *n = &s->vmlru;

	unlink_locked(s);
	switch (op) {
	case VMLRU_HEAD:
		n->young = false;
		n->segment = VMLRU_SEG_HEAD;
		n->bin = (u8)random_bin_locked();
		break;
	case VMLRU_TAIL:
		n->segment = VMLRU_SEG_TAIL;
		break;
	case VMLRU_YOUNG:
	case VMLRU_OLD:
		n->young = op == VMLRU_YOUNG;
		n->segment = VMLRU_SEG_MIDDLE;
		n->bin = (u8)random_bin_locked();
		break;
	}
	push_tail_locked(s);
	turn_over_locked();
}

void vmlru_init(void)
{
	spin_lock(&lru.lock);
	a64_store(&lru.rounds, 0);
	lru.drawn = 0;
	memset(lru.line, 0, sizeof(lru.line));
	lru.nr[0] = lru.nr[1] = 0;
	spin_unlock(&lru.lock);
}

void vmlru_add(struct space *s)
{
	spin_lock(&lru.lock);
	s->vmlru = (struct vmlru_node){.segment = VMLRU_SEG_MIDDLE, .bin = (u8)random_bin_locked()};
	push_tail_locked(s);
	spin_unlock(&lru.lock);
}

void vmlru_remove(struct space *s)
{
	spin_lock(&lru.lock);
	if (s->vmlru.listed)
		unlink_locked(s);
	turn_over_locked();
	spin_unlock(&lru.lock);
}

void vmlru_rotate(struct space *s, enum vmlru_op op)
{
	spin_lock(&lru.lock);
	if (s->vmlru.listed)
		rotate_locked(s, op);
	spin_unlock(&lru.lock);
}

u64 vmlru_rounds(void)
{
	return a64_load(&lru.rounds);
}

/* --- walks ----------------------------------------------------------------------------------------- */

void vmlru_walk_begin(struct vmlru_walk *w)
{
	spin_lock(&lru.lock);
	*w = (struct vmlru_walk){.start_bin = random_bin_locked()};
	spin_unlock(&lru.lock);
}

/* One that is dying is met by nobody any more: it must not keep the round from ending. */
static struct space *line_next_locked(const struct line *line, struct vmlru_walk *w)
{
	for (struct space *s = line->head, *next; s; s = next) {
		next = s->vmlru.next;
		if (w->met & BIT(s->id - 1))
			continue;
		w->met |= BIT(s->id - 1);
		if (space_get(s))
			return s;
		unlink_locked(s);
	}
	return NULL;
}

static struct space *old_next_locked(struct vmlru_walk *w)
{
	struct space *s = NULL;

	for (unsigned segment = 0; segment < VMLRU_SEGMENTS && !s; segment++)
		for (unsigned i = 0; i < VMLRU_BINS && !s; i++)
			s = line_next_locked(
			        &lru.line[old_locked()][segment][(w->start_bin + i) % VMLRU_BINS],
			        w);
	return s;
}

struct space *vmlru_walk_next(struct vmlru_walk *w)
{
	struct space *s;

	epoch_enter();
	spin_lock(&lru.lock);
	s = old_next_locked(w);
	turn_over_locked();
	spin_unlock(&lru.lock);
	epoch_exit();
	return s;
}

/* --- turns ----------------------------------------------------------------------------------------- */

/* Opens its turn if it has none: what was not taken in the last one is not saved up. */
static bool may_take_locked(struct vmlru_node *n, u64 budget)
{
	if (!budget)
		return true;
	if (!n->in_turn)
		n->account = min_of(n->account, (s64)0) + (s64)budget;
	n->in_turn = n->account > 0;
	return n->in_turn;
}

enum vmlru_turn vmlru_turn(struct space *s, u64 floor, u64 budget)
{
	struct vmlru_node *n = &s->vmlru;
	enum vmlru_turn turn = VMLRU_TAKE;

	spin_lock(&lru.lock);
	if (floor && a64_load(&s->resident) < floor + n->taking + GEN_BATCH)
		turn = VMLRU_PROTECTED;
	else if (!may_take_locked(n, budget))
		turn = VMLRU_WAIT;
	else
		n->taking += GEN_BATCH;
	if (turn != VMLRU_TAKE && n->listed)
		rotate_locked(s, VMLRU_YOUNG);
	spin_unlock(&lru.lock);
	return turn;
}

/* Where to with a space after a chunk of `frames`; false: it stays where it is. */
static bool next_place_locked(struct vmlru_node *n, u64 frames, bool aged, enum vmlru_op *op)
{
	bool was_in_turn = n->in_turn;

	if (!frames) {
		n->account = 0;
		n->in_turn = false;
		*op = aged || n->segment == VMLRU_SEG_TAIL ? VMLRU_YOUNG : VMLRU_TAIL;
		return true;
	}
	if (was_in_turn)
		n->account -= (s64)frames;
	n->in_turn = n->account > 0;
	*op = VMLRU_YOUNG;
	return was_in_turn && !n->in_turn;
}

void vmlru_taken(struct space *s, u64 frames, bool aged)
{
	struct vmlru_node *n = &s->vmlru;
	enum vmlru_op op;

	spin_lock(&lru.lock);
	n->taking -= GEN_BATCH;
	if (next_place_locked(n, frames, aged, &op) && n->listed)
		rotate_locked(s, op);
	spin_unlock(&lru.lock);
}
