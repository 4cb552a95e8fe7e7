/*
 * Objects of the pool that several pages have: who puts bytes that are there already gets the same handle, and one of
 * its holders more is counted.
 *
 * An index from checksums and from handles to the objects that were put through here. What has the same checksum and
 * size is compared byte by byte before it is taken for the same: a checksum alone decides nothing. An object that is
 * in no index (put past it, or memory for a node was short) has one holder, as ever.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/*
 * Keeps the bytes, like pool_put(): a handle, or POOL_NONE. `sum`: a checksum of them. *found: they were there already,
 * and nothing was copied. Takes LOCK_SHARE, and LOCK_STORE inside.
 */
u64 share_put(const void *data, u32 bytes, u32 sum, bool *found) must_check;
/* One holder less of any handle of the pool, however it was put; the last one's drop is pool_drop(). Locks as put. */
void share_drop(u64 handle);

struct share_stats {
	u64 extra;       /* holders that are not an object's first */
	u64 extra_bytes; /* what their objects would take besides */
	u64 meta_bytes;  /* hypervisor memory for the index */
	u64 found_total; /* puts that found theirs */
};
void share_snapshot(struct share_stats *out);
/* Recounts the index and looks for its objects; returns the number of faults found, a line each. No put or drop meanwhile. */
u64 share_audit(void);

#ifdef VARVE_HOST
/* Checksums are cut to these bits: with 0 all are the same, and only the comparison is left. */
extern u32 share_test_sum_bits;
#endif
