#include "hv/experiment.h"

#include "arch/hal.h"
#include "lib/util.h"
#include "mm/age.h"
#include "mm/ager.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/gen_view.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/space.h"
#include "mm/twolist.h"
#include "mm/zap.h"

/* Generations are made all the time: so often is it tried to read a range in one of them. */
#define AGES_TRIES 8u

enum ages { AGES_UNLISTED = GEN_MAX, AGES_AWAY, AGES_NONE, AGES_YOUNGEST };
_Static_assert(AGES_YOUNGEST < EXPERIMENT_RESULTS, "a result for each age");

static bool range_ok(const struct experiment *e)
{
	return e->arg[1] && e->arg[1] <= EXPERIMENT_PAGES_MAX &&
	       e->arg[0] < 1ull << GFN_PAYLOAD_BITS;
}

static bool in_window(const struct experiment *e)
{
	u64 at = e->arg[0] - EXPERIMENT_WINDOW_FIRST;

	return at < EXPERIMENT_WINDOW_PAGES && e->arg[1] <= EXPERIMENT_WINDOW_PAGES - at;
}

static u32 run_hello(struct space *s, struct experiment *e)
{
	(void)s;
	e->result[0] = EXPERIMENT_VERSION;
	return EXPERIMENT_OK;
}

/* A pass that somebody else ends began before we came, perhaps: the next one is ours, or began after. */
static u32 run_age(struct space *s, struct experiment *e)
{
	struct age_result r;

	if (e->arg[0] > 1)
		return EXPERIMENT_RANGE;
	do {
		if (a32_load(&s->dying) || twolist_on())
			return EXPERIMENT_REFUSED;
		r = age_space(s, a64_load(&s->lru.max_seq), e->arg[0]);
	} while (!r.produced);
	e->result[0] = a64_load(&s->lru.max_seq);
	e->result[1] = r.ns;
	e->result[2] = r.visited;
	e->result[3] = r.young;
	e->result[4] = r.tables;
	e->result[5] = r.skipped_nonleaf;
	e->result[6] = r.skipped_bloom;
	return EXPERIMENT_OK;
}

static enum ages age_of(struct space *s, gfn_t g)
{
	enum ages age = AGES_NONE;
	const a64 *where;
	u64 word;

	epoch_enter();
	where = gfnmap_word(s, g);
	word = where ? a64_load(where) : 0; /* a look: its frame may be somebody's else already */
	if (gfn_word_tag(word) == GFN_RESIDENT || gfn_word_tag(word) == GFN_EVICTING) {
		int steps = gen_frame_steps(&s->lru, gfn_word_frame(word));

		age = steps < 0 ? AGES_UNLISTED : (enum ages)steps;
	} else if (gfn_word_away(word)) {
		age = AGES_AWAY;
	}
	epoch_exit();
	return age;
}

static u32 run_ages(struct space *s, struct experiment *e)
{
	u64 youngest;

	for (unsigned i = 0; i < AGES_TRIES; i++) {
		youngest = a64_load(&s->lru.max_seq);
		for (unsigned r = 0; r < EXPERIMENT_RESULTS; r++)
			e->result[r] = 0;
		for (u64 p = 0; p < e->arg[1]; p++)
			e->result[age_of(s, gfn(e->arg[0] + p))]++;
		e->result[AGES_YOUNGEST] = youngest;
		if (a64_load(&s->lru.max_seq) == youngest)
			break;
	}
	return EXPERIMENT_OK;
}

static u32 run_zap(struct space *s, struct experiment *e)
{
	e->result[0] = zap_range(s, gfn(e->arg[0]), e->arg[1]);
	return EXPERIMENT_OK;
}

static u32 run_protect(struct space *s, struct experiment *e)
{
	if (a32_load(&s->wants_huge) || !notifier_all_protect(s))
		return EXPERIMENT_REFUSED;
	space_set_protect(s, gfn(e->arg[0]), e->arg[1]);
	return EXPERIMENT_OK;
}

static u32 run_unmap(struct space *s, struct experiment *e)
{
	space_drop_range(s, gfn(e->arg[0]), e->arg[1]);
	return EXPERIMENT_OK;
}

