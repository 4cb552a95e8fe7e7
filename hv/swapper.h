/* The disk below the compressed pool (mm/swap.h): the machine's own, and the thread that moves pages there. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/*
 * Looks for a disk and gives it to mm; without one, or if it is of no use, says why, and all stays in memory. Boot CPU,
 * before the first guest.
 */
void swapper_open(unsigned pool_percent);
/* The thread, if there is a disk; it begins at once. False: no memory. */
bool swapper_create(void) must_check;
/* A line for the report at the end; nothing if there is no disk. */
void swapper_report(void);
