#include "hv/mmu/spte.h"

#include "arch/hal.h"

/* EPT entries: SDM 3C 28.3.2. Memory type in bits 5:3 (6 = write-back), bit 6 would ignore the PAT.
 */
#define EPT_R     BIT(0)
#define EPT_W     BIT(1)
#define EPT_X     BIT(2)
#define EPT_WB    (6ull << 3)
#define EPT_LARGE BIT(7)
#define EPT_A     BIT(8)
#define EPT_D     BIT(9)

/*
 * NPT entries: those of the long-mode page tables, APM 2 5.3.3 and 15.25. A nested walk is a user
 * access, so U must be set; PAT index 0 is write-back.
 */
#define NPT_P     BIT(0)
#define NPT_W     BIT(1)
#define NPT_U     BIT(2)
#define NPT_A     BIT(5)
#define NPT_D     BIT(6)
#define NPT_LARGE BIT(7)
#define NPT_NX    BIT(63)

#define EPT_COMMON                                                                      \
	.present = EPT_R | EPT_W | EPT_X, .read = EPT_R, .write = EPT_W, .exec = EPT_X, \
	.accessed = EPT_A, .large = EPT_LARGE, .leaf = EPT_WB, .table = EPT_R | EPT_W | EPT_X

/* Without A/D enabled, EPT ignores bits 8 and 9. */
const struct spte_format spte_ept_ad = {.name = "ept", .dirty = EPT_D, EPT_COMMON};
const struct spte_format spte_ept_track = {.name = "ept without A/D", .dirty = 0, EPT_COMMON};

#define NPT_COMMON                                                                             \
	.present = NPT_P, .read = NPT_P, .write = NPT_W, .no_exec = NPT_NX, .accessed = NPT_A, \
	.large = NPT_LARGE, .table = NPT_P | NPT_W | NPT_U

const struct spte_format spte_npt_ad = {
        .name = "npt",
        .dirty = NPT_D,
        .leaf = NPT_U,
        NPT_COMMON,
};
/* NPT sets A and D whether we want them or not: both are set from the start, so it never has to. */
const struct spte_format spte_npt_track = {
        .name = "npt without A/D",
        .dirty = 0,
        .leaf = NPT_U | NPT_D,
        NPT_COMMON,
};

/*
 * Shadow entries: SDM 3A 4.4 and 4.5, APM 2 5.3. The same bits as NPT's, which are those of an ordinary CPU's; but
 * user mode is a right. PAE tables have all of bits 62:52 reserved, so nothing but NX stands there in what
 * hardware takes for present. No G: a CPU's own flushes have to reach every entry. PAT index 0 is write-back.
 */
#define SHADOW_COMMON .user = NPT_U, NPT_COMMON

const struct spte_format spte_shadow_ad = {
        .name = "shadow",
        .dirty = NPT_D,
        SHADOW_COMMON,
};
/* As spte_npt_track. */
const struct spte_format spte_shadow_track = {
        .name = "shadow without A/D",
        .dirty = 0,
        .leaf = NPT_D,
        SHADOW_COMMON,
};

static_assert((EPT_A | NPT_A) == SPTE_RESERVED, "the two places of Accessed");
static_assert(((EPT_R | EPT_W | EPT_X | EPT_WB | EPT_LARGE | EPT_A | EPT_D) &
               (SPTE_LOGGED | SPTE_MMU_PRESENT | SPTE_SAVED | SPTE_ADDRESS)) == 0,
              "software bits are free in EPT");
static_assert(((NPT_P | NPT_W | NPT_U | NPT_A | NPT_D | NPT_LARGE | NPT_NX) &
               (SPTE_LOGGED | SPTE_MMU_PRESENT | SPTE_SAVED | SPTE_ADDRESS)) == 0,
              "software bits are free in NPT");

const struct spte_format *spte_format_of(bool ept, bool ad)
{
	if (ept)
		return ad ? &spte_ept_ad : &spte_ept_track;
	return ad ? &spte_npt_ad : &spte_npt_track;
}

const struct spte_format *spte_shadow_format(bool ad)
{
	return ad ? &spte_shadow_ad : &spte_shadow_track;
}

u64 spte_rights(const struct spte_format *f, u64 leaf)
{
	bool exec = f->exec ? (leaf & f->exec) : !(leaf & f->no_exec);

	if (!(leaf & f->present))
		return 0;
	return ((leaf & f->read) ? SPTE_R : 0) | ((leaf & f->write) ? SPTE_W : 0) |
	       (exec ? SPTE_X : 0) | ((leaf & f->user) ? SPTE_U : 0);
}

