/*
 * Second-level and shadow page-table entries: the six formats as data, and every way in which an entry
 * changes.
 *
 * What a level's entry can be, and who may turn it into what:
 *
 *                   build (compare-exchange)
 *          EMPTY ------------------------------> TABLE
 *          |   ^                                 |  ^
 *    fault |   | zap (exchange)         collapse |  | split           level 2 only, compare-exchange:
 *          v   |                                 v  |                 hv/mmu/tdp_huge.c
 *          LEAF <------------------------------- LEAF, large
 *            zap: of its parts, after a split
 *
 *    age (one compare-exchange, never retried)
 *      LEAF ------------> LEAF, Accessed clear                        formats with A/D bits
 *      LEAF ------------> TRACKED                                     formats without
 *    fault (compare-exchange)
 *      TRACKED ---------> LEAF, Accessed set
 *    write-protect (compare-exchange), TRACKED or not
 *      LEAF ------------> the same LEAF without W
 *    dirty log (compare-exchange), TRACKED or not
 *      LEAF with W -----> LOGGED: the same without W, and with the word that it may have it
 *      LOGGED ----------> LEAF with W                                 by the fault of a write, without a lock
 *      LEAF, Dirty -----> the same LEAF, Dirty clear                  with the page's gfn word BUSY, its frame dirty
 *
 * Tables above level 1 live as long as a TDP; a shadow MMU takes them away as well, by spte_unlink().
 *
 * Hardware changes a LEAF as well: it sets Accessed and Dirty with a locked operation, and only in
 * an entry that it finds present then (SDM 3A 4.8 and 3C 28.3.5; APM 2 5.4.2).
 *
 * It sets Accessed in every TABLE that it walks through, too. There the bit says that something below
 * was walked to; it is cleared like a leaf's, and a collapse apart nothing else ever changes in such an
 * entry.
 *
 * Why a compare-exchange is enough, and one is (no loop):
 *   - it replaces exactly the entry that was judged. If it fails, somebody changed the entry
 *     meanwhile: hardware set a bit, so the page is hot; or a zap took it, so the page is going. In
 *     both cases there is nothing left to age, and the caller reports young either way.
 *   - Dirty is never lost (I8): clearing Accessed keeps the rest of the entry that was read, and
 * had Dirty been set after the reading, the exchange would have failed. A zap is an exchange, whose
 *     old value has what hardware wrote up to that moment; afterwards hardware finds it not
 *     present. Write-protecting keeps the bit; where there is none, a leaf gets W only once mm counts the page as
 *     written (fault_make_dirty()), and so it counts until it is stored, which is after a zap.
 *   - a lost Accessed is tolerated: the page seems older than it is for one pass.
 *
 * Encodings of entries that hardware must take for not present:
 *   EMPTY    0. A zapped entry keeps nothing: no frame number, no slot (I6).
 *   TRACKED  bit 11, the rights in bits 55:52 and the frame number with every bit inverted. The
 *            rest of the leaf is not kept, it is the same for every page. The inversion keeps I6 to
 *            the letter: a CPU that speculates through a not-present entry (L1TF) would read a line
 *            near the top of the physical address space, where no RAM is as long as RAM ends below
 *            half of it; the audit checks that what stands there is no frame of ours.
 *   In both, bits 5 and 8 are zero: these are the two places where Accessed can be. So "Accessed is
 *   set" implies "present" in every format, and "leaf" at level 1, and harvesting tests a single bit. Checked on
 * every change in debug builds (spte.c), the single funnel of all of them.
 *
 * Bit 11 says "a translation is here" in every format; all of them leave it to software.
 *
 * Bit 10, LOGGED, says "W was taken for the dirty log alone" (mm/dirty_log.h): whoever has W to grant for a write may
 * grant it by what the entry says, and needs no lock for that. It is never set together with W. What else takes W
 * takes LOGGED as well. All formats leave the bit to software, EPT as long as no rights depend on the mode (SDM 3C
 * 28.3.2: bit 10 is ignored unless mode-based execute control is on).
 */
#pragma once

#include "arch/hal.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

