/*
 * Every interleaving, within a bound on preemptions, of vCPUs, an ager and who splits or collapses one large
 * leaf, over the real fault, aging, zap, split and collapse code and the hardware walker. Two of the 512
 * pages are used. What is around (gfn map, locks, flushes) is modelled here in a few lines.
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
	FORGET_DIRTY,   /* parts of a large leaf are clean */
	NO_RETRY_CHECK, /* a fault does not ask whether it raced an invalidation */
	NO_BEGIN,       /* invalidate_begin() tells nobody */
	NO_FLUSH,       /* pages are copied while a TLB may write to them */
	NO_GRACE,       /* a table is freed while an ager may be in it */
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "plain store instead of compare-exchange",
                                          "parts of a large leaf are clean",
                                          "no invalidate_retry",
                                          "no invalidate_begin",
                                          "no flush before the copy",
                                          "no grace period before a table is freed"};
static unsigned mutant; /* enum mutant */

static bool mutable_cas(a64 *a, u64 *expected, u64 desired)
{
	if (mutant != STORE_FOR_CAS)
		return a64_cas(a, expected, desired);
	a64_store(a, desired);
	return true;
}

#define a64_cas mutable_cas
#include "hv/mmu/spte.c"
#undef a64_cas
static u64 mutable_part(const struct spte_format *f, u64 large, unsigned i)
{
	u64 part = spte_make_part(f, large, i);

	return mutant == FORGET_DIRTY ? part & ~f->dirty : part;
}
#include "hv/mmu/tdp_age.c"
#include "hv/mmu/tdp_fault.c"
#include "hv/mmu/tdp_iter.c"
#include "hv/mmu/tdp_zap.c"
#define spte_make_part mutable_part
static void mutable_pages_free(void *page, u64 n);
#define hal_pages_free mutable_pages_free
#include "hv/mmu/tdp_huge.c"
#undef hal_pages_free

/* --- the world of one range --- */

#define WAIT_SPOILT (mutant == NO_FLUSH)
#include "tests/model/tdp_guest.h"

#define PAGE_A 5u
#define PAGE_B 6u
#define RANGE  (TABLE_PAGES * (u64)PAGE_SIZE)

static u8 memory[2 * RANGE] aligned_to(RANGE); /* before and after a collapse that copies */
static a64 tables[4][TABLE_PAGES] aligned_to(PAGE_SIZE);
static u64 spare[TABLE_PAGES] aligned_to(PAGE_SIZE);

static struct {
	struct space space;
	struct tdp tdp;
	unsigned epochs;
	unsigned half;           /* of memory, that has the pages */
	bool noted[TABLE_PAGES]; /* Dirty, by a zap */
	bool written[TABLE_PAGES];
	bool huge_locked;
	bool freed; /* the table of the start */
	u64 seq;
	unsigned in_progress;
} world;

static u64 *word_of(unsigned half, u64 g)
{
	return (u64 *)(void *)&memory[half * RANGE + g * PAGE_SIZE];
}

static void mutable_pages_free(void *page, u64 n)
{
	if (page != tables[0]) {
		if (page != spare)
			hal_pages_free(page, n);
		return;
	}
	/* What comes into a freed page may look like anything: leaves that are young. */
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		tables[0][i].raw = SPTE_RESERVED | SPTE_MMU_PRESENT | 7;
	world.freed = true;
}

/* No shadow MMU is beside it here: model_explore_track has that. */
bool shadow_tracks(const struct shadow *sh, gfn_t g)
{
	(void)sh, (void)g;
	explorer_panic("no such MMU");
}
void shadow_let_write(struct shadow *sh, gfn_t g)
{
	(void)sh, (void)g;
	explorer_panic("no such MMU");
}

void epoch_enter(void)
{
	world.epochs++;
}
void epoch_exit(void)
{
	explorer_yield();
	world.epochs--;
}
bool epoch_active(void)
{
	return true;
}
static bool no_epochs(void *arg)
{
	(void)arg;
	return !world.epochs;
}
void epoch_defer(struct epoch_node *node, void (*fn)(struct epoch_node *node))
{
	(void)node, (void)fn;
}
void epoch_barrier(void)
{
	explorer_yield();
	if (mutant != NO_GRACE)
		explorer_wait(no_epochs, NULL);
}
void hist_add(struct hist *h, u64 value)
{
	(void)h, (void)value;
}
pfn_t frame_pfn(u32 frame)
{
	return hal_ptr_pfn(&memory[frame * (u64)PAGE_SIZE]);
}
u32 frame_of_pfn(pfn_t p)
{
	return (u32)(p.v - hal_ptr_pfn(memory).v);
}
/* Named by the trace of a split only. */
struct frame *frame_at(u32 frame)
{
	static struct frame nobody;

