/*
 * Every interleaving, within a bound on preemptions, of who replaces a space's slots with who looks pages up, walks the
 * slots as a pass does, and picks a resident page: mm/gfnmap.c, mm/epoch.c and the walk's division of the slots into
 * blocks (mm/walk.c) as they are. Pages for arrays and words come from a pool that knows which are whose: whoever holds a
 * pointer into one that was given back fails, and at the end nothing is left over.
 *
 * Then the test is tested: one at a time, the code is spoilt, and the explorer has to find it.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer_suite.h"

#include <stdio.h>
#include <string.h>

#include "lib/atomic.h"
#include "lib/lock.h"
#include "tests/host/hal.h"

enum mutant {
	NONE,
	NO_BARRIER, /* words are freed while a reader may be in them */
	NO_DEFER,   /* so is an array */
	NO_LOCK,    /* two replace the array at once */
	EMPTY,      /* an array is published before it is filled in */
	MUTANTS,
};
static const char *const mutant_name[] = {
        "as it is", "words freed without a grace period", "arrays freed without a grace period",
        "two writers at once", "an array is published before it is filled in"};
static unsigned mutant; /* enum mutant */

#include "mm/epoch.c"

/* --- pages ----------------------------------------------------------------------------------------- */

#define POOL   8u
#define POISON 0xdb

static struct {
	_Alignas(PAGE_SIZE) u8 page[POOL][PAGE_SIZE];
	bool used[POOL];
	bool locked;
} world;

static void *pool_alloc(u64 n)
{
	(void)n; /* no slot of this test has more words than a page */
	for (unsigned i = 0; i < POOL; i++)
		if (!world.used[i]) {
			world.used[i] = true;
			memset(world.page[i], 0, PAGE_SIZE);
			return world.page[i];
		}
	explorer_panic("no page left");
}

static void pool_free(void *page, u64 n)
{
	unsigned i = (unsigned)(((u8 *)page - world.page[0]) / PAGE_SIZE);

	(void)n;
	if (!world.used[i])
		explorer_panic("a page is given back twice");
	world.used[i] = false;
	memset(page, POISON, PAGE_SIZE);
}

static void check_live(const void *at, const char *what)
{
	if (!world.used[((const u8 *)at - world.page[0]) / PAGE_SIZE])
		explorer_panic("%s is gone, and a reader has it", what);
}

static unsigned pages_used(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < POOL; i++)
		n += world.used[i];
	return n;
}

/* --- the lock, and what is spoilt ------------------------------------------------------------------ */

static bool is_free(void *arg)
{
	(void)arg;
	return !world.locked;
}
static void slots_lock(struct spinlock *lock)
{
	(void)lock;
	explorer_yield();
	if (mutant == NO_LOCK)
		return;
	explorer_wait(is_free, NULL);
	world.locked = true;
}
static void slots_unlock(struct spinlock *lock)
{
	(void)lock;
	explorer_yield();
	world.locked = false;
}
static void mutable_barrier(void)
{
	if (mutant != NO_BARRIER)
		epoch_barrier();
}
static void mutable_defer(struct epoch_node *node, void (*fn)(struct epoch_node *node))
{
	if (mutant == NO_DEFER)
		fn(node);
	else
		epoch_defer(node, fn);
}
/* The store that publishes, and then, once more, what it published. */
static void mutable_publish(aptr *where, void *next);

#define hal_pages_alloc    pool_alloc
#define hal_pages_free     pool_free
#define spin_lock          slots_lock
#define spin_unlock        slots_unlock
#define spin_held(lock)    (world.locked || mutant == NO_LOCK)
#define epoch_barrier      mutable_barrier
#define epoch_defer        mutable_defer
#define aptr_store_release mutable_publish
#include "mm/gfnmap.c"
#undef aptr_store_release
#undef epoch_defer
#undef epoch_barrier
#undef spin_held
#undef spin_unlock
#undef spin_lock
#undef hal_pages_free
#undef hal_pages_alloc
#include "mm/walk.c"

static void mutable_publish(aptr *where, void *next)
{
	struct slots *slots = next, filled = *slots;

	if (mutant == EMPTY)
		memset(slots->slot, 0, sizeof(slots->slot));
	aptr_store_release(where, next);
	explorer_yield();
	if (mutant == EMPTY)
		memcpy(slots->slot, filled.slot, sizeof(slots->slot));
}

/* --- the scenes: one slot that stays, one that goes, one that comes -------------------------------- */

#define STAYS  gfn(8)
#define GOES   gfn(600)
#define COMES  gfn(1100)
#define NPAGES 2u
#define FRAME  77u /* in all words of the two that are there at the start */

static struct space space;

