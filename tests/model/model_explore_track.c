/*
 * Every interleaving, within a bound on preemptions, of vCPUs on a TDP, an ager, and a shadow MMU beside it that wants
 * to read a page which holds a table of the guest: the real entry, fault, aging and write-protecting code and the
 * hardware walker. From the moment at which the shadow MMU has taken W away and waited for the flush until it lets a
 * write through, nobody may write the page; and no Dirty bit may be lost on the way.
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
	NO_PROTECT,     /* W stays */
	NO_FLUSH,       /* the shadow MMU does not wait for the TLBs */
	NO_QUESTION,    /* a fault grants W without asking */
	NO_READ_LOCK,   /* ... or without the lock */
	NOT_TOLD,       /* a write is let through, and the shadow MMU does not know */
	PROTECT_CLEANS, /* write-protecting clears Dirty as well */
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "plain store instead of compare-exchange",
                                          "W not taken",
                                          "no flush",
                                          "W granted without a question",
                                          "no read lock",
                                          "shadow MMU not told of a write",
                                          "write-protecting clears Dirty"};
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
#include "hv/mmu/tdp_age.c"
#include "hv/mmu/tdp_fault.c"
#include "hv/mmu/tdp_iter.c"
static bool mutable_protect(const struct spte_format *f, unsigned level, a64 *entry)
{
	u64 seen;
	bool had;

	if (mutant == NO_PROTECT)
		return false;
	had = spte_protect(f, level, entry);
	if (mutant == PROTECT_CLEANS && had) {
		seen = a64_load(entry);
		(void)!a64_cas(entry, &seen, seen & ~f->dirty);
	}
	return had;
}
#define spte_protect mutable_protect
#include "hv/mmu/tdp_zap.c"
#undef spte_protect

/* --- the world of one guest page --- */

#define GFN gfn(5)

#define LOCK_SPOILT (mutant == NO_READ_LOCK)
#define WAIT_SPOILT (mutant == NO_FLUSH)
#include "tests/model/tdp_guest.h"

static struct {
	struct space space;
	struct tdp tdp;
	struct shadow shadow;
	u64 copy[VCPUS]; /* each vCPU has a word of its own */
	bool copy_valid;
	bool tracked; /* as shadow_tracks() says; MMU lock */
	bool trusted; /* W is gone and flushed: the shadow MMU believes what it reads */
} world;

static u64 frame_words[PAGE_SIZE / 8] aligned_to(PAGE_SIZE);
static a64 tables[4][TABLE_PAGES] aligned_to(PAGE_SIZE);

bool tdp_fault_huge(struct tdp *t, const struct tdp_access *a)
{
	(void)t, (void)a;
	explorer_panic("a large leaf beside a shadow MMU");
}
void tdp_split_locked(struct tdp *t, gfn_t g)
{
	(void)t, (void)g;
	explorer_panic("split of what is not large");
}
void epoch_enter(void)
{
}
void epoch_exit(void)
{
}
bool epoch_active(void)
{
	return true;
}
void hist_add(struct hist *h, u64 value)
{
	(void)h, (void)value;
}
pfn_t frame_pfn(u32 frame)
{
	(void)frame;
	return hal_ptr_pfn(frame_words);
}

/* No page is evicted here: model_explore_tdp has that. */
u64 invalidate_seq(const struct space *s)
{
	(void)s;
	return 0;
}
bool invalidate_retry(const struct space *s, u64 seq, gfn_t g)
{
	(void)s, (void)seq, (void)g;
	return false;
}
enum fault_result fault_bring_in(struct space *s, gfn_t g, bool write, bool keep_copy,
                                 struct fault_page *out)
{
	(void)s, (void)g;
	explorer_yield();
	if (write && !keep_copy)
		world.copy_valid = false;
	*out = (struct fault_page){.frame = 0, .clean = world.copy_valid};
	return FAULT_FIXED;
}
enum fault_result fault_make_dirty(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	explorer_yield();
	world.copy_valid = false;
	return FAULT_FIXED;
}

/* What asks a shadow MMU does so under the lock, and there is no dirty log beside one. */
enum fault_result fault_write_begin(struct space *s, gfn_t g, u64 *word)
{
	(void)s, (void)g, (void)word;
	explorer_panic("W without a question");
}
void fault_write_end(struct space *s, gfn_t g, u64 word)
{
	(void)s, (void)g, (void)word;
}
void tdp_log_zapped(struct tdp *t, gfn_t g, u64 was)
{
	(void)t, (void)g, (void)was;
}

/* --- the shadow MMU --- */

