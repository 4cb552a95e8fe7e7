/*
 * A space is what mm knows of a guest: its guest-physical memory. Slots with their gfn words, the
 * lruvec, the MMUs behind the notifier contract, flush and invalidate state, counters.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/hist.h"
#include "lib/lock.h"
#include "mm/bloom.h"
#include "mm/age_flush.h"
#include "mm/balloon.h"
#include "mm/controller.h"
#include "mm/dirty_log.h"
#include "mm/direct.h"
#include "mm/epoch.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/sampler.h"
#include "mm/stall.h"
#include "mm/vmlru.h"
#include "mm/walk_cost.h"

#define SPACE_MAX           64u
#define SPACE_MAX_NOTIFIERS 3u /* TDP, shadow tables, a device */
#define SPACE_NAME_MAX      32u
#define SPACE_IDLE_NS       200000000ull
#define SPACE_WEIGHT        100u
#define SPACE_DISTANCES     8u
#define SPACE_WEIGHT_MAX    1000u

struct space_ops {
	/*
	 * Makes every vCPU of the space honour flush generation `gen` or be out of the guest. No lock
	 * held; returns when it is so.
	 */
	void (*shootdown)(struct space *s, u64 gen);
	/*
	 * Kicks every vCPU that is in the guest with an older flush generation than `gen`, and does not wait;
	 * whether there was any. Any context. NULL: none ever stays there.
	 */
	bool (*nudge)(struct space *s, u64 gen);
	/* Did a vCPU run since the last call? (test and clear) Idle spaces are not walked. */
	bool (*ran)(struct space *s);
	/* The same for another asker: whether the space is idle. */
	bool (*ran_lately)(struct space *s);
};

/* Counters that only grow; read without order. */
struct space_stats {
	a64 faults_total; /* second-level faults resolved */
	a64 first_touch_total;
	a64 evictions_total;
	a64 refaults_total; /* brought back from a store */
	a64 refaults_recent_total;
	a64 refault_distance_total[SPACE_DISTANCES]; /* by refault_distance(); the last: or more */
	a64 guard_alarms_total;   /* times that recency began to rule (mm/guard.h), */
	a64 guard_refaults_total; /* ... and refaults while it did */
	a64 rescues_total;
	a64 shared_total;          /* evictions that found an equal page in the store ... */
	a64 shared_bytes_total;    /* ... and what it did not need for that */
	a64 clean_evictions_total; /* needed no store: the copy was still valid */
	a64 rejected_total;        /* chosen by the evictor, found young */
	a64 store_full_total;
	a64 scanned_total;     /* frames that evictors looked at; of these ... */
	a64 sorted_total;      /* ... had been promoted since they were listed */
	a64 protected_total;   /* ... were of a tier that comes back too often */
	a64 demoted_total;     /* ... had been promoted, and have another turn */
	a64 deactivated_total; /* ... went from the active to the inactive list (twolist) */
	a64 rotated_total;     /* ... were pinned, or a store had declined them */
	a64 passes_total;      /* aging passes */
	a64 visited_total;     /* second-level entries read by them */
	a64 young_total;
	a64 promoted_total;
	a64 dirtied_total; /* harvested young that were listed as clean, and Dirty */
	a64 aging_ns_total;
	/* Only with policy.locked; what waited for the lock, for whatever reason, is counted by the lock */
	a64 harvest_waits_total;  /* harvests that did not get the read side at once */
	a64 harvest_left_total;   /* ... and left without looking: fast-only */
	a64 harvest_delays_total; /* harvests that a writer of the MMU lock waited for */
	a64 tables_visited_total;
	a64 tables_skipped_nonleaf_total; /* the entry above says that nothing in them was touched */
	a64 tables_skipped_bloom_total;   /* the last walk found them sparse */
	a64 walks_given_up_total;         /* passes made without a walk, which did not pay */
	a64 lookarounds_total; /* neighbourhoods swept because the evictor found a page young */
	a64 lookarounds_hinted_total; /* ... or groups that the guest told us of */
	a64 lookaround_promoted_total;
	a64 direct_reclaims_total;
	a64 dirty_chunks_total; /* ... that had to pack every page they took */
	a64 sampled_total;      /* pages that the sampler looked at */
	a64 sampled_young_total;
	a64 huge_faults_total;      /* first touches of 512 pages at once */
	a64 splits_total;           /* large leaves split into 512 */
	a64 collapses_total;        /* 512 leaves made one again */
	a64 collapses_cold_total;   /* ... not done: too few of them young */
	a64 collapses_pinned_total; /* ... or one of them in somebody's hands */
	/* Walked passes in the mode POLICY_FLUSH_SAMPLED, by whether a flush came before; mm/age_flush.h */
	a64 sampled_passes_flushed_total, sampled_young_flushed_total;
	a64 sampled_passes_unflushed_total, sampled_young_unflushed_total;
	a64 balloon_given_total;    /* pages that came into the balloon, */
	a64 balloon_returned_total; /* ... were taken back, */
	a64 balloon_touched_total;  /* ... or touched while inside */
	a64 reported_free_total;    /* pages dropped because the guest said they are free */
	a64 limit_reclaims_total;   /* faults at the limit */
	a64 given_total;            /* frames that the controller took */
	a64 over_limit_total;       /* ... that found nothing to give for it */
	a64 direct_refused_total;   /* ... faults that were sent to wait instead: direct_take() */
	/* vCPUs waited for pages that were away, or to be taken from others: mm/stall.h */
	a64 stall_ns_total, stall_some_ns_total, stall_all_ns_total;
	struct hist fault_ns;
};