#define SPTE_EMPTY       0ull
#define SPTE_LOGGED      BIT(10)
#define SPTE_MMU_PRESENT BIT(11)
#define SPTE_ADDRESS     BITS(51, 12)
#define SPTE_SAVED_SHIFT 52
#define SPTE_SAVED       BITS(55, 52)
#define SPTE_RESERVED    (BIT(5) | BIT(8)) /* zero in every entry that is not present */

/* Rights in no format's encoding; they are what a TRACKED entry saves. */
#define SPTE_R 1u
#define SPTE_W 2u
#define SPTE_X 4u
#define SPTE_U 8u /* by user mode too; shadow MMU only, a second level knows no modes */

/*
 * One format. `dirty` is 0 where the CPU has no A/D bits or may not use them: such entries are aged
 * by access tracking, Accessed is then a bit that software keeps in the same place, and "dirty"
 * means "was writable": a page whose copy is valid is mapped read-only until it is first written.
 */
struct spte_format {
	const char *name;
	u64 present;  /* any of these: hardware takes the entry for present */
	u64 read;     /* set: may be read */
	u64 write;    /* set: may be written */
	u64 exec;     /* set: may be executed, ... */
	u64 no_exec;  /* ... and set: may not. A format has one of the two */
	u64 user;     /* set: user mode may, too; 0 in a second level's format */
	u64 accessed; /* one bit */
	u64 dirty;    /* one bit, or 0 */
	u64 large;    /* leaf above level 1 */
	u64 leaf;     /* in every leaf: memory type write-back, user, ... */
	u64 table;    /* in every entry that leads to a table: all rights */
};
extern const struct spte_format spte_ept_ad;    /* EPT, A/D bits enabled in the EPTP */
extern const struct spte_format spte_ept_track; /* EPT without */
extern const struct spte_format spte_npt_ad;    /* NPT; A/D bits are always there */
extern const struct spte_format spte_npt_track; /* NPT, told not to use them */
/* Shadow tables, those of an ordinary CPU in long or PAE mode; A/D bits are always there. */
extern const struct spte_format spte_shadow_ad;
extern const struct spte_format spte_shadow_track; /* the same, told not to use them */

/* The format of a machine: second level is EPT (else NPT), and its A/D bits are there and wanted.
 */
const struct spte_format *spte_format_of(bool ept, bool ad);
const struct spte_format *spte_shadow_format(bool ad);

static inline bool spte_has_dirty(const struct spte_format *f)
{
	return f->dirty != 0;
}

/* --- asking; pure functions of a value that was read once --- */

static inline bool spte_is_empty(u64 spte)
{
	return !(spte & SPTE_MMU_PRESENT);
}
static inline bool spte_is_tracked(const struct spte_format *f, u64 spte)
{
	return !spte_is_empty(spte) && !(spte & f->present);
}
static inline bool spte_is_table(const struct spte_format *f, unsigned level, u64 spte)
{
	return level > 1 && !spte_is_empty(spte) && (spte & f->present) && !(spte & f->large);
}
/* A translation: present for hardware, or access-tracked. */
static inline bool spte_is_leaf(const struct spte_format *f, unsigned level, u64 spte)
{
	return !spte_is_empty(spte) && !spte_is_table(f, level, spte);
}
static inline bool spte_young(const struct spte_format *f, u64 leaf)
{
	return (leaf & f->accessed) != 0;
}
/* Rights that hardware grants now: none when tracked. */
u64 spte_rights(const struct spte_format *f, u64 leaf);
/* Rights of the translation, tracked or not. */
u64 spte_saved_rights(const struct spte_format *f, u64 leaf);
/* Must the contents be taken for written since the leaf was made? */
bool spte_dirty(const struct spte_format *f, u64 leaf);
static inline pfn_t spte_pfn(const struct spte_format *f, u64 spte)
{
	u64 address = spte_is_tracked(f, spte) ? ~spte : spte;

	return pfn((address & SPTE_ADDRESS) >> PAGE_SHIFT);
}

/* --- making values --- */

u64 spte_make_table(const struct spte_format *f, pfn_t table);
/* Accessed is set: a leaf is made by the fault that is its first access. `dirty`: that was a write.
 */
