/*
 * What spaces are promised and allowed (struct space_limits), as questions that reclaim asks, and the one
 * question before there are any: whether what is promised can be kept.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct space;

/*
 * Sets one promise, live; frames, or ns for min_ttl, weight 1 .. SPACE_WEIGHT_MAX. The space is judged anew
 * in the round of the VM-LRU that runs; a limit that is lower than what is resident is brought about in the
 * background. Any thread, no lock above LOCK_SLOTS.
 */
void limits_set_min(struct space *s, u64 frames);
void limits_set_low(struct space *s, u64 frames);
void limits_set_limit(struct space *s, u64 frames);
void limits_set_min_ttl(struct space *s, u64 ns);
void limits_set_weight(struct space *s, u32 weight);

/* Frames by which the space exceeds its limit. */
u64 limits_over(const struct space *s);
/* May it have so many frames more without giving any? */
bool limits_room(const struct space *s, u64 frames);
/* Frames that others' need leaves it; `last`: when nobody has anything above its low any more. */
u64 limits_floor(const struct space *s, bool last);
/*
 * What its turn is worth when `size` frames of all spaces are above their floors and `target` are wanted:
 * the part of `target` that it holds of `size`, divided by its weight, at least 1.
 */
u64 limits_budget(const struct space *s, u64 floor, u64 size, u64 target);
/*
 * The newest generation that min_ttl (the policy's or its own, the longer) lets go; EVICT_ANY_SEQ without
 * one. False: not even the oldest. Takes the lruvec lock.
 */
bool limits_last_seq(struct space *s, u64 now_ns, u64 *last_seq) must_check;

/* --- before the first guest ------------------------------------------------------------------------ */

struct limits_demand {
	u64 frames;     /* sum of the VMs' memory */
	u64 min_frames; /* sum of what they are promised */
	u64 nr_vms;
	u64 vcpus;
};
struct limits_supply {
	u64 frames;     /* of the host, for guests and what is packed */
	u64 free_pages; /* of the hypervisor's own */
	bool overcommit;
};
enum limits_admission {
	LIMITS_ADMITTED,
	LIMITS_OVERCOMMIT, /* memory does not suffice, and may not be promised twice */
	LIMITS_MIN,        /* what is promised by min, and the reserve, do not fit */
	LIMITS_TABLES,     /* the same of tables and maps for all the memory */
};
/*
 * Pages of the hypervisor that so much guest memory needs at worst, every page mapped: gfn words, leaf
 * tables and their parents, for each VM its roots, its space and some slack.
 */
u64 limits_table_pages(const struct limits_demand *d);
/* Can the worst case of all of them be backed? Pure. */
enum limits_admission limits_admit(const struct limits_demand *d, const struct limits_supply *s,
                                   u64 reserve_frames) must_check;
