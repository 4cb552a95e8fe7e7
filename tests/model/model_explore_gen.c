/*
 * Every interleaving, within a bound on preemptions, of a walker that promotes without a lock, an ager that
 * moves the window, and an evictor that isolates and lists again, over the real mm/gen.c and three frames.
 *
 * Whenever the lruvec lock is free, every listed frame is on one list, in a generation of the window, and in
 * none older than its list's; no promotion makes a page older; and when all is flushed, sizes are what the
 * state words say.
 *
 * Then the test is tested: one at a time, the code is spoilt, and the explorer has to find it.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer_suite.h"

#include <stdio.h>
#include <string.h>

#include "arch/hal.h"
#include "lib/atomic.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/policy.h"
#include "mm/twolist.h"

enum mutant {
	NONE,
	NO_COMPARE,    /* a promotion does not ask whether the label is younger */
	EARLY_PUBLISH, /* the new generation is seen before there is room for it */
	BY_INDEX,      /* a batch is flushed to what has the indices of its generations now */
	SIZES_STAY,    /* a merge leaves the size of the oldest generation where it is */
	STORE_FOR_CAS, /* a state is replaced by a plain store */
	NO_LOCK,       /* advancing does not exclude isolating */
	MUTANTS,
};
static const char *const mutant_name[] = {
        "as it is",         "no look at a younger label", "max_seq published before there is room",
        "batches by index", "sizes stay behind",          "plain store of a state",
        "no lock"};
static unsigned mutant; /* enum mutant */

enum { PROMOTER, AGER, EVICTOR, ACTORS };

#define NFRAMES  3u
#define SPACE    1u
#define ADVANCES 3u
#define NOBODY   EXPLORER_ACTORS

static struct {
	struct lruvec l;
	struct frame frame[NFRAMES];
	a64 word[NFRAMES];
	unsigned holder;        /* of the lruvec lock */
	bool early;             /* EARLY_PUBLISH: done */
	u64 min_seq[GEN_TYPES]; /* BY_INDEX: the real one, while a batch is flushed */
	u64 real, faked;        /* NO_COMPARE: a state, and what a promotion takes it for */
	struct gen_batch batch;
} world;
static bool by_block; /* which of the two promotions */

struct frame *frame_at(u32 frame)
{
	if (frame >= NFRAMES)
		explorer_panic("there is no frame %u", frame);
	return &world.frame[frame];
}
void frame_count_unpackable(u64 from, u64 to)
{
	(void)from;
	(void)to;
}
bool epoch_active(void)
{
	return true;
}

/* The other policy is not on here. */
void twolist_init(struct lruvec *l)
{
	(void)l;
	explorer_panic("two lists");
}
u64 twolist_entry(const struct lruvec *l, enum gen_entry how, u64 *state)
{
	(void)l;
	(void)how;
	(void)state;
	explorer_panic("two lists");
}
void twolist_isolate_locked(struct lruvec *l, unsigned swappiness, struct gen_chunk *out)
{
	(void)l;
	(void)swappiness;
	(void)out;
	explorer_panic("two lists");
}
void twolist_count(struct lruvec *l)
{
	(void)l;
	explorer_panic("two lists");
}
u64 twolist_stamp(const struct lruvec *l)
{
	(void)l;
	explorer_panic("two lists");
}
unsigned twolist_distance(const struct lruvec *l, u64 word)
{
	(void)l;
	(void)word;
	explorer_panic("two lists");
}

/* --- what has to hold --- */

static u64 seq_of_state(u64 state)
{
	return gen_seq_locked(&world.l, state);
}

static void check_listed(u32 frame, u64 list_seq, unsigned type)
{
	u64 state = world.frame[frame].state.raw, max = world.l.max_seq.raw;

	if (!(state & FRAME_LISTED))
		explorer_panic("frame %u is on a list and in no generation", frame);
	if (list_seq < world.l.min_seq[type] || list_seq > max)
		explorer_panic("frame %u hangs on a list outside of the window", frame);
	if (seq_of_state(state) < list_seq)
		explorer_panic("frame %u is older than its list", frame);
}

