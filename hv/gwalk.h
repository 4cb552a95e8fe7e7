/*
 * Walks a guest's own page tables for software: for one translation (instruction bytes), and for the shadow
 * MMU, which mirrors what it finds on the way. A pure function over a callback that reads guest-physical
 * memory. gwalk() only reads, which no guest can tell from a walk that hardware abandoned; gwalk_mark() then
 * sets Accessed and Dirty as hardware does when it uses the translation.
 *
 * Modes: paging off, 32-bit with and without 4 MiB pages (PSE-36), PAE, 4-level, 5-level.
 * Sources: Intel SDM vol. 3, chapter 4; AMD APM vol. 2, chapter 5.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* What of the guest's state the translation depends on. */
struct gwalk_state {
	u64 cr0, cr3, cr4, efer;
	u8 phys_bits; /* width of a physical address as CPUID tells the guest, 32 .. 52 */
	bool page_1g; /* likewise, 1 GiB pages */
	bool ac;      /* RFLAGS.AC, for SMAP */
};

/* Kinds of access, ORed; none: a supervisor read. */
#define GWALK_WRITE 1u
#define GWALK_USER  2u
#define GWALK_FETCH 4u

enum gwalk_result {
	GWALK_OK,
	GWALK_FAULT,        /* #PF with `error` */
	GWALK_NONCANONICAL, /* #GP (or #SS) */
	GWALK_UNREADABLE,   /* the callback had no entry at `gpa` */
};

/* A table entry of 4 or 8 bytes at a naturally aligned address. False: there is no memory. */
typedef bool (*gwalk_read_fn)(void *ctx, gpa_t at, unsigned bytes, u64 *entry);

#define GWALK_LEVELS 5u

/* One entry on the way, as it was read. */
struct gwalk_step {
	gpa_t at;
	u64 entry;
	u8 bytes;  /* 4 or 8 */
	u8 level;  /* 1: maps 4 KiB */
	bool bare; /* an entry at the top of PAE paging: no permissions, no Accessed */
};

struct gwalk_out {
	gpa_t gpa;
	u64 page_bytes; /* size of the page that holds it, for GWALK_OK; 4 KiB without paging */
	u32 error;      /* of the #PF */
	/* What all levels together allow, for GWALK_OK; write and user as the entries say, whatever CR0.WP. */
	bool write, user, exec;
	unsigned
	        steps; /* entries read and sound, from the root down; the last is the leaf, for GWALK_OK */
	struct gwalk_step step[GWALK_LEVELS];
};

enum gwalk_result gwalk(const struct gwalk_state *state, gva_t at, unsigned access,
                        gwalk_read_fn read, void *ctx, struct gwalk_out *out) must_check;

/* An entry's permissions in both sizes of entry; no execute counts with EFER.NXE in 8-byte ones. */
#define GWALK_ENTRY_W  BIT(1)
#define GWALK_ENTRY_U  BIT(2)
#define GWALK_ENTRY_A  BIT(5)
#define GWALK_ENTRY_D  BIT(6)
#define GWALK_ENTRY_NX BIT(63)

/*
 * Replaces an entry that still is `expected` by `want`, in one step for every CPU of the guest. False: it is
 * another by now, or cannot be written at the moment.
 */
typedef bool (*gwalk_set_fn)(void *ctx, gpa_t at, unsigned bytes, u64 expected, u64 want);

/*
 * The use of a translation that gwalk() found: Accessed in every entry, for a write Dirty in the last, where
 * they are not set yet; `out` is brought up to date. False: an entry could not be replaced; walk again.
 */
bool gwalk_mark(struct gwalk_out *out, unsigned access, gwalk_set_fn set, void *ctx) must_check;
/* Would gwalk_mark() change this entry? */
static inline u64 gwalk_marks(const struct gwalk_out *out, unsigned i, unsigned access)
{
	u64 bits = GWALK_ENTRY_A;

	if (out->step[i].bare)
		return 0;
	if (i + 1 == out->steps && access & GWALK_WRITE)
		bits |= GWALK_ENTRY_D;
	return bits & ~out->step[i].entry;
}

/* Would it change none of them? */
static inline bool gwalk_is_marked(const struct gwalk_out *out, unsigned access)
{
	u64 missing = 0;

	for (unsigned i = 0; i < out->steps; i++)
		missing |= gwalk_marks(out, i, access);
	return !missing;
}

enum gwalk_kind { GWALK_ABSENT, GWALK_RESERVED, GWALK_TABLE, GWALK_PAGE };
/*
 * What one entry of a level says, with paging on: leads to a table, or maps a page, whose address is *address; or it
 * is not present, or has a reserved bit set. Of the state, CR3 and the access play no part.
 */
enum gwalk_kind gwalk_entry(const struct gwalk_state *state, unsigned level, u64 entry,
                            u64 *address) must_check;
