/*
 * Threads that do to a guest on shadow tables what CPUs do: two vCPUs that access its memory through their TLBs and
 * fault, an ager, and an evictor, which also takes shadow pages back. Under the race detector, on real cores. Every
 * vCPU has a word of its own in each page and remembers it. It stays in the guest over many accesses, and what it
 * reaches there is looked at while it does: each table it walks is a table still, the frame is that page's.
 *
 * A vCPU has tables of its own, whose lowest it writes itself, through the shadow tables, while they mirror it, and
 * then executes INVLPG or loads CR3, as the architecture wants; and one that both share. It changes between long mode,
 * PAE and no paging. The guest is small, so that all of them are always about the same few pages.
 *
 * The shadow MMU's own sources are part of the program, for two things. At each atomic operation of theirs a thread may
 * lose its turn: what lies between two of them takes long now and then. And then the test is tested: one at a
 * time, the code is spoilt, and the threads have to notice.
 */
#include "tests/host/lose_turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHADOW_ZAPPED() lose_turn_for_long()
#include "tests/host/shadow_spoilt.h"

static a64 root_turns;

/* A root that goes in it is what the look at an entry is for: without that, it waits for one now and then. */
static inline void gap(void)
{
	static _Thread_local u32 calls;
	u64 before = a64_load(&root_turns);

	if (!planted(SHADOW_FAULT_ENTRY) || ++calls % 8)
		lose_turn_for_long();
	else
		for (unsigned i = 0; i < 1000 && a64_load(&root_turns) == before; i++)
			hal_pause();
}

#define SHADOW_VM_GAP()        gap()
#define CPU_TLB                12u
#define SHADOW_VM_NO_SHOOTDOWN planted(SHADOW_FAULT_SHOOTDOWN)
#define SHADOW_VM_NO_LOOK      planted(SHADOW_FAULT_ENTRY)
#define SHADOW_VM_NO_FLUSH     planted(SHADOW_FAULT_ENTRY_FLUSH)
#include "tests/host/shadow_vm.c"
/* Last, for its short names. */
#include "tests/host/cpu_walker.c"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"
#include "tests/host/vm.h"

#define DATA    32u /* pages 0 .. DATA - 1; the guest's tables after them */
#define PAGES   48u
#define FRAMES  110u
#define VCPUS   2u
#define AGER    VCPUS
#define EVICTOR (VCPUS + 1)
#define CPUS    (VCPUS + 2)

/* A vCPU's tables, and the one that both lead to. */
enum { PML4, PDPT, PDPT_PAE, DIRECTORY, OWN_TABLE, TABLES };
#define TABLE(cpu, which) (DATA + (cpu)*TABLES + (which))
#define SHARED_TABLE      (DATA + VCPUS * TABLES)
#define CROSS_TABLE       (SHARED_TABLE + 1)

/*
 * Entries of a vCPU's own table: pages of its choice, and the last: the table itself. The shared one maps all pages,
 * those tables too, so that they can be written by an address whose shadow outlives theirs.
 */
#define OWN_PAGES 16u
#define OWN_ENTRY (TABLE_PAGES - 1)
/*
 * And one that both lead to and both write: entry i by vCPU i % VCPUS, each time to another page, and without
 * telling anybody but by `written`. Whoever has executed INVLPG reaches what was written before that, or later.
 */
#define CROSS_ENTRIES 8u
/* Addresses. */
#define CROSS(i)  ((u64)(2 * TABLE_PAGES + (i)) * PAGE_SIZE)
#define OWN(i)    ((u64)(i)*PAGE_SIZE)
#define SHARED(i) ((u64)(TABLE_PAGES + (i)) * PAGE_SIZE)

