/*
 * All who take a frame away, beside one who pins it: the evictor that asks for a certain page (mm/gen.c), the two lists
 * (mm/twolist.c), a collapse (mm/collapse.c), a drop (mm/space.c), under the weak memory of tests/host/weak.h. A pin
 * is not lost, nobody takes a frame that is pinned, and who takes it comes after all that was done while it was pinned.
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

#include "mm/epoch.h"

#define epoch_active() true
#include "lib/lock.c"
#define frames frame_array /* gen.c has a variable of that name */
#include "mm/frame.c"
#undef frames
#include "mm/gen.c"
#define isolate_one_locked  inactive_isolate_locked
#define isolate_type_locked inactive_isolate_type_locked
#define list_of             twolist_list_of
#define size_of             twolist_size_of
#include "mm/twolist.c"
#undef isolate_one_locked
#undef isolate_type_locked
#undef list_of
#undef size_of
#define isolate_one_locked  prove_or_isolate_locked
#define isolate_type_locked probation_isolate_type_locked
#define stays_locked        probation_stays_locked
#include "mm/probation.c"
#undef isolate_one_locked
#undef isolate_type_locked
#undef stays_locked
#define unmap        collapse_unmap
#define isolate_page collapse_isolate_page
#include "mm/collapse.c"
#undef unmap
#undef isolate_page
#include "mm/space.c"
#undef epoch_active
#define epoch_active() false
#define epoch_poll()   ((void)0) /* other actors are in sections of the same CPU */
#define at_work        evictors
#include "mm/evict.c"

#include "tests/host/hal.h"
#include "tests/host/vm.h"

#define GFN gfn(1)

static struct space *space;
static u32 first;

static void setup(void)
{
	weak_reset(2);
	memset(held_locks, 0, sizeof(held_locks));
	evictors.raw = 0;
	policy.probation.raw = 0;
	memset(&space->lru, 0, sizeof(space->lru));
	gen_init(&space->lru);
	frame_at(first)->state.raw = (u64)FRAME_HELD << FRAME_USE_SHIFT;
	frame_at(first)->copy.raw = 0;
	frame_give(first, FRAME_GUEST, space->id, GFN);
	gen_insert(&space->lru, first, GEN_ENTER_REJECTED);
}

static void take_off(void)
{
	if (!gen_remove(&space->lru, first))
		explorer_panic("a listed frame is on no list");
}

/* On the inactive list of two. */
static void setup_inactive(void)
{
	setup();
	take_off();
	twolist_init(&space->lru);
	gen_insert(&space->lru, first, GEN_ENTER_FRESH);
}

static void setup_active(void)
{
	setup();
	take_off();
	twolist_init(&space->lru);
	gen_insert(&space->lru, first, GEN_ENTER_REFAULT_HOT);
}

/* To prove itself. */
static void setup_probation(void)
{
	setup();
	take_off();
	policy.probation.raw = 1;
	gen_insert(&space->lru, first, GEN_ENTER_FRESH);
	if (!space->lru.on_probation)
		explorer_panic("not on probation");
}

static void setup_proven(void)
{
	setup();
	policy.probation.raw = 1;
}

static void run_pinner(void)
{
	for (int i = 0; i < 2; i++) {
		if (!frame_pin_try(first))
			continue;
		weak_read(frame_ptr(first));
		frame_unpin(first);
	}
}

static void run_dirtier(void)
{
	frame_state_change(first, FRAME_UNPACKABLE, FRAME_DIRTY);
}

/* It is taken: nobody else has it. */
static void use_taken(enum gen_entry back)
{
	if (a64_load(&frame_at(first)->state) & FRAME_PINS)
		explorer_panic("taken though pinned");
	weak_write(frame_ptr(first));
	gen_insert(&space->lru, first, back);
}

static void run_isolate_page(void)
{
	struct gen_chunk chunk;

	if (gen_isolate_page(&space->lru, first, space->id, GFN, &chunk))
		use_taken(GEN_ENTER_RESCUED);
}

static void run_isolate_inactive(void)
{
	struct gen_chunk chunk = {.n = 0};

	spin_lock(&space->lru.lock);
	inactive_isolate_locked(&space->lru, first, GEN_CLEAN, &chunk);
	spin_unlock(&space->lru.lock);
	if (chunk.n)
		use_taken(GEN_ENTER_FRESH);
}

