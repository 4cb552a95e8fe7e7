/*
 * The compressed pool: variable-sized objects in frames of its own, by size classes whose spans of
 * several frames keep the waste small (objects may straddle frames). Knows bytes, not pages.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define POOL_NONE (~0ull)
#define POOL_HANDLE_BITS 44

bool pool_init(void) must_check;
/* Copies the bytes in. POOL_NONE when no frame could be had. bytes <= PAGE_SIZE. Takes LOCK_STORE. */
u64 pool_put(const void *data, u32 bytes) must_check;
/* Copies out; returns the object's size. `max` bounds the copy. */
u32 pool_get(u64 handle, void *data, u32 max);
void pool_drop(u64 handle);
/* Gives wholly empty spans back and, if asked, compacts sparse ones; returns frames freed. */
u64 pool_shrink(void);

struct pool_stats {
	u64 objects, object_bytes, frames, meta_bytes;
};
void pool_snapshot(struct pool_stats *out);
u64 pool_audit(void);
