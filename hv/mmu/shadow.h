/*
 * The shadow MMU: tables that an ordinary CPU walks, from the guest's own addresses to machine frames, made by
 * software from the guest's page tables. For machines without EPT and NPT, or beside a TDP.
 *
 * A shadow page is one such table. It mirrors a table of the guest (or a half or quarter of one with 4-byte
 * entries), or, direct, maps a large page of the guest, or all memory of a guest without paging, piece by piece.
 * Leaves map 4 KiB, for mm gives memory by 4 KiB.
 *
 * Who may do what:
 *
 *	makes and removes shadow pages, entries, tracking	the write side of the space's MMU lock
 *	asks what is tracked (TDP's faults)			either side of it
 *	ages a leaf: one compare-exchange			the word of its page's reverse map (hv/mmu/rmap.h)
 *	restores a leaf that aging took, in a direct page	an epoch section
 *	sets Accessed and Dirty, walks				hardware, at any time
 *
 * Nothing blocks or allocates under the MMU lock: what a fault may need is put into its vCPU's cache before. So a
 * fault is one walk of the guest's tables under the lock, which reads them where they are. A page that is resident
 * and not in an invalidation stays where it is until the lock is dropped, because an eviction begins by taking
 * the lock (mm/notifier.h). If one of the pages is not resident, the walk is given up, the page brought in without
 * the lock, and the walk begun again.
 *
 * Why shadow entries agree with the guest's tables as far as the architecture wants:
 *
 *	in sync	  A table with a shadow page is write-tracked: no translation of its page has W, on any vCPU. Whoever
 *		  makes its first shadow page takes W away and waits for the flush before an entry is read (`ready`).
 *		  So it only changes by a write that faults, or by the hypervisor (guest_write()), which says so.
 *	unsync	  Such a write does not wait for an emulator: its page is tracked no more, and its shadow pages are
 *		  unsync. Then they may be stale, as a TLB or a paging-structure cache may be: the guest must not
 *		  rely on a changed entry before it has executed INVLPG or loaded CR3. There we read the entries
 *		  again (SDM 3A 4.10.4, APM 2 5.5): all of every unsync page at a CR3 load or INVPCID, and at INVLPG
 *		  the one entry of level 1, but all of those above, for INVLPG empties the paging-structure caches
 *		  whatever its address. Entries only go away there; a fault makes the new ones. A not-present entry
 *		  is cached nowhere, here as in hardware, so an entry that became present needs nothing.
 *	in sync	  A page that was read again several times without a change is tracked again: W taken away, flush,
 *	again	  and read once more after it.
 *
 *	A page fault walks the guest's tables afresh, so what is staler than they are is repaired there, and no
 *	fault reaches the guest that its tables do not justify.
 *
 * Why nothing is used that was freed: a shadow page that goes is unlinked from its parents, its leaves leave the
 * reverse maps (taking the lock in their words, so that no ager is in them), and its frame goes to the list of
 * the dead together with the number of a flush requested after that. It is freed when this flush is done (no CPU
 * walks it any more) and after the epoch (no restore is in it). A vCPU that is about to enter looks whether its
 * root is still one after it said that it is going in (shadow_vcpu_root_valid()): the same pattern as the flush.
 *
 * How old a table of the guest is: hardware walks ours, not the guest's, so nothing sets Accessed for the page that
 * holds one. It is taken for used as long as a shadow page mirrors it (shadow_slot.mirrored), by who asks accurately:
 * an evictor. Shadow pages that were not used lately go first, when memory is short, and at most one for
 * SHADOW_PAGES_PART of the guest's pages is there; so a page with a table that nobody walks through any more grows old
 * like others soon. That we read a table to mirror it counts as an access of the hypervisor, besides.
 *
 * Dirty: a leaf gets W only over a frame that counts as written already (its copy dropped). So no Dirty bit tells mm
 * anything it does not know, and leaves may be dropped at any time. `knows_dirty` is false.
 */
#pragma once

#include "hv/mmu/rmap.h"
#include "hv/mmu/shadow_role.h"
#include "hv/mmu/spte.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"

struct space;
struct tdp;

/* All of it: MMU lock, write side. */
struct shadow_page {
	gfn_t gfn; /* of the guest's table; direct: of entry 0 */
	u32 role;
	u32 frame;  /* whose `table` is this */
	a64 *entry; /* TABLE_PAGES of them, in the frame */
	struct shadow_page *hash_next;
	struct shadow_page *older, *newer; /* LRU; `older` links the unused */
	struct rmap parents;               /* entries that lead here */
	u64 ready; /* flush after which the guest's table may be read; 0: at once */
	u8 quiet;  /* times it was read again without a change */
	bool used; /* by a fault, since recycling looked last */
	bool unsync;
	bool settling; /* unsync, but about to be tracked again: W is gone, the flush is under way */
};

/* The reverse maps of a slot, or of a window whether there are slots in it or not. */
struct shadow_slot {
	gfn_t base;
	u64 npages;
	struct rmap *rmap;
	/* A bit for each page, set while a shadow page mirrors a table there. Written under the MMU lock, read without. */
	a64 *mirrored;
};
/* Guest memory in which slots may come and go later. */
struct shadow_window {
	gfn_t first;
	u64 npages;
};
#define SHADOW_SLOT_WORDS(npages) ((npages) / 64 + 2) /* a window of 64 bits may begin anywhere */

