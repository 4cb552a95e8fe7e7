/*
 * Second-level address translation as the hardware does it, for tests: walks EPT or NPT tables in
 * memory, sets Accessed and Dirty by a locked operation, and keeps what it found in a TLB until it is
 * told to flush. Written from the manuals and without hv/mmu/spte.h, so that it disagrees if that is
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

#define WALKER_TLB 64u

struct walker_tlb {
	bool valid, write, exec;
	bool dirty; /* the Dirty bit is known to be set */
	gfn_t g;
	pfn_t p;
};

struct walker {
	enum walker_kind kind;
	hpa_t root;
	struct walker_tlb tlb[WALKER_TLB];
	u64 hits, walks;
};

enum walker_result {
	WALKER_OK,
	WALKER_FAULT,     /* EPT violation, nested page fault */
	WALKER_MISCONFIG, /* reserved bits or an impossible combination */
};

void walker_init(struct walker *w, enum walker_kind kind, hpa_t root);
void walker_flush(struct walker *w);
/* One access. On WALKER_OK *out is where it goes; the translation stays in the TLB. */
enum walker_result walker_translate(struct walker *w, gpa_t a, bool write, bool fetch, hpa_t *out);
