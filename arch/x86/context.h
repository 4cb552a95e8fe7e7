/* Switching stacks between threads of one CPU. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct context {
	u64 sp;
	u64 stack_low;
	u64 stack_high;
};

/* A context that calls fn(arg) on the stack [low, low + bytes) when first switched to. `fn` never
 * returns. */
void context_init(struct context *c, void *low, size_t bytes, void (*fn)(void *), void *arg);
/*
 * Saves the running thread in `from` and goes on with `to`; returns when somebody switches back to
 * `from`. Interrupts off; same CPU. FPU registers are not touched.
 */
void context_switch(struct context *from, const struct context *to);