/* What a space is promised and allowed. Pages; changed at any time, read without order. */
struct space_limits {
	a64 min;   /* resident pages that others' need does not take */
	a64 low;   /* ... that it takes only when nobody else has anything above its own */
	a64 limit; /* resident pages at most: beyond it the space reclaims from itself; 0: none */
	a64 min_ttl_ns; /* policy.min_ttl_ns for this space; the longer of the two counts */
	a32 weight; /* of what is taken by everybody's need, the share is 1 / weight; 1 .. 1000, rule 100 */
};

/*
 * Pages that the guest may read and not write, for experiments: one range. MMUs install no right to write
 * there, and who handles the exit decides what becomes of the write.
 */
struct space_protect {
	a64 first, pages;
	a64 caught_total; /* writes that did not happen */
};

/*
 * What a harvest reads for every table stands first and hardly ever changes; what every fault changes has cache
 * lines of its own. Sharing some, the two would hold each other up without a lock.
 */
struct space {
	u16 id; /* 1 .. SPACE_MAX; index of space_at() */
	char name[SPACE_NAME_MAX];
	const struct space_ops *ops;
	void *priv; /* the creator's */
	aptr slots; /* struct slots */
	struct notifier *notifier[SPACE_MAX_NOTIFIERS];
	a32 nr_notifiers; /* constant after the first fault; space_notifiers() */
	aptr ledger; /* mm/ledger.h; NULL: the generations have the Accessed bits for themselves */
	a32 dying;   /* no new faults; reclaim leaves it alone */
	a32 walk;    /* enum walk_mode, of mm/policy.h */
	a32 wants_huge; /* 2 MiB mappings where memory is plenty; set by the creator */
	u64 pages;      /* sum of the slots */
	u32 vcpus;      /* set by the creator before they run; 0: unknown */
	struct space_limits limits;

	/* LOCK_MMU: read by TDP fault and zap, write by invalidate, roots */
	struct rwlock mmu_lock aligned_to(64);
	struct invalidate inv;
	/* Pages per gfn-map state, evicting among the resident; kept by the transitions. */
	a64 resident, zero, filled, pooled;
	a64 tables; /* frames that a shadow MMU has for its tables; they count against the limit */

	struct lruvec lru aligned_to(64);

