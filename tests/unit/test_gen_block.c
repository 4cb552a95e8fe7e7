/* mm/gen: promotion of many pages does what promotion of one does. */
#include "tests/unit/lruvec.h"

#include "mm/epoch.h"
#include "mm/gfnmap.h"

#define PAGES  200u
#define ROUNDS 60u

static a64 words[PAGES];
static u32 twin[PAGES]; /* what gen_promote() is applied to */
static u64 seed;

static u64 below(u64 n)
{
	return host_random(&seed) % n;
}

/* Any state that a frame of a resident page can have; the same for both of a pair. */
static void pair_new(unsigned page)
{
	static const enum gen_entry how[] = {GEN_ENTER_UNPACKABLE, GEN_ENTER_FRESH,
	                                     GEN_ENTER_REFAULT, GEN_ENTER_REFAULT_HOT};
	u64 bits = (below(2) ? FRAME_DIRTY : 0) | below(4) << FRAME_REFS_SHIFT;
	enum gen_entry entry = how[below(4)];
	u32 frame = frame_listed(bits, entry);

	twin[page] = frame_listed(bits, entry);
	a64_store(&words[page], gfn_word(GFN_RESIDENT, frame));
}

static void pair_to_evictor(unsigned page)
{
	u32 frame[2] = {gfn_word_frame(a64_load(&words[page])), twin[page]};

	for (unsigned i = 0; i < 2; i++) {
		assert_true(gen_remove(&l, frame[i]));
		frame_state_change(frame[i], 0, FRAME_ISOLATED);
	}
}

static void pair_end(unsigned page)
{
	u32 frame[2] = {gfn_word_frame(a64_load(&words[page])), twin[page]};

	for (unsigned i = 0; i < 2; i++) {
		if (state_of(frame[i]) & FRAME_LISTED)
			assert_true(gen_remove(&l, frame[i]));
		frame_retire(frame[i]);
	}
	epoch_barrier();
}

static u64 promote_one_by_one(const u64 *young, struct gen_batch *b)
{
	u64 n = 0;

	for (unsigned page = 0; page < PAGES; page++) {
		if (!(young[page / 64] & BIT(page % 64)))
			continue;
		n++;
		if (gfn_word_tag(a64_load(&words[page])) == GFN_RESIDENT)
			(void)gen_promote(&l, twin[page], SPACE, b);
	}
	return n;
}

static u64 promote_block(const u64 *young, struct gen_batch *b)
{
	u64 n;

	epoch_enter();
	n = gen_promote_block(&l, words, PAGES, young, SPACE, b);
	epoch_exit();
	return n;
}

static void one_round(void)
{
	struct gen_batch one = {.promoted = 0}, block = {.promoted = 0};
	u64 young[4];

	for (unsigned i = 0; i < 4; i++)
		young[i] = below(3) ? host_random(&seed) : ~0ull; /* beyond PAGES as well */
	assert_int_equal(promote_block(young, &block), promote_one_by_one(young, &one));
	assert_memory_equal(&one, &block, sizeof(one));
	for (unsigned page = 0; page < PAGES; page++)
		assert_int_equal(state_of(gfn_word_frame(a64_load(&words[page]))),
		                 state_of(twin[page]));
	gen_batch_flush(&l, &one);
	gen_batch_flush(&l, &block);
}

static void test_gen_block_is_like_one_by_one(void **state)
{
	(void)state;
	seed = 4711;
	for (unsigned page = 0; page < PAGES; page++) {
		pair_new(page);
		if (!below(10))
			pair_to_evictor(page);
		/* Busy, or away: the number is a frame's only if the tag says so. */
		if (!below(10))
			a64_fetch_or(&words[page], GFN_BUSY);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		one_round();
		if (below(2))
			advance();
		a32_store(&policy.two_touch, below(4) != 0);
	}
	for (unsigned page = 0; page < PAGES; page++)
		pair_end(page);
	assert_int_equal(gen_total(&l), 0);
}

static void test_gen_block_passes_over_what_is_not_resident(void **state)
{
	static const enum gfn_tag tag[] = {GFN_NONE,   GFN_EVICTING, GFN_ZERO,
	                                   GFN_FILLED, GFN_POOLED,   GFN_DISK};
	const u64 young[4] = {~0ull, ~0ull, ~0ull, ~0ull};
	struct gen_batch b = {.promoted = 0};
	u32 frame = frame_listed(FRAME_DIRTY, GEN_ENTER_FRESH);
	u64 before = state_of(frame);

	(void)state;
	for (unsigned page = 0; page < PAGES; page++)
		a64_store(&words[page], gfn_word(tag[page % 6], frame));
	assert_int_equal(promote_block(young, &b), PAGES);
	assert_int_equal(state_of(frame), before);
	assert_int_equal(b.promoted, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_gen_block_is_like_one_by_one),
	        T(test_gen_block_passes_over_what_is_not_resident),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
