/*
 * Every interleaving, within a bound on preemptions, of vCPUs, an ager and an evictor on one page,
 * over the real entry, fault, aging and zap code and the hardware walker. What is around them (gfn map,
 * store, locks) is modelled here in a few lines.
 *
 * Then the test is tested: one at a time, the code is spoilt, and the explorer has to find it.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer_suite.h"

#include <stdio.h>
#include <string.h>

#include "lib/atomic.h"
#include "tests/host/walker.c"

enum mutant {
	NONE,
	STORE_FOR_CAS,  /* an entry is replaced by a plain store */
	LOAD_FOR_XCHG,  /* a zap reads, then empties */
	NO_RETRY_CHECK, /* a fault does not ask whether it raced an invalidation */
	NO_BEGIN,       /* invalidate_begin() tells nobody */
	NO_FLUSH,       /* the evictor does not wait for the TLB */
	NO_MAKE_DIRTY,  /* the copy is kept when a clean page is first written */
	NO_READ_LOCK,   /* a fault installs while the evictor begins */
	NO_LOSER_FREE,  /* a vCPU that lost the race for a table keeps its page */
	NO_PIN,         /* the hypervisor copies without keeping the page where it is */
	WRITE_UNTOLD,   /* it drops the copy only before the page is pinned */
	NO_BUSY,        /* W is granted while the page may go */
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "plain store instead of compare-exchange",
                                          "load and store instead of exchange",
                                          "no invalidate_retry",
                                          "no invalidate_begin",
                                          "no flush",
                                          "no fault_make_dirty",
                                          "no read lock",
                                          "no free of a table that lost its race",
                                          "no pin under a hypervisor's copy",
                                          "no fault_make_dirty under the pin",
                                          "W granted without BUSY"};
static unsigned mutant; /* enum mutant */

static bool mutable_cas(a64 *a, u64 *expected, u64 desired)
{
	if (mutant != STORE_FOR_CAS)
		return a64_cas(a, expected, desired);
	a64_store(a, desired);
	return true;
}

static u64 mutable_xchg(a64 *a, u64 desired)
{
	u64 was;

	if (mutant != LOAD_FOR_XCHG)
		return a64_xchg(a, desired);
	was = a64_load(a);
	a64_store(a, desired);
	return was;
}

#define a64_cas  mutable_cas
#define a64_xchg mutable_xchg
#include "hv/mmu/spte.c"
#undef a64_cas
#undef a64_xchg
#include "hv/mmu/shadow.h"
/* None is beside it here: model_explore_track has that. */
#define shadow_tracks(sh, g)      ((void)(g), (sh) != NULL)
#define shadow_let_write(sh, g)   ((void)(g), (void)(sh))
#define shadow_written(sh, at, n) ((void)(sh), (void)(at), (void)(n))
#include "hv/mmu/guest_mem.c"
#include "hv/mmu/tdp_age.c"
#include "hv/mmu/tdp_fault.c"
static void mutable_pages_free(void *page, u64 n)
{
	if (mutant != NO_LOSER_FREE)
		hal_pages_free(page, n);
}
#define hal_pages_free mutable_pages_free
#include "hv/mmu/tdp_iter.c"
#undef hal_pages_free
#include "hv/mmu/tdp_zap.c"

/* --- the world of one guest page --- */

#define GFN    gfn(5)
#define POISON 0xdeadu

#define LOCK_SPOILT  (mutant == NO_READ_LOCK)
#define WAIT_SPOILT  (mutant == NO_FLUSH)
#define ENTRY_SPOILT (mutant == NO_FLUSH)
#include "tests/model/tdp_guest.h"

static struct {
	struct space space;
	struct tdp tdp;
	unsigned epochs;
	/* gfn map and store */
	a64 word;
	unsigned frame;
	bool reuse; /* a page comes back to the frame it had: what the ABA problem needs */
	bool isolated;
	unsigned pins;
	u64 copy[VCPUS]; /* each vCPU has a word of its own */
	bool copy_valid;
	/* invalidate protocol */
	u64 seq;
	unsigned in_progress;
} world;

