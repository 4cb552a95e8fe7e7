/*
 * Threads that do to a guest on shadow tables what CPUs do: two vCPUs that access its memory through their TLBs and
 * fault, an ager, and an evictor, which also takes shadow pages back. Under the race detector, on real cores. Every
 * vCPU has a word of its own in each page and remembers it.
 *
 * A vCPU has tables of its own, whose lowest it writes itself, through the shadow tables, while they mirror it, and
 * then executes INVLPG or loads CR3, as the architecture wants; and one that both share. It changes between long mode,
 * PAE and no paging.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/mmu/shadow_core.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/shadow_vm.h"
#include "tests/host/vm.h"

#define DATA    500u /* pages 0 .. DATA - 1; the guest's tables after them */
#define PAGES   512u
#define FRAMES  400u
#define VCPUS   2u
#define AGER    VCPUS
#define EVICTOR (VCPUS + 1)
#define CPUS    (VCPUS + 2)

/* A vCPU's tables, and the one that both lead to. */
enum { PML4, PDPT, PDPT_PAE, DIRECTORY, OWN_TABLE, TABLES };
#define TABLE(cpu, which) (DATA + (cpu)*TABLES + (which))
#define SHARED_TABLE      (DATA + VCPUS * TABLES)

/*
 * Entries of a vCPU's own table: pages of its choice, and the last: the table itself. The shared one maps all pages,
 * those tables too, so that they can be written by an address whose shadow outlives theirs.
 */
#define OWN_PAGES 64u
#define OWN_ENTRY (TABLE_PAGES - 1)
/* Addresses. */
#define OWN(i)    ((u64)(i)*PAGE_SIZE)
#define SHARED(i) ((u64)(TABLE_PAGES + (i)) * PAGE_SIZE)

#define ENTRY_P   BIT(0)
#define ENTRY_WU  (BIT(1) | BIT(2))
#define ENTRY_AD  (BIT(5) | BIT(6))
#define FAULT_P   BIT(0)
#define SHRINK_BY 4u
/* Accesses between two evictions: pages are to stay for more than one. */
#define PERIOD 8u
#define PAUSES 100u

/* An evictor reads a page that is rescued and written meanwhile: see torture_tdp.c. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:store_put\n";
}

enum mode { LONG, PAE, UNPAGED, MODES };

static struct shadow_vm vm;
static const char *format_name;
static u64 oracle[VCPUS][DATA];
static u64 own[VCPUS][OWN_PAGES]; /* the page behind each entry */
static enum mode mode[VCPUS];
static u64 steps, remaps[VCPUS], guest_faults[VCPUS], shrunk;
static a32 running; /* vCPU threads that are */
static a64 accesses;

static void fail(unsigned cpu, const char *what, u64 at, u64 expected, u64 found)
{
	printf("%s: cpu %u: mode %u: %s: %#llx, expected %#llx, found %#llx\n", format_name, cpu,
	       cpu < VCPUS ? mode[cpu] : 0, what, (unsigned long long)at,
	       (unsigned long long)expected, (unsigned long long)found);
	fflush(stdout);
	_Exit(1);
}

/* NO_MEMORY: let the evictor work, as a scheduler would. */
static enum shadow_result access_once(unsigned cpu, u64 at, bool write, u64 *value, u32 *error)
{
	struct shadow_vm_access a;

	for (;;) {
		a = shadow_vm_access(&vm, cpu, gva(at), write ? CPU_WRITE : 0, value);
		if (a.result != SHADOW_NO_MEMORY)
			break;
		epoch_poll();
		hal_pause();
	}
	if (a.result == SHADOW_GUEST_FAULT)
		*error = a.out.error;
	return a.result;
}

static void access_word(unsigned cpu, u64 at, bool write, u64 *value)
{
	u32 error;
	enum shadow_result r = access_once(cpu, at, write, value, &error);

	if (r != SHADOW_FIXED)
		fail(cpu, "access fails", at, SHADOW_FIXED, r);
}

/* The vCPU's word of page g, by an address that leads there. */
static void check_word(unsigned cpu, u64 at, u64 g, bool write, u64 *seed)
{
	u64 value = 0;

	if (write)
		value = oracle[cpu][g] = host_random(seed) % 3 ? host_random(seed) : 0;
	access_word(cpu, at + 8ull * cpu, write, &value);
	if (!write && value != oracle[cpu][g])
		fail(cpu, "reads", at, oracle[cpu][g], value);
}

static void check_by_hypervisor(unsigned cpu, u64 g, bool write, u64 *seed)
{
	gpa_t at = gpa(g * PAGE_SIZE + 8ull * cpu);
	u64 value = write ? host_random(seed) : 0;
	u64 done = write ? guest_write(&vm.mem, at, &value, 8) : guest_read(&vm.mem, at, &value, 8);

	if (done != 8) /* short of memory: nothing was copied */
		return;
	if (write)
		oracle[cpu][g] = value;
	else if (value != oracle[cpu][g])
		fail(cpu, "hypervisor reads", at.v, oracle[cpu][g], value);
}

