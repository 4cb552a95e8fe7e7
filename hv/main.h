/* The three ways from boot/ into the hypervisor. */
#pragma once

#include "hv/bootinfo.h"
#include "lib/util.h"

/* On the boot CPU, before any other CPU runs; `bi` stays valid and constant for ever. */
void hv_init(const struct boot_info *bi);
/* The boot CPU and every other one, on their own stacks, interrupts off, once all CPUs are up. */
noreturn_fn void hv_main(void);
noreturn_fn void hv_cpu_main(void);
