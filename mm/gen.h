/*
 * Generations: the lruvec of a space. A sliding window of two to four generations, numbered by
 * ever-growing sequence numbers; index = seq % GEN_MAX. max_seq is the youngest and common to both
 * types; min_seq[type] is the oldest that still has a list.
 *
 * Promotion changes a frame's state word only (compare-exchange, no lock); the frame stays on its old
 * list until the evictor comes across it and sorts it (lazy sorting). Sizes follow the state word, not
 * the lists, are batched by walkers, and may be negative for a while.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/lock.h"
#include "lib/types.h"
#include "mm/frame.h"
#include "mm/frame_list.h"
#include "mm/guard.h"

#define GEN_MIN     2u /* never fewer: the two youngest cannot be evicted */
#define GEN_MAX     4u
#define GEN_TIERS   4u
#define GEN_ANY_SEQ (~0ull)
#define GEN_DEMOTE_MAX \
	64u /* ... for each that is taken, at most: where all are hot, one goes all the same */
#define GEN_RECENT          4u /* pages that came in and are remembered: mm/probation.h */
#define GEN_FIRST_PROBATION BIT(15)
#define GEN_BATCH           64u   /* frames per eviction chunk */
#define GEN_MAX_BATCH       4096u /* promotions batched before the counters are flushed */
/* Labels may be so many generations older than the window before they are written anew. */
#define GEN_RELABEL BIT(28)

enum gen_type { GEN_CLEAN, GEN_DIRTY, GEN_TYPES };

struct lruvec {
	struct spinlock lock; /* LOCK_LRUVEC: lists, min_seq, births, and changes of max_seq */
	a64 max_seq;
	u64 min_seq[GEN_TYPES];
	u64 birth_ns[GEN_MAX];
	struct frame_list list[GEN_MAX][GEN_TYPES];
	u64 oldest_label[GEN_TYPES];  /* nothing listed has an older one; lruvec lock */
	a64 size[GEN_MAX][GEN_TYPES]; /* signed frames */
	a32 chunk;   /* frames at a time where policy.chunk leaves it open; 0: GEN_BATCH */
	a32 twolist; /* two lists instead of generations: mm/twolist.h; changes under the lock */
	u32 demoted_in_row; /* promoted pages spared since one was taken; lruvec lock */
	u32 unpackable_met; /* meetings of evictors with such pages; lruvec lock */
	/* mm/twolist.c: pages evicted or activated, and each type's claim to be evicted from; lruvec lock */
	a64 turnover;
	a32 stamp_shift; /* ... for a step of a stamp, a power of two; without the lock */
	s64 credit[GEN_TYPES];
	/* mm/probation.c: pages that are to prove themselves; lruvec lock but for the a64 */
	struct frame_list probation[GEN_TYPES];
	u64 on_probation; /* ... how many */
	u64 since_pass;   /* pages taken from there since the last generation */
	bool dirty_turn; /* of equally old pages, a dirty one is the next to leave the generations */
	bool probation_started; /* the share means something */
	a64 probation_share;    /* how many there are to be, signed; bounds: when it is used */
	a64 probation_horizon;  /* label of the protected page that left last */
	a64 recent[GEN_RECENT]; /* gfn + 1 of pages that came in, and have not been asked yet */
	a32 recent_at;
	struct guard guard; /* mm/guard.c */
	/* Refault feedback of the generation now evicted, and its moving average. */
	a64 evicted[GEN_TYPES][GEN_TIERS];
	a64 refaulted[GEN_TYPES][GEN_TIERS];
	u64 protected_[GEN_TYPES][GEN_TIERS];
	u64 avg_refaulted[GEN_TYPES][GEN_TIERS];
	u64 avg_total[GEN_TYPES][GEN_TIERS];
};

static inline unsigned gen_index(u64 seq)
{
	return (unsigned)(seq % GEN_MAX);
}
/*
 * The generation that a listed frame was put into last, by its state word. Exact while that is less than half
 * of the space of labels (2^30) away from max_seq: which is the case if max_seq was read a moment ago.
 */
static inline u64 gen_label_seq(u64 state, u64 max_seq)
{
	u32 label = (u32)((state & FRAME_LABEL) >> FRAME_LABEL_SHIFT);

	/* The distance has 31 bits and a sign. */
	return max_seq + (u64)((s32)((label - (u32)max_seq) << 1) >> 1);
}
/* The generation of a listed frame. lruvec lock held. */
static inline u64 gen_seq_locked(const struct lruvec *l, u64 state)
{
	u64 label = gen_label_seq(state, a64_load(&l->max_seq));
	u64 min = l->min_seq[state & FRAME_DIRTY ? GEN_DIRTY : GEN_CLEAN];

	return max_of(label, min);
}

void gen_init(struct lruvec *l);

/*
 * Size changes a walker collects before it takes the lruvec lock once. All zero is an empty one; the first
 * promotion says what all the others of the batch are promoted to as well.
 */
struct gen_batch {
	u64 to; /* generation, 0: not said yet */
	/* Of the generation to - (GEN_MAX - 1) + i, or of all up to it: i = 0 .. GEN_MAX - 1. */
	s32 delta[GEN_MAX][GEN_TYPES];
	u32 promoted;
	u32 clean; /* frames of the clean type met: their Dirty bit may say otherwise */
};
void gen_batch_flush(struct lruvec *l, struct gen_batch *b);

