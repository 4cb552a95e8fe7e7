/*
 * Two CPUs: one changes an entry of tables that the other is using, shoots its translations down by an
 * interrupt, and writes to the frames afterwards, as a kernel does that takes a page away.
 *
 * Until the interrupt the user may see the tables as they were or as they are; behind it only as they are.
 */
#pragma once

#include "guest-tests/paging/oracle.h"

/* After smp_start(), with at least two CPUs. */
void duet_init(const struct world *world);
/* One change. The CPUs take turns in being the user. CPU 0, interrupts on. */
void duet_run(struct oracle *oracle, u64 seed, u64 step);
