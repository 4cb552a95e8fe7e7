#include "mm/refault.h"

#include "mm/gfnmap.h"

#define TRUST    64u /* fewer refaults than this prove nothing */
#define SEQ_MASK (GFN_SEQ >> GFN_SEQ_SHIFT)

unsigned refault_tier(u64 state)
{
	unsigned refs = (unsigned)((state & FRAME_REFS) >> FRAME_REFS_SHIFT);

	if (refs == 3)
		return state & FRAME_WORKINGSET ? GEN_TIERS - 1 : GEN_TIERS - 2;
	return refs;
}

u64 refault_shadow(u64 state, enum gen_type type, u64 seq)
{
	u64 shadow = (seq & SEQ_MASK) << GFN_SEQ_SHIFT | (u64)refault_tier(state) << GFN_TIER_SHIFT;

	if (state & FRAME_WORKINGSET)
		shadow |= GFN_WORKINGSET;
	return type == GEN_CLEAN ? shadow | GFN_CLEAN : shadow;
}

bool refault_count(struct lruvec *l, u64 word)
{
	u64 seq = (word & GFN_SEQ) >> GFN_SEQ_SHIFT;
	enum gen_type type = word & GFN_CLEAN ? GEN_CLEAN : GEN_DIRTY;

	if (((a64_load(&l->max_seq) - seq) & SEQ_MASK) >= GEN_MAX)
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

static void sum_up(const struct lruvec *l, enum gen_type type, u64 *refaulted, u64 *total)
{
	*refaulted = 0;
	*total = 0;
	for (unsigned tier = 0; tier < GEN_TIERS; tier++) {
		*refaulted += l->avg_refaulted[type][tier] + a64_load(&l->refaulted[type][tier]);
		*total += l->avg_total[type][tier] + a64_load(&l->evicted[type][tier]) +
		          l->protected_[type][tier];
	}
}

enum gen_type refault_choose_type_locked(const struct lruvec *l)
{
	u64 clean_refaulted, clean_total, dirty_refaulted, dirty_total;

	sum_up(l, GEN_CLEAN, &clean_refaulted, &clean_total);
	sum_up(l, GEN_DIRTY, &dirty_refaulted, &dirty_total);
	if (clean_refaulted < TRUST)
		return GEN_CLEAN;
	return clean_refaulted * (dirty_total + TRUST) <= (dirty_refaulted + 1) * clean_total
	               ? GEN_CLEAN
	               : GEN_DIRTY;
}
