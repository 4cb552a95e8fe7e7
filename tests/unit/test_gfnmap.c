/* mm/gfnmap: slots as a whole, and the words BUSY bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/epoch.h"
#include "mm/gfnmap.h"
#include "mm/space.h"
#include "tests/host/hal.h"

static struct space *s;

static void shootdown(struct space *space, u64 gen)
{
	(void)space;
	(void)gen;
}

static bool ran(struct space *space)
{
	(void)space;
	return false;
}

static const struct space_ops ops = {.shootdown = shootdown, .ran = ran};

static int setup(void **state)
{
	(void)state;
	host_pages_limit(HOST_NO_LIMIT);
	s = space_create("test", &ops, NULL);
	return !s;
}

static int teardown(void **state)
{
	(void)state;
	space_drain(s);
	space_destroy(s);
	return hal_pages_used() != 0;
}

static a64 *word_at(u64 g)
{
	a64 *word;

	epoch_enter();
	word = gfnmap_word(s, gfn(g));
	epoch_exit();
	return word;
}

static void test_gfnmap_empty_has_no_words(void **state)
{
	(void)state;
	assert_null(word_at(0));
	assert_null(word_at(~0ull));
}

static void test_gfnmap_words_of_several_slots(void **state)
{
	(void)state;
	assert_true(gfnmap_add(s, gfn(100), 50));
	assert_true(gfnmap_add(s, gfn(0), 10));
	assert_true(gfnmap_add(s, gfn(1ull << 30), 1));
	assert_int_equal(s->pages, 61);
	for (u64 g = 0; g < 200; g++) {
		bool inside = g < 10 || (g >= 100 && g < 150);

		assert_int_equal(word_at(g) != NULL, inside);
		if (inside)
			assert_int_equal(a64_load(word_at(g)), 0);
	}
	assert_non_null(word_at(1ull << 30));
	assert_null(word_at((1ull << 30) + 1));
	assert_ptr_equal(word_at(101), word_at(100) + 1);
}

static void test_gfnmap_words_stay_where_they_are(void **state)
{
	a64 *word;

	(void)state;
	assert_true(gfnmap_add(s, gfn(100), 50));
	word = word_at(120);
	assert_true(gfnmap_add(s, gfn(0), 50));
	assert_true(gfnmap_add(s, gfn(200), 50));
	assert_ptr_equal(word_at(120), word);
	gfnmap_remove(s, gfn(0));
	assert_ptr_equal(word_at(120), word);
	assert_int_equal(s->pages, 100);
}

static void test_gfnmap_refuses_overlap(void **state)
{
	(void)state;
	assert_true(gfnmap_add(s, gfn(100), 50));
	assert_false(gfnmap_add(s, gfn(149), 1));
	assert_false(gfnmap_add(s, gfn(90), 11));
	assert_false(gfnmap_add(s, gfn(90), 100));
	assert_false(gfnmap_add(s, gfn(110), 5));
	assert_false(gfnmap_add(s, gfn(100), 50));
	assert_false(gfnmap_add(s, gfn(5), 0));
	assert_false(gfnmap_add(s, gfn(~0ull - 1), 4));
	assert_true(gfnmap_add(s, gfn(90), 10));
	assert_true(gfnmap_add(s, gfn(150), 1));
	assert_int_equal(s->pages, 61);
}

static void test_gfnmap_refuses_one_slot_too_many(void **state)
{
	u64 used;

	(void)state;
	for (u64 i = 0; i < SLOTS_MAX; i++)
		assert_true(gfnmap_add(s, gfn(i * 10), 5));
	epoch_barrier();
	used = hal_pages_used();
	assert_false(gfnmap_add(s, gfn(1000), 5));
	assert_int_equal(hal_pages_used(), used);
}

static void test_gfnmap_add_without_memory_changes_nothing(void **state)
{
	u64 used;

	(void)state;
	assert_true(gfnmap_add(s, gfn(0), 5));
	epoch_barrier();
	used = hal_pages_used();
	for (u64 limit = 0; limit < 2; limit++) {
		host_pages_limit(limit);
		assert_false(gfnmap_add(s, gfn(100), 5));
		assert_null(word_at(100));
		assert_non_null(word_at(4));
	}
	host_pages_limit(HOST_NO_LIMIT);
	assert_int_equal(hal_pages_used(), used);
	assert_int_equal(s->pages, 5);
}

/* A reader that found the array keeps it, whatever is published meanwhile. */
static void test_gfnmap_old_array_lives_as_long_as_its_reader(void **state)
{
	const struct slots *old;

	(void)state;
	assert_true(gfnmap_add(s, gfn(0), 5));
	host_cpu_count_set(2);
	host_cpu_set(1);
	epoch_enter();
	old = gfnmap_slots(s);
	host_cpu_set(0);
	assert_true(gfnmap_add(s, gfn(10), 5));
	epoch_poll();
	assert_int_equal(old->nr, 1); /* under ASan: a report if it were freed */
	host_cpu_set(1);
	epoch_exit();
	host_cpu_set(0);
	epoch_barrier();
	host_cpu_count_set(1);
}

