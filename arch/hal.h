/*
 * The only door from mm/ and lib/ to the machine. arch/x86 implements it for the hypervisor,
 * tests/host/hal.c for the build machine. Nothing here names a page-table format, a vendor or a
 * virtual machine.
 *
 * The hypervisor is not preemptible: outside guest mode and idle it runs with interrupts off, so a
 * CPU number stays valid until the caller itself gives up the CPU.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#ifndef HAL_MAX_CPUS /* MAX_CPUS of the Makefile */
#define HAL_MAX_CPUS 64u
#endif

/* Number of the CPU that runs this code, 0 .. hal_cpu_count() - 1. */
unsigned hal_cpu_id(void);
/* CPUs that came up. Constant once the second CPU has been started. */
unsigned hal_cpu_count(void);
/* One turn of a waiting loop (`pause`); emulators that run CPUs in turns switch here. */
void hal_pause(void);
/* Monotonic time since boot, nanoseconds. */
u64 hal_time_ns(void);

/* Address at which the hypervisor reads and writes a frame of RAM. */
void *hal_frame_ptr(pfn_t pfn);
/* Inverse of hal_frame_ptr() for any address inside the frame. */
pfn_t hal_ptr_pfn(const void *ptr);

/*
 * Memory of the hypervisor itself (tables, maps, control blocks), page aligned and zeroed; NULL when
 * there is none left. hal_pages_free() takes exactly what one hal_pages_alloc() gave. Any context.
 */
void *hal_pages_alloc(u64 npages) must_check;
void hal_pages_free(void *ptr, u64 npages);
/* Pages handed out at present, for statistics. */
u64 hal_pages_used(void);

/*
 * Brackets code that uses FPU or SSE registers (liblz4). The guest state that was live is saved
 * first and put back before the guest runs again. Does not nest; no scheduling in between.
 */
void hal_fpu_begin(void);
void hal_fpu_end(void);

enum hal_log { HAL_ERROR, HAL_WARN, HAL_INFO, HAL_DEBUG };
/* One line for the console (no newline needed), dropped when above the `loglevel=`. Any context. */
void hal_log(enum hal_log level, const char *fmt, ...) printf_like(2, 3);
/* A bug of ours in shared state: prints it with a backtrace and ends the machine with FAIL. */
noreturn_fn void hal_panic(const char *fmt, ...) printf_like(1, 2);

/* An invariant of ours. Never reachable from guest behaviour (I12). */
#define ASSERT(cond)                                                                         \
	do {                                                                                 \
		if (unlikely(!(cond)))                                                       \
			hal_panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond); \
	} while (0)
/* For hot paths: checked in debug builds (the default), compiled out with DEBUG=0. */
#ifdef VARVE_DEBUG
#define DEBUG_ASSERT(cond) ASSERT(cond)
#else
#define DEBUG_ASSERT(cond) ((void)sizeof(!!(cond)))
#endif