u64 spte_make_leaf(const struct spte_format *f, unsigned level, pfn_t page, u64 rights, bool dirty);
/* What a level-2 leaf says of its i-th page, as a level-1 leaf: rights, Accessed, Dirty, tracked or not. */
u64 spte_make_part(const struct spte_format *f, u64 large, unsigned i);
/* The leaf after one look at it: Accessed clear, or tracked. */
u64 spte_make_old(const struct spte_format *f, u64 leaf);
/* The leaf that a fault leaves: young, with its rights back and `more` rights granted. */
u64 spte_make_young(const struct spte_format *f, unsigned level, u64 leaf, u64 more, bool dirty);

/* The leaf without W, and without the word that it may have it: nothing else changes. */
u64 spte_make_protected(const struct spte_format *f, u64 leaf);
/* The leaf with LOGGED in W's place, if it has W. */
u64 spte_make_logged(const struct spte_format *f, u64 leaf);

/* Is the value one of the encodings above? For assertions, the audit and tests. */
bool spte_valid(const struct spte_format *f, unsigned level, u64 spte);
/* Is the change one of the arrows above? */
bool spte_change_valid(const struct spte_format *f, unsigned level, u64 from, u64 to);

/* --- changing entries: nothing else writes to one --- */

/*
 * Replaces *seen by `want`; false and *seen updated if the entry was another. Lockless, any
 * context; full barrier.
 */
static inline must_check bool spte_replace(const struct spte_format *f, unsigned level, a64 *entry,
                                           u64 *seen, u64 want)
{
	DEBUG_ASSERT(spte_change_valid(f, level, *seen, want));
	/*
	 * ord T1: a table's empty entries, and ord T2: a page's contents, are written before the
	 * entry that leads to them (release half of the exchange). Aging and restoring need no
	 * order at all: the entry is all there is to know.
	 */
	return a64_cas(entry, seen, want);
}
/*
 * The same for a level-2 leaf that becomes the table `want`, whose entries are the leaf's parts, or for a
 * table, all of whose entries are empty, that becomes a leaf: the one change between the two.
 */
bool spte_resize(const struct spte_format *f, unsigned level, a64 *entry, u64 *seen,
                 u64 want) must_check;
/*
 * Ages the young leaf that was read as `seen`: one compare-exchange whose outcome does not matter
 * (see the top). Lockless, any context.
 */
static inline void spte_age(const struct spte_format *f, unsigned level, a64 *entry, u64 seen)
{
	u64 old = likely(spte_has_dirty(f)) ? seen & ~f->accessed : spte_make_old(f, seen);

	(void)!spte_replace(f, level, entry, &seen, old);
}
/*
 * The same for a level-1 entry in a format with Accessed and Dirty bits: for loops. What is not young any more
 * (aged by another, gone) is exchanged for itself: nothing happens to it.
 */
static inline void spte_age_bit(const struct spte_format *f, a64 *entry, u64 seen)
{
	u64 old = seen & ~f->accessed;

	DEBUG_ASSERT(spte_has_dirty(f) && (old == seen || spte_change_valid(f, 1, seen, old)));
	(void)!a64_cas(entry, &seen, old);
}
/*
 * Takes W from an entry that is a leaf; whether it had it, or had until the dirty log took it. Then a TLB may still
 * hold it: to be flushed. Empty or a table: false. Repeated until it fits: hardware and agers change the entry meanwhile, and W must go.
 */
bool spte_protect(const struct spte_format *f, unsigned level, a64 *entry);
/* The same for the dirty log: LOGGED takes W's place. */
bool spte_log(const struct spte_format *f, unsigned level, a64 *entry);
/*
 * Clears Dirty of an entry that is a leaf, in a format that has it; whether it was set. Then a TLB may still say so: to
 * be flushed. The caller has the page's gfn word BUSY, and its frame counts as dirty without a copy (I8).
 */
bool spte_clean(const struct spte_format *f, unsigned level, a64 *entry);
/*
 * Empties the entry of a table, shadow MMU only; returns what it was. Hardware may still have the table in its
 * paging-structure caches: freed after a flush and a grace period.
 */
u64 spte_unlink(const struct spte_format *f, unsigned level, a64 *entry);
/* Empties the entry of a leaf; returns what it was, with all that hardware had set by then. */
u64 spte_zap(const struct spte_format *f, unsigned level, a64 *entry);
