/* Generations for people: what the monitor, the statistics and the protection by age read. */
#pragma once

#include "lib/types.h"
#include "mm/gen.h"

/* Figures of one tier of one type. */
struct gen_tier_view {
	/* Moving averages at max_seq: refaults, and pages that were up for eviction. */
	u64 avg_refaulted, avg_total;
	/* In the generation now evicted; protected_ and evicted make its total. */
	u64 protected_, evicted, refaulted;
};

struct gen_tiers_view {
	u64 max_seq;
	u64 min_seq[GEN_TYPES];    /* the generation now evicted */
	unsigned limit[GEN_TYPES]; /* tiers above it are protected now */
	struct gen_tier_view tier[GEN_TYPES][GEN_TIERS];
};
/* Takes the lruvec lock. */
void gen_tier_snapshot(struct lruvec *l, struct gen_tiers_view *out);

/* One frame, at this moment. */
struct gen_frame_view {
	bool listed;    /* in a generation; if not, it is in somebody's hands */
	bool isolated;  /* ... an evictor's */
	u64 seq;        /* if listed: its generation, */
	u64 age_ns;     /* ... the time since that was born, */
	u64 steps;      /* ... and how many were born since: 0 is the youngest */
	bool evictable; /* ... and whether it is the next to go from */
	enum gen_type type;
	unsigned tier;
	u64 state; /* the word itself: FRAME_REFERENCED, FRAME_WORKINGSET, ... */
};
/* The frame is the space's: inside the epoch section in which a gfn word named it. Takes the lruvec lock. */
void gen_frame_snapshot(struct lruvec *l, u32 frame, struct gen_frame_view *out);
/*
 * How many generations were born since the one of this frame, 0 .. GEN_MAX - 1, or -1 if it is on no list.
 * Without a lock, for dumps of a whole space; a generation that is born meanwhile may count or not.
 * Context as above.
 */
int gen_frame_steps(const struct lruvec *l, u32 frame);
