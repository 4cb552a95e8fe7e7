#include "mm/gen_view.h"

#include "arch/hal.h"
#include "mm/refault.h"

static u64 age_locked(const struct lruvec *l, u64 seq)
{
	u64 now = hal_time_ns(), birth = l->birth_ns[gen_index(seq)];

	return now > birth ? now - birth : 0;
}

/* Walkers that have not flushed their batches make sizes wrong by a little; never negative here. */
static u64 frames_of(const struct lruvec *l, u64 seq, enum gen_type type)
{
	s64 n = (s64)a64_load(&l->size[gen_index(seq)][type]);

	return n > 0 ? (u64)n : 0;
}

static u64 oldest_locked(const struct lruvec *l)
{
	return min_of(l->min_seq[GEN_CLEAN], l->min_seq[GEN_DIRTY]);
}

unsigned gen_snapshot(struct lruvec *l, struct gen_view *out)
{
	unsigned n = 0;
	u64 max;

	spin_lock(&l->lock);
	max = a64_load(&l->max_seq);
	for (u64 seq = oldest_locked(l); seq <= max; seq++, n++) {
		out[n].seq = seq;
		out[n].age_ns = age_locked(l, seq);
		for (unsigned type = 0; type < GEN_TYPES; type++)
			out[n].frames[type] = frames_of(l, seq, (enum gen_type)type);
	}
	spin_unlock(&l->lock);
	return n;
}

void gen_tier_snapshot(struct lruvec *l, struct gen_tiers_view *out)
{
	spin_lock(&l->lock);
	out->max_seq = a64_load(&l->max_seq);
	for (unsigned type = 0; type < GEN_TYPES; type++) {
		out->min_seq[type] = l->min_seq[type];
		out->limit[type] = refault_tier_limit_locked(l, (enum gen_type)type);
		for (unsigned tier = 0; tier < GEN_TIERS; tier++)
			out->tier[type][tier] = (struct gen_tier_view){
			        .avg_refaulted = l->avg_refaulted[type][tier],
			        .avg_total = l->avg_total[type][tier],
			        .protected_ = l->protected_[type][tier],
			        .evicted = a64_load(&l->evicted[type][tier]),
			        .refaulted = a64_load(&l->refaulted[type][tier]),
			};
	}
	spin_unlock(&l->lock);
}

void gen_frame_snapshot(struct lruvec *l, u32 frame, struct gen_frame_view *out)
{
	u64 state, max;

	spin_lock(&l->lock);
	state = a64_load(&frame_at(frame)->state);
	max = a64_load(&l->max_seq);
	*out = (struct gen_frame_view){
	        .listed = state & FRAME_LISTED,
	        .isolated = state & FRAME_ISOLATED,
	        .type = state & FRAME_DIRTY ? GEN_DIRTY : GEN_CLEAN,
	        .tier = refault_tier(state),
	        .state = state,
	};
	if (out->listed) {
		out->seq = gen_seq_locked(l, state);
		out->steps = max - out->seq;
		out->age_ns = age_locked(l, out->seq);
		out->evictable = out->seq == l->min_seq[out->type] && out->steps >= GEN_MIN;
	}
	spin_unlock(&l->lock);
}

int gen_frame_steps(const struct lruvec *l, u32 frame)
{
	u64 state = a64_load(&frame_at(frame)->state), max = a64_load(&l->max_seq), label;

	if (!(state & FRAME_LISTED))
		return -1;
	/* A label older than the window means its oldest generation, and then there are GEN_MAX of them. */
	label = gen_label_seq(state, max);
	return label >= max ? 0 : (int)min_of(max - label, (u64)GEN_MAX - 1);
}
