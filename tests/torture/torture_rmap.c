/*
 * Reverse maps on real cores, under the race detector: two threads that make and remove entries and tables under an
 * MMU lock, two that age what the maps name without it. Tables are freed with poison in them, half of them at once,
 * as the lock in the word allows, half through the epoch, as hardware and other readers want it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/mmu/rmap.h"
#include "hv/mmu/spte.h"
#include "lib/lock.h"
#include "mm/epoch.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"

#define GFNS     24u
#define TABLES   12u
#define ENTRIES  32u
#define CHANGERS 2u
#define WALKERS  2u
#define CPUS     (CHANGERS + WALKERS)
#define AGED_MIN 200u
#define POISON   0xeeeeeeeeeeeeeeeeull

struct table {
	struct epoch_node node;
	a64 entry[ENTRIES];
	u64 gfn[ENTRIES]; /* of each entry that is mapped; MMU lock */
};

static const struct spte_format *format;
static struct rwlock mmu_lock;
static struct rmap_pool pool;
static struct rmap map[GFNS];
static struct table *table[TABLES];
static u64 steps;
static a64 aged;
static struct {
	u64 added, removed, zapped, freed, walked, busy;
} sum[CPUS] aligned_to(64);

static void fail(const char *what, u64 value)
{
	printf("%s: %s (%#llx)\n", format->name, what, (unsigned long long)value);
	fflush(stdout);
	_Exit(1);
}

static pfn_t page_of(u64 g)
{
	return pfn(0x1000 + g);
}

/* --- under the MMU lock --- */

static void leaf_add(struct rmap_cache *cache, struct table *t, unsigned i, u64 g)
{
	u64 seen = SPTE_EMPTY;

	if (!rmap_add(&pool, cache, &map[g], &t->entry[i]))
		fail("no descriptor, though the cache was filled", g);
	t->gfn[i] = g;
	if (!spte_replace(format, 1, &t->entry[i], &seen,
	                  spte_make_leaf(format, 1, page_of(g), SPTE_R | SPTE_W | SPTE_U, true)))
		fail("an entry that is nobody's was not empty", seen);
}

static void leaf_remove(struct table *t, unsigned i)
{
	u64 was = spte_zap(format, 1, &t->entry[i]);

	if (spte_pfn(format, was).v != page_of(t->gfn[i]).v || !spte_dirty(format, was))
		fail("zapped something else", was);
	rmap_remove(&pool, &map[t->gfn[i]], &t->entry[i]);
}

static void table_free(struct epoch_node *node)
{
	struct table *t = container_of(node, struct table, node);

	for (unsigned i = 0; i < ENTRIES; i++)
		t->entry[i].raw = POISON;
	free(t);
}

static struct table *table_new(void)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	return t;
}

static void drop_table(struct table *t, bool at_once)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		if (a64_load(&t->entry[i]))
			leaf_remove(t, i);
	if (at_once)
		table_free(&t->node);
	else
		epoch_defer(&t->node, table_free);
}

/* A fault of the guest: an entry more, or one less if it is there. */
static void change_entry(unsigned cpu, struct rmap_cache *cache, u64 r)
{
	struct table *t = table[(r >> 8) % TABLES];
	unsigned i = (unsigned)(r >> 20) % ENTRIES;

	if (a64_load(&t->entry[i])) {
		leaf_remove(t, i);
		sum[cpu].removed++;
	} else {
		/* Some pages are mapped often. */
		leaf_add(cache, t, i, (r >> 32) % 4 ? (r >> 40) % 3 : (r >> 40) % GFNS);
		sum[cpu].added++;
	}
}

static void zap_gfn(unsigned cpu, u64 g)
{
	u64 word = rmap_lock(&map[g]);
	struct rmap_iter it;

	rmap_for_each(&it, word, entry)
	{
		u64 was = spte_zap(format, 1, entry);

		if (spte_pfn(format, was).v != page_of(g).v)
			fail("the map names an entry of another page", was);
		sum[cpu].zapped++;
	}
	rmap_unlock_empty(&pool, &map[g], word);
}

static void replace_table(unsigned cpu, u64 r)
{
	unsigned i = (unsigned)(r >> 8) % TABLES;

	drop_table(table[i], r >> 32 & 1);
	table[i] = table_new();
	sum[cpu].freed++;
}

