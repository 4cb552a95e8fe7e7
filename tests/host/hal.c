#include "tests/host/hal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/atomic.h"
#include "tests/host/turn.h"

static _Thread_local unsigned this_cpu;
static _Thread_local bool fpu_active[HAL_MAX_CPUS]; /* this thread may be several CPUs by turns */
static _Thread_local void (*pause_fn)(void *arg);
static _Thread_local void *pause_arg;
static _Thread_local void (*fpu_fn)(void);
static _Thread_local jmp_buf *panic_target;
static _Thread_local char panic_text[512];
static _Thread_local char log_last[512];
static a32 cpu_count = {1};
static a64 time_fixed = {HOST_TIME_REAL};
static a64 pages_left = {HOST_NO_LIMIT};
static a64 pages_used;
static a64 log_lines;

void host_cpu_set(unsigned cpu)
{
	ASSERT(cpu < HAL_MAX_CPUS);
	this_cpu = cpu;
}

void host_cpu_count_set(unsigned count)
{
	ASSERT(count >= 1 && count <= HAL_MAX_CPUS);
	a32_store(&cpu_count, count);
}

unsigned hal_cpu_id(void)
{
	return this_cpu;
}

unsigned hal_cpu_count(void)
{
	return a32_load(&cpu_count);
}

void host_on_pause(void (*fn)(void *arg), void *arg)
{
	pause_fn = fn;
	pause_arg = arg;
}

void hal_pause(void)
{
	if (pause_fn)
		pause_fn(pause_arg);
	else
		host_turn();
}

void host_time_set(u64 ns)
{
	a64_store(&time_fixed, ns);
}

void host_time_add(u64 ns)
{
	a64_count(&time_fixed, ns);
}

u64 hal_time_ns(void)
{
	u64 fixed = a64_load(&time_fixed);
	struct timespec ts;

	if (fixed != HOST_TIME_REAL)
		return fixed;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

/* Identity, as in the hypervisor. */
void *hal_frame_ptr(pfn_t pfn)
{
	return (void *)(uintptr_t)(pfn.v << PAGE_SHIFT);
}

pfn_t hal_ptr_pfn(const void *ptr)
{
	return pfn((uintptr_t)ptr >> PAGE_SHIFT);
}

void host_pages_limit(u64 n)
{
	a64_store(&pages_left, n);
}

static bool pages_take(void)
{
	u64 left = a64_load(&pages_left);

	while (left != HOST_NO_LIMIT) {
		if (!left)
			return false;
		if (a64_cas(&pages_left, &left, left - 1))
			break;
	}
	return true;
}

void *hal_pages_alloc(u64 npages)
{
	void *p;

	if (!npages || !pages_take())
		return NULL;
	p = aligned_alloc(PAGE_SIZE, npages * PAGE_SIZE);
	if (!p)
		return NULL;
	memset(p, 0, npages * PAGE_SIZE);
	a64_count(&pages_used, npages);
	return p;
}

void hal_pages_free(void *ptr, u64 npages)
{
	ASSERT(ptr && npages && !((uintptr_t)ptr % PAGE_SIZE));
	a64_count(&pages_used, -npages);
	free(ptr);
}

u64 hal_pages_used(void)
{
	return a64_load(&pages_used);
}

void *host_ram(u64 npages)
{
	const u64 huge = TABLE_PAGES * (u64)PAGE_SIZE;
	void *p = mmap(NULL, npages * PAGE_SIZE + huge, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : (void *)align_up((uintptr_t)p, (uintptr_t)huge);
}

void host_on_fpu(void (*fn)(void))
{
	fpu_fn = fn;
}

void hal_fpu_begin(void)
{
	if (fpu_fn)
		fpu_fn();
	ASSERT(!fpu_active[this_cpu]);
	fpu_active[this_cpu] = true;
}

void hal_fpu_end(void)
{
	ASSERT(fpu_active[this_cpu]);
	fpu_active[this_cpu] = false;
}

bool host_fpu_active(void)
{
	return fpu_active[this_cpu];
}

void hal_log(enum hal_log level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(log_last, sizeof(log_last), fmt, args);
	va_end(args);
	a64_count(&log_lines, 1);
	if (getenv("VARVE_LOG"))
		fprintf(stderr, "[%d] %s\n", (int)level, log_last);
}

u64 host_log_lines(void)
{
	return a64_load(&log_lines);
}

const char *host_log_last(void)
{
	return log_last;
}

void hal_panic(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(panic_text, sizeof(panic_text), fmt, args);
	va_end(args);
	if (panic_target)
		longjmp(*panic_target, 1);
	fprintf(stderr, "panic: %s\n", panic_text);
	abort();
}

bool host_panics(void (*fn)(void *arg), void *arg)
{
	jmp_buf here;
	jmp_buf *volatile outer = panic_target;
	volatile bool panicked = true;

	if (!setjmp(here)) {
		panic_target = &here;
		fn(arg);
		panicked = false;
	}
	panic_target = outer;
	return panicked;
}

const char *host_panic_text(void)
{
	return panic_text;
}

u64 host_steps(u64 otherwise)
{
	const char *text = getenv("VARVE_STEPS");

	return text ? strtoull(text, NULL, 0) : otherwise;
}

u64 host_random(u64 *state)
{
	u64 x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

#ifdef __SANITIZE_THREAD__
/*
 * Of an access long ago the detector has to know where it was, or it cannot tell that it is one of those which
 * a test allows (__tsan_default_suppressions).
 */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "history_size=7";
}
#endif
