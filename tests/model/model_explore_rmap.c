/*
 * hv/mmu/rmap.c under every schedule within a bound, and the weak memory of tests/host/weak.h: who changes a map,
 * under the MMU lock, against walkers without it, one that waits for the lock in the word and one that tries once.
 * Chains and tables are plain data; the model says when two accesses to them are not ordered.
 *
 * Then the test is tested: one at a time, the code is spoilt, and the explorer has to find it.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer_suite.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "lib/lock.h"

enum mutant {
	NONE,
	NO_LOCK,      /* walkers take no lock */
	TRY_ANYWAY,   /* one that found the word locked walks all the same */
	CHANGE_OPEN,  /* maps are changed without the lock */
	FREE_EARLY,   /* a table is freed before its entry has left the map */
	LET_GO_EARLY, /* a walker drops the lock, then walks */
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "no lock in walkers",
                                          "walk though it is locked",
                                          "no lock in who changes the map",
                                          "table freed before its entry is out",
                                          "lock dropped before the walk"};
static unsigned mutant; /* enum mutant */

/* Called when the lock is had, and before it is dropped: in between, the chain is read or changed. */
static void chain_used(void);
#define lock_check(lock, class, name) ((void)(lock), (void)(name))
#define lock_taken(lock, class, name) ((void)(lock), (void)(name), chain_used())
#define lock_released(lock, name)     ((void)(lock), (void)(name), chain_used())
#include "hv/mmu/rmap.c"

#define ENTRIES 17u
#define DESCS   3u
#define ALIVE   0x827ull /* Accessed, among others */
#define OLD     0x807ull

static struct {
	struct rmap map;
	a64 entry[ENTRIES];  /* each in a table of its own */
	bool freed[ENTRIES]; /* its table */
	a64 mmu_lock;
	struct rmap_pool pool;
	struct rmap_desc desc[DESCS];
	bool used[DESCS];
	unsigned chain; /* stands for the chain's data */
	bool changing[EXPLORER_ACTORS];
	unsigned seen[EXPLORER_ACTORS]; /* entries that a walker found in its last walk */
} world;

/*
 * In long chains only the ends are looked at closely: what is between is there to be long, and all of it in one
 * table.
 */
static bool is_filler(u64 i)
{
	return i >= 3 && i < RMAP_DESC_ENTRIES - 1;
}

static const bool *table_of(u64 i)
{
	return &world.freed[is_filler(i) ? 3 : i];
}

static void chain_used(void)
{
	if (!explorer_active())
		return;
	if (world.changing[explorer_self()])
		weak_write(&world.chain);
	else
		weak_read(&world.chain);
}

struct rmap_desc *rmap_pool_take(struct rmap_pool *pool, struct rmap_cache *cache)
{
	(void)pool, (void)cache;
	for (unsigned i = 0; i < DESCS; i++) {
		if (world.used[i])
			continue;
		world.used[i] = true;
		memset(&world.desc[i], 0, sizeof(world.desc[i]));
		return &world.desc[i];
	}
	return NULL;
}

/* What stands there afterwards would send a walker anywhere. */
void rmap_pool_give(struct rmap_pool *pool, struct rmap_desc *desc)
{
	(void)pool;
	world.used[desc - world.desc] = false;
	memset(desc, 0xee, sizeof(*desc));
}

/* --- who changes the map --- */

static bool mmu_lock_free(void *arg)
{
	(void)arg;
	return !world.mmu_lock.raw;
}

static void mmu_write_lock(void)
{
	explorer_wait(mmu_lock_free, NULL);
	(void)a64_xchg(&world.mmu_lock, 1);
	world.changing[explorer_self()] = true;
}

static void mmu_write_unlock(void)
{
	world.changing[explorer_self()] = false;
	(void)a64_xchg(&world.mmu_lock, 0);
}

/* The spoilt map changes: as if the lock were held already. */
static u64 spoilt_lock(struct rmap *r)
{
	return mutant == CHANGE_OPEN ? rmap_word(r) : rmap_lock(r);
}

static void spoilt_unlock(struct rmap *r, u64 word)
{
	if (mutant != CHANGE_OPEN)
		rmap_unlock(r, word);
	else
		a64_store_release(&r->word, word);
}

static void table_write(unsigned i)
{
	if (explorer_active())
		weak_write(table_of(i));
}

