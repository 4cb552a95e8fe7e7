/*
 * An image without aging (make AGING=0): this program has mm/no_aging.c in the place of what it stands for. Where
 * that left something out, what it stands for would come from the archive as well, and the linker would refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/no_aging.c"

#include "mm/audit.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/proactive.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 400u
#define PAGES  192u

static struct fake_guest guest;

static int setup(void **state)
{
	const struct fake_config c = {.name = "ageless", .npages = PAGES, .base = 100};

	(void)state;
	fake_frames_create(FRAMES);
	fake_guest_create(&guest, &c);
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guest, 0, page, 5, page + 1);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	fake_store_reset();
	return 0;
}

static bool resident(u64 page)
{
	return gfn_word_tag(fake_word(&guest, page)) == GFN_RESIDENT;
}

/* All pages have their Accessed bits set; nobody hears of it, and nobody takes it away. */
static void test_no_aging_nothing_is_young_and_nobody_is_fast(void **state)
{
	u64 bitmap[NOTIFIER_WORDS] = {~0ull, ~0ull, ~0ull}, visited = 0;
	struct gen_batch batch = {.promoted = 0};
	struct space *s = guest.space;

	(void)state;
	assert_false(age_built);
	assert_int_equal(notifier_age(s, gfn(100), PAGES, bitmap, NOTIFIER_CLEAR, &visited), 0);
	for (unsigned i = 0; i < PAGES / 64; i++)
		assert_int_equal(bitmap[i], 0);
	assert_int_equal(notifier_age_one(s, gfn(100), NOTIFIER_TEST), 0);
	assert_int_equal(age_block(s, gfn(100), PAGES, &batch, &visited), 0);
	assert_false(notifier_range_young(s, gfn(100), TABLE_PAGES, NOTIFIER_CLEAR));
	assert_false(notifier_any_fast(s));
	assert_false(notifier_all_fast(s));
	assert_int_equal(visited, 0);
	for (u64 page = 0; page < PAGES; page++)
		assert_true(a64_load(&guest.mmu[0].entry[page]) & FAKE_A);
}

/* Who asks for more than ages is told that there is nothing, and nothing is changed. */
static void test_no_aging_has_nothing_to_tell(void **state)
{
	u64 bitmap[NOTIFIER_WORDS] = {~0ull, ~0ull, ~0ull}, visited = 0;
	struct gen_batch batch = {.promoted = 0};
	struct space *s = guest.space;
	u32 frame = gfn_word_frame(fake_word(&guest, 0));
	u64 was = a64_load(&frame_at(frame)->state);

	(void)state;
	notifier_dirty(s, gfn(100), PAGES, bitmap);
	for (unsigned i = 0; i < PAGES / 64; i++)
		assert_int_equal(bitmap[i], 0);
	bitmap[0] = 1;
	assert_int_equal(age_harvest(s, gfn(100), PAGES, NOTIFIER_CLEAR, &batch, &visited), 0);
	assert_int_equal(age_promote(s, gfn(100), PAGES, bitmap, &batch), 0);
	assert_false(gen_promote(&s->lru, frame, s->id, &batch));
	gen_batch_flush(&s->lru, &batch);
	age_look_around(s, gfn(100), 5);
	collapse_scan();
	assert_int_equal(batch.promoted, 0);
	assert_int_equal(a64_load(&frame_at(frame)->state), was);
	assert_int_equal(age_flush_poll(0), ~0ull);
	assert_int_equal(age_false_old_permille(&s->stats), 0);
	for (u64 page = 0; page < PAGES; page++)
		assert_true(a64_load(&guest.mmu[0].entry[page]) & FAKE_A);
}

static void test_no_aging_makes_generations_without_a_look(void **state)
{
	struct space *s = guest.space;
	u64 max_seq = a64_load(&s->lru.max_seq);

	(void)state;
	assert_true(age_space(s, max_seq, true).produced);
	assert_false(age_space(s, max_seq, false).produced);
	assert_int_equal(a64_load(&s->lru.max_seq), max_seq + 1);
	assert_int_equal(a64_load(&s->stats.visited_total), 0);
}

/* The first in are the first out, however often they are used; all of them come back as they were. */
static void test_no_aging_evicts_in_the_order_of_entry(void **state)
{
	struct space *s = guest.space;
	u64 freed = 0;

	(void)state;
	while (freed < PAGES / 2) {
		for (u64 page = 0; page < 8; page++)
			if (resident(page))
				(void)fake_read(&guest, 0, page, 5);
		freed += evict_space(s, evict_any(PAGES / 2 - freed)).freed;
		(void)age_space(s, a64_load(&s->lru.max_seq), false);
	}
	assert_int_equal(a64_load(&s->stats.rejected_total), 0);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(resident(page), page >= freed);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(fake_read(&guest, 0, page, 5), page + 1);
}

static void test_no_aging_written_again_is_packed_again(void **state)
{
	struct space *s = guest.space;
	u64 pooled;

	(void)state;
	while (!evict_space(s, evict_any(PAGES)).freed)
		(void)age_space(s, a64_load(&s->lru.max_seq), false);
	pooled = a64_load(&s->pooled);
	assert_true(pooled > 0);
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guest, 0, page, 5, page + 7);
	for (unsigned i = 0; i < 8; i++) {
		(void)evict_space(s, evict_any(PAGES));
		(void)age_space(s, a64_load(&s->lru.max_seq), false);
	}
	assert_int_equal(a64_load(&s->resident), 0);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(fake_read(&guest, 0, page, 5), page + 7);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_no_aging_nothing_is_young_and_nobody_is_fast),
	        T(test_no_aging_has_nothing_to_tell),
	        T(test_no_aging_makes_generations_without_a_look),
	        T(test_no_aging_evicts_in_the_order_of_entry),
	        T(test_no_aging_written_again_is_packed_again),
	};

	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
