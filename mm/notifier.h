/*
 * The notifier contract: how the core asks the second-level MMUs of a guest, and the only way in
 * which it does. mm owns it, every MMU in hv/mmu implements it.
 *
 *   fast-only  answers only what can be had without waiting for anyone and without making anyone
 *              wait. A trylock that leaves is allowed, blocking is not (I11). It never says
 *              "failed": what it did not look at is simply not reported.
 *   accurate   (the default) every MMU of the space is asked, under its lock if it has to be.
 *              Accurate means asked, not exact: a translation that a TLB still holds does not set
 *              its Accessed bit again until it is flushed.
 *
 * policy.locked takes that back, for comparison: every harvest of a fast MMU then runs under the MMU lock, one
 * hold for each call. So no MMU lock may be held by who asks. Under the write side (POLICY_LOCKED) fast-only
 * waits as well. Under the read side (POLICY_READ) it tries a while and leaves: it waits for nobody without a
 * bound, but a writer may wait for it.
 *
 * Order of asking: the MMUs in the order in which they were registered (TDP first); stop if young
 * and testing; leave out those without has_fast_aging if fast-only; leave out those that have
 * nothing mapped.
 *
 * Accessed bits have two consumers, the generations and perhaps a sampler. With CLEAR each of them learns of every
 * touch, whoever clears the bit first (mm/ledger.h); an MMU knows nothing of that.
 *
 * Aging takes no part in the invalidate protocol: it neither makes nor removes a translation. That
 * is why it needs no lock.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct space;

#define NOTIFIER_TEST      1u /* look, change nothing */
#define NOTIFIER_CLEAR     2u /* clear the Accessed bits that are found set */
#define NOTIFIER_FAST_ONLY 4u
#define NOTIFIER_FIRST_MMU \
	8u /* only the MMU that was registered first (notifier_age() and friends) */
#define NOTIFIER_SAMPLER \
	16u /* the sampler asks, not the generations: mm/ledger.h (notifier_age(), with CLEAR) */

#define NOTIFIER_YOUNG    1u /* at least one page asked for was accessed */
#define NOTIFIER_WAS_FAST 2u /* ... and an MMU with has_fast_aging saw it */

#define NOTIFIER_MAX_PAGES TABLE_PAGES
#define NOTIFIER_WORDS     (NOTIFIER_MAX_PAGES / 64)
/* Words of a bitmap of so many pages. */
static inline u64 notifier_words(unsigned npages)
{
	return (npages + 63) / 64;
}

#define NOTIFIER_READ_TRIES 8u /* 255 pauses in all: some microseconds */

/* Result of taking a page's translations away. */
struct notifier_zap {
	bool mapped; /* there was one */
	bool dirty; /* written since it was made (Dirty bit, or writable where there is no such bit) */
	bool young;
};

struct notifier;
struct notifier_ops {
	const char *name;
	u8 profile; /* enum profile_kind: what asking it and zapping in it counts as */
	/* Declared here, false unless said, never changes: FAST_ONLY calls are answered. */
	bool has_fast_aging;
	/* Lets no vCPU write where space_write_protected() says so; or no vCPU translates through it. */
	bool protects;
	/* The space may get slots after the MMU was registered. */
	bool late_slots;
	/* Its translations tell of writes (log_protect), or nobody but the hypervisor writes through them. */
	bool logs;

