/*
 * Words by which several agree who does what (mm/walk.c, mm/ager.c, mm/direct.c, mm/stall.c, mm/balloon.c, mm/reclaim.c),
 * under the weak memory of tests/host/weak.h: no change of one is lost to another's, and nobody acts on what was.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "arch/hal.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/space.h"
#include "mm/zap.h"

static u64 the_time;

#define hal_time_ns()             (the_time)
#define epoch_active()            false
#define space_drop_range(s, g, n) ((void)(s), (void)(g), (void)(n))

static struct space *space, *second;

/* The one space is gone; passes over the other make nothing. */
#define space_get_id(id)  ((id) == second->id ? second : NULL)
#define space_put(s)      ((void)(s))
#define age_space(s, ...) ((struct age_result){.produced = 0 * (s)->id})
#include "mm/ager.c"
#undef space_get_id
#undef space_put
#undef age_space

#define space_get_id(id) ((void)(id), (struct space *)NULL)
#define word_of          balloon_word_of
#include "mm/balloon.c"
#undef word_of
#undef space_get_id

#define all all_bucket
#include "mm/direct.c"
#undef all
#include "mm/stall.c"
#include "mm/walk.c"

#define ops reclaim_ops_now
#include "mm/reclaim.c"
#undef ops

#include "tests/host/hal.h"
#include "tests/host/vm.h"

#define PAGES   (4 * TABLE_PAGES)
#define SECOND  1000000000ull
#define PENALTY 1000u

static unsigned tokens, blocks_of[8 * WALK_TAKE], killed;
static u64 frames_of_victim; /* stands for what the drain gives back */

static void setup(void)
{
	weak_reset(2);
	memset(&space->stall, 0, sizeof(space->stall));
	memset(&space->stats, 0, sizeof(space->stats));
	memset(&space->direct, 0, sizeof(space->direct));
	memset(blocks_of, 0, sizeof(blocks_of));
	space->walk_cursor.raw = 0;
	space->dying.raw = second->dying.raw = 0;
	space->users.raw = second->users.raw = 0;
	the_time = 10 * SECOND;
	tokens = killed = 0;
	all_bucket.paid_ns.raw = 0;
	wanted.raw = 0;
	giving.raw = 0;
	victim.raw = 0;
	failures.raw = OOM_PATIENCE;
	fruitless_since_ns.raw = 0;
}

/* --- who waits --- */

static void setup_stall(void)
{
	setup();
	space->vcpus = 2;
}

static void run_waiter(void)
{
	for (int i = 0; i < 2; i++) {
		u64 began = stall_begin(space);

		the_time += 10;
		stall_end(space, began);
	}
}

static void check_stall(void)
{
	const struct space_stats *stats = &space->stats;
	u64 some = stats->stall_some_ns_total.raw, all_of_them = stats->stall_all_ns_total.raw;

	if (space->stall.word.raw & WAITING)
		explorer_panic("somebody waits for ever");
	/* 40 ns of waiting have gone by, and whenever both did, two of them were counted for each. */
	if (some > 40 || stats->stall_ns_total.raw != some + all_of_them)
		explorer_panic("each %llu, some %llu, all %llu",
		               (unsigned long long)stats->stall_ns_total.raw,
		               (unsigned long long)some, (unsigned long long)all_of_them);
}

/* --- tokens --- */

static void setup_tokens(void)
{
	setup();
	/* One token is left in each bucket. */
	space->direct.paid_ns.raw = all_bucket.paid_ns.raw = the_time;
}

static void run_take_own(void)
{
	tokens += own_take(&space->direct, the_time, SECOND);
}

static void run_take_all(void)
{
	tokens += all_take(the_time, SECOND, false);
}

static void check_tokens(void)
{
	if (tokens != 1)
		explorer_panic("%u tokens of one", tokens);
}

/* --- the ager's order book --- */

static void setup_ager(void)
{
	setup();
	ager_set(space, 100, AGER_PASSES);
}

static void run_stop(void)
{
	(void)ager_stop(space);
}

static void run_turn(void)
{
	(void)ager_turn();
}

static void run_set_other(void)
{
	ager_set(second, 50, AGER_PASSES);
}

static void check_ager(void)
{
	if (wanted.raw != word_of(second, 50, AGER_PASSES))
		explorer_panic("what was asked for last is lost");
}

