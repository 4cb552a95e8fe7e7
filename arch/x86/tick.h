/* A slow NMI on every CPU, where nothing else ends the time slice of a guest with interrupts off. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/*
 * From now on all CPUs get an NMI some hundred times a second, for as long as the machine runs. Once, on the boot CPU,
 * before any guest; the vendor's NMI handler is there. False: no I/O APIC where there always is one.
 */
bool tick_start(void);
