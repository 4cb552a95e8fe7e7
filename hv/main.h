/* What boot/ calls, in this order. None of them returns but hv_init(). */
#pragma once

#include "hv/bootinfo.h"
#include "lib/util.h"

/*
 * Boot CPU, arch_init_bsp() done, interrupts off, other CPUs not started: memory, vendor, scenario.
 * Ends the machine with FAIL and a sentence when it cannot go on.
 */
void hv_init(const struct boot_info *bi);
/* Boot CPU, after every other CPU came up or was given up. */
noreturn_fn void hv_main(void);
/* Each further CPU, once it is up (per-CPU block, tables, stack, local APIC ready). */
noreturn_fn void hv_cpu_main(void);
