/*
 * The monitor thread: statistics at regular times, the end of each VM, the end of the scenario, the
 * verdict. It alone takes VMs down, so it may look at any VM's space without a lock.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct scenario;

/* Makes the thread (not started before monitor_start()). False: no memory. */
bool monitor_create(const struct scenario *scenario) must_check;
void monitor_start(void);
/* A VM has ended: look. Any CPU. */
void monitor_wake(void);