/* Counters that only grow; read without order. */
struct shadow_stats {
	a64 faults_total; /* page faults that were ours to repair */
	a64 guest_total;  /* ... that the guest got */
	a64 fixed_fast_total;
	a64 made_total;     /* shadow pages */
	a64 zapped_total;   /* that went, for whatever reason */
	a64 recycled_total; /* ... because there were too many, or memory was short */
	a64 unsync_total;   /* writes to tables that were let through */
	a64 synced_total;   /* pages read again */
	a64 stale_total;    /* entries that went there */
	a64 settled_total;  /* pages tracked again */
	a64 kept_total;     /* pages that an evictor did not get because they hold tables in use */
	a64 unshadowed_total; /* shadow pages that went because their table's page was taken */
	a64 overfull_total;   /* gfns with so many translations that they were all dropped */
};

#define SHADOW_PAGE_1G    BIT(8)
#define SHADOW_UNSYNC_MAX 32u
#define SHADOW_PAGES_MIN  64u
/* One shadow page for so many pages of the guest. */
#define SHADOW_PAGES_PART 50u

struct shadow {
	struct notifier notifier; /* registered with the space */
	const struct spte_format *format;
	struct tdp *tdp; /* beside it in the same space, or NULL */
	a32 limits; /* of the guest, as its CPUID says: phys_bits, SHADOW_PAGE_1G; each vCPU says it */
	a64 pages;     /* shadow pages */
	a64 leaves;    /* entries that are leaves, present or tracked */
	a64 tracked;   /* pages that mirror a table, unsync ones included: 0: nothing is tracked */
	a64 unsynced;  /* pages that are unsync */
	a64 roots_gen; /* raised when a root, or an entry above level 2 of a PAE table, goes away */
	u64 limit;     /* shadow pages at most */
	struct shadow_page **hash;
	u32 hash_bits;
	struct shadow_page *oldest, *newest;
	struct shadow_page *unused;                    /* structs without a page */
	struct shadow_page *unsync[SHADOW_UNSYNC_MAX]; /* the first `unsynced` */
	u32 dead;    /* frames of pages that went, linked by `next` */
	u32 leaving; /* those that wait for this flush: */
	u64 leaving_flush;
	bool stale;      /* a translation went away since ... */
	u64 stale_flush; /* ... this flush was requested */
	struct shadow_page *structs;
	struct rmap_pool pool;
	u32 nr_slots;
	struct shadow_window window; /* or 0 pages */
	struct shadow_slot
	        slot[SLOTS_MAX + 1]; /* window; those of the space when the MMU was made */
	struct shadow_stats stats;
};

/*
 * Registers the MMU with the space, whose slots are all there by now, but for those that come in `window` (0 pages: none
 * may; clear of the slots that there are). `tdp`: the one that was registered before, or NULL. False: no memory, nothing
 * kept.
 */
bool shadow_create(struct shadow *sh, struct space *s, const struct spte_format *format,
                   struct tdp *tdp, struct shadow_window window) must_check;
/* After space_drain(), and shadow_vcpu_destroy() of every vCPU. */
void shadow_destroy(struct shadow *sh);

static inline struct shadow *shadow_of(struct notifier *n)
{
	return container_of(n, struct shadow, notifier);
}

/* The slot or window that has the page, or NULL. Constant while the MMU is there. */
static inline const struct shadow_slot *shadow_slot(const struct shadow *sh, gfn_t g)
{
	for (u32 i = sh->nr_slots; i-- > 0;) /* the last is the largest, as a rule */
		if (g.v - sh->slot[i].base.v < sh->slot[i].npages)
			return &sh->slot[i];
	return NULL;
}
/* Reverse map of a page, or NULL: in neither. */
static inline struct rmap *shadow_rmap(const struct shadow *sh, gfn_t g)
{
	const struct shadow_slot *slot = shadow_slot(sh, g);

	return slot ? &slot->rmap[g.v - slot->base.v] : NULL;
}
/* Of the 64 pages from the one with this number in the slot: those that hold a table that is mirrored. Any context. */
static inline u64 shadow_mirrored(const struct shadow_slot *slot, u64 page)
{
	const a64 *at = &slot->mirrored[page / 64];
	u64 bits = a64_load(at) >> page % 64;

	return page % 64 ? bits | a64_load(at + 1) << (64 - page % 64) : bits;
}

/* MMU lock held, either side: must the page not be mapped writable? It holds a table whose shadow is in sync. */
bool shadow_tracks(const struct shadow *sh, gfn_t g);
/*
 * A vCPU on a TDP wants to write such a page: from here on it is not tracked. Takes the MMU lock's write side; no
 * lock held.
 */
void shadow_let_write(struct shadow *sh, gfn_t g);
/* The hypervisor wrote guest memory. No lock held. */
void shadow_written(struct shadow *sh, gpa_t at, u64 bytes);

/*
 * MMU lock held for writing: the shadow page of a table entry's place. For the audit, and to know the level of an
 * entry that a reverse map names.
 */
struct shadow_page *shadow_page_of(const a64 *entry);
/* The page is about to be taken from the guest: its shadow pages go. MMU lock held for writing. */
void shadow_unshadow_locked(struct shadow *sh, gfn_t g);
/*
 * For each leaf that was emptied by spte_zap() and taken out of its reverse map: counts, and notes that a TLB may
 * still hold it. MMU lock held for writing.
 */
void shadow_leaf_gone_locked(struct shadow *sh);
/*
 * mm needs frames: gives shadow pages back that were not used since they were looked at last; how many. No lock held;
 * waits for a flush.
 */
u64 shadow_shrink(struct notifier *n, u64 want);

/* The notifier's other operations: shadow_age.c, shadow_zap.c, shadow_audit.c. */
unsigned shadow_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                    u64 *visited);
void shadow_zap(struct notifier *n, gfn_t g, struct notifier_zap *result);
u64 shadow_audit(struct notifier *n);