	/*
	 * Pages first .. first + n - 1, n <= 512, of which those whose bit is set in `bitmap` are meant
	 * (bit i = page first + i). On return the bit is set where the page was young. Exactly one of
	 * TEST and CLEAR. Returns NOTIFIER_* result bits. Inside an epoch section of the caller; no lock
	 * held by the caller but, for n <= 64, a frame it isolated. `visited` is increased by the entries
	 * read.
	 */
	unsigned (*age)(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
	                unsigned flags, u64 *visited);
	/*
	 * Was anything in the aligned range of TABLE_PAGES, or TABLE_PAGES squared, pages accessed since
	 * this was last asked with `clear`? True if that is unknown. An MMU whose upper entries have
	 * Accessed bits of their own answers from the one entry that covers the range; NULL: never known.
	 * Fast: as FAST_ONLY. Inside an epoch section of the caller, no lock held.
	 */
	bool (*range_young)(struct notifier *n, gfn_t first, u64 npages, bool clear);
	/*
	 * Of the pages whose bit is set, 512 at most and within one aligned block of as many, leaves those
	 * set that are Dirty, as far as the MMU tells by such a bit; NULL: never. Fast and in the same
	 * context as range_young. Dirty once, a page stays so until it is zapped.
	 */
	void (*dirty)(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap);
	/*
	 * Takes the right to write from the n <= 512 pages of one aligned block, for the dirty log alone: the next
	 * write of each faults and has it back. Sets the bits of those that had it (the bitmap comes empty). Larger
	 * translations are split first. The caller flushes afterwards. Inside an epoch section, no lock held. NULL:
	 * nothing to take.
	 */
	void (*log_protect)(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap);
	/*
	 * Clears Dirty of the page's translation; whether it was set. Larger translations are split first. The caller
	 * has the page's gfn word BUSY, with its frame dirty (I8), and flushes afterwards. Only if knows_dirty.
	 */
	bool (*log_clean)(struct notifier *n, gfn_t g);
	/*
	 * Removes every translation of the page by exchange. Between invalidate_begin() and
	 * invalidate_end() for a range that has the page; takes the MMU lock itself (read side for TDP).
	 * The caller flushes afterwards.
	 */
	void (*zap)(struct notifier *n, gfn_t g, struct notifier_zap *result);
	/*
	 * If the page is part of a larger translation, that becomes translations of 4 KiB with the same
	 * rights, Accessed and Dirty. NULL: the MMU has no larger ones. Takes the MMU lock itself. zap does
	 * the same by itself. No flush is needed: nothing translates differently.
	 */
	void (*split)(struct notifier *n, gfn_t g);
	/*
	 * Maps the TABLE_PAGES pages from `first`, a multiple, by one translation to the frames from `head`
	 * on. The caller has taken their translations away and keeps faults out (invalidate_begin) and
	 * evictors (isolated frames); without Dirty bits, all of them count as dirty. False: no memory, or
	 * something is mapped there. *table: not NULL if a table was replaced; to be given to free_table
	 * after a flush. NULL: the MMU has no larger translations. Takes the MMU lock's write side.
	 */
	bool (*map_huge)(struct notifier *n, gfn_t first, pfn_t head, void **table);
	/* Frees such a table after the grace period, for which it waits. No lock held. */
	void (*free_table)(struct notifier *n, void *table);
	/*
	 * Frames are short: gives back up to `want` that hold tables, those first that were not used lately; returns
	 * how many, some of them only after the grace period. NULL: the MMU has none in frames. No lock held, not in
	 * an epoch section; waits for a flush.
	 */
	u64 (*shrink)(struct notifier *n, u64 want);
	/* Is anything mapped at all? A racy no is fine. */
	bool (*populated)(struct notifier *n);
	/* With late_slots: may one be there? NULL: anywhere. */
	bool (*slot_fits)(struct notifier *n, gfn_t first, u64 npages);
	/* One audit line per fault found: present leaf that disagrees with the gfn map, I6. Space stopped. */
	u64 (*audit)(struct notifier *n);
};

struct notifier {
	const struct notifier_ops *ops;
	struct space *space;
	bool knows_dirty; /* zap can tell a page that was only read, though it may be written */
};

/*
 * Asks every MMU of the space, in order. `bitmap` has NOTIFIER_WORDS words at most, (n + 63) / 64 are
 * used. Context as for ops->age, but enters the epoch by itself.
 */
