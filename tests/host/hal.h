/*
 * The machine on which mm runs in the host tests: threads are CPUs, anonymous memory is RAM. What a
 * test can see and bend of it.
 */
#pragma once

#include "arch/hal.h"
#include "lib/types.h"
#include "lib/util.h"

/* This thread is CPU `cpu` from now on (0 if never called). */
void host_cpu_set(unsigned cpu);
/* hal_cpu_count(); 1 at the start. */
void host_cpu_count_set(unsigned count);

/* Fixes hal_time_ns(); HOST_TIME_REAL goes back to the real clock. */
#define HOST_TIME_REAL (~0ull)
void host_time_set(u64 ns);
void host_time_add(u64 ns);

/* The next `n` calls of hal_pages_alloc() succeed, those after fail; HOST_NO_LIMIT takes it back.
 */
#define HOST_NO_LIMIT (~0ull)
void host_pages_limit(u64 n);

/* Called in every hal_pause() of this thread, NULL = none. */
void host_on_pause(void (*fn)(void *arg), void *arg);

/* Runs fn(arg); whether it ended in hal_panic(). The message is host_panic_text(). */
bool host_panics(void (*fn)(void *arg), void *arg) must_check;
const char *host_panic_text(void);

/* Lines logged with hal_log() since the start, and the last of them. VARVE_LOG=1 prints them. */
u64 host_log_lines(void);
const char *host_log_last(void);

/* Called in every hal_fpu_begin() of this thread, NULL = none. */
void host_on_fpu(void (*fn)(void));
/* Whether this thread is between hal_fpu_begin() and hal_fpu_end(). */
bool host_fpu_active(void);

/* RAM for frames: contiguous, aligned to 2 MiB. Never given back before the program ends. */
void *host_ram(u64 npages) must_check;

/* Value of VARVE_STEPS, or `otherwise`. */
u64 host_steps(u64 otherwise);
/* A small generator (xorshift*), seeded with anything but 0. */
u64 host_random(u64 *state);
