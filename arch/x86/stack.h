/* Stacks with an unmapped guard page below, from chunks that are prepared ahead. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define STACK_BYTES (7u * PAGE_SIZE)

/* Prepares room for `n` stacks. Boot CPU, after paging_init(). */
void stack_init(unsigned n);
/*
 * Lowest usable address of a stack, whose top is STACK_BYTES above; NULL without memory. The name
 * appears in the report of an overflow and must live as long as the stack. Any CPU.
 */
void *stack_alloc(const char *name) must_check;
void stack_free(void *low);
/* Makes the page below `low` the guard of a stack that exists already. Boot CPU, once. */
void stack_adopt(u64 low, u64 high, const char *name);
/* Bounds of the stack of ours in which `addr` lies; false if in none. Any context. */
bool stack_bounds(u64 addr, u64 *low, u64 *high);
/* If `addr` is in a guard page: the name of the stack above it, else NULL. Any context. */
const char *stack_guard_owner(u64 addr);
