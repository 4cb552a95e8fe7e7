/*
 * The first CPU that reports owns the panic; a second one parks. A trap inside the report itself
 * (panic_depth) is told in one line, a trap inside that line ends the machine without a word more.
 */
#include "arch/x86/panic.h"

#include "arch/hal.h"
#include "arch/x86/apic.h"
#include "arch/x86/console.h"
#include "arch/x86/cpu.h"
#include "arch/x86/power.h"
#include "arch/x86/stack.h"
#include "arch/x86/time.h"
#include "arch/x86/trap.h"
#include "lib/atomic.h"
#include "lib/fmt.h"
#include "lib/lock.h"
#include "lib/string.h"

#define BACKTRACE_MAX 40u
#define STOP_WAIT_NS  1000000000ull

static a32 owner; /* CPU + 1 */
static void (*also_say)(void);
static a32 parked;

void panic_also_say(void (*fn)(void))
{
	also_say = fn;
}

bool panic_running(void)
{
	return a32_load(&owner) != 0; /* nothing is read behind it */
}

void panic_park(void)
{
	if (a32_load(&owner) == hal_cpu_id() + 1)
		return;
	a32_fetch_add(&parked,
	              1); /* ord X2: pairs with panic_stop_others; what it was at is over */
	cpu_halt_forever();
}

void panic_stop_others(void)
{
	u32 others = hal_cpu_count() - 1;
	u64 start = time_ns();

	if (others == 0)
		return;
	apic_nmi_others();
	/* ord X2: pairs with panic_park. */
	while (a32_load_acquire(&parked) < others && time_ns() - start < STOP_WAIT_NS)
		cpu_pause();
}

static void put_line(const char *fmt, ...) printf_like(1, 2);
static void put_line(const char *fmt, ...)
{
	char line[200];
	va_list args;
	int n;

	va_start(args, fmt);
	n = fmt_vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	n = min_of(n, (int)sizeof(line) - 2);
	line[n] = '\n';
	console_write(line, (size_t)n + 1);
}

/* Returns only to the CPU that owns the panic, the first time. */
static void panic_begin(void)
{
	u32 nobody = 0;
	u32 depth = this_cpu()->panic_depth++;

	irq_disable();
	if (depth >= 2)
		machine_exit(false);
	/* The others see the owner when the NMI reaches them: it is sent behind a fence. */
	if (depth == 0 && !a32_cas(&owner, &nobody, hal_cpu_id() + 1))
		panic_park();
	if (depth == 1) {
		put_line("VARVE: FAIL trap inside the report of a trap");
		machine_exit(false);
	}
	panic_stop_others();
	console_panic_mode();
}

static void put_locks(void)
{
	const char *names[16];
	unsigned n = lock_held_names(hal_cpu_id(), names, ARRAY_SIZE(names));

	put_line("locks held: %s", n ? "" : "none");
	for (unsigned i = 0; i < n; i++)
		put_line("  %s", names[i]);
}

/*
 * Return addresses along the frame pointers, as long as those rise within the stack that runs (as
 * the thread switch knows it) or the one of ours in which rbp lies.
 */
static void put_backtrace(u64 rip, u64 rbp)
{
	u64 low = this_cpu()->stack_low, high = this_cpu()->stack_high;
	u64 next, ret;

	if (rip)
		put_line("bt: 0x%llx", (unsigned long long)rip);
	if ((rbp < low || rbp >= high) && !stack_bounds(rbp, &low, &high))
		return;
	for (unsigned i = 0; i < BACKTRACE_MAX; i++) {
		if (rbp < low || rbp > high - 16 || rbp % 8)
			return;
		if (!arch_probe_read64((const void *)(uintptr_t)rbp, &next) ||
		    !arch_probe_read64((const void *)(uintptr_t)(rbp + 8), &ret) || !ret)
			return;
		put_line("bt: 0x%llx", (unsigned long long)ret);
		if (next <= rbp)
			return;
		rbp = next;
	}
}

static void put_more(void)
{
	if (also_say)
		also_say();
}

#define U(x) ((unsigned long long)(x))

static void put_registers(const struct trap_frame *f)
{
	put_line("rax %016llx rbx %016llx rcx %016llx rdx %016llx", U(f->rax), U(f->rbx), U(f->rcx),
	         U(f->rdx));
	put_line("rsi %016llx rdi %016llx rbp %016llx rsp %016llx", U(f->rsi), U(f->rdi), U(f->rbp),
	         U(f->rsp));
	put_line("r8  %016llx r9  %016llx r10 %016llx r11 %016llx", U(f->r8), U(f->r9), U(f->r10),
	         U(f->r11));
	put_line("r12 %016llx r13 %016llx r14 %016llx r15 %016llx", U(f->r12), U(f->r13), U(f->r14),
	         U(f->r15));
	put_line("rip %016llx rflags %llx cs %llx ss %llx", U(f->rip), U(f->rflags), U(f->cs),
	         U(f->ss));
	put_line("cr0 %llx cr2 %llx cr3 %llx cr4 %llx", U(cr0_read()), U(cr2_read()), U(cr3_read()),
	         U(cr4_read()));
}

/* Banks with a valid error; Intel SDM vol. 3, section 15.3. */
static void put_machine_check(void)
{
	u64 cap, status;

	if (!cpu_features.mca || !msr_read_safe(MSR_MCG_CAP, &cap))
		return;
	for (u32 bank = 0; bank < (cap & 0xff); bank++)
		if (msr_read_safe(MSR_MC0_STATUS + 4 * bank, &status) && status >> 63)
			put_line("machine check bank %u: status %016llx", bank, U(status));
}

static const char *overflowed_stack(const struct trap_frame *f)
{
	const char *name = NULL;

	if (f->vector == TRAP_PF || f->vector == TRAP_DF)
		name = stack_guard_owner(cr2_read());
	if (!name && f->vector == TRAP_DF)
		name = stack_guard_owner(f->rsp - 8);
	return name;
}

void panic_trap(struct trap_frame *f)
{
	const char *stack;

	panic_begin();
	stack = overflowed_stack(f);
	put_line("trap %llu (%s), error code 0x%llx, on CPU %u", U(f->vector), trap_name(f->vector),
	         U(f->error), hal_cpu_id());
	put_registers(f);
	if (f->vector == TRAP_MC)
		put_machine_check();
	put_locks();
	put_backtrace(f->rip, f->rbp);
	put_more();
	if (stack)
		put_line("VARVE: FAIL stack overflow of %s at 0x%llx", stack, U(f->rip));
	else
		put_line("VARVE: FAIL trap %s at 0x%llx", trap_name(f->vector), U(f->rip));
	machine_exit(false);
}

void panic_text(const char *fmt, va_list args)
{
	char why[160];

	panic_begin();
	fmt_vsnprintf(why, sizeof(why), fmt, args);
	put_line("panic on CPU %u: %s", hal_cpu_id(), why);
	put_locks();
	put_backtrace(0, (u64)(uintptr_t)__builtin_frame_address(0));
	put_more();
	put_line("VARVE: FAIL panic: %s", why);
	machine_exit(false);
}
