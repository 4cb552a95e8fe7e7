/*
 * Varve itself: mm/ compiled unchanged, with the fake MMU of the host tests in the place of EPT or NPT. What the
 * laboratory adds is the hardware's part, in short: an access of a page that is mapped sets its Accessed bit
 * (and Dirty, and that of the entry above), any other is a fault. There is no TLB: bits are as exact as they get.
 *
 * The space has the capacity for its limit, so each fault at the limit reclaims as in the hypervisor, ages when
 * eviction finds nothing old, and takes a chunk at a time. A pass is made besides at each harvest.
 */
#include "tools/lab/ours.h"

#include <stdlib.h>
#include <string.h>

#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"
#include "tools/lab/lab.h"

#define FRAMES    (1ull << 17) /* of the host: never short, only the limit counts */
#define ACCESS_NS 1000u
#define PATIENCE  8u /* an eviction on the way to a frame makes a fault try again */

/* When passes are made besides those that eviction asks for. */
enum { AGE_NEVER, AGE_AT_HARVEST, AGE_IF_EVICTED };

struct ours {
	struct lab_env *e;
	struct fake_guest g;
};

static u32 age = AGE_AT_HARVEST;
static bool ready;

void lab_ours_reset(void)
{
	policy_init();
	age = AGE_AT_HARVEST;
}

bool lab_ours_set(const char *name, u64 value)
{
	const struct {
		const char *name;
		a32 *where;
	} settings[] = {
	        {"two_touch", &policy.two_touch},
	        {"fault_touch", &policy.fault_touch},
	        {"chunk", &policy.chunk},
	        {"demote", &policy.demote},
	        {"lookaround", &policy.lookaround},
	        {"batch", &policy.batch},
	        {"swappiness", &policy.swappiness},
	        {"probation", &policy.probation},
	        {"guard", &policy.guard},
	        {"caps", &policy.caps},
	};

	if (!strcmp(name, "age")) {
		age = (u32)value;
		return age <= AGE_IF_EVICTED;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(settings); i++)
		if (!strcmp(settings[i].name, name)) {
			a32_store(settings[i].where, (u32)value);
			return true;
		}
	return false;
}

static void host_start(void)
{
	if (ready)
		return;
	ready = true;
	host_time_set(0);
	reclaim_init(NULL);
	fake_frames_create(FRAMES);
	if (!store_init())
		lab_die("no memory for the store");
}

static void *ours_create(struct lab_env *e)
{
	const struct fake_config c = {.name = "lab", .npages = e->pages, .upper_bits = true};
	struct ours *p = lab_alloc(1, sizeof(*p));

	host_start();
	if (e->capacity + FRAMES / 4 > FRAMES)
		lab_die("a capacity of %u frames is too much", e->capacity);
	p->e = e;
	fake_guest_create(&p->g, &c);
	limits_set_limit(p->g.space, e->capacity);
	/* Its TLB is always empty: there is nothing to flush. */
	a64_store(&p->g.vcpu[0].flushed, ~0ull);
	return p;
}

static void ours_destroy(void *arg)
{
	struct ours *p = arg;
	const struct space_stats *stats = &p->g.space->stats;

	p->e->scanned = a64_load(&stats->scanned_total);
	p->e->harvested = a64_load(&stats->visited_total);
	p->e->evictions = a64_load(&stats->evictions_total);
	if (a64_load(&stats->over_limit_total))
		lab_die("ours had more than its capacity");
	fake_guest_destroy(&p->g);
	epoch_barrier();
	free(p);
}

static void nothing(u64 *words, void *arg)
{
	(void)words;
	(void)arg;
}

static void touch(struct fake_mmu *m, u32 page, u64 entry, bool write)
{
	a64 *upper = &m->upper[page / TABLE_PAGES];
	u64 next = entry | FAKE_A | (write ? FAKE_D : 0);

	if (next != entry)
		a64_store(&m->entry[page], next);
	if (!(a64_load(upper) & FAKE_A))
		a64_store(upper, FAKE_A);
}

static bool ours_access(void *arg, u32 page, bool write)
{
	struct ours *p = arg;
	struct fake_mmu *m = &p->g.mmu[0];
	u64 entry = a64_load(&m->entry[page]);

	a32_store(&p->g.ran, 1);
	if (entry & FAKE_P) {
		touch(m, page, entry, write);
		return true;
	}
	host_time_set((u64)p->e->now * ACCESS_NS);
	if (fake_access(&p->g, 0, page, write, PATIENCE, nothing, NULL) != FAULT_FIXED)
		lab_die("a fault of page %u is not resolved", page);
	p->g.vcpu[0].tlb[page] = 0;
	return false;
}

/* Nothing was evicted for long: one more generation would join the two oldest, and mix their pages. */
static bool window_full(const struct lruvec *l)
{
	u64 oldest = min_of(l->min_seq[GEN_CLEAN], l->min_seq[GEN_DIRTY]);

	return a64_load(&l->max_seq) - oldest + 1 >= GEN_MAX;
}

static void ours_harvest(void *arg)
{
	struct ours *p = arg;
	struct space *s = p->g.space;

	if (age == AGE_NEVER || (age == AGE_IF_EVICTED && window_full(&s->lru)))
		return;
	host_time_set((u64)p->e->now * ACCESS_NS);
	age_space(s, a64_load(&s->lru.max_seq), false);
	epoch_poll();
}

const struct lab_policy lab_ours = {
        .name = "ours",
        .about = "Varve: mm/ as it is",
        .create = ours_create,
        .destroy = ours_destroy,
        .access = ours_access,
        .harvest = ours_harvest,
        .bits_only = true,
};

/* --- the same with other settings ------------------------------------------------------------------ */

/* What --set said meanwhile. */
static struct policy policy_before;
static u32 age_before;

static void variant_begin(void)
{
	policy_before = policy;
	age_before = age;
}

static void variant_destroy(void *arg)
{
	ours_destroy(arg);
	policy = policy_before;
	age = age_before;
}

/* What the laboratory found best for the order by age alone: docs/lab.md. */
static void *tuned_create(struct lab_env *e)
{
	variant_begin();
	a32_store(&policy.probation, 0);
	a32_store(&policy.fault_touch, 0);
	a32_store(&policy.chunk, 4);
	age = AGE_NEVER;
	return ours_create(e);
}

static void *twolist_create(struct lab_env *e)
{
	variant_begin();
	a32_store(&policy.twolist, 1);
	return ours_create(e);
}

const struct lab_policy lab_ours_tuned = {
        .name = "ours-tuned",
        .about = "Varve by age alone: probation=0, fault_touch=0, chunk=4, age=0",
        .create = tuned_create,
        .destroy = variant_destroy,
        .access = ours_access,
        .harvest = ours_harvest,
        .bits_only = true,
};

const struct lab_policy lab_twolist = {
        .name = "two-list",
        .about = "Varve's pair of lists in place of generations",
        .create = twolist_create,
        .destroy = variant_destroy,
        .access = ours_access,
        .harvest = ours_harvest,
        .bits_only = true,
};
