/* What the monitor shows on request. Monitor thread, no lock held; a space here has its memory still. */
#pragma once

#include "lib/types.h"

struct space;
struct vm;

/* What the guest lends, is to lend, and says of itself. */
void view_balloon(const struct space *s);
/* Is it sampled, and the regions of the last report. */
void view_sampler(struct space *s);
void view_vms(void);
void view_gens(struct vm *vm);
void view_full(struct vm *vm);
void view_promises(struct space *s);
/* Pages touched within the last `within_ns`: at least and at most, as far as generations tell. */
void view_working_set(struct space *s, u64 within_ns);
void view_page(struct space *s, gfn_t g);
/* A line for each of n pages. Asks the MMUs, all of them, and changes nothing. */
void view_pagemap(struct space *s, gfn_t first, unsigned n);
/* The last records of the trace as numbers, for a panic: no lock, any context. Nothing if it was never on. */
void view_trace_last(void);
