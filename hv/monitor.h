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
/* Stops the world and looks at everything; what it finds fails the scenario. Monitor thread. */
void monitor_audit(void);
/* The scenario ends: what still runs is stopped, which is a failure unless the VM's expect is stop. Monitor thread. */
void monitor_quit(void);
