/*
 * What one CPU makes for the others to find (arch/x86/percpu.c, stack.c, paging.c, boot/smp.c), how a CPU is started
 * that comes late, and how all but one stand still in a panic (arch/x86/panic.c), under the weak memory of
 * tests/host/weak.h.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"

static struct percpu block[EXPLORER_ACTORS];
static unsigned flushes[EXPLORER_ACTORS];

#define this_cpu()        (&block[explorer_self()])
#define tsc_read()        0
#define hal_cpu_id        arch_cpu_id
#define hal_cpu_count     arch_cpu_count
#define tlb_flush_page(v) ((void)(v))
#define tlb_flush_local() ((void)flushes[explorer_self()]++)

unsigned arch_cpu_id(void);
unsigned arch_cpu_count(void);
#include "lib/lock.c"

#include "arch/x86/percpu.c"
#include "arch/x86/paging.h"

/* The guards of a stack are mappings like any other; here it is the list of chunks that matters. */
#define paging_unmap(va, bytes) ((void)(va))
#define hal_pages_alloc(n)      ((void *)(uintptr_t)(BIT(21) * (n)))
#include "arch/x86/stack.c"
#undef paging_unmap
#undef hal_pages_alloc

static void *table_page(u64 n);
#define hal_pages_alloc table_page
#define lock            paging_lock
#include "arch/x86/paging.c"
#undef lock
#undef hal_pages_alloc

/* A write of the mailbox, and of what the CPU that comes up finds there. */
static u64 mailbox_filled(void);
#define paging_root()     mailbox_filled()
#define stack_alloc(name) ((void)(name), (void *)block)
#include "boot/smp.c"
#undef stack_alloc
#undef paging_root

static noreturn_fn void stand_still(void);
#define irq_disable()    ((void)0)
#define cpu_pause        explorer_pause
#define cpu_halt_forever stand_still
/* What may fault here. */
#define arch_probe_read64(at, v) ((void)(v), false)
#define msr_read_safe(msr, v)    ((void)(v), false)
#include "arch/x86/panic.c"

#define VA BIT(40)

static a64 tables[LEVELS][TABLE_PAGES] aligned_to(PAGE_SIZE);
static unsigned tables_used;
static u64 of_hv; /* what hv sets up before the other CPUs run */
static jmp_buf left[EXPLORER_ACTORS];

/* --- what the files above call of the rest --- */

struct cpu_features cpu_features;
u8 image_start[1], image_end[1], image_text_start[1], image_text_end[1];
u8 image_rodata_start[1], image_rodata_end[1], image_data_start[1];
const u8 trampoline_start[1], trampoline_end[1];
struct percpu *arch_prepare_ap(u32 apic_id)
{
	(void)apic_id;
	return &block[1];
}
void arch_init_ap(struct percpu *pc)
{
	weak_write(pc);
}
void apic_send_init(u32 apic_id)
{
	(void)apic_id;
}
void apic_send_startup(u32 apic_id, u8 page)
{
	(void)apic_id;
	(void)page;
}
bool apic_is_x2apic(void)
{
	return true;
}
static u64 now;
static unsigned jumps;    /* so often a wait may be over before what it is for has come */
static bool nobody_comes; /* any more: all waits are over some time */
u64 time_ns(void)
{
	if (nobody_comes || (jumps && explorer_choose(2))) {
		jumps -= !nobody_comes;
		now += UP_WAIT_NS + 1;
	}
	return now;
}
void time_wait_ns(u64 ns)
{
	(void)ns;
}
void hv_cpu_main(void)
{
	weak_read(&of_hv);
	longjmp(left[explorer_self()], 1);
}

static void *table_page(u64 n)
{
	void *page = tables[tables_used++];

	if (n != 1 || tables_used > LEVELS)
		return NULL;
	weak_write(page);
	memset(page, 0, PAGE_SIZE);
	return page;
}

static void setup(void)
{
	weak_reset(2);
	memset(held_locks, 0, sizeof(held_locks));
	memset(percpu_table, 0, sizeof(percpu_table));
	memset(flushes, 0, sizeof(flushes));
	percpu_count.raw = nr_chunks.raw = generation.raw = gate.raw = 0;
	ap_mailbox = (struct mailbox){.state = {MAILBOX_CLOSED}};
	owner.raw = parked.raw = 0;
	now = jumps = 0;
	nobody_comes = false;
	root[VA / level_bytes(4)].raw = 0;
	tables_used = 0;
	spin_init(&paging_lock, LOCK_PAGING, "paging");
	for (unsigned i = 0; i < EXPLORER_ACTORS; i++)
		block[i] = (struct percpu){.cpu = i};
}

/* --- the block of a CPU is found filled --- */

static struct percpu another;

static void run_add_cpu(void)
{
	weak_write(&another);
	percpu_add(&another);
}

static void run_find_cpu(void)
{
	struct percpu *pc = percpu_of(0);

	if (pc)
		weak_read(pc);
}

static void run_count_cpus(void)
{
	/* Who counts it can find it. */
	if (a32_load(&percpu_count) == 1 && arch_cpu_count() == 1 && !percpu_of(0))
		explorer_panic("a CPU is counted that is not there");
}

/* --- a chunk of stacks is found filled --- */

static void run_add_chunk(void)
{
	weak_write(chunks);
	if (!chunk_add())
		explorer_panic("no chunk");
}

static void run_find_slot(void)
{
	unsigned slot;
	const struct chunk *c = slot_of(BIT(21) * (CHUNK_BYTES / PAGE_SIZE), &slot);

	if (c)
		weak_read(chunks);
}