static void *run_changer(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	struct rmap_cache cache = {.page = NULL};
	u64 seed = 0xbead + cpu;

	for (u64 i = 0; torture_goes_on(i, steps); i++) {
		u64 r = host_random(&seed);

		if (!rmap_cache_fill(&cache))
			abort();
		/* Not in the queue: on one CPU every step would then wait for a turn of the other. */
		while (!write_trylock(&mmu_lock))
			hal_pause();
		if (r % 64 == 0)
			replace_table(cpu, r);
		else if (r % 64 == 1)
			zap_gfn(cpu, (r >> 8) % GFNS);
		else
			change_entry(cpu, &cache, r);
		write_unlock(&mmu_lock);
		if (i % 32 == 0)
			epoch_poll();
	}
	rmap_cache_empty(&cache);
	epoch_barrier();
	return NULL;
}

/* --- without it --- */

static void age_entries(unsigned cpu, u64 word, u64 g)
{
	struct rmap_iter it;

	rmap_for_each(&it, word, entry)
	{
		u64 seen = a64_load(entry);

		if (!spte_is_empty(seen) && spte_pfn(format, seen).v != page_of(g).v)
			fail("found an entry of another page", seen);
		sum[cpu].walked++;
		if (!spte_young(format, seen))
			continue;
		spte_age(format, 1, entry, seen);
		a64_count(&aged, 1);
	}
}

static void *run_walker(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0xa9e + cpu;

	for (u64 i = 1; torture_runs(); i++) {
		u64 r = host_random(&seed), g = (r >> 8) % (r >> 32 & 1 ? GFNS : 3), word;

		epoch_enter();
		if (r & 1) {
			word = rmap_lock_readonly(&map[g]);
		} else if (!rmap_trylock_readonly(&map[g], &word)) {
			sum[cpu].busy++;
			word = 0;
		}
		age_entries(cpu, word, g);
		if (word)
			rmap_unlock_readonly(&map[g], word);
		epoch_exit();
		/* Seldom the scheduler's choice: that may be with a map locked, and then nobody gets on. */
		if (i % 16 == 0)
			hal_pause();
	}
	return NULL;
}

static u64 mapped_count(void)
{
	u64 n = 0;

	for (unsigned i = 0; i < TABLES; i++)
		for (unsigned e = 0; e < ENTRIES; e++)
			n += a64_load(&table[i]->entry[e]) != 0;
	return n;
}

static void check_end(void)
{
	u64 in_maps = 0;

	for (unsigned g = 0; g < GFNS; g++)
		in_maps += rmap_count(&map[g]);
	if (in_maps != mapped_count())
		fail("entries in maps and in tables differ", in_maps);
	for (unsigned i = 0; i < TABLES; i++)
		drop_table(table[i], true);
	for (unsigned g = 0; g < GFNS; g++)
		if (map[g].word.raw)
			fail("a map that is not empty in the end", g);
	rmap_pool_destroy(&pool);
	if (hal_pages_used())
		fail("pages leaked", hal_pages_used());
}

static const char *missing(void)
{
	return a64_load(&aged) < AGED_MIN ? "hardly anything was aged" : NULL;
}

static void run_format(const struct spte_format *f)
{
	static const struct torture_threads threads = {
	        .run = {run_changer, run_changer, run_walker, run_walker},
	        .vcpus = CHANGERS,
	        .cpus = CPUS,
	        .missing = missing,
	};
	u64 changed = 0, busy = 0;

	format = f;
	memset(sum, 0, sizeof(sum));
	a64_store(&aged, 0);
	rw_init(&mmu_lock, LOCK_MMU, "mmu");
	for (unsigned i = 0; i < TABLES; i++)
		table[i] = table_new();
	torture_run(&threads);
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		changed += sum[cpu].added + sum[cpu].removed + sum[cpu].zapped + sum[cpu].freed;
		busy += sum[cpu].busy;
	}
	check_end();
	printf("%s: %llu changes, %llu entries aged, %llu times busy\n", f->name,
	       (unsigned long long)changed, (unsigned long long)a64_load(&aged),
	       (unsigned long long)busy);
}

int main(void)
{
	steps = host_steps(4000);
	host_cpu_count_set(CPUS);
	run_format(&spte_shadow_ad);
	run_format(&spte_shadow_track);
	return epoch_pending() != 0;
}
