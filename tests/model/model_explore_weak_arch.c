/*
 * What one CPU makes for the others to find (arch/x86/percpu.c, stack.c, paging.c, boot/smp.c), under the weak
 * memory of tests/host/weak.h.
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

#include "boot/smp.c"

#define VA BIT(40)

static a64 tables[LEVELS][TABLE_PAGES] aligned_to(PAGE_SIZE);
static unsigned tables_used;
static u64 of_hv; /* what hv sets up before the other CPUs run */
static jmp_buf left;

/* --- what the files above call of the rest --- */

struct cpu_features cpu_features;
u8 image_start[1], image_end[1], image_text_start[1], image_text_end[1];
u8 image_rodata_start[1], image_rodata_end[1], image_data_start[1];
const u8 trampoline_start[1], trampoline_end[1];
struct percpu *arch_prepare_ap(u32 apic_id)
{
	return percpu_alloc(apic_id);
}
void arch_init_ap(struct percpu *pc)
{
	(void)pc;
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
u64 time_ns(void)
{
	return 0;
}
void time_wait_ns(u64 ns)
{
	(void)ns;
}
void hv_cpu_main(void)
{
	weak_read(&of_hv);
	longjmp(left, 1);
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
	if (!setjmp(left))
		ap_main(this_cpu());
}

static void run_boot_cpu(void)
{
	weak_write(&of_hv);
	smp_release();
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