/* How a frame comes in (design: where a page enters). */
enum gen_entry {
	GEN_ENTER_FRESH,
	GEN_ENTER_REFAULT,
	GEN_ENTER_REFAULT_HOT,
	GEN_ENTER_REJECTED,    /* the evictor found it young: counts as a touch */
	GEN_ENTER_RESCUED,     /* a fault was faster than the evictor: counts as a touch */
	GEN_ENTER_UNPACKABLE,  /* no store took it: ages again, untouched */
	GEN_ENTER_DEACTIVATED, /* twolist only: from the old end of the active list */
};
/* Puts an unlisted frame on the list its entry calls for. Takes the lruvec lock. */
void gen_insert(struct lruvec *l, u32 frame, enum gen_entry how);
/* Takes a frame off whatever list it is on; false if it is on none (isolated by somebody). */
bool gen_remove(struct lruvec *l, u32 frame) must_check;

/* The frame's copy is no longer valid: type dirty, on the list of that type. Takes the lruvec lock. */
void gen_make_dirty(struct lruvec *l, u32 frame);

/*
 * The page was seen accessed: two-touch promotion (referenced first, then youngest generation and
 * workingset), where the youngest is that of the batch: max_seq when it began. Lockless, by
 * compare-exchange; the size change goes to `b`. Inside an epoch section in which a gfn word named the frame,
 * or somebody else keeps it from being freed. False if the frame is on no
 * list (its evictor is told, FRAME_SEEN) or no longer the space's.
 */
bool gen_promote(struct lruvec *l, u32 frame, u16 space_id, struct gen_batch *b);
/*
 * The same for the pages of a space whose bits are set in `young`, `npages` <= TABLE_PAGES at most: `word` is
 * the gfn word of the first, the others follow (one slot). Pages that are not resident are passed over.
 * Returns how many of the bits were set. Inside the epoch section in which the words were found.
 */
u64 gen_promote_block(struct lruvec *l, const a64 *word, unsigned npages, const u64 *young,
                      u16 space_id, struct gen_batch *b);

/*
 * A new youngest generation, unless max_seq is no longer `expected`. If a type has GEN_MAX already,
 * its oldest becomes one with the next first, whatever the number of frames; but once in GEN_RELABEL
 * generations it visits those of the oldest, at most GEN_MAX_BATCH per hold. Takes the lruvec lock. Returns
 * whether this call made it.
 */
bool gen_advance(struct lruvec *l, u64 expected);
/*
 * The oldest generation of a type becomes one with the next, whatever the number of frames; but visits them, and
 * takes them off *budget, where their labels have to be written anew. False when that ran out before the end: to
 * be called again. lruvec lock held; the type has more than GEN_MIN.
 */
bool gen_join_oldest_locked(struct lruvec *l, enum gen_type type, unsigned *budget) must_check;
/* Drops empty oldest generations of a type down to GEN_MIN. lruvec lock held. */
void gen_trim_locked(struct lruvec *l, enum gen_type type);

/* What an evictor took off the lists: in its hands (FRAME_ISOLATED) until gen_insert() or freed. */
struct gen_chunk {
	u32 frame[GEN_BATCH];
	/* What its shadow is to say, low bits of the generation (twolist: of the stamp), and GEN_FIRST_PROBATION */
	u16 seen[GEN_BATCH];
	unsigned n;
	u64 scanned;    /* looked at, whatever became of it */
	u64 sorted;     /* promoted since they were listed: moved to the list they belong on */
	u64 protected_; /* of a tier above the limit: moved to the next generation */
	u64 demoted;    /* had been promoted: they have another turn */
	u64 rotated;    /* pinned, or resting because a store declined it: the same */
	u64 seq;        /* generation they come from (twolist: twolist_stamp()), and its type */
	enum gen_type type;
	unsigned most; /* frames that were wanted at most: 1 .. GEN_BATCH */
	bool demote; /* promoted pages have another turn: the policy, and any generation will do */
	bool probation;  /* they are of mm/probation.h, so a first sighting is none */
	bool need_aging; /* no type that may be evicted has more than the two youngest generations */
};
/* Frames of a chunk now: policy.chunk, or what the lruvec says; 1 .. GEN_BATCH. */
unsigned gen_chunk_frames(const struct lruvec *l);
/*
 * Takes frames, `most` or gen_chunk_frames() if that is less, from the eviction end of the oldest generation of one
 * type. Which one, says the controller (mm/refault.h), biased by `swappiness` 0 .. POLICY_SWAPPINESS_MAX: 0 takes clean frames
 * only, POLICY_SWAPPINESS_MAX dirty ones as long as there are any. Generations younger than `last_seq` are
 * left alone. Takes the lruvec lock, moves at most GEN_MAX_BATCH frames.
 */
void gen_isolate(struct lruvec *l, unsigned swappiness, u64 last_seq, unsigned most,
                 struct gen_chunk *out);

/*
 * Takes this one frame, whatever its generation, if it is listed and the space's page `g`, and not pinned;
 * `out` is then a chunk of one. False: it is not, and stays where it is. Inside an epoch section in which
 * the gfn word named the frame. Takes the lruvec lock.
 */
bool gen_isolate_page(struct lruvec *l, u32 frame, u16 space_id, gfn_t g,
                      struct gen_chunk *out) must_check;

struct gen_view {
	u64 seq;
	u64 age_ns;
	u64 frames[GEN_TYPES]; /* never negative here */
};
/* Snapshot for people, oldest first, at most GEN_MAX; returns how many. Takes the lruvec lock. */
unsigned gen_snapshot(struct lruvec *l, struct gen_view *out);
u64 gen_total(const struct lruvec *l);