static void add_locked(unsigned i)
{
	struct rmap_desc *fresh = NULL;
	u64 word;

	/* A new table, then its entry in the map, then the entry. */
	table_write(i);
	world.freed[i] = false;
	if (mutant != CHANGE_OPEN) {
		if (!rmap_add(&world.pool, NULL, &world.map, &world.entry[i]))
			explorer_panic("no descriptor");
	} else {
		word = spoilt_lock(&world.map);
		if (needs_desc(word))
			fresh = rmap_pool_take(&world.pool, NULL);
		spoilt_unlock(&world.map, word_add(word, fresh, &world.entry[i]));
	}
	if (explorer_active())
		a64_store(&world.entry[i], ALIVE);
	else
		world.entry[i].raw = ALIVE;
}

static void table_free(unsigned i)
{
	table_write(i);
	world.freed[i] = true;
}

static void remove_locked(unsigned i)
{
	struct rmap_desc *spare = NULL;
	u64 word;

	(void)a64_xchg(&world.entry[i], 0);
	if (mutant == FREE_EARLY)
		table_free(i);
	if (mutant != CHANGE_OPEN) {
		rmap_remove(&world.pool, &world.map, &world.entry[i]);
	} else {
		word = spoilt_lock(&world.map);
		spoilt_unlock(&world.map, word_remove(word, &world.entry[i], &spare));
		if (spare)
			rmap_pool_give(&world.pool, spare);
	}
	if (mutant != FREE_EARLY)
		table_free(i);
}

/* All of them, as for an eviction. */
static void zap_locked(void)
{
	unsigned zapped[ENTRIES], n = 0;
	struct rmap_iter it;
	u64 word = spoilt_lock(&world.map);

	rmap_for_each(&it, word, entry)
	{
		zapped[n] = (unsigned)(entry - world.entry);
		if (!is_filler(zapped[n]))
			(void)a64_xchg(entry, 0);
		n++;
	}
	if (mutant != CHANGE_OPEN)
		rmap_unlock_empty(&world.pool, &world.map, word);
	else
		spoilt_unlock(&world.map, 0);
	for (unsigned i = 0; i < n; i++)
		table_free(zapped[i]);
}

/* --- walkers --- */

/* Whatever is in the entry: its table is still one. */
static void age_entry(a64 *entry)
{
	u64 i = (u64)(entry - world.entry), seen;

	if (i >= ENTRIES)
		explorer_panic("walks off the chain");
	if (explorer_active())
		weak_read(table_of(i));
	if (world.freed[i])
		explorer_panic("reads an entry of a table that was freed");
	if (world.seen[explorer_self()] & 1u << i)
		explorer_panic("finds an entry twice");
	world.seen[explorer_self()] |= 1u << i;
	if (is_filler(i))
		return;
	seen = a64_load(entry);
	if (seen & BIT(5))
		(void)!a64_cas(entry, &seen, OLD);
}

static void walk(u64 word)
{
	struct rmap_iter it;

	world.seen[explorer_self()] = 0;
	rmap_for_each(&it, word, entry)
	{
		age_entry(entry);
		/* Between two entries, too. */
		explorer_yield();
	}
}

static void walk_accurate(void)
{
	u64 word;

	if (mutant == NO_LOCK) {
		walk(rmap_word(&world.map));
		return;
	}
	word = rmap_lock_readonly(&world.map);
	if (mutant != LET_GO_EARLY)
		walk(word);
	if (word)
		rmap_unlock_readonly(&world.map, word);
	if (mutant == LET_GO_EARLY)
		walk(word);
}

static void walk_fast(void)
{
	u64 word;

	if (!rmap_trylock_readonly(&world.map, &word)) {
		if (mutant == TRY_ANYWAY)
			walk(word & ~RMAP_LOCKED);
		return;
	}
	walk(word);
	if (word)
		rmap_unlock_readonly(&world.map, word);
}

/* --- scenes --- */

static unsigned at_first; /* entries in the map */

static void setup(void)
{
	memset(&world, 0, sizeof(world));
	weak_reset(1);
	for (unsigned i = 0; i < ENTRIES; i++)
		world.freed[i] = true;
	for (unsigned i = 0; i < at_first; i++)
		add_locked(i);
}

