/*
 * Who has a page, under the weak memory of tests/host/weak.h: the gfn word between faults, evictor and rescue,
 * the frame's state word between pins, isolation and promotion, the invalidate sequence between faults and
 * evictor. The real transitions; contents and stored copies are plain data, of which the model says when two
 * accesses are not ordered.
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

/* Sections are counted by the library for one CPU, on which all actors run. */
#define epoch_active() true
#include "lib/lock.c"
#define frames frame_array /* gen.c has a variable of that name */
#include "mm/frame.c"
#undef frames
#include "mm/gen.c"
#include "mm/promote.c"
#include "mm/gfnmap.c"
#include "mm/notifier.c"
#include "mm/evict.c"
#undef epoch_active
#define epoch_active()  false
#define memset(p, c, n) (weak_write(p), (memset)(p, c, n))
#include "mm/fault.c"
#undef memset
#include "tests/host/hal.h"
#include "tests/host/vm.h"

#define GFN gfn(1)

static struct space *space;
static a64 *word;
static u32 first;  /* frame that the page has in the scenes that start with one */
static u64 stored; /* stands for what a store keeps */
static bool evicted_it, rescued_it;

static void frame_reset(u32 frame)
{
	frame_at(frame)->state.raw = (u64)FRAME_HELD << FRAME_USE_SHIFT;
	frame_at(frame)->copy.raw = 0;
}

static void setup(void)
{
	weak_reset(2);
	memset(held_locks, 0, sizeof(held_locks));
	memset(&space->lru, 0, sizeof(space->lru));
	memset(&space->inv, 0, sizeof(space->inv));
	rw_init(&space->mmu_lock, LOCK_MMU, "mmu");
	gen_init(&space->lru);
	frame_reset(first);
	frame_give(first, FRAME_GUEST, space->id, GFN);
	word->raw = gfn_word(GFN_RESIDENT, first);
	evicted_it = rescued_it = false;
}

/* --- faults: BUSY hands the page on, its word the frame --- */

static void setup_absent(void)
{
	setup();
	word->raw = 0;
	frame_reset(first);
}

/* fault_bring_in() with a frame of the actor's own: the allocator has its lock. */
static void fault_with(u32 frame)
{
	struct fault_page page = {.frame = frame};
	enum fault_result r;
	u64 seen;

	do {
		seen = a64_load_acquire(word);
		if (gfn_word_tag(seen) == GFN_RESIDENT && !(seen & GFN_BUSY)) {
			r = fault_bring_in(space, GFN, false, true, &page);
		} else {
			epoch_enter();
			r = bring_in(space, GFN, false, &page);
			epoch_exit();
		}
		if (r == FAULT_RETRY)
			hal_pause();
	} while (r == FAULT_RETRY);
	weak_read(frame_ptr(page.frame));
}

static void run_fault(void)
{
	fault_with(first);
}

/* Faults only once somebody has brought the page: reads the frame that the word names. */
static void run_late_fault(void)
{
	struct fault_page page;

	if (gfn_word_tag(a64_load(word)) != GFN_RESIDENT || a64_load(word) & GFN_BUSY)
		return;
	if (fault_bring_in(space, GFN, false, true, &page) == FAULT_FIXED)
		weak_read(frame_ptr(page.frame));
}

/* Evicts what is resident, unless it is in somebody's hands. */
static void run_evictor(void)
{
	frame_state_change(first, FRAME_UNPACKABLE, FRAME_DIRTY); /* the zap found Dirty */
	if (!word_to_evicting(space, GFN, first))
		return;
	weak_write(&stored);
	evicted_it = word_leave_evicting(space, first, gfn_word(GFN_POOLED, 7));
}

static void run_rescuer(void)
{
	u64 seen = a64_load_acquire(word);
	struct fault_page page;

	if (gfn_word_tag(seen) == GFN_EVICTING) {
		rescued_it = take_present(space, word, seen, false, &page) == FAULT_FIXED;
		if (rescued_it && page.clean)
			explorer_panic("a rescued page is clean, which the zap found dirty");
	} else if (gfn_word_tag(seen) == GFN_POOLED && gfnmap_busy_try(word, &seen)) {
		weak_read(&stored);
		gfnmap_busy_end(word, seen);
	}
}

static void check_one_won(void)
{
	if (evicted_it && rescued_it)
		explorer_panic("evicted and rescued");
}

/* What one holder of BUSY does is seen by the next, who found the word without order. */
static void run_holder(void)
{
	for (int i = 0; i < 2; i++) {
		u64 seen = a64_load(word);

		if (!gfnmap_busy_try(word, &seen))
			continue;
		weak_write(&stored);
		gfnmap_busy_end(word, seen);
	}
}

/* --- the frame's state word: pins, isolation, listing --- */