static void test_gfnmap_busy_has_one_holder(void **state)
{
	a64 where = {gfn_word(GFN_RESIDENT, 5)};
	u64 word = a64_load(&where);

	(void)state;
	assert_true(gfnmap_busy_try(&where, &word));
	word = a64_load(&where);
	assert_false(gfnmap_busy_try(&where, &word));
	gfnmap_busy_end(&where, gfn_word(GFN_ZERO, 0));
	assert_int_equal(a64_load(&where), gfn_word(GFN_ZERO, 0));
}

static void test_gfnmap_busy_notices_a_changed_word(void **state)
{
	a64 where = {gfn_word(GFN_RESIDENT, 5)};
	u64 word = 0;

	(void)state;
	assert_false(gfnmap_busy_try(&where, &word));
	assert_int_equal(word, gfn_word(GFN_RESIDENT, 5));
	assert_true(gfnmap_busy_try(&where, &word));
}

static void test_gfnmap_evicting_is_never_busy(void **state)
{
	a64 where = {gfn_word(GFN_EVICTING, 5)};
	u64 word = a64_load(&where);

	(void)state;
	assert_false(gfnmap_busy_try(&where, &word));
	assert_int_equal(a64_load(&where), gfn_word(GFN_EVICTING, 5));
}

static void test_gfnmap_word_fields_do_not_overlap(void **state)
{
	const u64 field[] = {GFN_TAG,
	                     GFN_CLEAN,
	                     GFN_BUSY,
	                     GFN_WORKINGSET,
	                     GFN_TIER,
	                     GFN_SEQ,
	                     BITS(63, GFN_PAYLOAD_SHIFT)};
	u64 all = 0;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(field); i++) {
		assert_int_equal(all & field[i], 0);
		all |= field[i];
	}
	assert_int_equal(all, ~0ull);
	assert_int_equal(gfn_word_payload(gfn_word(GFN_DISK, BITS(43, 0)) | GFN_SHADOW),
	                 BITS(43, 0));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_gfnmap_empty_has_no_words),
	        T(test_gfnmap_words_of_several_slots),
	        T(test_gfnmap_words_stay_where_they_are),
	        T(test_gfnmap_refuses_overlap),
	        T(test_gfnmap_refuses_one_slot_too_many),
	        T(test_gfnmap_add_without_memory_changes_nothing),
	        T(test_gfnmap_old_array_lives_as_long_as_its_reader),
	        cmocka_unit_test(test_gfnmap_busy_has_one_holder),
	        cmocka_unit_test(test_gfnmap_busy_notices_a_changed_word),
	        cmocka_unit_test(test_gfnmap_evicting_is_never_busy),
	        cmocka_unit_test(test_gfnmap_word_fields_do_not_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