/* --- the guest's tables ---------------------------------------------------------------------------- */

static void poke(u64 g, unsigned i, u64 entry)
{
	ASSERT(guest_write(&vm.mem, gpa(g * PAGE_SIZE + 8ull * i), &entry, 8) == 8);
}

static u64 to_page(u64 g)
{
	return g * PAGE_SIZE | ENTRY_P | ENTRY_WU;
}

static void make_tables(unsigned cpu)
{
	poke(TABLE(cpu, PML4), 0, to_page(TABLE(cpu, PDPT)));
	poke(TABLE(cpu, PDPT), 0, to_page(TABLE(cpu, DIRECTORY)));
	poke(TABLE(cpu, PDPT_PAE), 0, TABLE(cpu, DIRECTORY) * PAGE_SIZE | ENTRY_P);
	poke(TABLE(cpu, DIRECTORY), 0, to_page(TABLE(cpu, OWN_TABLE)));
	poke(TABLE(cpu, DIRECTORY), 1, to_page(SHARED_TABLE));
	for (unsigned i = 0; i < OWN_PAGES; i++) {
		own[cpu][i] = i * VCPUS + cpu;
		poke(TABLE(cpu, OWN_TABLE), i, to_page(own[cpu][i]));
	}
	poke(TABLE(cpu, OWN_TABLE), OWN_ENTRY, to_page(TABLE(cpu, OWN_TABLE)));
}

static void load(unsigned cpu, enum mode to)
{
	struct shadow_regs regs = {.cr0 = BIT(0) | BIT(16), .phys_bits = 36};

	mode[cpu] = to;
	if (to != UNPAGED) {
		regs.cr0 |= BIT(31);
		regs.cr4 = BIT(5);
		regs.efer = BIT(11) | (to == LONG ? BIT(8) | BIT(10) : 0);
		regs.cr3 = TABLE(cpu, to == LONG ? PML4 : PDPT_PAE) * PAGE_SIZE;
	}
	shadow_vm_load(&vm, cpu, &regs);
}

/* The guest writes its own entry, through the shadow tables, and forgets what it had. */
static void set_own(unsigned cpu, unsigned i, u64 entry, u64 r)
{
	u64 table = r >> 4 & 1 ? OWN(OWN_ENTRY) : SHARED(TABLE(cpu, OWN_TABLE));

	access_word(cpu, table + 8ull * i, true, &entry);
	if (r % 4)
		shadow_vm_invlpg(&vm, cpu, gva(OWN(i)));
	else
		shadow_vm_reload(&vm, cpu);
}

static void remap(unsigned cpu, u64 *seed)
{
	u64 r = host_random(seed), value = 0;
	unsigned i = (unsigned)(r >> 8) % OWN_PAGES;
	u32 error = FAULT_P;

	if (r >> 32 & 1) {
		set_own(cpu, i, 0, r >> 40);
		if (access_once(cpu, OWN(i), r >> 33 & 1, &value, &error) != SHADOW_GUEST_FAULT ||
		    error & FAULT_P)
			fail(cpu, "an entry that is not present", OWN(i), 0, error);
		guest_faults[cpu]++;
	}
	own[cpu][i] = (r >> 16) % DATA;
	set_own(cpu, i, to_page(own[cpu][i]) | (r >> 34 & 1 ? ENTRY_AD : 0), r >> 42);
	check_word(cpu, OWN(i), own[cpu][i], false, seed);
	remaps[cpu]++;
}

/* --- the threads ----------------------------------------------------------------------------------- */

static void step(unsigned cpu, u64 *seed)
{
	u64 r = host_random(seed), g = r % 4 ? (r >> 8) % (DATA / 8) : (r >> 8) % DATA;
	unsigned i = (unsigned)(r >> 24) % OWN_PAGES;
	bool write = r >> 40 & 1;

	if ((r >> 44) % 256 == 0)
		load(cpu, (r >> 52) % MODES);
	else if ((r >> 44) % 16 == 1)
		check_by_hypervisor(cpu, g, write, seed);
	else if (mode[cpu] == UNPAGED)
		check_word(cpu, g * PAGE_SIZE, g, write, seed);
	else if ((r >> 44) % 16 == 2)
		remap(cpu, seed);
	else if (r >> 41 & 1)
		check_word(cpu, OWN(i), own[cpu][i], write, seed);
	else
		check_word(cpu, SHARED(g), g, write, seed);
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x5ad0 + cpu;

	host_cpu_set(cpu);
	for (u64 i = 0; i < steps; i++) {
		step(cpu, &seed);
		a64_fetch_add(&accesses, 1);
		if (i % 64 == 0)
			epoch_poll();
	}
	a32_fetch_add(&running, -1u);
	return NULL;
}