bool shadow_tracks(const struct shadow *sh, gfn_t g)
{
	(void)sh, (void)g;
	explorer_yield();
	return mutant != NO_QUESTION && world.tracked;
}
void shadow_let_write(struct shadow *sh, gfn_t g)
{
	(void)sh, (void)g;
	write_lock(&world.space.mmu_lock);
	world.tracked = false;
	if (mutant != NOT_TOLD)
		world.trusted = false;
	write_unlock(&world.space.mmu_lock);
}

/* Wants to read the table: as the top of hv/mmu/shadow.h says. */
static void run_shadow(void)
{
	write_lock(&world.space.mmu_lock);
	world.tracked = true;
	(void)tdp_write_protect_locked(&world.tdp, GFN);
	write_unlock(&world.space.mmu_lock);
	shootdown();
	write_lock(&world.space.mmu_lock);
	world.trusted = world.tracked;
	write_unlock(&world.space.mmu_lock);
}

static void run_shadow_twice(void)
{
	run_shadow();
	run_shadow();
}

/* --- the other actors --- */

static void guest_touch(struct vcpu *v, u64 *word, bool write, u64 value)
{
	explorer_yield();
	if (!write) {
		guest_check_read(v, *word);
		return;
	}
	if (world.trusted)
		explorer_panic("a tracked table is written");
	*word = v->expect = value;
}

static void run_ager(void)
{
	u64 bitmap = 1, visited = 0;

	tdp_age(&world.tdp.notifier, GFN, 1, &bitmap, NOTIFIER_CLEAR, &visited);
}

static const struct spte_format *scene_format;
static enum walker_kind scene_kind;

static void setup(void)
{
	memset(&world, 0, sizeof(world));
	memset(&guest, 0, sizeof(guest));
	guest.touch = guest_touch;
	memset(tables, 0, sizeof(tables));
	memset(frame_words, 0, sizeof(frame_words));
	world.copy_valid = true;
	for (unsigned i = 0; i < VCPUS; i++) {
		guest.vcpu[i].at = gpa(gfn_gpa(GFN).v + 8 * i);
		world.copy[i] = guest.vcpu[i].expect = frame_words[i] = FIRST;
	}
	guest_start(&world.tdp, &world.space, tables, scene_format, scene_kind);
	world.tdp.shadow = &world.shadow;
}

/* The page is mapped and written already: W stands in the entry, and in a TLB. */
static void setup_written(void)
{
	setup();
	tables[0][GFN.v].raw = spte_make_leaf(scene_format, 1, frame_pfn(0),
	                                      SPTE_R | SPTE_W | SPTE_X,
	                                      !spte_has_dirty(scene_format));
	world.tdp.leaves.raw = 1;
	world.copy_valid = spte_has_dirty(scene_format);
}

static void check(void)
{
	u64 spte = tdp_find(&world.tdp, GFN).seen;
	bool leaf = spte_is_leaf(scene_format, 1, spte);

	if (!spte_valid(scene_format, 1, spte))
		explorer_panic("entry %#llx is no valid encoding", (unsigned long long)spte);
	if (world.tracked && leaf && spte_saved_rights(scene_format, spte) & SPTE_W)
		explorer_panic("a tracked page may be written");
	if (world.tdp.leaves.raw != leaf)
		explorer_panic("leaves are miscounted");
	for (unsigned i = 0; i < VCPUS; i++) {
		if (frame_words[i] != guest.vcpu[i].expect)
			explorer_panic("a write was lost");
		if (!(leaf && spte_dirty(scene_format, spte)) && world.copy_valid &&
		    world.copy[i] != guest.vcpu[i].expect)
			explorer_panic("Dirty was lost");
	}
}

static const struct explorer_scene scenes[] = {
        {
                .name = "vcpu, ager, shadow",
                .setup = setup,
                .check = check,
                .actor = {{"vcpu", run_vcpu}, {"ager", run_ager}, {"shadow", run_shadow}},
                .nr_actors = 3,
        },
        {
                .name = "written page: vcpu, ager, shadow",
                .setup = setup_written,
                .check = check,
                .actor = {{"vcpu", run_vcpu}, {"ager", run_ager}, {"shadow", run_shadow}},
                .nr_actors = 3,
        },
        {
                .name = "written page: two vcpus, shadow twice",
                .setup = setup_written,
                .check = check,
                .actor = {{"vcpu", run_vcpu}, {"vcpu2", run_vcpu2}, {"shadow", run_shadow_twice}},
                .nr_actors = 3,
        },
};

static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	unsigned which = number % ARRAY_SIZE(scenes), machine = number / ARRAY_SIZE(scenes);

	scene_format = machines[machine].format;
	scene_kind = machines[machine].kind;
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
