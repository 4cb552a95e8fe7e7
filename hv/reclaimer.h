/* The reclaimer thread: background reclaim when memory is short, and regular aging. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* Gives mm its operations and makes the thread (blocked). False: no memory. */
bool reclaimer_create(u64 aging_ns) must_check;
void reclaimer_start(void);

struct space;
struct target;
/* What a space's controller keeps to, or, with NULL, that of all without one of their own. Any time. */
void reclaimer_set_target(struct space *s, const struct target *target);
