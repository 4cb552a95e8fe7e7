/* Starting the other CPUs. */
#pragma once

#include "boot/options.h"
#include "hv/bootinfo.h"

/*
 * Starts every usable CPU of `bi`, one after the other, through a trampoline in page `low_page`. One
 * that does not come up gets a line and is left behind. Those that did wait for smp_release().
 */
void smp_start(const struct boot_info *bi, const struct boot_options *options, u32 low_page);
/* Lets them go on to hv_cpu_main(). */
void smp_release(void);
