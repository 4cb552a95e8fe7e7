/*
 * Numbers for 64-bit values that move: a growing table in hypervisor memory. The pool names its
 * objects by such numbers, so that it may move them without telling anybody.
 *
 * The user serialises everything (the pool: LOCK_STORE). A value must have HANDLE_USED set and must
 * leave the generation bits alone: they are the table's, and tell a number that was given back from
 * the one that took its place.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define HANDLE_NONE      (~0ull)
#define HANDLE_BITS      42 /* 31:0 index in the table, 41:32 generation */
#define HANDLE_USED      BIT(63)
#define HANDLE_GEN_SHIFT 53
#define HANDLE_GEN       BITS(62, 53)
#define HANDLE_VALUE     BITS(52, 0) /* what the user may put into an entry */

struct handles {
	u64 **chunk;    /* one page of entries each, NULL where there is none */
	u32 max_chunks; /* entries of `chunk`; whole pages of them */
	u32 hint;       /* no free chunk number below */
	u32 partial;    /* first chunk with a free entry, plus one; 0 = none */
	u32 nr_chunks;
	u64 used;
};

/* A number for the value (bits of HANDLE_VALUE only), or HANDLE_NONE when memory is short. */
u64 handle_alloc(struct handles *t, u64 value) must_check;
/* The entry, or NULL when the number is not in use (never given, or given back). */
u64 *handle_entry(const struct handles *t, u64 handle);
/* The entry with this index (the low half of its number), whatever its generation; NULL as above.
 */
u64 *handle_entry_at(const struct handles *t, u32 index);
/* The number whose entry this is, from its index. */
static inline u64 handle_of_entry(u32 index, u64 entry)
{
	return (entry & HANDLE_GEN) >> HANDLE_GEN_SHIFT << 32 | index;
}
/* Another value for an entry in use. */
static inline void handle_set(u64 *entry, u64 value)
{
	*entry = (*entry & ~HANDLE_VALUE) | (value & HANDLE_VALUE);
}
/* Gives back a number that is in use. */
void handle_free(struct handles *t, u64 handle);
/*
 * Walks the numbers in use: the first at or behind *cursor (0 to begin), which moves behind it.
 * HANDLE_NONE at the end.
 */
u64 handle_next(const struct handles *t, u64 *cursor);
/* Hypervisor memory the table holds. */
u64 handle_bytes(const struct handles *t);