static u32 run_slot_add(struct space *s, struct experiment *e)
{
	if (!in_window(e))
		return EXPERIMENT_RANGE;
	if (a32_load(&s->wants_huge) || !notifier_may_add_slot(s, gfn(e->arg[0]), e->arg[1]) ||
	    !gfnmap_add(s, gfn(e->arg[0]), e->arg[1]))
		return EXPERIMENT_REFUSED;
	return EXPERIMENT_OK;
}

/* Pages of the slot that begins there; 0: there is none. */
static u64 slot_pages(struct space *s, gfn_t base)
{
	const struct slot *slot;
	u64 npages;

	epoch_enter();
	slot = gfnmap_slot(s, base);
	npages = slot && slot->base.v == base.v ? slot->npages : 0;
	epoch_exit();
	return npages;
}

/* Who closes it is who removes it: of several callers, one. */
static u32 run_slot_remove(struct space *s, struct experiment *e)
{
	gfn_t base = gfn(e->arg[0]);
	u64 npages;

	e->arg[1] = 1;
	if (!in_window(e))
		return EXPERIMENT_RANGE;
	npages = slot_pages(s, base);
	if (!npages || !gfnmap_close(s, base))
		return EXPERIMENT_REFUSED;
	space_drop_range(s, base, npages);
	gfnmap_remove(s, base);
	return EXPERIMENT_OK;
}

static u32 run_reclaim(struct space *s, struct experiment *e)
{
	u64 freed = 0, n;
	bool more;

	if (!e->arg[0] || e->arg[0] > EXPERIMENT_PAGES_MAX)
		return EXPERIMENT_RANGE;
	do {
		more = reclaim_self(s, (int)a32_load(&policy.swappiness), &n);
		freed += n;
	} while (more && freed < e->arg[0]);
	e->result[0] = freed;
	return EXPERIMENT_OK;
}

static u32 run_dirty(struct space *s, struct experiment *e)
{
	if (e->arg[0] >= DIRTY_LOG_MODES)
		return EXPERIMENT_RANGE;
	if (e->arg[0] == DIRTY_LOG_OFF)
		dirty_log_stop(s);
	else if (!dirty_log_start(s, (enum dirty_log_mode)e->arg[0]))
		return EXPERIMENT_REFUSED;
	return EXPERIMENT_OK;
}

static_assert(EXPERIMENT_RESULTS == NOTIFIER_WORDS, "a result for each word of a bitmap");

static u32 run_dirty_read(struct space *s, struct experiment *e)
{
	if (e->arg[1] > NOTIFIER_MAX_PAGES)
		return EXPERIMENT_RANGE;
	if (dirty_log_mode(s) == DIRTY_LOG_OFF)
		return EXPERIMENT_REFUSED;
	dirty_log_sync(s, gfn(e->arg[0]), e->arg[1]);
	(void)dirty_log_take(s, gfn(e->arg[0]), (unsigned)e->arg[1], e->result);
	return EXPERIMENT_OK;
}

static u32 run_counter(struct space *s, struct experiment *e)
{
	const struct space_stats *st = &s->stats;
	const a64 *const counter[EXPERIMENT_COUNTERS] = {
	        [EXPERIMENT_RESIDENT] = &s->resident,
	        [EXPERIMENT_FAULTS] = &st->faults_total,
	        [EXPERIMENT_FIRST_TOUCHES] = &st->first_touch_total,
	        [EXPERIMENT_EVICTIONS] = &st->evictions_total,
	        [EXPERIMENT_REFAULTS] = &st->refaults_total,
	        [EXPERIMENT_REFAULTS_RECENT] = &st->refaults_recent_total,
	        [EXPERIMENT_RESCUES] = &st->rescues_total,
	        [EXPERIMENT_REJECTED] = &st->rejected_total,
	        [EXPERIMENT_PASSES] = &st->passes_total,
	        [EXPERIMENT_AGING_NS] = &st->aging_ns_total,
	        [EXPERIMENT_VISITED] = &st->visited_total,
	        [EXPERIMENT_YOUNG] = &st->young_total,
	        [EXPERIMENT_PROMOTED] = &st->promoted_total,
	        [EXPERIMENT_TABLES] = &st->tables_visited_total,
	        [EXPERIMENT_SKIPPED_NONLEAF] = &st->tables_skipped_nonleaf_total,
	        [EXPERIMENT_SKIPPED_BLOOM] = &st->tables_skipped_bloom_total,
	        [EXPERIMENT_WALKS_GIVEN_UP] = &st->walks_given_up_total,
	        [EXPERIMENT_LOOKAROUNDS] = &st->lookarounds_total,
	        [EXPERIMENT_LOOKED_UP] = &st->lookaround_promoted_total,
	        [EXPERIMENT_CAUGHT] = &s->protect.caught_total,
	        [EXPERIMENT_DIRECT_RECLAIMS] = &st->direct_reclaims_total,
	        [EXPERIMENT_WRITTEN_DOWN] = &s->dirty_log.hardware_total,
	};

	if (e->arg[0] >= EXPERIMENT_COUNTERS)
		return EXPERIMENT_UNKNOWN;
	e->result[0] = a64_load(counter[e->arg[0]]);
	return EXPERIMENT_OK;
}