u64 spte_saved_rights(const struct spte_format *f, u64 leaf)
{
	if (spte_is_tracked(f, leaf))
		return (leaf & SPTE_SAVED) >> SPTE_SAVED_SHIFT;
	return spte_rights(f, leaf);
}

bool spte_dirty(const struct spte_format *f, u64 leaf)
{
	if (spte_has_dirty(f))
		return leaf & f->dirty;
	/* LOGGED may become W at any time, and nobody asks mm then. */
	return leaf & SPTE_LOGGED || spte_saved_rights(f, leaf) & SPTE_W;
}

u64 spte_make_table(const struct spte_format *f, pfn_t table)
{
	return f->table | SPTE_MMU_PRESENT | pfn_hpa(table).v;
}

u64 spte_make_leaf(const struct spte_format *f, unsigned level, pfn_t page, u64 rights, bool dirty)
{
	u64 spte = f->leaf | f->accessed | SPTE_MMU_PRESENT | pfn_hpa(page).v;

	DEBUG_ASSERT(rights & SPTE_R);
	DEBUG_ASSERT(!dirty || (rights & SPTE_W));
	DEBUG_ASSERT(f->user || !(rights & SPTE_U));
	spte |= f->read;
	spte |= (rights & SPTE_W) ? f->write : 0;
	spte |= (rights & SPTE_X) ? f->exec : f->no_exec;
	spte |= (rights & SPTE_U) ? f->user : 0;
	spte |= level > 1 ? f->large : 0;
	return spte | (dirty ? f->dirty : 0);
}

u64 spte_make_old(const struct spte_format *f, u64 leaf)
{
	if (spte_has_dirty(f))
		return leaf & ~f->accessed;
	return SPTE_MMU_PRESENT | (leaf & SPTE_LOGGED) |
	       (spte_saved_rights(f, leaf) << SPTE_SAVED_SHIFT) |
	       (~pfn_hpa(spte_pfn(f, leaf)).v & SPTE_ADDRESS);
}

u64 spte_make_young(const struct spte_format *f, unsigned level, u64 leaf, u64 more, bool dirty)
{
	u64 rights = spte_saved_rights(f, leaf) | more;

	/* Written once, and write-protected since: Dirty without W. */
	return spte_make_leaf(f, level, spte_pfn(f, leaf), rights, dirty) | (leaf & f->dirty) |
	       (rights & SPTE_W ? 0 : leaf & SPTE_LOGGED);
}

u64 spte_make_protected(const struct spte_format *f, u64 leaf)
{
	u64 w = spte_is_tracked(f, leaf) ? (u64)SPTE_W << SPTE_SAVED_SHIFT : f->write;

	return leaf & ~(w | SPTE_LOGGED);
}

u64 spte_make_logged(const struct spte_format *f, u64 leaf)
{
	if (!(spte_saved_rights(f, leaf) & SPTE_W))
		return leaf;
	return spte_make_protected(f, leaf) | SPTE_LOGGED;
}

u64 spte_make_part(const struct spte_format *f, u64 large, unsigned i)
{
	u64 at = pfn_hpa(pfn(spte_pfn(f, large).v + i)).v;

	if (spte_is_tracked(f, large))
		return (large & ~SPTE_ADDRESS) | (~at & SPTE_ADDRESS);
	return (large & ~(SPTE_ADDRESS | f->large)) | at;
}

static bool aligned(const struct spte_format *f, unsigned level, u64 leaf)
{
	return !(spte_pfn(f, leaf).v & ((1ull << ((level - 1) * 9)) - 1));
}

bool spte_valid(const struct spte_format *f, unsigned level, u64 spte)
{
	if (spte_is_empty(spte))
		return spte == SPTE_EMPTY;
	if (spte & SPTE_LOGGED &&
	    (spte_is_table(f, level, spte) || spte_saved_rights(f, spte) & SPTE_W))
		return false;
	if (spte_is_tracked(f, spte))
		return !spte_has_dirty(f) &&
		       !(spte & ~(SPTE_LOGGED | SPTE_MMU_PRESENT | SPTE_SAVED | SPTE_ADDRESS)) &&
		       (spte_saved_rights(f, spte) & SPTE_R) && aligned(f, level, spte);
	if (spte & SPTE_SAVED)
		return false;
	if (spte_is_table(f, level, spte))
		return (spte & f->table) == f->table;
	return (spte & f->leaf) == f->leaf && (spte & f->read) &&
	       !!(spte & f->large) == (level > 1) && aligned(f, level, spte);
}

