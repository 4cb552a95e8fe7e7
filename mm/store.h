/*
 * Where evicted pages go. Zero and same-filled pages cost nothing but their gfn word; the rest is
 * compressed into the pool, from where what is oldest may go on to a disk (mm/swap.h). A store error never loses the page: the caller puts it back to
 * resident.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

enum store_result {
	STORE_OK,
	STORE_FULL,           /* no room: keep the page resident */
	STORE_INCOMPRESSIBLE, /* larger than is worth keeping; try another page */
	STORE_BAD, /* what is kept is damaged (checksum) or cannot be read, or the word names nothing */
	STORE_WAIT, /* it is on its way from the disk: ask again */
};

/* A page that packs to more than this is not kept: its frame would hardly be won. */
#define STORE_MAX_BYTES 3584u

/* Once, boot CPU. Allocates the scratch of this CPU only. False: no memory. */
bool store_init(void) must_check;

/*
 * Keeps the contents of a frame. On STORE_OK *word is a gfn-map word (tag and payload; no shadow):
 * zero, filled or pooled; otherwise it is untouched. Takes one frame for the pool at most. Caller:
 * frame isolated, unmapped, flushed; inside no FPU bracket. Takes LOCK_STORE and LOCK_FRAME inside.
 */
enum store_result store_put(u32 frame, u64 *word);
/*
 * The same, but what packs to the same bytes as a page that was put this way is not kept twice: the word is that of the
 * other, *saved the bytes that were not needed (0: it is the first). Each of the words is dropped by itself. Takes
 * LOCK_SHARE, too.
 */
enum store_result store_put_shared(u32 frame, u64 *word, u32 *saved);
/*
 * Contents of an away word into a frame (wholly overwritten on STORE_OK, undefined on STORE_BAD).
 * The word stays valid. Needs no memory. The caller keeps others from dropping the word meanwhile.
 */
enum store_result store_get(u64 word, u32 frame);
/*
 * False: the contents lie on a disk, and are on their way back from now on; ask again. True: store_get() has them, or can
 * say that they cannot be had; a moment later, if others take them, it may say wait again. The word may be an old one.
 */
bool store_ready(u64 word) must_check;
/* Would dropping it make room for others in memory? */
bool store_takes_frames(u64 word);
/* Forgets an away word's contents. Never fails. */
void store_drop(u64 word);

struct store_stats {
	u64 objects;          /* pages in the pool and on the disk */
	u64 on_disk;          /* ... on the disk */
	u64 disk_bytes;       /* sum of their compressed sizes */
	u64 compressed_bytes; /* ... of those in the pool */
	u64 pool_frames;      /* frames the pool holds, metadata included */
	u64 meta_bytes;       /* hypervisor memory besides, for handles and headers */
	u64 puts_total, gets_total, drops_total, full_total, incompressible_total;
	u64 zero_total, filled_total; /* of the puts */
	u64 bad_total;                /* gets that failed */
	u64 shared_pages; /* pages that have an object which is another's, too, beyond the first of each */
	u64 shared_bytes; /* what they would take besides */
	u64 shared_total; /* puts that found theirs */
};
void store_snapshot(struct store_stats *out);
/*
 * Audit: recounts the pool and checks every object's checksum; returns the number of faults found,
 * one line each. No put, get or drop at the same time.
 */
u64 store_audit(void);
