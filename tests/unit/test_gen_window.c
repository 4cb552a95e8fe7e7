/*
 * mm/gen against random orders of everything that can happen to frames of one space: after each step the
 * lists, the state words and the window agree (I3, I4), and the sizes once all batches are flushed.
 */
#include "tests/unit/lruvec.h"

#include "mm/epoch.h"
#include "mm/gfnmap.h"

#define PAGES  64u
#define STEPS  40000u
#define NOBODY 0xffu

static u32 frame[PAGES];
static a64 words[PAGES];
static bool mine[PAGES]; /* isolated or removed: in the hands of the test */
static bool pinned[PAGES];
static u8
        list_of[PAGES]; /* index * GEN_TYPES + type of the list that a frame hangs on, or NOBODY */
static struct gen_batch batch;
static u64 seed, promoted, sorted, evicted, moved;

static u64 below(u64 n)
{
	return host_random(&seed) % n;
}

static unsigned page_of(u32 f)
{
	for (unsigned page = 0; page < PAGES; page++)
		if (frame[page] == f)
			return page;
	fail_msg("frame %u is nobody's", f);
	return PAGES;
}

/* --- what has to hold --- */

static void look_at_list(unsigned index, enum gen_type type)
{
	u64 list_seq = gen_seq_at(max_seq(), index);
	u32 f = l.list[index][type].head, before = FRAME_NONE;

	for (; f != FRAME_NONE; before = f, f = frame_at(f)->next) {
		unsigned page = page_of(f);

		assert_int_equal(frame_at(f)->prev, before);
		assert_int_equal(list_of[page], NOBODY);
		list_of[page] = (u8)(index * GEN_TYPES + type);
		assert_int_equal(!!(state_of(f) & FRAME_DIRTY), type == GEN_DIRTY);
		assert_true(list_seq >= l.min_seq[type]);
		assert_true(seq_of(f) >= list_seq);
	}
	assert_int_equal(l.list[index][type].tail, before);
}

static void assert_window(void)
{
	memset(list_of, NOBODY, sizeof(list_of));
	for (unsigned type = 0; type < GEN_TYPES; type++) {
		assert_true(l.min_seq[type] + GEN_MIN - 1 <= max_seq());
		assert_true(max_seq() - l.min_seq[type] < GEN_MAX);
		for (unsigned index = 0; index < GEN_MAX; index++)
			look_at_list(index, (enum gen_type)type);
	}
	for (unsigned page = 0; page < PAGES; page++) {
		u64 state = state_of(frame[page]);

		assert_int_equal(!(state & FRAME_GEN), mine[page]);
		assert_int_equal(list_of[page] == NOBODY, mine[page]);
		if (!mine[page])
			assert_false(state & (FRAME_ISOLATED | FRAME_SEEN));
	}
}

static void assert_sizes(void)
{
	s64 size[GEN_MAX][GEN_TYPES] = {0};
	u64 listed = 0;

	gen_batch_flush(&l, &batch);
	for (unsigned page = 0; page < PAGES; page++) {
		u64 state = state_of(frame[page]);

		if (!(state & FRAME_GEN))
			continue;
		listed++;
		size[(state & FRAME_GEN) - 1][!!(state & FRAME_DIRTY)]++;
	}
	for (unsigned g = 0; g < GEN_MAX; g++)
		for (unsigned type = 0; type < GEN_TYPES; type++)
			assert_int_equal((s64)a64_load(&l.size[g][type]), size[g][type]);
	assert_int_equal(gen_total(&l), listed);
}

/* --- what can happen --- */

static void do_insert(unsigned page)
{
	if (!mine[page])
		return;
	gen_insert(&l, frame[page], (enum gen_entry)below(GEN_ENTER_UNPACKABLE + 1));
	mine[page] = false;
}

static void do_remove(unsigned page)
{
	assert_int_equal(gen_remove(&l, frame[page]), !mine[page]);
	mine[page] = true;
}

static void do_promote(unsigned page)
{
	u64 before = mine[page] ? 0 : seq_of(frame[page]);

	assert_int_equal(gen_promote(&l, frame[page], SPACE, &batch), !mine[page]);
	if (mine[page])
		return;
	assert_true(seq_of(frame[page]) == before || seq_of(frame[page]) == max_seq());
	promoted += seq_of(frame[page]) != before;
}

static void do_promote_block(void)
{
	u64 young = host_random(&seed);

	epoch_enter();
	(void)gen_promote_block(&l, words, PAGES, &young, SPACE, &batch);
	epoch_exit();
}

static void do_isolate(void)
{
	struct gen_chunk chunk;

	gen_isolate(&l, (unsigned)below(POLICY_SWAPPINESS_MAX + 1),
	            below(2) ? EVICT_ANY_SEQ : max_seq() - below(5), &chunk);
	sorted += chunk.sorted;
	moved += chunk.protected_ + chunk.rotated;
	assert_int_equal(chunk.scanned, chunk.n + chunk.sorted + chunk.protected_ + chunk.rotated);
	assert_true(!chunk.n || chunk.seq + GEN_MIN <= max_seq());
	for (unsigned i = 0; i < chunk.n; i++) {
		unsigned page = page_of(chunk.frame[i]);

		assert_false(mine[page] || pinned[page]);
		assert_true(state_of(frame[page]) & FRAME_ISOLATED);
		mine[page] = true;
		evicted++;
	}
}

static void do_pin(unsigned page)
{
	if (pinned[page]) {
		frame_unpin(frame[page]);
		pinned[page] = false;
	} else if (!mine[page]) {
		assert_true(frame_pin_try(frame[page]));
		pinned[page] = true;
	}
}

static void one_step(void)
{
	unsigned page = (unsigned)below(PAGES);

	switch (below(12)) {
	case 0:
		do_remove(page);
		break;
	case 1:
		gen_make_dirty(&l, frame[page]);
		break;
	case 2: /* stored, and back: only a frame on no list turns clean */
		if (mine[page])
			frame_state_change(frame[page], FRAME_DIRTY, 0);
		break;
	case 3:
		frame_mark_accessed(frame[page]);
		break;
	case 4:
		do_pin(page);
		break;
	case 5:
		frame_state_change(frame[page], 0, FRAME_UNPACKABLE);
		break;
	case 6:
		if (!below(3))
			advance();
		break;
	case 7:
		if (!below(3))
			do_isolate();
		break;
	case 8:
		if (!below(10))
			do_promote_block();
		break;
	case 9:
		do_promote(page);
		break;
	default:
		do_insert(page);
	}
}

static void test_gen_window_holds_in_any_order(void **state)
{
	(void)state;
	seed = 20260701;
	for (unsigned page = 0; page < PAGES; page++) {
		frame[page] = frame_listed(below(2) ? FRAME_DIRTY : 0, GEN_ENTER_FRESH);
		a64_store(&words[page], gfn_word(GFN_RESIDENT, frame[page]));
	}
	for (u64 step = host_steps(STEPS); step; step--) {
		one_step();
		assert_window();
		if (!below(16))
			assert_sizes();
		if (!below(1000))
			a32_store(&policy.two_touch, below(2) != 0);
		/* Refaults of all kinds, so that the controller has something to say. */
		a64_count(&l.refaulted[below(GEN_TYPES)][below(GEN_TIERS)], below(40));
		a64_count(&l.evicted[below(GEN_TYPES)][below(GEN_TIERS)], below(40));
	}
	assert_sizes();
	/* It has been somewhere. */
	assert_true(max_seq() > 100 && promoted > 100 && sorted > 100 && evicted > 100 &&
	            moved > 100);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_gen_window_holds_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