static enum gfn_tag tag(void)
{
	return gfn_word_tag(world.word.raw);
}
static bool busy(void)
{
	return world.word.raw & GFN_BUSY;
}
static void set_tag(enum gfn_tag to)
{
	world.word.raw = gfn_word(to, world.frame);
}
static u64 frames[3][PAGE_SIZE / 8] aligned_to(PAGE_SIZE);
static a64 tables[4][TABLE_PAGES] aligned_to(PAGE_SIZE);

bool tdp_fault_huge(struct tdp *t, const struct tdp_access *a)
{
	(void)t, (void)a;
	return false;
}
void tdp_split_locked(struct tdp *t, gfn_t g)
{
	(void)t, (void)g;
	explorer_panic("split of what is not large");
}

void epoch_enter(void)
{
	world.epochs++;
}
void epoch_exit(void)
{
	world.epochs--;
}
bool epoch_active(void)
{
	return true;
}
u64 null_read(struct null_mmu *n, gpa_t from, void *to, u64 bytes)
{
	(void)n, (void)from, (void)to, (void)bytes;
	explorer_panic("no such MMU");
}
u64 null_write(struct null_mmu *n, gpa_t to, const void *from, u64 bytes)
{
	(void)n, (void)to, (void)from, (void)bytes;
	explorer_panic("no such MMU");
}
void hist_add(struct hist *h, u64 value)
{
	(void)h;
	(void)value;
}
pfn_t frame_pfn(u32 frame)
{
	return hal_ptr_pfn(frames[frame]);
}

/* The last thing before the hypervisor copies. */
void *frame_ptr(u32 frame)
{
	explorer_yield();
	return frames[frame];
}
void frame_mark_accessed(u32 frame)
{
	(void)frame;
}
bool frame_pin_try(u32 frame)
{
	explorer_yield();
	if (world.isolated || frame != world.frame || tag() != GFN_RESIDENT)
		return false;
	world.pins += mutant != NO_PIN;
	return true;
}
void frame_unpin(u32 frame)
{
	(void)frame;
	explorer_yield();
	world.pins -= mutant != NO_PIN;
}
a64 *gfnmap_word(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	return &world.word;
}

/* The write section is one step, at a moment when nobody reads. */
static void write_section(unsigned seq, int in_progress)
{
	explorer_yield();
	explorer_wait(nobody, NULL);
	world.seq += seq;
	world.in_progress += (unsigned)in_progress;
}
void invalidate_begin(struct space *s, gfn_t first, gfn_t last)
{
	(void)s, (void)first, (void)last;
	if (mutant != NO_BEGIN)
		write_section(0, 1);
}
void invalidate_end(struct space *s, gfn_t first, gfn_t last)
{
	(void)s, (void)first, (void)last;
	write_section(1, mutant != NO_BEGIN ? -1 : 0);
}
u64 invalidate_seq(const struct space *s)
{
	(void)s;
	explorer_yield();
	return world.seq;
}
bool invalidate_retry(const struct space *s, u64 seq, gfn_t g)
{
	(void)s, (void)g;
	explorer_yield();
	return mutant != NO_RETRY_CHECK && (world.in_progress || world.seq != seq);
}

enum fault_result fault_bring_in(struct space *s, gfn_t g, bool write, bool keep_copy,
                                 struct fault_page *out)
{
	(void)s, (void)g;
	explorer_yield();
	if (busy())
		return FAULT_RETRY;
	if (tag() == GFN_POOLED) {
		world.frame = world.reuse ? 0 : (world.frame + 1) % ARRAY_SIZE(frames);
		memcpy(frames[world.frame], world.copy, sizeof(world.copy));
		world.copy_valid = true;
	}
	set_tag(GFN_RESIDENT);
	if (write && !keep_copy)
		world.copy_valid = false;
	*out = (struct fault_page){.frame = world.frame, .clean = world.copy_valid};
	return FAULT_FIXED;
}
enum fault_result fault_make_dirty(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	explorer_yield();
	if (tag() != GFN_RESIDENT || busy())
		return FAULT_RETRY;
	if (mutant != NO_MAKE_DIRTY && (mutant != WRITE_UNTOLD || !world.pins))
		world.copy_valid = false;
	return FAULT_FIXED;
}