static void check_lists(void)
{
	unsigned seen[NFRAMES] = {0};

	for (unsigned type = 0; type < GEN_TYPES; type++) {
		for (unsigned g = 0; g < GEN_MAX; g++) {
			u64 max = world.l.max_seq.raw;
			u32 frame = world.l.list[g][type].head;

			for (; frame != FRAME_NONE; frame = world.frame[frame].next) {
				if (seen[frame]++)
					explorer_panic("frame %u is on two lists", frame);
				check_listed(frame, max - ((max - g) & (GEN_MAX - 1)), type);
			}
		}
		if (world.l.max_seq.raw - world.l.min_seq[type] >= GEN_MAX)
			explorer_panic("more than four generations");
	}
	for (u32 frame = 0; frame < NFRAMES; frame++)
		if (!seen[frame] != !(world.frame[frame].state.raw & FRAME_LISTED))
			explorer_panic("frame %u is in a generation and on no list", frame);
}

static void check_sizes(void)
{
	for (unsigned g = 0; g < GEN_MAX; g++) {
		for (unsigned type = 0; type < GEN_TYPES; type++) {
			u64 n = 0;

			for (u32 f = 0; f < NFRAMES; f++) {
				u64 state = world.frame[f].state.raw;

				n += state & FRAME_LISTED && gen_index(seq_of_state(state)) == g &&
				     !(state & FRAME_DIRTY) == (type == GEN_CLEAN);
			}
			if (world.l.size[g][type].raw != n)
				explorer_panic("size of generation index %u is wrong", g);
		}
	}
}

static void check_promotion(u64 from, u64 to)
{
	if (!(from & FRAME_LISTED) || !(to & FRAME_LISTED))
		return;
	if (gen_label_seq(to, world.l.max_seq.raw) < gen_label_seq(from, world.l.max_seq.raw))
		explorer_panic("a promotion made a page older");
	if (seq_of_state(to) - world.l.min_seq[to & FRAME_DIRTY ? GEN_DIRTY : GEN_CLEAN] >= GEN_MAX)
		explorer_panic("a promotion to where there is no room yet");
}

/* --- the lock, and the seams of the mutants --- */

static bool lock_is_free(void *arg)
{
	(void)arg;
	return world.holder == NOBODY;
}
void spin_init(struct spinlock *lock, enum lock_class class, const char *name)
{
	(void)lock;
	(void)class;
	(void)name;
}
static bool unlocked(void)
{
	return mutant == NO_LOCK && explorer_self() == AGER;
}
void spin_lock(struct spinlock *lock)
{
	(void)lock;
	if (unlocked())
		return;
	explorer_yield();
	while (world.holder != NOBODY)
		explorer_wait(lock_is_free, NULL);
	world.holder = explorer_self();
	if (mutant == BY_INDEX && world.holder == PROMOTER) {
		memcpy(world.min_seq, world.l.min_seq, sizeof(world.min_seq));
		memset(world.l.min_seq, 0, sizeof(world.min_seq));
	}
}
void spin_unlock(struct spinlock *lock)
{
	(void)lock;
	if (unlocked())
		return;
	if (mutant == BY_INDEX && world.holder == PROMOTER)
		memcpy(world.l.min_seq, world.min_seq, sizeof(world.min_seq));
	check_lists();
	world.holder = NOBODY;
}
bool spin_held(const struct spinlock *lock)
{
	(void)lock;
	return true;
}

static bool is_state(const a64 *a)
{
	for (u32 f = 0; f < NFRAMES; f++)
		if (a == &world.frame[f].state)
			return true;
	return false;
}

static u64 mutable_load(const a64 *a)
{
	u64 value = a64_load(a), to = world.batch.to;

	if (mutant != NO_COMPARE || explorer_self() != PROMOTER || !is_state(a) || !to ||
	    !(value & FRAME_LISTED) || gen_label_seq(value, to) <= to)
		return value;
	world.real = value;
	world.faked = (value & ~FRAME_LABEL) | (to - 1) << FRAME_LABEL_SHIFT;
	return world.faked;
}

static u64 mutable_xchg(a64 *a, u64 value)
{
	return mutant == SIZES_STAY && explorer_self() == AGER ? 0 : a64_xchg(a, value);
}

