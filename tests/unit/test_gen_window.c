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

/* The generation that has this index in a window whose youngest is max_seq. */
static u64 seq_at(u64 max_seq, unsigned index)
{
	return max_seq - ((max_seq - index) & (GEN_MAX - 1));
}

static void look_at_list(unsigned index, enum gen_type type)
{
	u64 list_seq = seq_at(max_seq(), index);
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

		assert_int_equal(!(state & FRAME_LISTED), mine[page]);
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

		if (!(state & FRAME_LISTED))
			continue;
		listed++;
		size[gen_index(gen_seq_locked(&l, state))][!!(state & FRAME_DIRTY)]++;
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
	/* To where its batch promotes, if that is not passed. */
	assert_true(batch.to && batch.to <= max_seq());
	assert_true(seq_of(frame[page]) == before || seq_of(frame[page]) == batch.to);
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
	            below(2) ? EVICT_ANY_SEQ : max_seq() - below(5), GEN_BATCH, &chunk);
	sorted += chunk.sorted;
	moved += chunk.protected_ + chunk.rotated + chunk.demoted;
	assert_int_equal(chunk.scanned,
	                 chunk.n + chunk.sorted + chunk.protected_ + chunk.rotated + chunk.demoted);
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
		if (!below(1000))
			a32_store(&policy.fault_touch, below(2) != 0);
		if (!below(1000))
			a32_store(&policy.demote, below(2) != 0);
		/* Refaults of all kinds, so that the controller has something to say. */
		a64_count(&l.refaulted[below(GEN_TYPES)][below(GEN_TIERS)], below(40));
		a64_count(&l.evicted[below(GEN_TYPES)][below(GEN_TIERS)], below(40));
	}
	assert_sizes();
	/* It has been somewhere. */
	assert_true(max_seq() > 100 && promoted > 100 && sorted > 100 && evicted > 100 &&
	            moved > 100);
}

/* --- merges touch no frame --- */

/* What a merge must not change, by page. */
static u64 before_merge[PAGES];

static void list_pages(enum gen_entry how)
{
	for (unsigned page = 0; page < PAGES; page++) {
		frame[page] = frame_listed(page % 4 ? FRAME_DIRTY : 0, how);
		before_merge[page] = state_of(frame[page]);
		mine[page] = pinned[page] = false;
	}
}

static void assert_untouched(void)
{
	for (unsigned page = 0; page < PAGES; page++)
		assert_int_equal(state_of(frame[page]), before_merge[page]);
}

static s64 size_at(u64 seq, enum gen_type type)
{
	return (s64)a64_load(&l.size[gen_index(seq)][type]);
}

static void test_gen_merge_touches_no_frame(void **state)
{
	struct gen_chunk chunk;
	unsigned at = 0;

	(void)state;
	batch = (struct gen_batch){.promoted = 0};
	list_pages(GEN_ENTER_REFAULT);
	for (unsigned i = 0; i < 3 * GEN_MAX; i++) {
		advance();
		assert_untouched();
		assert_window();
		assert_sizes();
	}
	assert_int_equal(size_at(max_seq() - 3, GEN_DIRTY), PAGES - PAGES / 4);
	assert_int_equal(size_at(max_seq() - 3, GEN_CLEAN), PAGES / 4);
	for (unsigned page = 0; page < PAGES; page++)
		assert_int_equal(seq_of(frame[page]), max_seq() - 3);
	/* First in, first out, as if nothing had been merged. */
	chunk = isolate(POLICY_SWAPPINESS_MAX);
	assert_int_equal(chunk.n, PAGES - PAGES / 4);
	assert_int_equal(chunk.seq, max_seq() - 3);
	for (unsigned page = 0; page < PAGES; page++)
		if (page % 4)
			assert_int_equal(chunk.frame[at++], frame[page]);
	assert_int_equal(size_at(chunk.seq, GEN_DIRTY), 0);
}

