/*
 * hv/ on the build machine: its virtual CPUs, exits and virtual machines, unchanged, on simulated CPUs
 * (tests/host/cpu_virt.h). Scheduler, console and monitor are stand-ins: every vCPU's thread is a coroutine with a CPU
 * of its own, the program is CPU 0 and decides who goes on. One virtual machine at a time.
 */
#pragma once

#include "hv/scenario.h"
#include "hv/vm.h"
#include "lib/types.h"
#include "lib/util.h"
#include "tests/host/cpu_virt.h"

#define HYPER_VCPUS 4u
#define HYPER_IMAGE \
	0x100000u /* where the guest's image is, a page that begins with a multiboot header, ... */
#define HYPER_ENTRY 0x100020u /* ... and its first instruction */

/* Where a vCPU is when hyper_resume() returns. */
enum hyper_where {
	HYPER_GUEST,   /* entered: the guest function has to leave it */
	HYPER_YIELDED, /* gave up the CPU, or waits for another, in the middle of something */
	HYPER_ASLEEP,
	HYPER_ENDED,
};

/*
 * Makes and starts the VM. `guest` is called on the vCPU's coroutine at each entry; it calls hyper_stay() for the
 * program to go on, and what it has written when it returns is the exit. False: memory was short; nothing kept.
 */
bool hyper_create(const struct cpu_virt *hardware, const struct scenario_vm *config,
                  cpu_virt_guest guest) must_check;
/* All threads have ended; gives everything back. */
void hyper_destroy(void);
struct vm *hyper_vm(void);
struct vcpu *hyper_vcpu(unsigned i);
/* The vCPU that a register set belongs to. */
unsigned hyper_index(const struct arch_vcpu *v);

/*
 * The program is the vCPU's CPU from now on, or CPU 0 again (HYPER_VCPUS): for a look at registers, which need the
 * vCPU loaded. Back before hyper_resume().
 */
void hyper_visit(unsigned i);

/* Lets the thread of vCPU `i` go on until one of the above. */
enum hyper_where hyper_resume(unsigned i);
enum hyper_where hyper_where(unsigned i);
/* In the guest function: back to who resumed the vCPU, until the next time. */
void hyper_stay(void);
/* Was the vCPU asked to leave its guest since it was last asked this? */
bool hyper_kicked(unsigned i);
/* Time has gone by: the timer interrupts of all CPUs whose deadline is over. */
void hyper_tick(void);
/* Ends the VM and lets its threads end: false if they do not within `tries` turns each. */
bool hyper_end(unsigned tries) must_check;
/* hal_pause() of all CPUs since the program began: what a wait without end counts up. */
u64 hyper_pauses(void);
/* Lines on the console since the program began. */
u64 hyper_lines(void);
