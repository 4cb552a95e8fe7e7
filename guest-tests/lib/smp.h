/*
 * CPUs. Each has an area of CPU_AREA_SIZE bytes, aligned to its size: struct cpu at the bottom, the
 * double-fault stack up to CPU_IST_TOP, the stack at the top. So the stack pointer tells who runs.
 *
 * CPU n has APIC ID n. CPU 0 runs guest_main(); the others halt between smp_run() calls.
 */
#pragma once

#include "guest-tests/lib/layout.h"
#include "guest-tests/lib/types.h"

struct tss {
	u32 reserved0;
	u64 rsp0, rsp1, rsp2, reserved1, ist1, ist[6], reserved2;
	u16 reserved3, io_map;
} __attribute__((packed));

_Static_assert(sizeof(struct tss) == 104, "64-bit TSS, SDM vol. 3, 8.7");

struct cpu {
	u32 id;
	u32 trap_caught;  /* vector + 1 of the last expected exception */
	u64 trap_try_rsp; /* stack to go back to, or 0 */
	u32 timer_ticks;  /* APIC timer interrupts taken */
	u32 wakes;        /* wake-up IPIs taken */
	u32 work_seen;    /* number of the last smp_run() this CPU took part in */
	struct tss tss;
};

static inline struct cpu *cpu_self(void)
{
	u64 rsp;

	__asm__ volatile("mov %%rsp, %0" : "=r"(rsp));
	return (struct cpu *)(rsp & ~(u64)(CPU_AREA_SIZE - 1));
}

/* CPUs of the machine, whether started or not. */
unsigned smp_count(void);
/* Starts all others by INIT, SIPI, SIPI; FAILs if one does not come up within ten seconds. */
void smp_start(void);
/* Runs function(arg) on all started CPUs, this one (CPU 0) included; returns when all are done. */
void smp_run(void (*function)(void *arg), void *arg);
/* Waits for all started CPUs; inside smp_run() only. Long waits doze: they use the APIC timer. */
void smp_barrier(void);

void smp_init(void);
_Noreturn void smp_ap_main(void);