static void setup(void)
{
	memset(&world.used, 0, sizeof(world.used));
	world.locked = false;
	memset(&space, 0, sizeof(space));
	memset(readers, 0, sizeof(readers));
	global.epoch.raw = GRACE_EPOCHS;
	if (!gfnmap_add(&space, STAYS, NPAGES) || !gfnmap_add(&space, GOES, NPAGES))
		explorer_panic("no slots");
	/* The array that the second replaced is deferred: it goes before the actors come. */
	epoch_barrier();
	for (unsigned i = 0; i < NPAGES; i++) {
		epoch_enter();
		gfnmap_word(&space, gfn_add(STAYS, i))->raw = gfn_word(GFN_RESIDENT, FRAME);
		gfnmap_word(&space, gfn_add(GOES, i))->raw = gfn_word(GFN_RESIDENT, FRAME);
		epoch_exit();
	}
}

/* In the epoch. The word of a page that is found is that of a page. */
static bool look(gfn_t g)
{
	a64 *where = gfnmap_word(&space, g);
	u64 word;

	if (!where)
		return false;
	explorer_yield();
	check_live(where, "a word");
	word = a64_load(where);
	if (word != (g.v >= COMES.v ? 0 : gfn_word(GFN_RESIDENT, FRAME)))
		explorer_panic("gfn %llu: a word that nobody wrote", (unsigned long long)g.v);
	return true;
}

static void run_reader(void)
{
	epoch_enter();
	(void)look(GOES);
	epoch_exit();
	epoch_enter();
	if (!look(STAYS))
		explorer_panic("a slot that stays is not found");
	(void)look(COMES);
	epoch_exit();
}

static void run_picker(void)
{
	gfn_t g;

	if (!gfnmap_pick_resident(&space, 2, &g))
		explorer_panic("nothing is resident");
	if (g.v - STAYS.v >= NPAGES && g.v - GOES.v >= NPAGES)
		explorer_panic("a page that is in no slot");
}

/* As walk.c divides the slots: block by block, each in an epoch section of its own. */
static void run_walker(void)
{
	struct block b;
	bool more = true, stays = false;

	for (u64 n = 0; more; n++) {
		epoch_enter();
		more = block_bounds(&space, n, &b);
		if (more && b.npages > NPAGES)
			explorer_panic("a block that is no slot's");
		for (unsigned i = 0; more && i < b.npages; i++)
			stays |= look(gfn_add(b.first, i)) && b.first.v == STAYS.v;
		epoch_exit();
	}
	if (!stays)
		explorer_panic("the walk left out a slot that stays");
}

static void run_remover(void)
{
	gfnmap_remove(&space, GOES);
	epoch_barrier();
}

static void run_adder(void)
{
	if (!gfnmap_add(&space, COMES, NPAGES))
		explorer_panic("no slot");
	epoch_barrier();
}

static void run_closer(void)
{
	if (!gfnmap_close(&space, GOES))
		explorer_panic("nothing to close");
	gfnmap_remove(&space, GOES);
	epoch_barrier();
}

static void check(void)
{
	const struct slots *slots = space.slots.raw;
	bool stays = false;

	for (u32 i = 0; i < slots->nr; i++)
		stays |= slots->slot[i].base.v == STAYS.v;
	if (!stays || space.pages != slots->nr * NPAGES)
		explorer_panic("%u slots, and %llu pages", slots->nr,
		               (unsigned long long)space.pages);
	/* One array, and the words of each slot. */
	if (pages_used() != 1 + slots->nr)
		explorer_panic("%u pages in use for %u slots", pages_used(), slots->nr);
}

static void check_removed(void)
{
	const struct slots *slots = space.slots.raw;

	check();
	for (u32 i = 0; i < slots->nr; i++)
		if (slots->slot[i].base.v == GOES.v)
			explorer_panic("a slot that was removed is back");
}

static const struct explorer_scene scenes[] = {
        {.name = "a slot goes, a reader, a walker",
         .setup = setup,
         .check = check_removed,
         .actor = {{"remover", run_remover}, {"reader", run_reader}, {"walker", run_walker}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "a slot comes, a reader, a walker",
         .setup = setup,
         .check = check,
         .actor = {{"adder", run_adder}, {"reader", run_reader}, {"walker", run_walker}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "one slot goes, one comes, a reader",
         .setup = setup,
         .check = check_removed,
         .actor = {{"remover", run_remover}, {"adder", run_adder}, {"reader", run_reader}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "a slot is closed and goes, who picks a page, a walker",
         .setup = setup,
         .check = check_removed,
         .actor = {{"closer", run_closer}, {"picker", run_picker}, {"walker", run_walker}},
         .nr_actors = 3,
         .max_preemptions = 2},
};

static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	snprintf(name, EXPLORER_NAME, "%s", scenes[number].name);
	return &scenes[number];
}

int main(void)
{
	static const struct explorer_suite suite = {.choose = choose,
	                                            .nr_scenes = ARRAY_SIZE(scenes),
	                                            .mutant_name = mutant_name,
	                                            .nr_mutants = MUTANTS,
	                                            .mutant = &mutant,
	                                            .mutant_preemptions = 2};

	host_cpu_count_set(3);
	return explorer_suite_main(&suite);
}