/* --- our own page tables --- */

/* As hardware goes: what an entry leads to is read after it. */
static u64 walk(void)
{
	a64 *table = root;

	for (unsigned level = LEVELS;; level--) {
		u64 entry = a64_load_acquire(entry_of(table, VA, level));

		if (level == 1 || !(entry & PTE_PRESENT))
			return entry;
		table = table_of(entry);
		weak_read(table);
	}
}

static void run_map(void)
{
	paging_map(VA, PAGE_SIZE, PAGING_WRITE);
}

static void run_walk(void)
{
	(void)walk();
	(void)walk();
}

static void setup_mapped(void)
{
	setup();
	paging_map(VA, PAGE_SIZE, 0);
	generation.raw = 0;
}

/* Rights that were taken away, or given, hold on a CPU that has seen the new generation. */
static void run_sync(void)
{
	paging_sync();
	if (flushes[explorer_self()] && !(walk() & PTE_WRITE))
		explorer_panic("the new generation, the old entry");
}

/* --- the gate of the other CPUs --- */

static void run_ap(void)
{
	if (!setjmp(left[explorer_self()]))
		ap_main(this_cpu());
}

static void run_boot_cpu(void)
{
	weak_write(&of_hv);
	smp_release();
}

/* --- a CPU is started, and may come when it was given up --- */

static bool passed; /* entry.S let it into C */

static u64 mailbox_filled(void)
{
	weak_write(&ap_mailbox.cr3);
	return 0;
}

static void setup_start(void)
{
	setup();
	jumps = 2;
	passed = false;
}

/* As entry.S goes. */
static void run_starter(void)
{
	u32 open = MAILBOX_OPEN;

	if (!a32_cas(&ap_mailbox.state, &open, MAILBOX_CLAIMED)) {
		nobody_comes = true;
		return;
	}
	passed = true;
	weak_read(&ap_mailbox.cr3);
	if (!setjmp(left[explorer_self()]))
		ap_main(this_cpu());
}

static void run_boot_starts(void)
{
	bool up = start_one(1, false, 1);

	if (up)
		weak_read(&block[1]);
	smp_release();
}

static void check_start(void)
{
	if (passed != (percpu_count.raw == 1))
		explorer_panic("a CPU %s",
		               passed ? "runs that was given up" : "is counted that is not there");
}

/* --- two CPUs panic at a time, one of them behind a line of its own; a third is stopped --- */

static bool nmi[EXPLORER_ACTORS];
static unsigned reports;
static u64 console;

void console_write(const char *text, size_t len)
{
	(void)text;
	(void)len;
	weak_write(&console);
}

const char *trap_name(u64 vector)
{
	(void)vector;
	return "";
}

void machine_exit(bool good)
{
	(void)good;
	stand_still();
}

static void setup_panic(void)
{
	setup();
	percpu_count.raw = 3;
	reports = 0;
	memset(nmi, 0, sizeof(nmi));
}

static void stand_still(void)
{
	longjmp(left[explorer_self()], 1);
}

/* Sending it is ordered behind all stores of this CPU: arch/x86/apic.c sees to that. */
void apic_nmi_others(void)
{
	fence_full();
	for (unsigned i = 0; i < EXPLORER_ACTORS; i++)
		nmi[i] = true;
}

static bool nmi_pending(void *cpu)
{
	return nmi[(uintptr_t)cpu];
}

void console_panic_mode(void)
{
	if (reports++)
		explorer_panic("two CPUs report");
}

static void panic_here(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!setjmp(left[explorer_self()]))
		panic_text(fmt, args);
	va_end(args);
}

static void run_panic(void)
{
	panic_here("no reason");
}

static void run_panic_after_line(void)
{
	weak_write(&console);
	panic_here("no reason");
}

/* As the handler of an NMI. */
static void run_third(void)
{
	explorer_wait(nmi_pending, (void *)(uintptr_t)explorer_self());
	fence_full();
	if (!panic_running())
		explorer_panic("the NMI came before the owner was known");
	if (!setjmp(left[explorer_self()]))
		panic_park();
}

static void check_panic(void)
{
	if (reports != 1 || parked.raw != 2)
		explorer_panic("%u report, %u stand still", reports, parked.raw);
}

static const struct explorer_scene scenes[] = {
        {.name = "cpu added, cpu found",
         .setup = setup,
         .actor = {{"adder", run_add_cpu}, {"finder", run_find_cpu}, {"count", run_count_cpus}},
         .nr_actors = 3,
         .max_preemptions = 3},
        {.name = "chunk added, slot found",
         .setup = setup,
         .actor = {{"adder", run_add_chunk}, {"finder", run_find_slot}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "table made, table walked",
         .setup = setup,
         .actor = {{"mapper", run_map}, {"walker", run_walk}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "mapping changed, generation seen",
         .setup = setup_mapped,
         .actor = {{"mapper", run_map}, {"other", run_sync}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "a CPU is started, or comes too late",
         .setup = setup_start,
         .check = check_start,
         .actor = {{"boot", run_boot_starts}, {"ap", run_starter}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "two panic, another is stopped",
         .setup = setup_panic,
         .check = check_panic,
         .actor = {{"one", run_panic}, {"two", run_panic_after_line}, {"three", run_third}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "gate of the other CPUs",
         .setup = setup,
         .actor = {{"boot", run_boot_cpu}, {"ap", run_ap}},
         .nr_actors = 2,
         .max_preemptions = 3},
};

int main(void)
{
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