enum fault_result fault_write_begin(struct space *s, gfn_t g, u64 *word)
{
	enum fault_result result = fault_make_dirty(s, g);

	*word = world.word.raw;
	if (result == FAULT_FIXED && mutant != NO_BUSY)
		world.word.raw |= GFN_BUSY;
	return result;
}
void fault_write_end(struct space *s, gfn_t g, u64 word)
{
	(void)s, (void)g, (void)word;
	explorer_yield();
	world.word.raw &= ~GFN_BUSY;
}
/* model_explore_log has that. */
void dirty_log_mark(struct space *s, gfn_t g)
{
	(void)s, (void)g;
}
void tdp_log_zapped(struct tdp *t, gfn_t g, u64 was)
{
	(void)t, (void)g, (void)was;
}

/* --- the actors --- */

static void guest_touch(struct vcpu *v, u64 *word, bool write, u64 value)
{
	explorer_yield();
	if (write)
		*word = v->expect = value;
	else
		guest_check_read(v, *word);
}

static void run_ager(void)
{
	u64 bitmap = 1, visited = 0;

	tdp_age(&world.tdp.notifier, GFN, 1, &bitmap, NOTIFIER_CLEAR, &visited);
}

/* The hypervisor writes the second vCPU's word behind the MMU's back. */
static void run_device(void)
{
	const struct guest_mem mem = {.space = &world.space};
	u64 value = FIRST + 3;
	gpa_t at = gpa(gfn_gpa(GFN).v + 8);

	while (guest_write(&mem, at, &value, 8) != 8)
		;
	guest.vcpu[1].expect = value;
}

static bool isolate(void)
{
	explorer_yield();
	if (world.pins || tag() != GFN_RESIDENT)
		return false;
	return world.isolated = true;
}

/* Stores the page, unless a fault rescues it first. */
static void pack(void)
{
	explorer_yield();
	if (tag() != GFN_EVICTING || busy())
		return;
	if (!world.copy_valid)
		memcpy(world.copy, frames[world.frame], sizeof(world.copy));
	set_tag(GFN_POOLED);
	frames[world.frame][0] = frames[world.frame][1] = POISON;
}

/* As mm/evict.h has it: what the zap says of Dirty is noted before anybody can rescue the page. */
static void run_evictor(void)
{
	struct notifier_zap zap = {.mapped = false};

	if (!isolate())
		return;
	invalidate_begin(&world.space, GFN, GFN);
	tdp_zap(&world.tdp.notifier, GFN, &zap);
	explorer_yield();
	if (zap.dirty)
		world.copy_valid = false;
	if (!busy()) /* else it stays */
		set_tag(GFN_EVICTING);
	invalidate_end(&world.space, GFN, GFN);
	shootdown();
	pack();
	world.isolated = false;
}

/* Brings the page back, clean. */
static void run_reader(void)
{
	guest_access(0, false, 0);
}

static const struct spte_format *scene_format;
static enum walker_kind scene_kind;
static bool scene_reuse;
static bool scene_bare; /* no tables yet but the root */
static u64 pages_used;

static void setup(void)
{
	memset(&world, 0, sizeof(world));
	memset(&guest, 0, sizeof(guest));
	guest.touch = guest_touch;
	memset(tables, 0, sizeof(tables));
	memset(frames, 0, sizeof(frames));
	set_tag(GFN_RESIDENT);
	world.reuse = scene_reuse;
	world.copy_valid = true;
	for (unsigned i = 0; i < VCPUS; i++) {
		guest.vcpu[i].at = gpa(gfn_gpa(GFN).v + 8 * i);
		world.copy[i] = guest.vcpu[i].expect = frames[0][i] = FIRST;
	}
	pages_used = hal_pages_used();
	guest_start(&world.tdp, &world.space, tables, scene_format, scene_kind);
	if (scene_bare)
		tables[3][0].raw = SPTE_EMPTY;
}

