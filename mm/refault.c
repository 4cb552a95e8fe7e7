#include "mm/refault.h"

#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/twolist.h"

#define TRUST 64u /* fewer refaults than this prove nothing */

unsigned refault_tier(u64 state)
{
	unsigned refs = (unsigned)((state & FRAME_REFS) >> FRAME_REFS_SHIFT);

	if (refs == 3)
		return state & FRAME_WORKINGSET ? GEN_TIERS - 1 : GEN_TIERS - 2;
	return refs;
}

u64 refault_shadow(u64 state, enum gen_type type, u64 seq)
{
	u64 shadow = (seq & GFN_SEQ_MASK) << GFN_SEQ_SHIFT | (u64)refault_tier(state)
	                                                             << GFN_TIER_SHIFT;

	if (state & FRAME_WORKINGSET)
		shadow |= GFN_WORKINGSET;
	return type == GEN_CLEAN ? shadow | GFN_CLEAN : shadow;
}

unsigned refault_distance(const struct lruvec *l, u64 word)
{
	u64 seq = gfn_word_seq(word);

	if (twolist_on())
		return twolist_distance(l, word);
	return (unsigned)((a64_load(&l->max_seq) - seq) & GFN_SEQ_MASK);
}

bool refault_count(struct lruvec *l, u64 word)
{
	enum gen_type type = word & GFN_CLEAN ? GEN_CLEAN : GEN_DIRTY;

	if (refault_distance(l, word) >= GEN_MAX)
		return false;
	a64_count(&l->refaulted[type][(word & GFN_TIER) >> GFN_TIER_SHIFT], 1);
	return true;
}

void refault_fold_locked(struct lruvec *l, enum gen_type type)
{
	for (unsigned tier = 0; tier < GEN_TIERS; tier++) {
		u64 refaulted = a64_xchg(&l->refaulted[type][tier], 0);
		u64 evicted = a64_xchg(&l->evicted[type][tier], 0);

		l->avg_refaulted[type][tier] = (l->avg_refaulted[type][tier] + refaulted) / 2;
		l->avg_total[type][tier] = (l->avg_total[type][tier] + evicted +
		                            l->protected_[type][tier]) /
		                           2;
		l->protected_[type][tier] = 0;
	}
}

/* --- the controller -------------------------------------------------------------------------------- */

/*
 * Two sides are compared by their rate of refaults, of what was up for eviction in the generation now
 * evicted and, each weighing half of the next, in those before. Pages that were protected count among them:
 * a side that is protected has no refaults to show, and would be taken for a good choice for ever.
 */
struct side {
	u64 refaulted, total;
	u64 gain;
};

/* Keeps the products of not_worse() inside 64 bits; 2^27 pages a generation are half a tebibyte. */
#define FIGURE_MAX (1ull << 27)

static void side_add(struct side *side, const struct lruvec *l, enum gen_type type, unsigned tier)
{
	u64 refaulted = l->avg_refaulted[type][tier] + a64_load(&l->refaulted[type][tier]);
	u64 total = l->avg_total[type][tier] + a64_load(&l->evicted[type][tier]) +
	            l->protected_[type][tier];

	side->refaulted = min_of(side->refaulted + refaulted, FIGURE_MAX);
	side->total = min_of(side->total + total, FIGURE_MAX);
}

/* Is evicting `pv` no worse a choice than evicting `sp`? A gain makes its side's refaults count for more. */
static bool not_worse(const struct side *pv, const struct side *sp)
{
	return pv->refaulted < TRUST || pv->refaulted * (sp->total + TRUST) * sp->gain <=
	                                        (sp->refaulted + 1) * pv->total * pv->gain;
}

/* How old the next to go from a type is: labels tell more than generations that were joined. */
static u64 oldest_locked(const struct lruvec *l, enum gen_type type)
{
	u64 min = l->min_seq[type];
	u32 frame = l->probation[type].tail;

	if (frame == FRAME_NONE)
		frame = l->list[gen_index(min)][type].tail;
	if (frame == FRAME_NONE)
		return min;
	return gen_label_seq(a64_load(&frame_at(frame)->state), a64_load(&l->max_seq));
}

enum gen_type refault_choose_type_locked(const struct lruvec *l, unsigned swappiness)
{
	struct side dirty = {.gain = swappiness};
	struct side clean = {.gain = POLICY_SWAPPINESS_MAX - swappiness};

	if (swappiness == 0)
		return GEN_CLEAN;
	if (swappiness >= POLICY_SWAPPINESS_MAX)
		return GEN_DIRTY;
	for (unsigned tier = 0; tier < GEN_TIERS; tier++) {
		side_add(&dirty, l, GEN_DIRTY, tier);
		side_add(&clean, l, GEN_CLEAN, tier);
	}
	/* Without evidence, cheap is no reason to evict what was used a moment ago. */
	if (clean.refaulted < TRUST)
		return oldest_locked(l, GEN_CLEAN) <= oldest_locked(l, GEN_DIRTY) ? GEN_CLEAN
		                                                                  : GEN_DIRTY;
	return not_worse(&clean, &dirty) ? GEN_CLEAN : GEN_DIRTY;
}

unsigned refault_tier_limit_locked(const struct lruvec *l, enum gen_type type)
{
	struct side first = {.gain = 2};
	unsigned tier;

	side_add(&first, l, type, 0);
	for (tier = 1; tier < GEN_TIERS - 1; tier++) {
		struct side side = {.gain = 3};

		side_add(&side, l, type, tier);
		if (!not_worse(&side, &first))
			break;
	}
	return tier - 1;
}
