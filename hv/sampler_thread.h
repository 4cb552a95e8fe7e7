/* The thread that runs the region sampler (mm/sampler.h) for the VMs that want it; asleep while none does. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct space;

/* Boot CPU, once; it runs from start on. False: no memory. */
bool sampler_thread_create(void) must_check;
void sampler_thread_start(void);
/* sampler_switch(), and the thread takes notice. Any thread; no lock at or above LOCK_SCHED. */
void sampler_thread_switch(struct space *s, bool on);