/* Gives the tables back that were built; what else was allocated has leaked. */
static void check_tables(void)
{
	a64 *table = tables[3];

	for (unsigned level = 4; level > 1; level--) {
		a64 *below = tdp_table(&world.tdp, table[0].raw);

		if (table != tables[3])
			hal_pages_free(table, 1);
		table = below;
	}
	hal_pages_free(table, 1);
	if (hal_pages_used() != pages_used)
		explorer_panic("a table leaked");
	if (world.tdp.tables.raw != 3)
		explorer_panic("tables are miscounted");
}

static void check(void)
{
	u64 spte = tdp_find(&world.tdp, GFN).seen;
	bool leaf = spte_is_leaf(scene_format, 1, spte);

	if (!spte_valid(scene_format, 1, spte))
		explorer_panic("entry %#llx is no valid encoding", (unsigned long long)spte);
	if (leaf && tag() != GFN_RESIDENT)
		explorer_panic("mapped, but not resident");
	if (leaf && spte_pfn(scene_format, spte).v != frame_pfn(world.frame).v)
		explorer_panic("mapped to a frame that is not its own");
	if (world.tdp.leaves.raw != leaf)
		explorer_panic("leaves are miscounted");
	/* What the page has now, and what an eviction would make of it, is what the guest wrote. */
	for (unsigned i = 0; i < VCPUS; i++) {
		u64 has = tag() == GFN_POOLED ? world.copy[i] : frames[world.frame][i];

		if (has != guest.vcpu[i].expect)
			explorer_panic("a write was lost");
		if (!(leaf && spte_dirty(scene_format, spte)) && world.copy_valid &&
		    world.copy[i] != guest.vcpu[i].expect)
			explorer_panic("Dirty was lost");
	}
	if (leaf && spte_dirty(scene_format, spte) && !spte_has_dirty(scene_format) &&
	    world.copy_valid)
		explorer_panic("may be written, but the copy is still kept");
	if (scene_bare)
		check_tables();
}

enum { SCENE_AGER, SCENE_HYPERVISOR, SCENE_TABLES, SCENE_CLEAN, SCENE_TWO };
static const struct explorer_scene scenes[] = {
        {
                .name = "vcpu, ager, evictor",
                .setup = setup,
                .check = check,
                .actor = {{"vcpu", run_vcpu}, {"ager", run_ager}, {"evictor", run_evictor}},
                .nr_actors = 3,
        },
        {
                .name = "hypervisor, reader, evictor",
                .setup = setup,
                .check = check,
                .actor = {{"device", run_device}, {"reader", run_reader}, {"evictor", run_evictor}},
                .nr_actors = 3,
        },
        {
                .name = "two vcpus, no tables",
                .setup = setup,
                .check = check,
                .actor = {{"reader", run_reader}, {"vcpu2", run_vcpu2}},
                .nr_actors = 2,
        },
        {
                .name = "writer, reader, evictor",
                .setup = setup,
                .check = check,
                .actor = {{"vcpu2", run_vcpu2}, {"reader", run_reader}, {"evictor", run_evictor}},
                .nr_actors = 3,
        },
        {
                .name = "two vcpus, evictor",
                .setup = setup,
                .check = check,
                .actor = {{"vcpu", run_vcpu}, {"vcpu2", run_vcpu2}, {"evictor", run_evictor}},
                .nr_actors = 3,
        },
};

static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	unsigned which = number % ARRAY_SIZE(scenes), machine = number / ARRAY_SIZE(scenes);

	/* The last scene finds nothing that those before it do not. */
	if (mutant && which == SCENE_TWO)
		return NULL;
	scene_format = machines[machine].format;
	scene_kind = machines[machine].kind;
	scene_reuse = which == SCENE_HYPERVISOR || which == SCENE_CLEAN;
	scene_bare = which == SCENE_TABLES;
	snprintf(name, EXPLORER_NAME, "%s, %s", scenes[which].name, scene_format->name);
	return &scenes[which];
}

int main(void)
{
	static const struct explorer_suite suite = {.choose = choose,
	                                            .nr_scenes = ARRAY_SIZE(machines) *
	                                                         ARRAY_SIZE(scenes),
	                                            .mutant_name = mutant_name,
	                                            .nr_mutants = MUTANTS,
	                                            .mutant = &mutant,
	                                            .mutant_preemptions = 3};

	return explorer_suite_main(&suite);
}
