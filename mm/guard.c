#include "mm/guard.h"

#include "lib/util.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/twolist.h"

void guard_init(struct lruvec *l)
{
	l->guard.rounds = GUARD_ROUNDS;
	l->guard.ticks = GUARD_CALM * GUARD_TICKS;
}

/* It is there to mend what probation does; without that, nothing has to be mended. */
static bool guard_on(void)
{
	return a32_load(&policy.guard) && a32_load(&policy.probation);
}

bool guard_rules(const struct lruvec *l)
{
	return unlikely(a32_load(&l->guard.rules)) && guard_on();
}

/* --- the cut --------------------------------------------------------------------------------------- */

/* Generations since the one that a shadow names. */
static u64 age_of(const struct lruvec *l, u64 seen)
{
	return (a64_load(&l->max_seq) - seen) & GFN_SEQ_MASK;
}

unsigned guard_index_locked(const struct lruvec *l, u64 seen)
{
	u64 age = age_of(l, seen);

	return age < GUARD_LABELS ? (unsigned)((a64_load(&l->max_seq) - age) % GUARD_LABELS)
	                          : GUARD_LABELS;
}

/* The label that a shadow names; 0 if that was before the first. */
static u64 label_of(const struct lruvec *l, u64 seen)
{
	u64 max = a64_load(&l->max_seq), age = age_of(l, seen);

	return age < max ? max - age : 0;
}

/* Pages that are there, of a generation. The oldest has all that are older as well. */
static u64 here_locked(const struct lruvec *l, u64 seq)
{
	s64 n = 0;

	for (unsigned type = 0; type < GEN_TYPES; type++)
		if (seq >= l->min_seq[type])
			n += (s64)a64_load(&l->size[gen_index(seq)][type]);
	return n > 0 ? (u64)n : 0;
}

static u32 part(u64 of, u64 all)
{
	return of < all ? (u32)(of * GUARD_ONE / all) : GUARD_ONE;
}

/* So much of the generation `seq`, and nothing older. */
static void cut_at(struct guard *g, u64 seq, u64 left, u64 here, u64 away)
{
	g->cut = seq;
	g->here = part(left, here);
	g->away = left > here ? part(left - here, away) : 0;
}

static void find_cut_locked(struct lruvec *l)
{
	u64 left = gen_total(l), max = a64_load(&l->max_seq), here, away;
	u64 oldest = max < GUARD_LABELS ? 0 : max - GUARD_LABELS + 1;

	for (u64 seq = max; seq > oldest; seq--) {
		here = here_locked(l, seq);
		away = (u64)max_of(l->guard.gone[seq % GUARD_LABELS], (s64)0);
		if (here + away > left) {
			cut_at(&l->guard, seq, left, here, away);
			return;
		}
		left -= here + away;
	}
	cut_at(&l->guard, oldest, 0, 0, 0);
}

/* --- alarm ----------------------------------------------------------------------------------------- */

static void alarm_locked(struct guard *g)
{
	a32_store(&g->rules, 1);
	g->ticks = g->rounds * GUARD_TICKS;
	g->trust = false;
	g->rounds = min_of(g->rounds * 2, GUARD_MAX);
	g->loss = g->gain = 0;
}

static bool alarming(const struct guard *g, u64 pages)
{
	return g->loss > g->gain + pages * GUARD_ONE / (g->trust ? GUARD_TRUST : GUARD_SLACK);
}

/* Whether there is an alarm. */
static bool decide_locked(struct guard *g, u64 pages)
{
	bool alarm = false;

	g->ticks -= g->ticks != 0;
	if (a32_load(&g->rules)) {
		if (!g->ticks) {
			a32_store(&g->rules, 0);
			g->trust = true;
			g->ticks = GUARD_CALM * GUARD_TICKS;
		}
	} else if (guard_on() && alarming(g, pages)) {
		alarm_locked(g);
		alarm = true;
	} else if (!g->ticks) {
		g->trust = true;
		g->rounds = 1;
	}
	return alarm;
}

/* 1 - 1 / 23 is the 16th root of a half. */
#define DECAY 23u
_Static_assert(GUARD_TICKS == 16, "what decays by half in a memory");

static bool tick_locked(struct lruvec *l)
{
	struct guard *g = &l->guard;
	u64 pages;

	if (g->until_tick) {
		g->until_tick--;
		return false;
	}
	pages = gen_total(l);
	g->until_tick = pages / GUARD_TICKS;
	g->loss -= g->loss / DECAY;
	g->gain -= g->gain / DECAY;
	find_cut_locked(l);
	return decide_locked(g, pages);
}

/* --- what happens ---------------------------------------------------------------------------------- */

void guard_advance_locked(struct lruvec *l)
{
	u64 max = a64_load(&l->max_seq);

	/* Those of GUARD_LABELS generations ago are forgotten. */
	l->guard.gone[max % GUARD_LABELS] = 0;
	l->guard.inexact |= max > GFN_SEQ_MASK;
	find_cut_locked(l);
}

/* Pages with this shadow: so many more. Shadows of two lists are no labels. */
static void count_locked(struct lruvec *l, u64 seen, s64 n)
{
	unsigned i = guard_index_locked(l, seen);

	if (twolist_in(l))
		l->guard.inexact = true;
	else if (i < GUARD_LABELS)
		l->guard.gone[i] += n;
}

void guard_gone(struct lruvec *l, const u16 *seen, unsigned n)
{
	if (!n)
		return;
	spin_lock(&l->lock);
	for (unsigned i = 0; i < n; i++)
		count_locked(l, seen[i] & GFN_SEQ_MASK, 1);
	spin_unlock(&l->lock);
}

bool guard_came_back(struct lruvec *l, u64 word)
{
	struct guard *g = &l->guard;
	bool alarm = false;
	u64 label;

	spin_lock(&l->lock);
	count_locked(l, gfn_word_seq(word), -1);
	if (!twolist_in(l)) {
		label = label_of(l, gfn_word_seq(word));
		if (!a32_load(&g->rules) && label >= g->cut)
			g->loss += label > g->cut ? GUARD_ONE : g->away;
		alarm = tick_locked(l);
	}
	spin_unlock(&l->lock);
	return alarm;
}

void guard_dropped(struct lruvec *l, u64 word)
{
	spin_lock(&l->lock);
	count_locked(l, gfn_word_seq(word), -1);
	spin_unlock(&l->lock);
}

void guard_seen_locked(struct lruvec *l, u64 label, u64 n)
{
	struct guard *g = &l->guard;

	if (!a32_load(&g->rules) && label <= g->cut)
		g->gain += n * (label < g->cut ? GUARD_ONE : GUARD_ONE - g->here);
}

void guard_kept(struct lruvec *l, u16 seen)
{
	if (a32_load(&l->guard.rules))
		return;
	spin_lock(&l->lock);
	if (!twolist_in(l))
		guard_seen_locked(l, label_of(l, seen & GFN_SEQ_MASK), 1);
	spin_unlock(&l->lock);
}