static void run_add(void)
{
	mmu_write_lock();
	add_locked(at_first);
	mmu_write_unlock();
}

static void run_add_two(void)
{
	mmu_write_lock();
	add_locked(at_first);
	add_locked(at_first + 1);
	mmu_write_unlock();
}

static void run_remove(void)
{
	mmu_write_lock();
	remove_locked(0);
	mmu_write_unlock();
}

static void run_zap(void)
{
	mmu_write_lock();
	zap_locked();
	mmu_write_unlock();
}

/* After the walk: what was in the map all the time, and was not zapped, was found by who waited for the lock. */
static void run_walker_finds_second(void)
{
	walk_accurate();
	if (!(world.seen[explorer_self()] & 2))
		explorer_panic("misses an entry that was there all the time");
}

static void check(void)
{
	struct rmap_iter it;
	u64 word = world.map.word.raw;
	unsigned n = 0, descs = 0, used = 0;

	if (word & RMAP_LOCKED)
		explorer_panic("left locked");
	rmap_for_each(&it, word, entry)
	{
		if (entry < world.entry || entry >= world.entry + ENTRIES ||
		    world.freed[entry - world.entry])
			explorer_panic("the map names an entry that is none");
		n++;
	}
	if (n != rmap_word_count(word))
		explorer_panic("miscounted");
	for (unsigned i = 0; i < ENTRIES; i++)
		n -= !world.freed[i];
	if (n)
		explorer_panic("an entry is not in the map");
	for (struct rmap_desc *d = word & RMAP_CHAIN ? rmap_word_chain(word) : NULL; d; d = d->next)
		descs++;
	for (unsigned i = 0; i < DESCS; i++)
		used += world.used[i];
	if (used != descs)
		explorer_panic("a descriptor leaked");
}

static const struct {
	unsigned at_first;
	struct explorer_scene scene;
} scenes[] = {
        {0,
         {.name = "empty: add two, walk, try",
          .actor = {{"add", run_add_two}, {"walk", walk_accurate}, {"try", walk_fast}},
          .nr_actors = 3}},
        {1,
         {.name = "one: zap, walk, try",
          .actor = {{"zap", run_zap}, {"walk", walk_accurate}, {"try", walk_fast}},
          .nr_actors = 3}},
        {2,
         {.name = "two: remove, walk, try",
          .actor = {{"remove", run_remove}, {"walk", run_walker_finds_second}, {"try", walk_fast}},
          .nr_actors = 3}},
        {3,
         {.name = "three: remove, add, walk",
          .actor = {{"remove", run_remove}, {"add", run_add}, {"walk", run_walker_finds_second}},
          .nr_actors = 3}},
        {2,
         {.name = "two: zap, add, walk, try",
          .actor =
                  {{"zap", run_zap}, {"add", run_add}, {"walk", walk_accurate}, {"try", walk_fast}},
          .nr_actors = 4}},
        {RMAP_DESC_ENTRIES,
         {.name = "a full chain: add, remove, try",
          .actor = {{"add", run_add}, {"remove", run_remove}, {"try", walk_fast}},
          .nr_actors = 3}},
        {RMAP_DESC_ENTRIES + 1,
         {.name = "two descriptors: remove, walk",
          .actor = {{"remove", run_remove}, {"walk", run_walker_finds_second}},
          .nr_actors = 2}},
        {RMAP_DESC_ENTRIES + 2,
         {.name = "two descriptors: zap, walk, try",
          .actor = {{"zap", run_zap}, {"walk", walk_accurate}, {"try", walk_fast}},
          .nr_actors = 3}},
};

static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	static struct explorer_scene scene;

	at_first = scenes[number].at_first;
	scene = scenes[number].scene;
	scene.setup = setup;
	scene.check = check;
	/* Long chains and four actors take many steps. */
	if (at_first > 3 || scene.nr_actors > 3)
		scene.max_preemptions = 2;
	snprintf(name, EXPLORER_NAME, "%s", scene.name);
	return &scene;
}

int main(void)
{
	static const struct explorer_suite suite = {.choose = choose,
	                                            .nr_scenes = ARRAY_SIZE(scenes),
	                                            .mutant_name = mutant_name,
	                                            .nr_mutants = MUTANTS,
	                                            .mutant = &mutant,
	                                            .mutant_preemptions = 2};

	return explorer_suite_main(&suite);
}
