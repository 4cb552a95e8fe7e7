/*
 * What the native benchmarks share: pinned threads, a clock, order statistics, and a guest whose memory is
 * all there. A figure is a line `bench NAME value=V unit=U n=N min=A max=B`, which tools/bench reads.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hv/mmu/tdp_iter.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/epoch.h"
#include "tests/host/hal.h"
#include "tests/host/vm.h"

static inline u64 bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

/* As on a machine of one's own. The other tests give way to other threads, which takes a system call. */
static inline void bench_pause(void *arg)
{
	(void)arg;
	__builtin_ia32_pause();
}

/* This thread is CPU `cpu` of the machine and of the host tests. */
static inline void bench_pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fprintf(stderr, "cannot be pinned to CPU %u: figures will spread\n", cpu);
	host_cpu_set(cpu);
	host_on_pause(bench_pause, NULL);
}

static inline int bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Sorts v; the share is in thousandths, 500 is the median. */
static inline double bench_quantile(double *v, unsigned n, unsigned per_mille)
{
	unsigned at = (unsigned)((u64)n * per_mille / 1000);

	qsort(v, n, sizeof(*v), bench_compare);
	return v[min_of(at, n - 1)];
}

/* The median of v as the figure's value, and its quartiles as its spread. */
static inline void bench_report(const char *name, const char *unit, double *v, unsigned n)
{
	double low = bench_quantile(v, n, 250), high = bench_quantile(v, n, 750);

	printf("bench %s value=%.4f unit=%s n=%u min=%.4f max=%.4f\n", name,
	       bench_quantile(v, n, 500), unit, n, low, high);
	fflush(stdout);
}

/* Every page written once by vCPU 0; ends the program if one cannot be. */
static inline void bench_populate(struct host_vm *vm, u64 npages)
{
	for (u64 g = 0; g < npages; g++)
		if (host_vm_write(vm, 0, gfn_gpa(gfn(g)), g) != FAULT_FIXED)
			abort();
}

/* The leaf table that maps page `first` of the guest. */
static inline a64 *bench_table(struct host_vm *vm, u64 first)
{
	struct tdp_entry e;

	epoch_enter();
	e = tdp_find(&vm->tdp, gfn(first));
	epoch_exit();
	if (e.level != 1)
		abort();
	return e.at;
}
