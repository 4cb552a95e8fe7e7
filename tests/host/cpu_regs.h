/*
 * The registers of simulated CPUs, one set for each hal_cpu_id(), and what a CPU does about values that it refuses: a
 * general protection fault in the hypervisor, which ends the program.
 */
#pragma once

#include "arch/x86/percpu.h"
#include "lib/types.h"

/* All registers as they are when the hypervisor has set up its CPUs; fs_self() is a block of the CPU's own. */
void cpu_regs_reset(void);
struct percpu *cpu_regs_block(unsigned cpu);
/* NMIs and machine checks that the hypervisor had delivered by hand, on all CPUs. */
u64 cpu_regs_ints(void);