/* --- blocks of a pass --- */

static void take_blocks(void)
{
	struct walk w = {.space = space, .max_seq = 5};
	u64 block;

	for (unsigned i = 0; i < WALK_TAKE && block_take(&w, &block); i++)
		blocks_of[block]++;
}

static void run_skip(void)
{
	struct walk w = {.space = space, .max_seq = 5};

	blocks_skip(&w, 3 * WALK_TAKE);
}

/* To where another may long have been. */
static void run_skip_little(void)
{
	struct walk w = {.space = space, .max_seq = 5};

	blocks_skip(&w, WALK_TAKE);
}

static void run_walk_far(void)
{
	take_blocks();
	take_blocks();
}

static void setup_walk(void)
{
	setup();
	space->walk_cursor.raw = (u64)5 << CURSOR_BITS;
}

/* Each block once, whoever leaves some out. */
static void check_blocks(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(blocks_of); i++)
		if (blocks_of[i] > 1)
			explorer_panic("block %u is walked twice", i);
	if ((space->walk_cursor.raw & BLOCK_MASK) < 2 * WALK_TAKE)
		explorer_panic("blocks were taken that the cursor does not know of");
}

static void check_skipped(void)
{
	if ((space->walk_cursor.raw & BLOCK_MASK) < 3 * WALK_TAKE)
		explorer_panic("what was to be skipped is not");
}

/* --- drops that are going on --- */

static void run_give(void)
{
	drop(space, gfn(0), 1);
}

static void check_giving(void)
{
	if (giving.raw)
		explorer_panic("%d drop for ever", (int)giving.raw);
}

/* --- who has to go --- */

static void out_of_memory(struct space *s, const char *why)
{
	(void)s;
	(void)why;
	killed++;
}

/* Its pages are dropped, and there is memory. */
static void drain(struct space *s)
{
	weak_write(&frames_of_victim);
	reclaim_drained(s);
}

static void run_judge(void)
{
	if (reclaim_out_of_memory())
		drain(a32_load(&space->dying) ? space : second);
}

static void check_killed(void)
{
	if (killed != 1)
		explorer_panic("%u were stopped where one would do", killed);
}

static const struct explorer_scene scenes[] = {
        {.name = "two wait",
         .setup = setup_stall,
         .check = check_stall,
         .actor = {{"one", run_waiter}, {"two", run_waiter}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "one token of the space",
         .setup = setup_tokens,
         .check = check_tokens,
         .actor = {{"one", run_take_own}, {"two", run_take_own}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "one token of all",
         .setup = setup_tokens,
         .check = check_tokens,
         .actor = {{"one", run_take_all}, {"two", run_take_all}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "ager stopped, another asked for",
         .setup = setup_ager,
         .check = check_ager,
         .actor = {{"stop", run_stop}, {"set", run_set_other}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "ager's space gone, another asked for",
         .setup = setup_ager,
         .check = check_ager,
         .actor = {{"turn", run_turn}, {"set", run_set_other}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "two walk",
         .setup = setup_walk,
         .check = check_blocks,
         .actor = {{"one", take_blocks}, {"two", take_blocks}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "one walks, one skips",
         .setup = setup_walk,
         .check = check_skipped,
         .actor = {{"walk", take_blocks}, {"skip", run_skip}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "one walks far, one skips little",
         .setup = setup_walk,
         .check = check_blocks,
         .actor = {{"walk", run_walk_far}, {"skip", run_skip_little}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "two drop",
         .setup = setup,
         .check = check_giving,
         .actor = {{"one", run_give}, {"two", run_give}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "one victim, judged by two",
         .setup = setup,
         .check = check_killed,
         .actor = {{"one", run_judge}, {"two", run_judge}},
         .nr_actors = 2,
         .max_preemptions = 2},
};

static const struct space_ops no_ops;

int main(void)
{
	static const struct reclaim_ops judge = {.out_of_memory = out_of_memory};

	host_frames_create(8);
	space = space_create("guest", &no_ops, NULL);
	second = space_create("other", &no_ops, NULL);
	if (!space || !second || !gfnmap_add(space, gfn(0), PAGES) ||
	    !gfnmap_add(second, gfn(0), PAGES))
		return 1;
	a64_store(&space->resident, 5);
	a64_store(&second->resident, 4);
	reclaim_ops_now = &judge;
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
