/* The order in which a CPU is brought up. */
#pragma once

#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "lib/types.h"

struct arch_boot {
	const struct paging_extent *ram; /* all RAM, to be mapped */
	unsigned nr_ram;
	hpa_t lapic_base; /* 0: from the APIC base MSR */
	unsigned nr_cpus; /* that may come up, for the number of stacks */
	/* The stack that runs now; the page below it becomes its guard page. */
	u64 stack_low, stack_high;
};

/* Boot CPU, once, after console_init(), cpu_detect() and hostmem_init(). */
void arch_init_bsp(const struct arch_boot *boot);
/* A struct percpu with its IST stacks; NULL without memory. Boot CPU. */
struct percpu *arch_prepare_ap(u32 apic_id) must_check;
/* On the new CPU, on its own stack: everything but interrupts. */
void arch_init_ap(struct percpu *pc);