	(void)frame;
	return &nobody;
}
void frame_state_change(u32 frame, u64 clear, u64 set)
{
	(void)frame, (void)clear, (void)set;
}
u32 huge_bring_in(struct space *s, gfn_t first, bool dirty)
{
	(void)s, (void)first, (void)dirty;
	return FRAME_NONE;
}

static bool huge_unlocked(void *arg)
{
	(void)arg;
	return !world.huge_locked;
}
void spin_lock(struct spinlock *lock)
{
	(void)lock;
	explorer_yield();
	explorer_wait(huge_unlocked, NULL);
	world.huge_locked = true;
}
void spin_unlock(struct spinlock *lock)
{
	(void)lock;
	explorer_yield();
	world.huge_locked = false;
}
bool spin_held(const struct spinlock *lock)
{
	(void)lock;
	return true;
}
static void write_section(unsigned seq, int in_progress)
{
	explorer_yield();
	explorer_wait(nobody, NULL);
	world.seq += seq;
	world.in_progress += (unsigned)in_progress;
}
static void begin(void)
{
	if (mutant != NO_BEGIN)
		write_section(0, 1);
}
static void end(void)
{
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
bool invalidate_retry_range(const struct space *s, u64 seq, gfn_t first, gfn_t last)
{
	(void)last;
	return invalidate_retry(s, seq, first);
}
/* Every page counts as dirty where no bit tells. */
enum fault_result fault_bring_in(struct space *s, gfn_t g, bool write, bool keep_copy,
                                 struct fault_page *out)
{
	(void)s, (void)write, (void)keep_copy;
	explorer_yield();
	*out = (struct fault_page){.frame = (u32)(world.half * TABLE_PAGES + g.v)};
	return FAULT_FIXED;
}
enum fault_result fault_make_dirty(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	explorer_panic("a clean page");
}

enum fault_result fault_write_begin(struct space *s, gfn_t g, u64 *word)
{
	(void)s, (void)g, (void)word;
	explorer_panic("a clean page");
}
void fault_write_end(struct space *s, gfn_t g, u64 word)
{
	(void)s, (void)g, (void)word;
}
void tdp_log_zapped(struct tdp *t, gfn_t g, u64 was)
{
	(void)t, (void)g, (void)was;
}

/* --- the actors --- */

static void guest_touch(struct vcpu *v, u64 *word, bool write, u64 value)
{
	explorer_yield();
	if (write) {
		*word = v->expect = value;
		world.written[gpa_gfn(v->at).v] = true;
	} else {
		guest_check_read(v, *word);
	}
}

static void run_ager(void)
{
	u64 bitmap = BIT(PAGE_A) | BIT(PAGE_B), visited = 0;

	epoch_enter();
	tdp_age(&world.tdp.notifier, gfn(0), 8, &bitmap, NOTIFIER_CLEAR, &visited);
	epoch_exit();
}

static void zap_page(u64 g)
{
	struct notifier_zap zap = {.mapped = false};

	tdp_zap(&world.tdp.notifier, gfn(g), &zap);
	world.noted[g] |= zap.dirty;
}
static void run_zapper(void)
{
	begin();
	zap_page(PAGE_A);
	end();
	shootdown();
}
static void run_splitter(void)
{
	tdp_split(&world.tdp.notifier, gfn(PAGE_B));
}
/* mm/collapse.c, of a range all of whose other pages are unmapped already. */
static void run_collapse(void)
{
	void *table = NULL;

	begin();
	zap_page(PAGE_A);
	zap_page(PAGE_B);
	shootdown();
	explorer_yield();
	*word_of(1, PAGE_A) = *word_of(0, PAGE_A);
	explorer_yield();
	*word_of(1, PAGE_B) = *word_of(0, PAGE_B);
	explorer_yield();
	world.half = 1;
	if (!tdp_map_huge(&world.tdp.notifier, gfn(0), frame_pfn(TABLE_PAGES), &table))
		explorer_panic("not collapsed");
	end();
	shootdown();
	tdp_free_table(&world.tdp.notifier, table);
}

/* --- scenes --- */

static const struct spte_format *scene_format;
static enum walker_kind scene_kind;
static bool scene_large; /* one large leaf at the start; else a table with two leaves */

static void setup_leaves(void)
{
	const struct spte_format *f = scene_format;
	bool dirty = !spte_has_dirty(f);

	if (scene_large) {
		world.tdp.spare = (struct tdp_spare *)(void *)spare;
		tables[1][0].raw = spte_make_leaf(f, 2, frame_pfn(0), 7, dirty);
		world.tdp.leaves.raw = 1;
		return;
	}
	tables[1][0].raw = spte_make_table(f, hal_ptr_pfn(tables[0]));
	for (u64 g = PAGE_A; g <= PAGE_B; g++)
		tables[0][g].raw = spte_make_leaf(f, 1, frame_pfn((u32)g), 7, dirty);
	world.tdp.leaves.raw = 2;
}

static void setup(void)
{
	memset(&world, 0, sizeof(world));
	memset(&guest, 0, sizeof(guest));
	guest.touch = guest_touch;
	memset(tables, 0, sizeof(tables));
	memset(spare, 0, sizeof(spare));
	guest_start(&world.tdp, &world.space, tables, scene_format, scene_kind);
	setup_leaves();
	for (unsigned i = 0; i < VCPUS; i++) {
		u64 g = i ? PAGE_B : PAGE_A;

		guest.vcpu[i].at = gfn_gpa(gfn(g));
		guest.vcpu[i].expect = *word_of(0, g) = *word_of(1, g) = FIRST;
	}
}

static void check_page(u64 g, u64 expect)
{
	const struct spte_format *f = scene_format;
	struct tdp_entry e = tdp_find(&world.tdp, gfn(g));
	bool leaf = spte_is_leaf(f, e.level, e.seen);

	if (!spte_valid(f, e.level, e.seen))
		explorer_panic("entry %#llx is no valid encoding", (unsigned long long)e.seen);
	if (leaf &&
	    spte_pfn(f, e.seen).v + (e.level > 1 ? g : 0) != hal_ptr_pfn(word_of(world.half, g)).v)
		explorer_panic("mapped to a frame that is not its own");
	if (world.written[g] && !world.noted[g] && !(leaf && spte_dirty(f, e.seen)))
		explorer_panic("Dirty was lost");
	if (*word_of(world.half, g) != expect)
		explorer_panic("a write was lost");
}

static void check(void)
{
	u64 spares = 0, large = spte_is_leaf(scene_format, 2, tables[1][0].raw);

	for (unsigned i = 0; i < VCPUS; i++)
		check_page(gpa_gfn(guest.vcpu[i].at).v, guest.vcpu[i].expect);
	for (const struct tdp_spare *s = world.tdp.spare; s; s = s->next)
		spares++;
	if (spares != large)
		explorer_panic("%llu spares", (unsigned long long)spares);
	if (world.space.huge_mappings.raw + scene_large != large)
		explorer_panic("large leaves are miscounted");
	for (unsigned i = 0; world.freed && i < TABLE_PAGES; i++)
		if (tables[0][i].raw != (SPTE_RESERVED | SPTE_MMU_PRESENT | 7))
			explorer_panic("a freed table was changed");
	if (world.tdp.spare && (void *)world.tdp.spare != (void *)spare)
		hal_pages_free(world.tdp.spare, 1);
}

#define SCENE(text, bound, ...)                                                         \
	{                                                                               \
		.name = (text), .setup = setup, .check = check, .actor = {__VA_ARGS__}, \
		.nr_actors = 3, .max_preemptions = (bound)                              \
	}
enum { SCENE_COLLAPSE = 3 };
static const struct explorer_scene scenes[] = {
        SCENE("split by a zap: vcpu, ager, zapper", 0, {"vcpu", run_vcpu}, {"ager", run_ager},
              {"zapper", run_zapper}),
        SCENE("vcpu on another page, ager, zapper", 0, {"vcpu2", run_vcpu2}, {"ager", run_ager},
              {"zapper", run_zapper}),
        SCENE("two who split, vcpu", 0, {"zapper", run_zapper}, {"splitter", run_splitter},
              {"vcpu2", run_vcpu2}),
        /* The scan of a table makes it long. */
        SCENE("collapse, vcpu, ager", 1, {"collapse", run_collapse}, {"vcpu", run_vcpu},
              {"ager", run_ager}),
};

static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	unsigned which = number % ARRAY_SIZE(scenes), machine = number / ARRAY_SIZE(scenes);

	scene_format = machines[machine].format;
	scene_kind = machines[machine].kind;
	scene_large = which != SCENE_COLLAPSE;
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
	                                            .mutant_preemptions = 2};

	return explorer_suite_main(&suite);
}
