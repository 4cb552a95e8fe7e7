/* The end of the machine. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/*
 * Lets the serial lines run empty, then leaves an emulator with its exit status (QEMU: 1 for pass,
 * 3 for fail, by isa-debug-exit at 0xf4; Bochs: port 0x8900), else halts this CPU for ever.
 */
noreturn_fn void machine_exit(bool pass);
