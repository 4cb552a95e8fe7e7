/*
 * A set of a space's guest pages: a bit for each page of the slots that it had when the set was made. Members come
 * and go by locked operations, each a full barrier; what that orders is said where it is used.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct space;
struct page_set;

/* Empty; NULL: no memory. No lock held, not in an epoch section. */
struct page_set *page_set_create(struct space *s) must_check;
/* Nobody uses it any more. NULL is none. */
void page_set_destroy(struct page_set *set);

/* Can all of these be members? (They lie in slots that the set knows.) */
bool page_set_covers(const struct page_set *set, gfn_t first, u64 npages);
/* Whether that changed anything. Covered pages only. Any context. */
bool page_set_add(struct page_set *set, gfn_t g);
bool page_set_remove(struct page_set *set, gfn_t g);
/* Also of pages that it does not cover: those are in no set. */
bool page_set_has(const struct page_set *set, gfn_t g);
u64 page_set_count(const struct page_set *set, gfn_t first, u64 npages);
