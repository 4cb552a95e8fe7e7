/*
 * Second-level address translation as the hardware does it, for tests: walks EPT or NPT tables in
 * memory, sets Accessed in every entry it walks through and Dirty in the leaf by a locked operation, and
 * keeps leaves, large ones too, in a TLB and the way to the leaf tables in a paging-structure cache until it is
 * told to flush: what is cached sets no bits. Written from the manuals and without hv/mmu/spte.h, so that it disagrees if that is
 * wrong. One walker is one CPU: used by one thread at a time.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

enum walker_kind {
	WALKER_EPT_AD,
	WALKER_EPT, /* A/D bits not enabled in the EPTP: 8 and 9 are ignored */
	WALKER_NPT,
};

#define WALKER_TLB   64u
#define WALKER_LARGE 4u /* entries for 2 MiB */

struct walker_tlb {
	bool valid, write, exec;
	bool dirty; /* the Dirty bit is known to be set */
	gfn_t g;    /* the first of its pages */
	pfn_t p;
};

/* A paging-structure cache: where the leaf table of these 2 MiB is, so that the upper entries are not read. */
#define WALKER_UPPER 4u
struct walker_upper {
	bool valid;
	u64 table; /* gfn / 512 */
	a64 *leaves;
};

struct walker {
	enum walker_kind kind;
	hpa_t root;
	struct walker_tlb tlb[WALKER_TLB];
	struct walker_tlb large[WALKER_LARGE];
	struct walker_upper upper[WALKER_UPPER];
	u64 hits, walks;
	/*
	 * Page-modification log: of each leaf whose Dirty bit this CPU sets, the address that was written, rounded
	 * down to 4 KiB. NULL: it does not log. Whoever has the walker takes the entries, and sets `logged` to 0.
	 */
	u64 *log;
	unsigned log_room, logged;
};

enum walker_result {
	WALKER_OK,
	WALKER_FAULT,     /* EPT violation, nested page fault */
	WALKER_MISCONFIG, /* reserved bits or an impossible combination */
	WALKER_LOG_FULL,  /* a bit is to be set, and the log has no room */
};

void walker_init(struct walker *w, enum walker_kind kind, hpa_t root);
void walker_flush(struct walker *w);
/* One access. On WALKER_OK *out is where it goes; the translation stays in the TLB. */
enum walker_result walker_translate(struct walker *w, gpa_t a, bool write, bool fetch, hpa_t *out);
