/*
 * Bytes in frames that are chained by `next` and need not be neighbours: where a slot of the pool begins, and copies of
 * less than a frame, which touch two frames at most. LOCK_STORE.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct place {
	u32 frame;
	u32 offset; /* within the frame */
};

static inline bool place_same(struct place a, struct place b)
{
	return a.frame == b.frame && a.offset == b.offset;
}

u8 *place_ptr(struct place at);
/* The place `bytes` further on in the chain; less than a frame at a time. */
struct place place_add(struct place at, u32 bytes);

void chain_read(struct place at, u8 *to, u32 bytes);
void chain_write(struct place at, const u8 *from, u32 bytes);
bool chain_equal(struct place at, const u8 *with, u32 bytes);
/* Between two slots, which never overlap. */
void chain_copy(struct place to, struct place from, u32 bytes);