static u32 run_heat(struct space *s, struct experiment *e)
{
	struct sampler_region r;

	if (!sampler_region_of(s, gfn(e->arg[0]), &r))
		return EXPERIMENT_REFUSED;
	e->result[0] = r.first.v;
	e->result[1] = r.npages;
	e->result[2] = r.accesses;
	e->result[3] = SAMPLER_SAMPLES;
	e->result[4] = r.age;
	sampler_extent(s, &e->result[5], &e->result[6]);
	return EXPERIMENT_OK;
}

static u32 run_duty(struct space *s, struct experiment *e)
{
	struct ager_result r;

	if (e->arg[0] > 100 || e->arg[1] >= AGER_WORKS)
		return EXPERIMENT_RANGE;
	if (e->arg[0]) {
		if (twolist_on())
			return EXPERIMENT_REFUSED;
		ager_set(s, (unsigned)e->arg[0], (enum ager_work)e->arg[1]);
		return EXPERIMENT_OK;
	}
	r = ager_stop(s);
	e->result[0] = r.busy_ns;
	e->result[1] = r.whole_ns;
	e->result[2] = r.passes;
	return EXPERIMENT_OK;
}

static u32 run_fault_times(struct space *s, struct experiment *e)
{
	struct hist *h = &s->stats.fault_ns;

	if (e->arg[0] > 1)
		return EXPERIMENT_RANGE;
	e->result[0] = hist_count(h);
	e->result[1] = hist_percentile(h, 500);
	e->result[2] = hist_percentile(h, 990);
	e->result[3] = hist_percentile(h, 999);
	e->result[4] = a64_load(&h->max);
	e->result[5] = a64_load(&h->total);
	e->result[6] = rw_wait_ns(&s->mmu_lock);
	e->result[7] = rw_waits(&s->mmu_lock);
	if (e->arg[0])
		hist_clear(h);
	return EXPERIMENT_OK;
}

/* `range`: takes one; `empty`: which may have no pages. */
static const struct {
	u32 (*run)(struct space *s, struct experiment *e);
	bool range, empty;
} commands[] = {
        [EXPERIMENT_HELLO] = {.run = run_hello},
        [EXPERIMENT_AGE] = {.run = run_age},
        [EXPERIMENT_AGES] = {.run = run_ages, .range = true},
        [EXPERIMENT_ZAP] = {.run = run_zap, .range = true},
        [EXPERIMENT_PROTECT] = {.run = run_protect, .range = true, .empty = true},
        [EXPERIMENT_UNMAP] = {.run = run_unmap, .range = true},
        [EXPERIMENT_SLOT_ADD] = {.run = run_slot_add, .range = true},
        [EXPERIMENT_SLOT_REMOVE] = {.run = run_slot_remove},
        [EXPERIMENT_RECLAIM] = {.run = run_reclaim},
        [EXPERIMENT_COUNTER] = {.run = run_counter},
        [EXPERIMENT_HEAT] = {.run = run_heat},
        [EXPERIMENT_DIRTY] = {.run = run_dirty},
        [EXPERIMENT_DIRTY_READ] = {.run = run_dirty_read, .range = true},
        [EXPERIMENT_DUTY] = {.run = run_duty},
        [EXPERIMENT_FAULT_TIMES] = {.run = run_fault_times},
};

u32 experiment_run(struct space *s, struct experiment *e)
{
	DEBUG_ASSERT(!epoch_active());
	if (e->command >= ARRAY_SIZE(commands))
		return EXPERIMENT_UNKNOWN;
	if (commands[e->command].range && !range_ok(e) &&
	    !(commands[e->command].empty && !e->arg[1]))
		return EXPERIMENT_RANGE;
	return commands[e->command].run(s, e);
}