	struct flush flush aligned_to(64);
	struct spinlock slots_lock; /* LOCK_SLOTS: one writer of `slots` */
	a64 walk_seq;               /* max_seq that the last finished aging pass superseded */
	a64 walk_cursor;            /* which block the walkers of a pass take next (walk.c) */
	struct walk_cost walk_cost;
	struct age_flush age_flush;
	struct bloom bloom;
	struct sampler_link sampler;
	struct balloon balloon;
	a64 hints;         /* struct hints *, 0: the guest has given none; mm/hint.c */
	u64 collapse_next; /* range that the scan looks at next; the background thread's */
	a64 huge_mappings; /* large leaves now; kept by the MMU */
	struct vmlru_node vmlru;
	a64 target;                   /* controller_set() */
	struct controller controller; /* the background thread's */
	struct space_protect protect;
	struct dirty_log dirty_log;
	bool shares; /* what it has away may be kept once for equal pages of all spaces that say so; set by the creator */
	bool logs_writes; /* the CPU can write down what vCPUs write, from their next entry on; set by the creator */
	struct direct_bucket direct;
	struct stall stall;
	a64 ran_ns;   /* when a question last found that it had run, or it was created */
	a32 barren;   /* idle, and found to have nothing to give: not asked first until it ran */
	a64 declined; /* pages packed in vain while it is searched: mm/reclaim.c; a hint */
	a32 users;    /* reclaimers at work in it: drain waits until there are none */
	struct space_stats stats aligned_to(64);
	struct epoch_node node; /* through which the space is freed */
};

/*
 * A space without memory, registered under a free id. NULL when there is none or no memory. The
 * caller may block for a while; no lock held.
 */
struct space *space_create(const char *name, const struct space_ops *ops, void *priv) must_check;
/* How many there are; those are complete. */
static inline u32 space_notifiers(const struct space *s)
{
	return a32_load_acquire(&s->nr_notifiers); /* ord SP7: pairs with ord SP6 */
}
/* Before the first fault only; agers may be at work already. */
void space_add_notifier(struct space *s, struct notifier *n);
/*
 * Gives back the pages first .. first + n - 1: translations, frames, kept copies; the words become
 * none. Waits for evictors that have one of them in hand, and for pins. No lock held, not in an epoch
 * section. Faults may bring pages of the range back meanwhile.
 */
void space_drop_range(struct space *s, gfn_t first, u64 npages);
/*
 * Gives back every page (frames, pool objects) of a space whose vCPUs have stopped for good, and whose
 * MMUs are torn down after it. Waits for reclaimers that are at work in it. No lock held.
 */
void space_drain(struct space *s);
/* Counter of the pages in the state that a gfn-map word has; NULL for none and disk. */
a64 *space_counter(struct space *s, u64 word);
/* After space_drain() and the MMUs' teardown: frees slots and the space itself. */
void space_destroy(struct space *s);

/*
 * Sets the range that is write-protected, instead of the one before; 0 pages: none. When it returns, nothing
 * lets the guest write there any more. Not with 2 MiB mappings (wants_huge). No lock held, not in an epoch
 * section. Two callers at a time get one of the two ranges, or parts of both.
 */
void space_set_protect(struct space *s, gfn_t first, u64 npages);
/* Exact with the MMU lock held, outside an invalidation; else it may be what was true a moment ago. */
static inline bool space_write_protected(const struct space *s, gfn_t g)
{
	return g.v - a64_load(&s->protect.first) < a64_load(&s->protect.pages);
}

/* Exact with the MMU lock held, either side; else it may be what was true a moment ago. */
static inline enum dirty_log_mode dirty_log_mode(const struct space *s)
{
	return (enum dirty_log_mode)a32_load(&s->dirty_log.mode);
}

/* Did none of its vCPUs run for SPACE_IDLE_NS? Notices a run when it is asked: late, never early. */
bool space_idle(struct space *s);

/* Space of an id, or NULL. Inside an epoch section. */
struct space *space_at(u16 id);
/* Keeps it from being drained; false if it is dying. Inside an epoch section. */
bool space_get(struct space *s) must_check;
/* space_at() and space_get() in one; NULL if there is none or it is dying. */
struct space *space_get_id(u16 id) must_check;
void space_put(struct space *s);
