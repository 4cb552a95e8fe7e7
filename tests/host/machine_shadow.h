/*
 * The part of the machine (tests/host/machine.h) that has vCPUs on shadow tables: guests with page tables of their own,
 * who change them, and what they may reach then.
 */
#pragma once

#include "tests/host/machine_tables.h"

/* With the space and, in a plan for both MMUs, the TDP there; makes the guest's tables. */
void machine_shadow_create(void);
/* Space drained. */
void machine_shadow_destroy(void);
bool machine_on_shadow(unsigned cpu);
/* machine_access() for such a vCPU. */
void machine_shadow_access(const struct action *a);
/* The guest's operations about its tables. */
void machine_guest_act(const struct action *a);
void machine_shrink_tables(const struct action *a);

/* Is the vCPU's access a store to an entry? Then this does it, in the page's frame, while nobody else moves. */
bool machine_guest_stores(unsigned cpu);
void machine_guest_store(const struct action *a, void *frame);
