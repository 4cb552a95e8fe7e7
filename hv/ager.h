/* The thread that ages for a declared share of the last CPU, when a guest that experiments asks for it (mm/ager.h). */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* Makes the thread (blocked); it wakes when it is asked. False: no memory. Boot CPU, once. */
bool ager_create(void) must_check;