static void setup_listed(void)
{
	setup();
	gen_insert(&space->lru, first, GEN_ENTER_REJECTED);
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

static void run_isolator(void)
{
	struct gen_chunk chunk = {.seq = space->lru.min_seq[GEN_CLEAN], .type = GEN_CLEAN};
	u32 frame;

	spin_lock(&space->lru.lock);
	chunk.seq = gen_seq_locked(&space->lru, a64_load(&frame_at(first)->state));
	isolate_one_locked(&space->lru, first, 3, &chunk);
	spin_unlock(&space->lru.lock);
	if (!chunk.n)
		return;
	frame = chunk.frame[0];
	if (a64_load(&frame_at(frame)->state) & FRAME_PINS)
		explorer_panic("isolated though pinned");
	weak_write(frame_ptr(frame));
	gen_insert(&space->lru, frame, GEN_ENTER_RESCUED);
}

/* What a zap found and what an emulated access touched, beside a pin: none of the three is lost. */
static void run_zapper(void)
{
	frame_state_change(first, FRAME_UNPACKABLE, FRAME_DIRTY);
}

static void run_accessor(void)
{
	frame_mark_accessed(first);
	frame_mark_accessed(first);
}

static void run_remover(void)
{
	if (!gen_remove(&space->lru, first))
		explorer_panic("a listed frame is on no list");
}

static void check_unpinned(void)
{
	if (frame_at(first)->state.raw & FRAME_PINS)
		explorer_panic("a pin was lost or is left over");
}

/* --- generations: a promotion beside a window that moves --- */

static void setup_window(void)
{
	setup();
	gen_advance(&space->lru, a64_load(&space->lru.max_seq));
}

static void run_promoter(void)
{
	struct gen_batch batch = {.promoted = 0};

	(void)gen_promote(&space->lru, first, space->id, &batch);
}

static void setup_touched(void)
{
	setup_window();
	frame_at(first)->state.raw |= FRAME_REFERENCED;
}

static void run_block_promoter(void)
{
	struct gen_batch batch = {.promoted = 0};
	u64 young = 1;

	(void)gen_promote_block(&space->lru, word, 1, &young, space->id, &batch);
}

/*
 * Pushes a listed frame along, by writing its label anew each time, for four generations are all there is room
 * for; and then as an evictor does that leaves it for a while.
 */
static void run_advancer(void)
{
	u64 state;

	for (unsigned i = 0; i < GEN_MAX; i++) {
		for (unsigned type = 0; type < GEN_TYPES; type++)
			space->lru.oldest_label[type] = space->lru.min_seq[type] - GEN_RELABEL;
		(void)gen_advance(&space->lru, a64_load(&space->lru.max_seq));
	}
	spin_lock(&space->lru.lock);
	state = a64_load(&frame_at(first)->state);
	(void)move_on_locked(&space->lru, first, state_type(state),
	                     gen_seq_locked(&space->lru, state), false);
	spin_unlock(&space->lru.lock);
}

static void run_mover(void)
{
	u64 max = a64_load(&space->lru.max_seq);

	(void)gen_advance(&space->lru, max);
	(void)gen_advance(&space->lru, max + 1);
	gen_insert(&space->lru, first, GEN_ENTER_REFAULT_HOT);
}

/* The list may lag behind the state word, never lead (mm/gen.c). */
static void check_list(void)
{
	u64 state = a64_load(&frame_at(first)->state), max = a64_load(&space->lru.max_seq);

	if (!(state & FRAME_LISTED))
		return;
	for (u64 seq = max - GEN_MAX + 1; seq <= max; seq++)
		if (space->lru.list[gen_index(seq)][state_type(state)].head == first &&
		    gen_seq_locked(&space->lru, state) < seq)
			explorer_panic("a generation older than its list's");
}

static void run_dirtier(void)
{
	gen_make_dirty(&space->lru, first);
}

static void check_dirty(void)
{
	if (!(frame_at(first)->state.raw & FRAME_DIRTY) ||
	    (frame_at(first)->state.raw & FRAME_PINS))
		explorer_panic("Dirty or a pin was lost");
}

/* --- a word that names a frame says what became of the frame before --- */

static enum fault_result dirtied;

static void setup_reused(void)
{
	setup_absent();
	frame_at(first)->state.raw = (u64)FRAME_GUEST << FRAME_USE_SHIFT | FRAME_DIRTY;
	dirtied = FAULT_RETRY;
}

static void run_bringer(void)
{
	frame_hold(first);
	fault_with(first);
}

static void run_make_dirty(void)
{
	if (gfn_word_tag(a64_load(word)) == GFN_RESIDENT)
		dirtied = fault_make_dirty(space, GFN);
}

static void check_made_dirty(void)
{
	if (dirtied == FAULT_FIXED && !(frame_at(first)->state.raw & FRAME_DIRTY))
		explorer_panic("the page was taken for dirty by its frame's owner before");
}

/* --- a busy page is nobody else's --- */

static void run_busy(void)
{
	u64 seen = a64_load(word);

	if (!gfnmap_busy_try(word, &seen))
		return;
	if (a64_load(word) != (seen | GFN_BUSY))
		explorer_panic("the word of a busy page changed");
	gfnmap_busy_end(word, seen);
}

/* --- a fault that read the word before it was changed --- */

static bool installed;

static void run_installer(void)
{
	u64 seq = invalidate_seq(space), seen = a64_load(word);

	if (gfn_word_tag(seen) != GFN_RESIDENT)
		return;
	read_lock(&space->mmu_lock);
	if (!invalidate_retry(space, seq, GFN)) {
		weak_write(&installed);
		installed = true;
	}
	read_unlock(&space->mmu_lock);
}

static void run_invalidator(void)
{
	invalidate_begin(space, GFN, GFN);
	weak_write(&installed);
	installed = false; /* the zap */
	a64_store(word, gfn_word(GFN_ZERO, 0));
	invalidate_end(space, GFN, GFN);
}

static void setup_install(void)
{
	setup();
	installed = true;
}

static void check_installed(void)
{
	if (installed)
		explorer_panic("a translation of a page that is away");
}

/* --- slots: found complete --- */

static a64 *added;

static void setup_slots(void)
{
	setup();
	space->slots.raw = NULL;
}

static void run_adder(void)
{
	static struct slots next;
	static a64 words[1];

	spin_lock(&space->slots_lock);
	weak_write(&next);
	next = (struct slots){.nr = 1, .slot = {{.base = gfn(64), .npages = 1, .word = words}}};
	slots_publish(space, &next);
	spin_unlock(&space->slots_lock);
}

static void run_finder(void)
{
	const struct slots *slots = gfnmap_slots(space);

	if (!slots->nr)
		return;
	weak_read(slots);
	added = gfnmap_word(space, gfn(64));
}

static const struct explorer_scene scenes[] = {
        {.name = "two faults",
         .setup = setup_absent,
         .actor = {{"fault", run_fault}, {"late", run_late_fault}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "evictor, rescuer",
         .setup = setup,
         .check = check_one_won,
         .actor = {{"evictor", run_evictor}, {"rescuer", run_rescuer}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "two holders of busy",
         .setup = setup,
         .actor = {{"one", run_holder}, {"two", run_holder}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "pin, isolation",
         .setup = setup_listed,
         .actor = {{"pinner", run_pinner}, {"isolator", run_isolator}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "promotion, window",
         .setup = setup_window,
         .check = check_list,
         .actor = {{"promoter", run_promoter}, {"mover", run_mover}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "promotion, dirty, pin",
         .setup = setup_listed,
         .check = check_dirty,
         .actor = {{"promoter", run_promoter}, {"dirtier", run_dirtier}, {"pinner", run_pinner}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "zap, access, pin",
         .setup = setup_listed,
         .check = check_dirty,
         .actor = {{"zap", run_zapper}, {"access", run_accessor}, {"pinner", run_pinner}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "removal, pin",
         .setup = setup_listed,
         .check = check_unpinned,
         .actor = {{"remover", run_remover}, {"pinner", run_pinner}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "window, pin",
         .setup = setup_listed,
         .check = check_unpinned,
         .actor = {{"advancer", run_advancer}, {"pinner", run_pinner}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "promotion of a block, window",
         .setup = setup_touched,
         .check = check_list,
         .actor = {{"promoter", run_block_promoter}, {"mover", run_mover}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "promotion of a block, dirty, pin",
         .setup = setup_listed,
         .check = check_dirty,
         .actor = {{"promoter", run_block_promoter},
                   {"dirtier", run_dirtier},
                   {"pinner", run_pinner}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "frame with a past",
         .setup = setup_reused,
         .check = check_made_dirty,
         .actor = {{"fault", run_bringer}, {"write", run_make_dirty}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "busy, evictor",
         .setup = setup,
         .actor = {{"busy", run_busy}, {"evictor", run_evictor}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "fault, invalidation",
         .setup = setup_install,
         .check = check_installed,
         .actor = {{"fault", run_installer}, {"evictor", run_invalidator}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "slot added, slot found",
         .setup = setup_slots,
         .actor = {{"adder", run_adder}, {"finder", run_finder}},
         .nr_actors = 2,
         .max_preemptions = 3},
};

static const struct space_ops no_ops;

int main(void)
{
	bool good = true;

	host_frames_create(1024);
	space = space_create("guest", &no_ops, NULL);
	if (!space || !gfnmap_add(space, gfn(0), 16))
		return 1;
	word = gfnmap_word(space, GFN);
	first = frame_alloc(FRAME_FOR_FAULT);
	for (unsigned i = 0; i < ARRAY_SIZE(scenes); i++) {
		struct slots *slots = space->slots.raw;

		good &= explorer_passes(&scenes[i]);
		space->slots.raw = slots;
	}
	return good ? 0 : 1;
}
