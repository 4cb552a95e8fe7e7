/*
 * Lists of pages by number: each page is on one list at most. A list is a node itself, numbered from
 * `pages` on. Newest at the head, oldest at the tail.
 */
#pragma once

#include "tools/lab/lab.h"

struct lists {
	u32 *next, *prev; /* towards the tail, towards the head */
	u32 *on;          /* list that a page is on, LAB_NEVER: none */
	u32 *size;        /* by list, from 0 */
	u32 pages;
};

static inline void lists_create(struct lists *l, u32 pages, u32 nr)
{
	*l = (struct lists){.pages = pages};
	l->next = lab_alloc(pages + nr, sizeof(u32));
	l->prev = lab_alloc(pages + nr, sizeof(u32));
	l->on = lab_alloc(pages, sizeof(u32));
	l->size = lab_alloc(nr, sizeof(u32));
	for (u32 i = 0; i < pages; i++)
		l->on[i] = LAB_NEVER;
	for (u32 i = 0; i < nr; i++)
		l->next[pages + i] = l->prev[pages + i] = pages + i;
}
void lists_destroy(struct lists *l);

static inline void list_remove(struct lists *l, u32 page)
{
	l->next[l->prev[page]] = l->next[page];
	l->prev[l->next[page]] = l->prev[page];
	l->size[l->on[page]]--;
	l->on[page] = LAB_NEVER;
}
/* Towards the head of `node`, which is a page or a list; a list: to its tail. */
static inline void list_insert_before(struct lists *l, u32 list, u32 node, u32 page)
{
	l->prev[page] = l->prev[node];
	l->next[page] = node;
	l->next[l->prev[node]] = page;
	l->prev[node] = page;
	l->on[page] = list;
	l->size[list]++;
}
static inline void list_push_tail(struct lists *l, u32 list, u32 page)
{
	list_insert_before(l, list, l->pages + list, page);
}
static inline void list_push(struct lists *l, u32 list, u32 page)
{
	list_insert_before(l, list, l->next[l->pages + list], page);
}
static inline void list_move(struct lists *l, u32 list, u32 page)
{
	list_remove(l, page);
	list_push(l, list, page);
}
/* LAB_NEVER if it is empty. */
static inline u32 list_tail(const struct lists *l, u32 list)
{
	return l->size[list] ? l->prev[l->pages + list] : LAB_NEVER;
}
static inline bool list_has(const struct lists *l, u32 list, u32 page)
{
	return l->on[page] == list;
}