/* Those of the older generation go first, however many merges it took to get them together. */
static void test_gen_merge_keeps_the_order(void **state)
{
	u32 second = frame_listed(FRAME_DIRTY, GEN_ENTER_FRESH);  /* 2 */
	u32 first = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT); /* 1 */
	struct gen_chunk chunk;
	u32 third, fourth;

	(void)state;
	advance();
	third = frame_listed(FRAME_DIRTY, GEN_ENTER_FRESH); /* 3 */
	advance();
	advance();
	fourth = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT); /* 4 */
	advance();
	advance();
	assert_true(promote(third));
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 3);
	assert_int_equal(chunk.sorted, 1);
	assert_int_equal(chunk.frame[0], first);
	assert_int_equal(chunk.frame[1], second);
	assert_int_equal(chunk.frame[2], fourth);
	assert_int_equal(seq_of(third), max_seq());
}

/* --- batches across merges --- */

/* A batch is flushed when the generations that it names are long joined, or gone. */
static void flush_after(unsigned advances, bool evict)
{
	list_pages(GEN_ENTER_REFAULT);
	for (unsigned page = 0; page < PAGES / 2; page++)
		assert_true(gen_promote(&l, frame[page], SPACE, &batch));
	for (unsigned i = 0; i < advances; i++)
		advance();
	while (evict) {
		struct gen_chunk chunk = isolate(NEUTRAL);

		for (unsigned i = 0; i < chunk.n; i++)
			gen_insert(&l, chunk.frame[i], GEN_ENTER_REFAULT_HOT);
		evict = chunk.n != 0;
	}
	assert_int_equal(batch.promoted, PAGES / 2);
	assert_window();
	assert_sizes();
	for (unsigned page = 0; page < PAGES; page++)
		assert_true(gen_remove(&l, frame[page]));
	assert_int_equal(gen_total(&l), 0);
	for (u64 seq = max_seq() - 3; seq <= max_seq(); seq++)
		for (unsigned type = 0; type < GEN_TYPES; type++)
			assert_int_equal(size_at(seq, (enum gen_type)type), 0);
}

static void test_gen_batch_across_merges(void **state)
{
	(void)state;
	batch = (struct gen_batch){.promoted = 0};
	for (unsigned advances = 0; advances < 3 * GEN_MAX; advances++) {
		flush_after(advances, false);
		flush_after(advances, true);
	}
}

/* A frame that came in after the batch began is younger than what the batch promotes to, and stays so. */
static void test_gen_old_batch_makes_nothing_older(void **state)
{
	u32 old = frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_REFAULT), young;

	(void)state;
	batch = (struct gen_batch){.promoted = 0};
	assert_true(gen_promote(&l, old, SPACE, &batch));
	assert_int_equal(seq_of(old), 3);
	for (unsigned i = 0; i < GEN_MAX; i++)
		advance();
	young = frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_FRESH);
	assert_int_equal(seq_of(young), 6);
	assert_true(gen_promote(&l, young, SPACE, &batch));
	assert_int_equal(seq_of(young), 6);
	assert_int_equal(batch.promoted, 1);
	gen_batch_flush(&l, &batch);
	assert_true(gen_promote(&l, young, SPACE, &batch));
	assert_int_equal(seq_of(young), 7);
	gen_batch_flush(&l, &batch);
	assert_int_equal(size_at(7, GEN_DIRTY), 1);
	assert_int_equal(size_at(4, GEN_DIRTY), 1);
}

/* --- labels --- */

/* Nothing is listed: the window may be anywhere. */
static void window_at(u64 max)
{
	a64_store(&l.max_seq, max);
	for (unsigned type = 0; type < GEN_TYPES; type++)
		l.min_seq[type] = l.oldest_label[type] = max - (GEN_MAX - 1);
}