static bool mutable_cas(a64 *a, u64 *expected, u64 desired)
{
	bool promotes = explorer_self() == PROMOTER && is_state(a), done;

	if (mutant == STORE_FOR_CAS && promotes) {
		a64_store(a, desired);
		return true;
	}
	if (mutant == NO_COMPARE && promotes && world.faked && *expected == world.faked)
		*expected = world.real;
	done = a64_cas(a, expected, desired);
	if (done && promotes)
		check_promotion(*expected, desired);
	return done;
}

#include "mm/frame_list.c"

static void mutable_splice(struct frame_list *to, struct frame_list *from, u32 last)
{
	if (mutant == EARLY_PUBLISH && explorer_self() == AGER && !world.early) {
		world.early = true;
		a64_store(&world.l.max_seq, world.l.max_seq.raw + 1);
		explorer_yield();
	}
	frame_list_splice_tail(to, from, last);
}

#define a64_load               mutable_load
#define a64_cas                mutable_cas
#define a64_xchg               mutable_xchg
#define frame_list_splice_tail mutable_splice
#include "mm/gen.c"
#include "mm/promote.c"
#undef a64_load
#undef a64_cas
#undef a64_xchg
#undef frame_list_splice_tail

/* --- the actors --- */

static void setup(void)
{
	/* The generations the frames start in; all have been touched before. */
	static const enum gen_entry how[NFRAMES] = {GEN_ENTER_REFAULT, GEN_ENTER_UNPACKABLE,
	                                            GEN_ENTER_REFAULT};

	memset(&world, 0, sizeof(world));
	world.holder = NOBODY;
	gen_init(&world.l);
	for (u32 f = 0; f < NFRAMES; f++) {
		struct frame *frame = &world.frame[f];

		frame->next = frame->prev = FRAME_NONE;
		frame->owner = (u64)SPACE << 48 | f;
		frame->state.raw = (u64)FRAME_GUEST << FRAME_USE_SHIFT | FRAME_WORKINGSET |
		                   (f == 2 ? 0 : FRAME_DIRTY);
		world.word[f].raw = gfn_word(GFN_RESIDENT, f);
		gen_insert(&world.l, f, how[f]);
	}
}

static void run_promoter(void)
{
	const u64 young = BIT(NFRAMES) - 1;

	if (by_block)
		(void)gen_promote_block(&world.l, world.word, NFRAMES, &young, SPACE, &world.batch);
	for (u32 f = 0; f < NFRAMES && !by_block; f++)
		(void)gen_promote(&world.l, f, SPACE, &world.batch);
	gen_batch_flush(&world.l, &world.batch);
}

static void run_ager(void)
{
	for (unsigned i = 0; i < ADVANCES; i++)
		if (!gen_advance(&world.l, GEN_MAX - 1 + i))
			explorer_panic("nobody else made a generation");
}

static void run_evictor(void)
{
	struct gen_chunk chunk;

	gen_isolate(&world.l, POLICY_SWAPPINESS_MAX / 2, ~0ull, GEN_BATCH, &chunk);
	for (unsigned i = 0; i < chunk.n; i++)
		gen_insert(&world.l, chunk.frame[i], GEN_ENTER_REFAULT_HOT);
}

static void check_end(void)
{
	check_lists();
	check_sizes();
	if (world.l.max_seq.raw != GEN_MAX - 1 + ADVANCES)
		explorer_panic("a generation is missing");
}

static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	static const struct explorer_scene scene = {
	        .setup = setup,
	        .check = check_end,
	        .actor = {[PROMOTER] = {"promoter", run_promoter},
	                  [AGER] = {"ager", run_ager},
	                  [EVICTOR] = {"evictor", run_evictor}},
	        .nr_actors = ACTORS,
	        .max_steps = 1000,
	};

	(void)number;
	snprintf(name, EXPLORER_NAME, "%s", by_block ? "a block" : "one by one");
	return &scene;
}

int main(void)
{
	static const struct explorer_suite suite = {.choose = choose,
	                                            .nr_scenes = 1,
	                                            .mutant_name = mutant_name,
	                                            .nr_mutants = MUTANTS,
	                                            .mutant = &mutant,
	                                            .mutant_preemptions = 3};
	int status;

	a32_store(&policy.probation, 0); /* the lists of generations are what is checked */
	status = explorer_suite_main(&suite);
	by_block = true;
	return status | explorer_suite_main(&suite);
}
