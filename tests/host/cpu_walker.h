/*
 * Address translation of an ordinary CPU, for tests of the shadow MMU: walks long-mode or PAE tables in memory as
 * hardware does with CR0.WP and EFER.NXE set, sets Accessed and Dirty by a locked operation, and keeps leaves in a
 * TLB, and the way to the lowest tables in a paging-structure cache, until it is told to flush. Written from SDM 3A chapter 4 and APM 2 chapter 5 and without hv/mmu/spte.h.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

#ifndef CPU_TLB
#define CPU_TLB 64u
#endif
#define CPU_UPPER 4u

struct cpu_tlb {
	bool valid, write, user, exec, dirty;
	u64 page; /* of the address */
	pfn_t p;
};

/* The paging-structure cache: where the lowest table of these 2 MiB is, and what the entries above it allow. */
struct cpu_upper {
	bool valid, write, user, exec;
	u64 range; /* address / 2 MiB */
	a64 *table;
};

struct cpu_walker {
	hpa_t cr3;
	bool long_mode; /* else PAE */
	bool smep, smap;
	struct cpu_tlb tlb[CPU_TLB];
	struct cpu_upper upper[CPU_UPPER];
	u64 walks;
	void (*reads)(const a64 *entry); /* told of each entry that was read; NULL: nobody */
};

/* Kinds of access, ORed; as in hv/gwalk.h. */
#define CPU_WRITE 1u
#define CPU_USER  2u
#define CPU_FETCH 4u

void cpu_flush(struct cpu_walker *w);
/*
 * One access. True: *out is where it goes. False: #PF with *error. A reserved bit that is set, or a large page, which
 * nothing here makes, ends the program.
 */
bool cpu_translate(struct cpu_walker *w, gva_t at, unsigned access, bool ac, hpa_t *out,
                   u32 *error);