#define ENTRY_P   BIT(0)
#define ENTRY_WU  (BIT(1) | BIT(2))
#define ENTRY_A   BIT(5)
#define ENTRY_D   BIT(6)
#define ENTRY_AD  (ENTRY_A | ENTRY_D)
#define FAULT_P   BIT(0)
#define SHRINK_BY 1u
/* Shadow pages at most: so few that they are recycled all the time. */
#define LIMIT 20u
/* Accesses between two evictions: pages are to stay for more than one. */
#define PERIOD 32u
#define PAUSES 100u
/* At least, before an entry that does not look. */
#define ROOTS_GONE (planted(SHADOW_FAULT_ENTRY) ? 8u : 0u)

enum mode { LONG, PAE, UNPAGED, MODES };

static struct shadow_vm vm;
static const char *format_name;
static u64 oracle[VCPUS][DATA];
static u64 own[VCPUS][OWN_PAGES]; /* the page behind each entry */
static enum mode mode[VCPUS];
static u64 steps, remaps[VCPUS], shrunk;
static a64 guest_faults[VCPUS];
static struct {
	a64 begun, written; /* how often */
} cross[CROSS_ENTRIES];
/* Where this vCPU's access leads, ANYWHERE: that is to be found out. */
static __thread u64 page_wanted;
static __thread u64 page_reached;
#define ANYWHERE (~0ull)
static a64 accesses;

static void fail(unsigned cpu, const char *what, u64 at, u64 expected, u64 found)
{
	printf("%s: cpu %u: mode %u: %s: %#llx, expected %#llx, found %#llx\n", format_name, cpu,
	       cpu < VCPUS ? mode[cpu] : 0, what, (unsigned long long)at,
	       (unsigned long long)expected, (unsigned long long)found);
	fflush(stdout);
	_Exit(1);
}

/* --- what a vCPU reaches, while it is in the guest --- */

/* I7: what hardware walks is a table, or the four entries of PAE, which are in no frame. */
static void look_at_table(const a64 *entry)
{
	u32 frame = frame_of_pfn(hal_ptr_pfn(entry));

	if (frame != FRAME_NONE && !(a64_load(&frame_at(frame)->state) & FRAME_TABLE))
		fail(hal_cpu_id(), "walks what is no table", page_wanted, FRAME_TABLE,
		     a64_load(&frame_at(frame)->state));
}

/* I1, I7: the frame is that page's, however old the translation. */
static void look_at_page(struct shadow_vm *of, struct shadow_vm_vcpu *v, gva_t at, hpa_t where)
{
	u32 frame = frame_of_pfn(hpa_pfn(where));
	u64 state = frame == FRAME_NONE ? 0 : a64_load(&frame_at(frame)->state);

	(void)v;
	if (frame_use(state) == FRAME_GUEST)
		page_reached = frame_gfn(frame_at(frame)).v;
	if (frame_use(state) != FRAME_GUEST || frame_space_id(frame_at(frame)) != of->space->id ||
	    (page_wanted != ANYWHERE && page_reached != page_wanted))
		fail(hal_cpu_id(), "reaches another's frame", at.v, page_wanted, state);
}

