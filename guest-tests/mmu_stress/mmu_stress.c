/*
 * mmu_stress: what the reference's mmu_stress_test does to an MMU, with ager and evictor at work if the scenario
 * has more memory than there is. Needs `experiments = yes`. Every CPU has its own share of the memory; all wait
 * for each other between stages.
 *
 *   run1    every page is written;       zap    all translations go (the reset of an MMU context)
 *   run2    every page is written again; read   ... and read
 *   ro      CPU 0 write-protects a piece of the memory: every write there is caught, once, and changes nothing
 *   rw      all write until the protection, which is taken off meanwhile, lets them
 *   slots   CPU 0 adds and removes slots, every other one for good at the end, and gives half of the rest back,
 *           while the others read and write them
 *   end     CPU 0 says PASS while the others write: the VM is taken down in the middle
 *
 *   all        FAILs if the hypervisor refuses to write-protect or to add slots: not every MMU can. Without, these
 *              stages are then left out
 *   rounds=N   of slots (default 20);   region=N   pages (default: the largest piece of memory)
 *
 *   bench mmu_stress stage=NAME ns=N pages=N cpus=N     time of the slowest CPU
 *   bench mmu_stress caught=N faults=N evictions=N refaults=N passes=N
 */
#include "guest-tests/lib/guest.h"

#define SLOT_PAGES 128u
#define SLOTS      4u
/* What nobody's memory reads as. */
#define NOTHING (~0ull)

static u64 *base;
static u64 pages, protected_, rounds;
static u64 took_ns[CPU_MAX];
static u64 version; /* what every page was written with last */
static u32 stop;
static u64 seen_values, seen_nothing;

static u64 *page_at(u64 i)
{
	return base + i * PAGE_WORDS + i % PAGE_WORDS;
}

static u64 value_of(u64 i, u64 v)
{
	return rng_mix(i) + v;
}

/* One instruction, which has one effect. */
static void store(u64 *to, u64 value)
{
	__asm__ volatile("movq %1, %0" : "=m"(*to) : "r"(value) : "memory");
}

static void expect(u64 i, u64 v)
{
	u64 found = *(volatile u64 *)page_at(i);

	VERDICT_CHECK(found == value_of(i, v), "page %lu expected 0x%lx found 0x%lx", i,
	              value_of(i, v), found);
}

/* This CPU's share of the first n pages. */
static void share(u64 n, u64 *first, u64 *end)
{
	unsigned id = cpu_self()->id, parts = smp_count();

	*first = n * id / parts;
	*end = n * (id + 1) / parts;
}

static void write_share(void *arg)
{
	u64 i, end, start = time_ns();

	(void)arg;
	for (share(pages, &i, &end); i < end; i++)
		store(page_at(i), value_of(i, version));
	took_ns[cpu_self()->id] = time_ns() - start;
}

static void read_share(void *arg)
{
	u64 i, end, start = time_ns();

	(void)arg;
	for (share(pages, &i, &end); i < end; i++)
		expect(i, version);
	took_ns[cpu_self()->id] = time_ns() - start;
}

static void report(const char *stage, u64 n)
{
	u64 slowest = 0;

	for (unsigned i = 0; i < smp_count(); i++)
		slowest = took_ns[i] > slowest ? took_ns[i] : slowest;
	console_printf("bench mmu_stress stage=%s ns=%lu pages=%lu cpus=%u\n", stage, slowest, n,
	               smp_count());
}

/* --- read-only ------------------------------------------------------------------------------------- */

static void write_in_vain(void *arg)
{
	u64 first, end, start = time_ns();

	(void)arg;
	share(protected_, &first, &end);
	for (u64 i = first; i < end; i++)
		store(page_at(i), value_of(i, version + 1));
	took_ns[cpu_self()->id] = time_ns() - start;
	for (u64 i = first; i < end; i++)
		expect(i, version);
}

/* CPU 0 takes the protection off when all have begun. */
static void write_until_it_works(void *arg)
{
	u64 first, end, start;

	(void)arg;
	share(protected_, &first, &end);
	smp_barrier();
	start = time_ns();
	if (!cpu_self()->id)
		experiment_protect_nothing();
	for (u64 i = first; i < end; i++)
		do
			store(page_at(i), value_of(i, version));
		while (*(volatile u64 *)page_at(i) != value_of(i, version));
	took_ns[cpu_self()->id] = time_ns() - start;
}

static void run_read_only(void)
{
	u64 caught;

	protected_ = pages < EXPERIMENT_PAGES_MAX ? pages : EXPERIMENT_PAGES_MAX;
	if (!experiment_protect(base, protected_)) {
		VERDICT_CHECK(!cmdline_flag("all"), "write protection is refused");
		console_printf("mmu_stress: no write protection in this VM\n");
		return;
	}
	caught = experiment_counter(EXPERIMENT_CAUGHT);
	smp_run(write_in_vain, NULL);
	caught = experiment_counter(EXPERIMENT_CAUGHT) - caught;
	VERDICT_CHECK(caught == protected_, "%lu writes to %lu protected pages were caught", caught,
	              protected_);
	report("ro", protected_);
	version++;
	smp_run(write_until_it_works, NULL);
	report("rw", protected_);
	for (u64 i = protected_; i < pages; i++)
		store(page_at(i), value_of(i, version));
	smp_run(read_share, NULL);
}

/* --- slots ----------------------------------------------------------------------------------------- */

