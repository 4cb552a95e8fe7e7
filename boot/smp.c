/*
 * A CPU that was given up may still come: entry.S lets only that CPU pass for which the mailbox is
 * open, and the mailbox is closed by compare-exchange, so that it either is on its way (and is waited
 * for) or parks.
 */
#include "boot/smp.h"

#include "arch/hal.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/init.h"
#include "arch/x86/stack.h"
#include "arch/x86/time.h"
#include "boot/mailbox.h"
#include "hv/main.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define MS           1000000ull
#define INIT_WAIT_NS (10 * MS)
#define SIPI_WAIT_NS (10 * MS) /* before the second one */
#define UP_WAIT_NS   (1000 * MS)
#define XAPIC_MAX_ID 254u

extern const u8 trampoline_start[], trampoline_end[];
extern struct mailbox ap_mailbox; /* entry.S reads it without paging */
struct mailbox ap_mailbox;

static a32 gate;
static a64 ap_tsc; /* of the CPU that came up last */
static char stack_name[HAL_MAX_CPUS][12];

noreturn_fn void ap_main(struct percpu *pc); /* from entry.S */

void ap_main(struct percpu *pc)
{
	arch_init_ap(pc);
	a64_store(&ap_tsc, tsc_read());
	/* ord B1: pairs with wait_state; what this CPU set up is seen. */
	a32_store_release(&ap_mailbox.state, MAILBOX_UP);
	/* ord B2: pairs with smp_release. */
	while (!a32_load_acquire(&gate))
		hal_pause();
	paging_sync();
	hv_cpu_main();
}

void smp_release(void)
{
	/* ord B2: pairs with ap_main; what hv set up is seen. */
	a32_store_release(&gate, 1);
}

static bool wait_state(u32 from, u64 ns)
{
	u64 start = time_ns();

	/* ord B1: pairs with ap_main. */
	while (a32_load_acquire(&ap_mailbox.state) == from) {
		if (time_ns() - start > ns)
			return false;
		hal_pause();
	}
	return true;
}

/* False if the CPU did not come; it cannot any more then. */
static bool wait_up(void)
{
	u32 open = MAILBOX_OPEN;

	/* Nothing is looked at that a CPU has done that did not come: who wins is all that counts. */
	if (!wait_state(MAILBOX_OPEN, UP_WAIT_NS) &&
	    a32_cas(&ap_mailbox.state, &open, MAILBOX_CLOSED))
		return false;
	/* On its way through code of ours that cannot fail. */
	if (!wait_state(MAILBOX_CLAIMED, 10 * UP_WAIT_NS))
		hal_panic("a CPU stopped on its way up");
	return true;
}

static void send_startup(u32 apic_id, u32 low_page)
{
	apic_send_startup(apic_id, (u8)low_page);
	if (!wait_state(MAILBOX_OPEN, SIPI_WAIT_NS))
		apic_send_startup(apic_id, (u8)low_page);
}

/* A CPU whose clock runs apart from ours makes time jump; said, not repaired. */
static void check_tsc(u32 apic_id, u64 before)
{
	u64 theirs = a64_load(&ap_tsc), after = tsc_read();

	if (theirs < before || theirs > after)
		hal_log(HAL_WARN, "the TSC of the CPU with APIC ID %u differs from the boot CPU's",
		        apic_id);
}

static bool start_one(u32 apic_id, bool withhold, u32 low_page)
{
	unsigned cpu = hal_cpu_count();
	struct percpu *pc = arch_prepare_ap(apic_id);
	u8 *stack;
	u64 before = tsc_read();

	fmt_snprintf(stack_name[cpu], sizeof(stack_name[cpu]), "CPU %u", cpu);
	stack = pc ? stack_alloc(stack_name[cpu]) : NULL;
	if (!stack) {
		hal_log(HAL_WARN, "no memory to start the CPU with APIC ID %u", apic_id);
		return false;
	}
	pc->stack_low = (u64)(uintptr_t)stack;
	pc->stack_high = pc->stack_low + STACK_BYTES;
	ap_mailbox.apic_id = apic_id;
	ap_mailbox.cr3 = paging_root();
	ap_mailbox.stack_top = pc->stack_high;
	ap_mailbox.percpu = (u64)(uintptr_t)pc;
	/* ord B1: pairs with the compare-exchange in entry.S. */
	a32_store_release(&ap_mailbox.state, MAILBOX_OPEN);
	if (!withhold)
		send_startup(apic_id, low_page);
	if (!wait_up()) {
		hal_log(HAL_WARN,
		        "the CPU with APIC ID %u did not come up within %u s: going on without it",
		        apic_id, (unsigned)(UP_WAIT_NS / (1000 * MS)));
		return false; /* its block and stacks stay: nothing may reuse them */
	}
	check_tsc(apic_id, before);
	percpu_add(pc);
	return true;
}

struct candidates {
	u32 id[BOOT_MAX_CPUS];
	u32 n;
	u32 beyond; /* more CPUs than may be started */
};

/* The usable CPUs but ourselves that we may start, in the order of the MADT. */
static void choose(const struct boot_info *bi, u32 max_cpus, struct candidates *c)
{
	u32 self = percpu_of(0)->apic_id;

	for (u32 i = 0; i < bi->nr_cpus; i++) {
		u32 id = bi->cpu[i].apic_id;

		if (!bi->cpu[i].usable || id == self)
			continue;
		if (!apic_is_x2apic() && id > XAPIC_MAX_ID)
			hal_log(HAL_WARN, "the CPU with APIC ID %u needs x2APIC mode: left off",
			        id);
		else if (c->n + 1 >= max_cpus)
			c->beyond++;
		else
			c->id[c->n++] = id;
	}
}

void smp_start(const struct boot_info *bi, const struct boot_options *options, u32 low_page)
{
	static struct candidates c;
	u8 *low = (u8 *)((uintptr_t)low_page << PAGE_SHIFT);
	size_t bytes = (size_t)(trampoline_end - trampoline_start);

	choose(bi, min_of(options->max_cpus, HAL_MAX_CPUS), &c);
	if (c.beyond)
		hal_log(HAL_WARN, "%u CPUs are left off: at most %u are started", c.beyond,
		        min_of(options->max_cpus, HAL_MAX_CPUS));
	if (c.n == 0)
		return;
	if (!low_page) {
		hal_log(HAL_WARN, "no usable page below 1 MiB: only the boot CPU runs");
		return;
	}
	memcpy(low, trampoline_start, bytes);
	for (u32 i = 0; i < c.n; i++)
		if (!options->has_fail_cpu || c.id[i] != options->fail_cpu)
			apic_send_init(c.id[i]);
	time_wait_ns(INIT_WAIT_NS);
	for (u32 i = 0; i < c.n; i++)
		(void)start_one(c.id[i], options->has_fail_cpu && c.id[i] == options->fail_cpu,
		                low_page);
	memset(low, 0, bytes);
}