static void run_isolate_probation(void)
{
	struct gen_chunk chunk = {.n = 0};

	spin_lock(&space->lru.lock);
	prove_or_isolate_locked(&space->lru, first, 3, &chunk);
	spin_unlock(&space->lru.lock);
	if (chunk.n)
		use_taken(GEN_ENTER_FRESH);
}

static void run_release(void)
{
	spin_lock(&space->lru.lock);
	release_locked(&space->lru, first, GEN_CLEAN, 0);
	spin_unlock(&space->lru.lock);
}

static void run_to_probation(void)
{
	spin_lock(&space->lru.lock);
	(void)probation_demote_locked(&space->lru);
	spin_unlock(&space->lru.lock);
}

static void run_take_active(void)
{
	u32 frame[GEN_BATCH];

	if (take_active(&space->lru, GEN_CLEAN, frame))
		use_taken(GEN_ENTER_DEACTIVATED);
}

static void run_collapse(void)
{
	if (isolate_frame(space, first))
		use_taken(GEN_ENTER_UNPACKABLE);
}

static void run_drop(void)
{
	frame_claim(space, first);
	use_taken(GEN_ENTER_FRESH);
}

static void check_pins(void)
{
	if (frame_at(first)->state.raw & FRAME_PINS)
		explorer_panic("a pin was lost or is left over");
}

static void check_dirty(void)
{
	check_pins();
	if (!(frame_at(first)->state.raw & FRAME_DIRTY))
		explorer_panic("Dirty was lost");
}

/* --- a second chance, instead of going: the word keeps what came meanwhile --- */

static void setup_chance(void)
{
	setup();
	frame_at(first)->state.raw |= FRAME_WORKINGSET;
}

static void run_demote(void)
{
	struct lruvec *l = &space->lru;
	u64 state;

	spin_lock(&l->lock);
	state = a64_load(&frame_at(first)->state);
	(void)demote_locked(l, first,
	                    &(struct gen_chunk){.demote = true,
	                                        .seq = gen_seq_locked(l, state),
	                                        .type = state_type(state)});
	spin_unlock(&l->lock);
}

/* --- evictors are counted --- */

static void run_evict_page(void)
{
	if (evict_page(space, gfn(7)) != EVICT_PAGE_NOT_RESIDENT)
		explorer_panic("a page that is not there");
}

static void run_evict_space(void)
{
	(void)evict_space(space, (struct evict_request){.target = 1, .most = GEN_BATCH});
}

static void setup_empty(void)
{
	setup();
	take_off();
}

static void check_evictors(void)
{
	if (evictors.raw)
		explorer_panic("%d evictors are left over", (int)evictors.raw);
}

static const struct explorer_scene scenes[] = {
        {.name = "pin, page asked for",
         .setup = setup,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"evictor", run_isolate_page}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, inactive list",
         .setup = setup_inactive,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"evictor", run_isolate_inactive}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, active list",
         .setup = setup_active,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"evictor", run_take_active}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, probation",
         .setup = setup_probation,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"evictor", run_isolate_probation}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, end of probation",
         .setup = setup_probation,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"evictor", run_release}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, probation again",
         .setup = setup_proven,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"evictor", run_to_probation}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, collapse",
         .setup = setup,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"collapse", run_collapse}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "dirty, collapse",
         .setup = setup,
         .check = check_dirty,
         .actor = {{"zap", run_dirtier}, {"collapse", run_collapse}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, drop",
         .setup = setup,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"drop", run_drop}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "pin, second chance",
         .setup = setup_chance,
         .check = check_pins,
         .actor = {{"pinner", run_pinner}, {"evictor", run_demote}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "evictors of pages",
         .setup = setup_empty,
         .check = check_evictors,
         .actor = {{"one", run_evict_page}, {"two", run_evict_page}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "evictors of spaces",
         .setup = setup_empty,
         .check = check_evictors,
         .actor = {{"one", run_evict_space}, {"two", run_evict_page}},
         .nr_actors = 2,
         .max_preemptions = 1},
};

static const struct space_ops no_ops;

int main(void)
{
	host_frames_create(1024);
	space = space_create("guest", &no_ops, NULL);
	if (!space || !gfnmap_add(space, gfn(0), 16))
		return 1;
	first = frame_alloc(FRAME_FOR_FAULT);
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
