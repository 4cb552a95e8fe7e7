/*
 * Makes a failing list of actions short: which of them are needed for it to fail? Each attempt runs in a child
 * process, so that it may end in any way.
 */
#pragma once

#include <stddef.h>

#include "lib/types.h"
#include "lib/util.h"

#define SHRINK_SECONDS 30u /* for one attempt */
/*
 * Does run(arg) end the process with anything but success? `quiet`: what it prints goes
 * nowhere. One that takes longer than `seconds` fails; 0: no limit.
 */
bool shrink_fails(void (*run)(void *arg), void *arg, bool quiet, unsigned seconds) must_check;
/* The same, and how it ended: as waitpid(2) says it, SIGALRM if it took longer. */
int shrink_status(void (*run)(void *arg), void *arg, bool quiet, unsigned seconds) must_check;
/*
 * Takes away from the n elements at `list` whatever is not needed for run() to fail, which is given the rest.
 * Returns how many are left: none of them can be left out alone. run() fails with the whole list.
 */
unsigned shrink_list(void *list, size_t bytes, unsigned n,
                     void (*run)(const void *list, unsigned n));