static void *run_ager(void *arg)
{
	u64 seed = 0xa9e, visited = 0;

	(void)arg;
	host_cpu_set(AGER);
	while (a32_load(&running)) {
		unsigned fast = host_random(&seed) % 2 ? NOTIFIER_FAST_ONLY : 0;
		u64 bitmap[NOTIFIER_WORDS];

		memset(bitmap, 0xff, sizeof(bitmap));
		notifier_age(vm.space, gfn(host_random(&seed) % PAGES), 256, bitmap,
		             NOTIFIER_CLEAR | fast, &visited);
		age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

/* Not for long: they may be waiting for memory. */
static void wait_for_accesses(void)
{
	u64 before = a64_load(&accesses);

	for (unsigned i = 0; i < PAUSES && a64_load(&accesses) < before + PERIOD; i++)
		hal_pause();
}

static void *run_evictor(void *arg)
{
	u64 seed = 0xe71, r;

	(void)arg;
	host_cpu_set(EVICTOR);
	while (a32_load(&running)) {
		evict_space(vm.space, evict_any(16));
		r = host_random(&seed) % 16;
		if (r == 0)
			shrunk += shadow_shrink(&vm.shadow.notifier, SHRINK_BY);
		if (r == 1) /* roots among them */
			shrunk += shadow_shrink_used(&vm.shadow, SHRINK_BY);
		epoch_poll();
		wait_for_accesses();
	}
	return NULL;
}

/* --- what is left ---------------------------------------------------------------------------------- */

static void check(void)
{
	u64 seed = 1;

	if (vm.shadow.notifier.ops->audit(&vm.shadow.notifier) || audit_all(NULL))
		fail(0, host_log_last(), 0, 0, 1);
	for (unsigned cpu = 0; cpu < VCPUS; cpu++) {
		load(cpu, LONG);
		for (u64 g = 0; g < DATA; g++)
			check_word(cpu, SHARED(g), g, false, &seed);
	}
}

static void report(void)
{
	const struct space_stats *s = &vm.space->stats;
	const struct shadow_stats *sh = &vm.shadow.stats;

	printf("%s: %llu shadow faults, %llu fast, %llu pages made, %llu given back, %llu unsync, "
	       "%llu synced, %llu settled, %llu remaps, %llu guest faults, %llu evictions, "
	       "%llu refaults, %llu rescues, %llu visited\n",
	       format_name, (unsigned long long)a64_load(&sh->faults_total),
	       (unsigned long long)a64_load(&sh->fixed_fast_total),
	       (unsigned long long)a64_load(&sh->made_total), (unsigned long long)shrunk,
	       (unsigned long long)a64_load(&sh->unsync_total),
	       (unsigned long long)a64_load(&sh->synced_total),
	       (unsigned long long)a64_load(&sh->settled_total),
	       (unsigned long long)(remaps[0] + remaps[1]),
	       (unsigned long long)(guest_faults[0] + guest_faults[1]),
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->refaults_total),
	       (unsigned long long)a64_load(&s->rescues_total),
	       (unsigned long long)a64_load(&s->visited_total));
	if (!a64_load(&s->refaults_total) || !a64_load(&sh->unsync_total) ||
	    !a64_load(&sh->synced_total) || !guest_faults[0] || !guest_faults[1])
		fail(0, "nothing came back, or no table was written", 0, 1, 0);
}

static void torture(const struct spte_format *format, const char *name)
{
	void *(*const run[CPUS])(void *) = {run_vcpu, run_vcpu, run_ager, run_evictor};
	pthread_t thread[CPUS];

	format_name = name;
	memset(oracle, 0, sizeof(oracle));
	memset(remaps, 0, sizeof(remaps));
	memset(guest_faults, 0, sizeof(guest_faults));
	shrunk = 0;
	shadow_vm_create(&vm, format, PAGES, VCPUS);
	for (unsigned i = 0; i < PAGES; i++)
		poke(SHARED_TABLE, i, to_page(i));
	for (unsigned cpu = 0; cpu < VCPUS; cpu++) {
		make_tables(cpu);
		load(cpu, LONG);
	}
	a32_store(&running, VCPUS);
	for (unsigned i = 0; i < CPUS; i++)
		if (pthread_create(&thread[i], NULL, run[i], (void *)(uintptr_t)i))
			fail(i, "no thread", 0, 0, 0);
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(thread[i], NULL);
	check();
	report();
	shadow_vm_destroy(&vm);
	epoch_barrier();
	if (frame_table_count())
		fail(0, "table frames leaked", 0, 0, frame_table_count());
}

static void wake(void)
{
}
static void out_of_memory(struct space *victim, const char *why)
{
	(void)victim;
	fail(hal_cpu_id(), why, 0, 0, 0);
}

int main(void)
{
	static const struct reclaim_ops ops = {.wake = wake, .out_of_memory = out_of_memory};

	steps = host_steps(20000);
	host_cpu_count_set(CPUS);
	host_frames_create(FRAMES);
	reclaim_init(&ops);
	if (!store_init())
		return 1;
	torture(&spte_shadow_ad, "Accessed and Dirty");
	torture(&spte_shadow_track, "access tracking");
	return 0;
}