/* Where the label's bits come round, and where their sign does, everything goes on as before. */
static void test_gen_labels_come_round(void **state)
{
	static const u64 edge[] = {BIT(30), BIT(31), BIT(32), BIT(31) * 5};
	const u64 young[1] = {~0ull};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		batch = (struct gen_batch){.promoted = 0};
		window_at(edge[i] - GEN_MAX);
		list_pages(GEN_ENTER_REFAULT);
		for (unsigned page = 0; page < PAGES; page++)
			a64_store(&words[page], gfn_word(GFN_RESIDENT, frame[page]));
		for (unsigned step = 0; step < 4 * GEN_MAX; step++) {
			advance();
			for (unsigned page = 0; page < PAGES / 2; page++)
				assert_true(gen_promote(&l, frame[page], SPACE, &batch));
			assert_int_equal(seq_of(frame[0]), max_seq());
			assert_true(seq_of(frame[PAGES - 1]) == max_seq() - 3 || step < 2);
			assert_window();
			assert_sizes();
		}
		epoch_enter();
		(void)gen_promote_block(&l, words, PAGES, young, SPACE, &batch);
		epoch_exit();
		for (unsigned page = 0; page < PAGES; page++)
			assert_int_equal(seq_of(frame[page]), max_seq());
		assert_window();
		assert_sizes();
		for (unsigned page = 0; page < PAGES; page++)
			assert_true(gen_remove(&l, frame[page]));
	}
}

/* The window as if it had moved by so many generations since, each by a merge: a multiple of GEN_MAX. */
static void window_moves(u64 generations)
{
	a64_store(&l.max_seq, max_seq() + generations);
	for (unsigned type = 0; type < GEN_TYPES; type++)
		l.min_seq[type] += generations;
}

/* Labels that would become ambiguous are written anew before, in their order, whatever their number. */
static void test_gen_labels_are_written_anew(void **state)
{
	const u32 n = 2 * GEN_MAX_BATCH + 17;
	static u32 old[2 * GEN_MAX_BATCH + 17];
	u32 first, hot;
	struct gen_chunk chunk;

	(void)state;
	a32_store(&policy.demote, 0);
	batch = (struct gen_batch){.promoted = 0};
	for (u32 i = 0; i < n; i++)
		old[i] = frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_REFAULT);
	first = old[0];
	hot = old[n - 2];
	for (unsigned i = 0; i < GEN_MAX; i++)
		advance(); /* all are in the oldest, by merges */
	assert_int_equal(l.oldest_label[GEN_DIRTY], 0);
	/* So far it touches nothing ... */
	window_moves(GEN_RELABEL - 2 * GEN_MAX);
	assert_int_equal(gen_label_seq(state_of(first), max_seq()), 1);
	advance();
	assert_int_equal(gen_label_seq(state_of(first), max_seq()), 1);
	while (l.oldest_label[GEN_DIRTY] == 0) {
		assert_true(promote(hot));
		advance();
	}
	/* ... and here each of them. */
	assert_true(max_seq() <= GEN_RELABEL + 2 * GEN_MAX);
	assert_int_equal(l.oldest_label[GEN_DIRTY], l.min_seq[GEN_DIRTY]);
	for (u32 i = 0; i < n; i++)
		assert_true(gen_label_seq(state_of(old[i]), max_seq()) >= l.min_seq[GEN_DIRTY]);
	assert_int_equal(size_at(max_seq() - 3, GEN_DIRTY), n - 1);
	assert_int_equal(gen_total(&l), n);
	assert_true(seq_of(hot) + GEN_MAX > max_seq());
	for (u32 i = 0; i + 2 < n; i += chunk.n) {
		chunk = isolate(NEUTRAL);
		assert_true(chunk.n);
		for (unsigned j = 0; j < chunk.n && i + j < n - 2; j++)
			assert_int_equal(chunk.frame[j], old[i + j]);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_gen_window_holds_in_any_order),     T(test_gen_merge_touches_no_frame),
	        T(test_gen_merge_keeps_the_order),         T(test_gen_batch_across_merges),
	        T(test_gen_old_batch_makes_nothing_older), T(test_gen_labels_come_round),
	        T(test_gen_labels_are_written_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
