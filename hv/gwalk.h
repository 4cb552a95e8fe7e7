/*
 * Walks a guest's own page tables for software that needs one translation (instruction bytes). A pure
 * function over a callback that reads guest-physical memory. Read-only: Accessed and Dirty bits are left as
 * they are, which no guest can tell from a walk that hardware abandoned.
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

struct gwalk_out {
	gpa_t gpa;
	u64 page_bytes; /* size of the page that holds it, for GWALK_OK; 4 KiB without paging */
	u32 error;      /* of the #PF */
};

enum gwalk_result gwalk(const struct gwalk_state *state, gva_t at, unsigned access,
                        gwalk_read_fn read, void *ctx, struct gwalk_out *out) must_check;
