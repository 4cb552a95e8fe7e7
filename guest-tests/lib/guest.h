/* What a guest program includes: the whole library, and the one function it provides. */
#pragma once

#include "guest-tests/lib/apic.h"
#include "guest-tests/lib/cmdline.h"
#include "guest-tests/lib/console.h"
#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/experiment.h"
#include "guest-tests/lib/mem.h"
#include "guest-tests/lib/pattern.h"
#include "guest-tests/lib/pv.h"
#include "guest-tests/lib/rng.h"
#include "guest-tests/lib/smp.h"
#include "guest-tests/lib/string.h"
#include "guest-tests/lib/time.h"
#include "guest-tests/lib/trap.h"
#include "guest-tests/lib/types.h"
#include "guest-tests/lib/verdict.h"

/*
 * The guest. Runs on CPU 0 with interrupts on, after console, memory, traps, time and APIC are
 * ready and before any other CPU is started (smp_start). Returning is PASS.
 */
void guest_main(void);