unsigned notifier_age(struct space *s, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                      u64 *visited);
/* notifier_age() of one page without its bitmap. */
unsigned notifier_age_one(struct space *s, gfn_t g, unsigned flags);
/*
 * May a harvest of the range find anything? False only if every MMU that notifier_age() would ask with the
 * same flags knows that it was not touched. With CLEAR, all of them forget; with TEST nothing changes.
 * Enters the epoch by itself.
 */
bool notifier_range_young(struct space *s, gfn_t first, u64 npages, unsigned flags);
/* ops->dirty of every MMU: a page stays set if one of them says so. Enters the epoch by itself. */
void notifier_dirty(struct space *s, gfn_t first, unsigned npages, u64 *bitmap);
/* Has the space any MMU that answers FAST_ONLY? */
bool notifier_any_fast(const struct space *s);
/* Do all of them? */
bool notifier_all_fast(const struct space *s);
/* Do all of them keep guests from writing what is write-protected? */
bool notifier_all_protect(const struct space *s);
/* May the space get another slot, this one? */
bool notifier_may_add_slot(const struct space *s, gfn_t first, u64 npages);
/* Do all of them tell of writes? */
bool notifier_all_log(const struct space *s);
/* ops->log_protect of every MMU: bits are set of what one of them had. Enters the epoch by itself. */
void notifier_log_protect(struct space *s, gfn_t first, unsigned npages, u64 *bitmap);
bool notifier_log_clean(struct space *s, gfn_t g);
void notifier_zap(struct space *s, gfn_t g, struct notifier_zap *result);
void notifier_split(struct space *s, gfn_t g);
/* Could it? Only if there is one MMU, with larger translations: others would have to agree. */
bool notifier_may_map_huge(const struct space *s);
bool notifier_map_huge(struct space *s, gfn_t first, pfn_t head, void **table) must_check;
void notifier_free_table(struct space *s, void *table);
/* ops->shrink of every MMU that has it, until there are `want`. */
u64 notifier_shrink(struct space *s, u64 want);
bool notifiers_know_dirty(const struct space *s);

/*
 * The invalidate protocol (kept in the space, under its MMU lock):
 * begin: write lock; in_progress++; widen the range; unlock. After it, no fault can install a page of
 *        the range: one that was under way has finished (it held the read side), later ones see us.
 * end:   write lock; seq++; in_progress--; unlock. seq first shows a fault that started before begin
 *        and comes late that it raced.
 * Ranges are [first, last]. No lock held by the caller; neither waits for a guest.
 */
struct invalidate {
	a64 seq;
	u32 in_progress;
	gfn_t first, last;
};
void invalidate_begin(struct space *s, gfn_t first, gfn_t last);
void invalidate_end(struct space *s, gfn_t first, gfn_t last);
/* Snapshot before the gfn map is read (ord N1: acquire, pairs with ord N2 in invalidate_end). */
u64 invalidate_seq(const struct space *s);
/* With the MMU lock held (either side): must the fault that took `seq` start over? */
bool invalidate_retry(const struct space *s, u64 seq, gfn_t g);
/* The same for a fault that installs a translation of first .. last. */
bool invalidate_retry_range(const struct space *s, u64 seq, gfn_t first, gfn_t last);

/*
 * With the MMU lock held: has none ended since `seq` was taken, and is none under way, of any page? Then all that was
 * looked up after the snapshot is where it was found.
 */
bool invalidate_quiet(const struct space *s, u64 seq);

/*
 * Flush generations: a number per space that every vCPU must have honoured before what it could
 * still translate to is reused (I7). request() after the entries are gone; wait() makes every vCPU
 * that is in the guest with an older number leave it. Asserted by frame and table reuse.
 */
struct flush {
	a64 wanted;
	a64 done;
};
u64 flush_request(struct space *s);
/* No lock held. Returns when flush_is_done(gen). Executes pause while it waits. */
void flush_wait(struct space *s, u64 gen);
bool flush_is_done(const struct space *s, u64 gen);
