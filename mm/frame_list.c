#include "mm/frame_list.h"

#include "arch/hal.h"
#include "mm/frame.h"

void frame_list_init(struct frame_list *list)
{
	list->head = FRAME_NONE;
	list->tail = FRAME_NONE;
}

void frame_list_push_head(struct frame_list *list, u32 frame)
{
	struct frame *f = frame_at(frame);

	f->prev = FRAME_NONE;
	f->next = list->head;
	if (list->head == FRAME_NONE)
		list->tail = frame;
	else
		frame_at(list->head)->prev = frame;
	list->head = frame;
}

void frame_list_remove(struct frame_list *list, u32 frame)
{
	struct frame *f = frame_at(frame);

	DEBUG_ASSERT(f->prev != FRAME_NONE || list->head == frame);
	DEBUG_ASSERT(f->next != FRAME_NONE || list->tail == frame);
	if (f->prev == FRAME_NONE)
		list->head = f->next;
	else
		frame_at(f->prev)->next = f->next;
	if (f->next == FRAME_NONE)
		list->tail = f->prev;
	else
		frame_at(f->next)->prev = f->prev;
	f->next = FRAME_NONE;
	f->prev = FRAME_NONE;
}

void frame_list_splice_tail(struct frame_list *to, struct frame_list *from, u32 last)
{
	u32 first = from->head, rest = frame_at(last)->next;

	from->head = rest;
	if (rest == FRAME_NONE)
		from->tail = FRAME_NONE;
	else
		frame_at(rest)->prev = FRAME_NONE;
	frame_at(last)->next = FRAME_NONE;
	frame_at(first)->prev = to->tail;
	if (to->tail == FRAME_NONE)
		to->head = first;
	else
		frame_at(to->tail)->next = first;
	to->tail = last;
}