/* NO_MEMORY: let the evictor work, as a scheduler would. */
static enum shadow_result access_once(unsigned cpu, u64 at, u64 g, bool write, u64 *value,
                                      u32 *error)
{
	struct shadow_vm_access a;

	page_wanted = g;
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

static void access_word(unsigned cpu, u64 at, u64 g, bool write, u64 *value)
{
	u32 error;
	enum shadow_result r = access_once(cpu, at, g, write, value, &error);

	if (r != SHADOW_FIXED)
		fail(cpu, "access fails", at, SHADOW_FIXED, r);
}

/* The vCPU's word of page g, by an address that leads there. */
static void check_word(unsigned cpu, u64 at, u64 g, bool write, u64 *seed)
{
	u64 value = 0;

	if (write)
		value = oracle[cpu][g] = host_random(seed) % 3 ? host_random(seed) : 0;
	access_word(cpu, at + 8ull * cpu, g, write, &value);
	if (!write && value != oracle[cpu][g])
		fail(cpu, "reads", at, oracle[cpu][g], value);
}

static void check_by_hypervisor(unsigned cpu, u64 g, bool write, u64 *seed)
{
	gpa_t at = gpa(g * PAGE_SIZE + 8ull * cpu);
	u64 value = write ? host_random(seed) : 0, done;

	shadow_vm_leave(&vm, cpu);
	done = write ? guest_write(&vm.mem, at, &value, 8) : guest_read(&vm.mem, at, &value, 8);

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
	poke(TABLE(cpu, DIRECTORY), 2, to_page(CROSS_TABLE));
	for (unsigned i = 0; i < OWN_PAGES; i++) {
		own[cpu][i] = (i * VCPUS + cpu) % DATA;
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

	access_word(cpu, table + 8ull * i, TABLE(cpu, OWN_TABLE), true, &entry);
	if (r % 4)
		shadow_vm_invlpg(&vm, cpu, gva(OWN(i)));
	else
		shadow_vm_reload(&vm, cpu);
}

/* What hardware would have set in the own table by now. */
static void check_own(unsigned cpu, unsigned i, u64 least)
{
	u64 entry = 0;

	access_word(cpu, SHARED(TABLE(cpu, OWN_TABLE)) + 8ull * i, TABLE(cpu, OWN_TABLE), false,
	            &entry);
	if ((entry & ~ENTRY_AD) != to_page(own[cpu][i]) || least & ~entry)
		fail(cpu, "an entry", OWN(i), to_page(own[cpu][i]) | least, entry);
}

static void remap(unsigned cpu, u64 *seed)
{
	u64 r = host_random(seed), value = 0;
	unsigned i = (unsigned)(r >> 8) % OWN_PAGES;
	u32 error = FAULT_P;
	bool write = r >> 35 & 1;

	if (r >> 32 & 1) {
		set_own(cpu, i, 0, r >> 40);
		if (access_once(cpu, OWN(i), DATA, r >> 33 & 1, &value, &error) !=
		            SHADOW_GUEST_FAULT ||
		    error & FAULT_P)
			fail(cpu, "an entry that is not present", OWN(i), 0, error);
		a64_count(&guest_faults[cpu], 1);
	}
	if (r >> 36 & 1) /* else only Accessed and Dirty go away */
		own[cpu][i] = (r >> 16) % DATA;
	set_own(cpu, i, to_page(own[cpu][i]) | (r >> 34 & 1 ? ENTRY_AD : 0), r >> 42);
	check_word(cpu, OWN(i), own[cpu][i], false, seed);
	if (write)
		check_word(cpu, OWN(i), own[cpu][i], true, seed);
	check_own(cpu, i, ENTRY_A | (write ? ENTRY_D : 0));
	remaps[cpu]++;
}

/* --- the table that the vCPUs write for each other --- */

static u64 cross_page(unsigned i, u64 n)
{
	return (n * 7 + i) % DATA;
}

static void cross_write(unsigned cpu, unsigned i)
{
	u64 n = a64_load(&cross[i].written) + 1, entry = to_page(cross_page(i, n)) | ENTRY_AD;

	a64_store(&cross[i].begun, n);
	access_word(cpu, SHARED(CROSS_TABLE) + 8ull * i, CROSS_TABLE, true, &entry);
	a64_store_release(&cross[i].written, n);
}

static void cross_read(unsigned cpu, unsigned i, bool reload)
{
	u64 n = a64_load_acquire(&cross[i].written), value = 0;

	if (reload)
		shadow_vm_reload(&vm, cpu);
	else
		shadow_vm_invlpg(&vm, cpu, gva(CROSS(i)));
	access_word(cpu, CROSS(i) + 8ull * cpu, ANYWHERE, false, &value);
	for (u64 end = a64_load(&cross[i].begun); n <= end; n++)
		if (cross_page(i, n) == page_reached)
			break;
	if (cross_page(i, n) != page_reached)
		fail(cpu, "what is stale is used", CROSS(i), cross_page(i, n), page_reached);
	if (value != oracle[cpu][page_reached])
		fail(cpu, "reads", CROSS(i), oracle[cpu][page_reached], value);
}

static void cross_step(unsigned cpu, u64 r)
{
	unsigned i = (unsigned)(r >> 8) % CROSS_ENTRIES;

	if (i % VCPUS == cpu)
		for (unsigned n = 0; n < 1 + (r >> 16) % 4 * 4; n++)
			cross_write(cpu, i);
	else
		cross_read(cpu, i, r >> 20 & 1);
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
	else if ((r >> 44) % 16 < 6)
		cross_step(cpu, r);
	else if (r >> 41 & 1)
		check_word(cpu, OWN(i), own[cpu][i], write, seed);
	else
		check_word(cpu, SHARED(g), g, write, seed);
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x5ad0 + cpu + torture_attempt;

	vm.vcpu[cpu].walker.reads = look_at_table;
	for (u64 i = 0; torture_goes_on(i, steps); i++) {
		step(cpu, &seed);
		a64_fetch_add(&accesses, 1);
		if (i % 64 == 0) {
			shadow_vm_leave(&vm, cpu);
			epoch_poll();
		}
	}
	shadow_vm_leave(&vm, cpu);
	return NULL;
}

static void *run_ager(void *arg)
{
	u64 seed = 0xa9e + torture_attempt, visited = 0;

	(void)arg;
	while (torture_runs()) {
		unsigned fast = host_random(&seed) % 2 ? NOTIFIER_FAST_ONLY : 0;
		u64 bitmap[NOTIFIER_WORDS];

		memset(bitmap, 0xff, sizeof(bitmap));
		notifier_age(vm.space, gfn(host_random(&seed) % PAGES), 64, bitmap,
		             NOTIFIER_CLEAR | fast, &visited);
		age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

/* Not for long: they may be waiting for memory. */
static void wait_for_accesses(unsigned times)
{
	u64 before = a64_load(&accesses);

	for (unsigned i = 0; i < times * PAUSES && a64_load(&accesses) < before + times * PERIOD;
	     i++)
		hal_pause();
}

static void evict_one(u64 g)
{
	if (evict_page(vm.space, gfn(g)) >= EVICT_PAGE_RESULTS)
		fail(EVICTOR, "eviction of a page", g, 0, 0);
}

static void *run_evictor(void *arg)
{
	u64 seed = 0xe71 + torture_attempt, r;

	(void)arg;
	while (torture_runs()) {
		r = host_random(&seed);
		if (r % 4 == 0)
			evict_space(vm.space, evict_any(8));
		else
			evict_one((r >> 8) % PAGES);
		if ((r >> 2) % 8 == 0)
			shrunk += shadow_shrink(&vm.shadow.notifier, SHRINK_BY);
		/* Roots among them, now and then all. */
		if ((r >> 5) % 4 == 0 || planted(SHADOW_FAULT_ENTRY))
			shrunk += shadow_shrink_used(&vm.shadow, (r >> 7) % 4 ? SHRINK_BY : LIMIT);
		a64_count(&root_turns, 1);
		epoch_poll();
		wait_for_accesses((r >> 40) % 8 ? 1 : 8);
	}
	return NULL;
}

/* --- what is left ---------------------------------------------------------------------------------- */

static const char *missing(void)
{
	const struct shadow_stats *sh = &vm.shadow.stats;

	return !a64_load(&vm.space->stats.refaults_total) ? "nothing came back"
	       : !a64_load(&sh->unsync_total)             ? "no table was let go"
	       : !a64_load(&sh->synced_total)             ? "no table was synchronised"
	       : a64_load(&vm.roots_gone) < ROOTS_GONE    ? "hardly a root went before an entry"
	       : !a64_load(&guest_faults[0]) || !a64_load(&guest_faults[1]) ? "a guest had no fault"
	                                                                    : NULL;
}

static void check(void)
{
	u64 seed = 1;

	if (vm.shadow.notifier.ops->audit(&vm.shadow.notifier) || audit_all(NULL))
		fail(0, host_log_last(), 0, 0, 1);
	for (unsigned cpu = 0; cpu < VCPUS; cpu++) {
		load(cpu, LONG);
		for (u64 g = 0; g < DATA; g++)
			check_word(cpu, SHARED(g), g, false, &seed);
		shadow_vm_leave(&vm, cpu);
	}
}

static void report(void)
{
	const struct space_stats *s = &vm.space->stats;
	const struct shadow_stats *sh = &vm.shadow.stats;

	printf("%s: %llu shadow faults, %llu pages made, %llu given back, %llu unsync, %llu "
	       "settled, %llu roots gone, %llu remaps, %llu evictions, %llu rescues\n",
	       format_name, (unsigned long long)a64_load(&sh->faults_total),
	       (unsigned long long)a64_load(&sh->made_total), (unsigned long long)shrunk,
	       (unsigned long long)a64_load(&sh->unsync_total),
	       (unsigned long long)a64_load(&sh->settled_total),
	       (unsigned long long)a64_load(&vm.roots_gone),
	       (unsigned long long)(remaps[0] + remaps[1]),
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->rescues_total));
}

static void torture(unsigned variant)
{
	static const struct torture_threads threads = {
	        .run = {run_vcpu, run_vcpu, run_ager, run_evictor},
	        .vcpus = VCPUS,
	        .cpus = CPUS,
	        .missing = missing,
	};
	const struct spte_format *format = variant ? &spte_shadow_track : &spte_shadow_ad;

	shadow_planted = torture_fault;
	format_name = variant ? "access tracking" : "Accessed and Dirty";
	memset(oracle, 0, sizeof(oracle));
	memset(remaps, 0, sizeof(remaps));
	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		a64_store(&guest_faults[cpu], 0);
	shrunk = 0;
	shadow_vm_create(&vm, format, PAGES, VCPUS);
	vm.linger = true;
	vm.looks = look_at_page;
	vm.shadow.limit = LIMIT;
	for (unsigned i = 0; i < PAGES; i++)
		poke(SHARED_TABLE, i, to_page(i));
	for (unsigned i = 0; i < CROSS_ENTRIES; i++) {
		a64_store(&cross[i].begun, 0);
		a64_store(&cross[i].written, 0);
		poke(CROSS_TABLE, i, to_page(cross_page(i, 0)));
	}
	for (unsigned cpu = 0; cpu < VCPUS; cpu++) {
		make_tables(cpu);
		load(cpu, LONG);
	}
	torture_run(&threads);
	check();
	report();
	shadow_vm_destroy(&vm);
	epoch_barrier();
	if (frame_table_count())
		fail(0, "table frames leaked", 0, 0, frame_table_count());
}

/*
 * What threads notice, nearly always at once. The rest takes several steps in one order, or two CPUs within a few
 * instructions (the look for an invalidation): tests/model/model_shadow_scenes.c, model_machine_shadow.c.
 */
static const enum shadow_fault_planted for_threads[] = {
        SHADOW_FAULT_PROTECT,        SHADOW_FAULT_MOVED, SHADOW_FAULT_CLEAN,
        SHADOW_FAULT_SYNC,           SHADOW_FAULT_ROOTS, SHADOW_FAULT_GUEST_DIRTY,
        SHADOW_FAULT_GUEST_ACCESSED, SHADOW_FAULT_ENTRY, SHADOW_FAULT_SHOOTDOWN,
        SHADOW_FAULT_ENTRY_FLUSH,
};

int main(void)
{
	static const char *text[SHADOW_FAULTS_NR];
	static const struct torture_program program = {
	        .cpus = CPUS,
	        .frames = FRAMES,
	        .run = torture,
	        .variants = 2,
	        .spoilt = {1, 0},
	        .planted = text,
	        .faults = SHADOW_FAULTS_NR,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(for_threads); i++)
		text[for_threads[i]] = shadow_fault_text[for_threads[i]];
	steps = host_steps(20000);
	return torture_main(&program);
}
