/*
 * The compressed pool: objects of any size up to POOL_MAX_BYTES in frames of its own. Knows bytes,
 * not pages.
 *
 * Objects are rounded up to a size class. Each class is one span that grows and shrinks at its end:
 * an array of equal slots without holes over a chain of frames that need not be neighbours; a slot
 * may straddle two frames. Dropping an object moves the last one of the class into its place. So
 * the pool is always compact: whatever was put and dropped before, it wastes less than one frame
 * for each class, the rounding, and POOL_OVERHEAD bytes an object.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define POOL_NONE        (~0ull)
#define POOL_HANDLE_BITS 44
#define POOL_MAX_BYTES   4028u
/* Bytes an object costs besides its own: who it is, in its slot, and the entry of its handle. */
#define POOL_OVERHEAD 12u

/*
 * Copies the bytes in (1 .. POOL_MAX_BYTES of them); takes one frame (FRAME_FOR_POOL) at most.
 * POOL_NONE when none could be had or hypervisor memory is short; nothing changed then. Takes
 * LOCK_STORE.
 */
u64 pool_put(const void *data, u32 bytes) must_check;
/*
 * Copies out; returns the object's size, 0 when the handle names none. `max` bounds the copy. Takes
 * LOCK_STORE.
 * Of an object that lies on the disk, if `max` is enough for it: POOL_WAIT while it is on its way back (ask again), 0 if
 * it cannot be read; and what was got once has to be read again. If `max` is not enough, its size and no more.
 */
u32 pool_get(u64 handle, void *data, u32 max);
#define POOL_WAIT (~0u)
/*
 * False: the object lies on the disk and is on its way back from now on. True: pool_get() has an answer, or had one.
 * Takes LOCK_STORE.
 */
bool pool_ready(u64 handle) must_check;
/* Does it take up none of our frames? Takes LOCK_STORE. */
bool pool_on_disk(u64 handle);
/* Is it the handle of an object of exactly these bytes? Of one on the disk nobody knows: false. Takes LOCK_STORE. */
bool pool_equal(u64 handle, const void *data, u32 bytes);
/* The handle must be valid. Copies one object at most, never allocates. Takes LOCK_STORE. */
void pool_drop(u64 handle);

/*
 * Moving to the disk (mm/swap.h), one caller at a time; each takes LOCK_STORE. begin: copies the oldest object (up to
 * POOL_MAX_BYTES) and names it; 0: there is none, or POOL_MOVES are on their way. It stays as it is until its end:
 * its place is free and it lies at `sector`, or, false, it was dropped in the meantime. cancel: it stays, the oldest.
 */
#define POOL_MOVES 32u
u32 pool_move_begin(void *to, u64 *handle) must_check;
bool pool_move_end(u64 handle, u64 sector) must_check;
void pool_move_cancel(u64 handle);
/* Objects that could be moved. */
u64 pool_movable(void);

/*
 * The handles of objects in frames, in no order: the first at or behind *cursor (0 to begin), which moves behind
 * it; POOL_NONE at the end. Takes LOCK_STORE.
 */
u64 pool_next(u64 *cursor);

struct pool_stats {
	u64 objects;      /* what was put and not yet dropped */
	u64 object_bytes; /* of those in frames */
	u64 frames;
	u64 meta_bytes; /* hypervisor memory for the handles */
	u64 on_disk, disk_bytes;
};
void pool_snapshot(struct pool_stats *out);
/* Audit: recounts everything; returns the number of faults found, one line each. Takes LOCK_STORE.
 */
u64 pool_audit(void);