static u64 *slot_word(u64 i)
{
	return experiment_window(i) + i % PAGE_WORDS;
}

static void slot_change(bool add, u64 slot)
{
	bool done = add ? experiment_slot_add(slot * SLOT_PAGES, SLOT_PAGES)
	                : experiment_slot_remove(slot * SLOT_PAGES);

	VERDICT_CHECK(done, "slot %lu could not be %s", slot, add ? "added" : "removed");
}

/* Fresh memory is zero; then a value that stays, for nobody else writes here yet. */
static void slot_check(u64 slot)
{
	for (u64 i = slot * SLOT_PAGES; i < (slot + 1) * SLOT_PAGES; i++) {
		u64 found = *(volatile u64 *)slot_word(i);

		VERDICT_CHECK(!found || found == value_of(i, 1), "page %lu of the window: 0x%lx", i,
		              found);
		store(slot_word(i), value_of(i, 1));
	}
}

/* Nothing, zero, or what somebody wrote to this very page. */
static void use_slots(void)
{
	struct rng rng = {rng_mix(cpu_self()->id)};

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		u64 i = rng_below(&rng, SLOTS * SLOT_PAGES), found = *(volatile u64 *)slot_word(i);

		VERDICT_CHECK(!found || found == NOTHING || found == value_of(i, 1),
		              "page %lu of the window: 0x%lx", i, found);
		store(slot_word(i), value_of(i, 1));
		__atomic_fetch_add(found == NOTHING ? &seen_nothing : &seen_values, 1,
		                   __ATOMIC_RELAXED);
	}
}

static void change_slots(void)
{
	for (u64 round = 0; round < rounds; round++) {
		for (u64 slot = 0; slot < SLOTS; slot++) {
			slot_change(true, slot);
			slot_check(slot);
		}
		experiment_unmap(experiment_window(SLOT_PAGES), SLOT_PAGES / 2);
		for (u64 slot = 0; slot < SLOTS; slot++)
			slot_change(false, slot);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
}

static void slots(void *arg)
{
	u64 start = time_ns();

	(void)arg;
	if (cpu_self()->id)
		use_slots();
	else
		change_slots();
	took_ns[cpu_self()->id] = time_ns() - start;
}

/* Half of the slots, and half of what is left: the state in which the VM ends. */
static void run_slots(void)
{
	if (!experiment_slot_add(0, SLOT_PAGES)) {
		VERDICT_CHECK(!cmdline_flag("all"), "a slot is refused");
		console_printf("mmu_stress: no slots in this VM\n");
		return;
	}
	slot_change(false, 0);
	smp_run(slots, NULL);
	report("slots", SLOTS * SLOT_PAGES * rounds);
	VERDICT_CHECK(*(volatile u64 *)slot_word(3) == NOTHING, "a removed slot has memory");
	for (u64 slot = 0; slot < SLOTS; slot++)
		slot_change(true, slot);
	for (u64 i = 0; i < SLOTS * SLOT_PAGES; i++)
		store(slot_word(i), value_of(i, 2));
	for (u64 slot = 0; slot < SLOTS; slot += 2)
		slot_change(false, slot);
	experiment_unmap(experiment_window(SLOT_PAGES), SLOT_PAGES / 2);
	for (u64 i = 0; i < SLOTS * SLOT_PAGES; i++) {
		u64 found = *(volatile u64 *)slot_word(i);
		u64 wanted = i / SLOT_PAGES % 2 == 0  ? NOTHING
		             : i < SLOT_PAGES * 3 / 2 ? 0
		                                      : value_of(i, 2);

		VERDICT_CHECK(found == wanted, "page %lu of the window: 0x%lx, not 0x%lx", i, found,
		              wanted);
	}
	console_printf("mmu_stress: others saw %lu values, %lu times nothing\n", seen_values,
	               seen_nothing);
}

/* --- the end --------------------------------------------------------------------------------------- */

/* CPU 0 leaves the others behind, at work. */
static void end(void *arg)
{
	u64 first, last;

	(void)arg;
	share(pages, &first, &last);
	for (u64 v = 1; cpu_self()->id || v < 3; v++)
		for (u64 i = first; i < last; i++)
			store(page_at(i), v);
	verdict_pass();
}

static u64 counter(u32 which)
{
	return experiment_counter(which);
}

void guest_main(void)
{
	u64 start;

	smp_start();
	experiment_init();
	base = mem_largest_start();
	pages = mem_largest();
	if (cmdline_u64("region", pages) < pages)
		pages = cmdline_u64("region", pages);
	rounds = cmdline_u64("rounds", 20);
	version = 1;
	smp_run(write_share, NULL);
	report("run1", pages);
	start = time_ns();
	experiment_zap_all();
	took_ns[0] = time_ns() - start;
	console_printf("bench mmu_stress stage=zap ns=%lu pages=%lu cpus=1\n", took_ns[0], pages);
	smp_run(read_share, NULL);
	version++;
	smp_run(write_share, NULL);
	report("run2", pages);
	smp_run(read_share, NULL);
	report("read", pages);
	run_read_only();
	run_slots();
	console_printf("bench mmu_stress caught=%lu faults=%lu evictions=%lu refaults=%lu "
	               "passes=%lu\n",
	               counter(EXPERIMENT_CAUGHT), counter(EXPERIMENT_FAULTS),
	               counter(EXPERIMENT_EVICTIONS), counter(EXPERIMENT_REFAULTS),
	               counter(EXPERIMENT_PASSES));
	smp_run(end, NULL);
}
