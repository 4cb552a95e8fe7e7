/*
 * Lists of frames, linked through struct frame by frame numbers. No lock of their own: the lruvec's.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct frame_list {
	u32 head; /* youngest end */
	u32 tail; /* eviction end */
};

void frame_list_init(struct frame_list *list);
void frame_list_push_head(struct frame_list *list, u32 frame);
/* `list` must be the one that the frame is on. */
void frame_list_remove(struct frame_list *list, u32 frame);
/* Takes everything from the head of `from` to `last`, which is on it, to the tail of `to`, in this order. */
void frame_list_splice_tail(struct frame_list *to, struct frame_list *from, u32 last);
