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
 */
u32 pool_get(u64 handle, void *data, u32 max);
/* Is it the handle of an object of exactly these bytes? Takes LOCK_STORE. */
bool pool_equal(u64 handle, const void *data, u32 bytes);
/* The handle must be valid. Copies one object at most, never allocates. Takes LOCK_STORE. */
void pool_drop(u64 handle);
/*
 * The handles in use, in no order: the first at or behind *cursor (0 to begin), which moves behind
 * it; POOL_NONE at the end. Takes LOCK_STORE.
 */
u64 pool_next(u64 *cursor);

struct pool_stats {
	u64 objects, object_bytes; /* what was put and not yet dropped */
	u64 frames;
	u64 meta_bytes; /* hypervisor memory for the handles */
};
void pool_snapshot(struct pool_stats *out);
/* Audit: recounts everything; returns the number of faults found, one line each. Takes LOCK_STORE.
 */
u64 pool_audit(void);