/*
 * Leaf to leaf, both may be tracked: the page stays, rights and Dirty are only gained. But for write-protecting, which
 * takes W or LOGGED and changes nothing else, and the dirty log, which puts LOGGED in W's place.
 */
static bool leaf_change_valid(const struct spte_format *f, u64 from, u64 to)
{
	u64 had = spte_saved_rights(f, from);

	if (spte_pfn(f, from).v != spte_pfn(f, to).v)
		return false;
	if (to == spte_make_protected(f, from) || to == spte_make_logged(f, from))
		return true;
	if (from & SPTE_LOGGED && !(to & SPTE_LOGGED) && !(spte_saved_rights(f, to) & SPTE_W))
		return false;
	if (had & ~spte_saved_rights(f, to))
		return false;
	if (spte_is_tracked(f, to) && !spte_young(f, from))
		return false;
	return spte_dirty(f, to) || !spte_dirty(f, from);
}

bool spte_change_valid(const struct spte_format *f, unsigned level, u64 from, u64 to)
{
	if (!spte_valid(f, level, from) || !spte_valid(f, level, to))
		return false;
	if (spte_is_empty(from))
		return !spte_is_empty(to) && !spte_is_tracked(f, to);
	/* A table that was walked through is marked, and the mark is taken away. */
	if (spte_is_table(f, level, from) && spte_is_table(f, level, to))
		return spte_has_dirty(f) && to == (from & ~f->accessed);
	if (spte_is_table(f, level, from) || spte_is_table(f, level, to))
		return false;
	return spte_is_empty(to) || leaf_change_valid(f, from, to);
}

bool spte_resize(const struct spte_format *f, unsigned level, a64 *entry, u64 *seen, u64 want)
{
	DEBUG_ASSERT(level == 2 && spte_valid(f, level, *seen) && spte_valid(f, level, want));
	DEBUG_ASSERT(!spte_is_empty(*seen) && !spte_is_empty(want));
	DEBUG_ASSERT(spte_is_table(f, level, *seen) != spte_is_table(f, level, want));
	/* ord T1, ord T2: what the new entry leads to is written before it. */
	return a64_cas(entry, seen, want);
}

bool spte_protect(const struct spte_format *f, unsigned level, a64 *entry)
{
	u64 seen = a64_load(entry);

	while (spte_is_leaf(f, level, seen)) {
		u64 want = spte_make_protected(f, seen);

		if (want == seen)
			return false;
		/* ord N3: as in spte_zap(). */
		if (spte_replace(f, level, entry, &seen, want))
			return true;
	}
	return false;
}

bool spte_log(const struct spte_format *f, unsigned level, a64 *entry)
{
	u64 seen = a64_load(entry);

	while (spte_is_leaf(f, level, seen) && spte_saved_rights(f, seen) & SPTE_W) {
		/* ord N3: as in spte_zap(). */
		if (spte_replace(f, level, entry, &seen, spte_make_logged(f, seen)))
			return true;
	}
	return false;
}

bool spte_clean(const struct spte_format *f, unsigned level, a64 *entry)
{
	u64 seen = a64_load(entry);

	DEBUG_ASSERT(spte_has_dirty(f));
	while (spte_is_leaf(f, level, seen) && seen & f->dirty) {
		/* Past the funnel, for nothing else clears Dirty. ord N3: as in spte_zap(). */
		DEBUG_ASSERT(spte_valid(f, level, seen & ~f->dirty));
		if (a64_cas(entry, &seen, seen & ~f->dirty))
			return true;
	}
	return false;
}

u64 spte_unlink(const struct spte_format *f, unsigned level, a64 *entry)
{
	/* ord N3: as in spte_zap(). */
	u64 was = a64_xchg(entry, SPTE_EMPTY);

	DEBUG_ASSERT(f->user && spte_is_table(f, level, was));
	return was;
}

u64 spte_zap(const struct spte_format *f, unsigned level, a64 *entry)
{
	/* ord N3: the entry is gone before the flush generation is requested (full barrier). */
	u64 was = a64_xchg(entry, SPTE_EMPTY);

	DEBUG_ASSERT(spte_valid(f, level, was) && !spte_is_table(f, level, was));
	return was;
}
