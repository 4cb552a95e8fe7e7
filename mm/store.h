/*
 * Where evicted pages go. Zero and same-filled pages cost nothing but their gfn word; the rest is
 * compressed into the pool. A store error never loses the page: the caller puts it back to resident.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

enum store_result {
	STORE_OK,
	STORE_FULL,	  /* no room, or the page does not pack: keep it resident */
	STORE_INCOMPRESSIBLE, /* larger than is worth keeping; try another page */
	STORE_BAD,	  /* what is kept is damaged (checksum) */
};

/* Allocates nothing before the first put but per-CPU scratch. False: no memory. */
bool store_init(void) must_check;

/*
 * Keeps the contents of a frame. On STORE_OK *word is a gfn-map word (tag and payload; no shadow):
 * zero, filled or pooled. Caller: frame isolated, unmapped, flushed; brackets no FPU itself. Takes
 * LOCK_STORE and LOCK_FRAME inside.
 */
enum store_result store_put(u32 frame, u64 *word);
/* Contents of an away word into a frame (wholly overwritten). The word stays valid. */
enum store_result store_get(u64 word, u32 frame);
/* Forgets an away word's contents. Never fails. */
void store_drop(u64 word);

struct store_stats {
	u64 objects;	      /* pages in the pool */
	u64 compressed_bytes; /* sum of their compressed sizes */
	u64 pool_frames;      /* frames the pool holds, metadata included */
	u64 meta_bytes;	      /* hypervisor memory besides, for handles and headers */
	u64 puts_total, gets_total, drops_total, full_total, incompressible_total;
};
void store_snapshot(struct store_stats *out);
/* Audit: recounts; returns the number of faults found, one line each. No put or get at the same time. */
u64 store_audit(void);
