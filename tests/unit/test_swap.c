/* mm/swap: what is oldest goes to the disk and comes back as it left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/swap_pages.h"

static void test_swap_off_keeps_all_in_frames(void **state)
{
	(void)state;
	assert_int_equal(swap_state(), SWAP_OFF);
	put_all(20);
	assert_int_equal(swap_turn(), SWAP_IDLE);
	assert_false(swap_makes_room());
	assert_int_equal(number_on_disk(20), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_true(store_ready(word[i]));
		assert_true(store_takes_frames(word[i]));
	}
	drop_all(20);
}

static void test_swap_pages_come_back_as_they_left(void **state)
{
	struct pool_stats st;

	(void)state;
	put_all(PAGES);
	host_swap_settle();
	pool_snapshot(&st);
	assert_int_equal(st.on_disk, PAGES);
	assert_int_equal(st.frames, 0);
	assert_int_equal(st.object_bytes, 0);
	assert_true(stats().writes_total < PAGES / 10); /* many of them at a time */
	assert_int_equal(store_audit(), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_false(store_takes_frames(word[i]));
		assert_returns(i);
	}
	/* They are still there, and are read again. */
	assert_true(on_disk(7));
	assert_returns(7);
	assert_int_equal(stats().reads_total, PAGES + 1);
	assert_int_equal(stats().written_objects_total, PAGES);
	drop_all(PAGES);
}

static void test_swap_takes_the_oldest_first(void **state)
{
	(void)state;
	put_all(100);
	/* Put again, they are the youngest. */
	for (unsigned i = 0; i < 10; i++) {
		store_drop(word[i]);
		put(i);
	}
	assert_int_equal(swap_turn(), SWAP_WAITS);
	assert_int_equal(swap_turn(), SWAP_AGAIN);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(on_disk(i), i >= 10 && i < 10 + number_on_disk(100));
	assert_in_range(number_on_disk(100), 10, 32);
	drop_all(100);
}

static void test_swap_leaves_the_pool_its_share(void **state)
{
	struct pool_stats st;
	u64 share = frame_total() / 100;

	host_swap_destroy();
	host_swap_create(SECTORS, 1);
	(void)state;
	for (unsigned i = 0; i < PAGES; i++) {
		bool above;

		put(i);
		pool_snapshot(&st);
		above = st.frames > share;
		assert_int_equal(host_swap_wakes() != 0, above);
		if (above)
			break;
		assert_int_equal(swap_turn(), SWAP_IDLE);
		assert_int_equal(number_on_disk(i + 1), 0);
	}
	for (unsigned i = 0; i < PAGES; i++)
		if (!word[i])
			put(i);
	host_swap_settle();
	pool_snapshot(&st);
	assert_in_range(st.frames, share - 14, share);
	for (unsigned i = 0; i < PAGES; i++)
		if (word[i])
			store_drop(word[i]);
}

static void test_swap_dropped_while_it_is_written(void **state)
{
	unsigned there;
	u64 used;

	(void)state;
	put_all(20);
	host_disk.silent = true;
	assert_int_equal(swap_turn(), SWAP_WAITS);
	used = stats().sectors_used;
	assert_true(used > 0);
	assert_int_equal(store_audit(), 0);
	assert_int_equal(get(5), STORE_OK); /* frames have it until then */
	assert_contents(5);
	store_drop(word[5]);
	store_drop(word[6]);
	put(5); /* another object; the handle's index may be the same */
	assert_int_equal(swap_turn(), SWAP_WAITS);
	host_disk.silent = false;
	assert_int_equal(swap_turn(), SWAP_AGAIN);
	there = (unsigned)stats().written_objects_total;
	assert_in_range(there, 8, 30);
	put(6);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(on_disk(i), i < there + 2 && i != 5 && i != 6);
	assert_true(stats().sectors_used < used);
	assert_int_equal(store_audit(), 0);
	host_swap_settle();
	for (unsigned i = 0; i < 20; i++)
		assert_returns(i);
	drop_all(20);
}

static void test_swap_dropped_while_it_is_read(void **state)
{
	u64 used;

	(void)state;
	put_all(20);
	host_swap_settle();
	used = stats().sectors_used;
	host_disk.silent = true;
	assert_false(store_ready(word[5]));
	assert_false(store_ready(word[6]));
	assert_int_equal(get(5), STORE_WAIT);
	store_drop(word[5]);
	/* Its sectors are not given to others while the disk reads them. */
	assert_int_equal(stats().sectors_used, used);
	assert_int_equal(store_audit(), 0);
	host_disk.silent = false;
	assert_true(store_ready(word[6]) || store_ready(word[6]));
	assert_true(stats().sectors_used < used);
	assert_int_equal(store_audit(), 0);
	/* Nor is what was read for it found by who comes behind. */
	put(5);
	host_swap_settle();
	assert_returns(5);
	/* Read, and then not wanted. */
	while (!store_ready(word[7]))
		;
	store_drop(word[7]);
	put(7);
	host_swap_settle();
	assert_returns(7);
	drop_all(20);
}

/* A number is given out again after 1024 generations: what was read for its last holder is not the next one's. */
static void test_swap_a_handle_that_comes_again(void **state)
{
	u64 old;

	(void)state;
	put(0);
	host_swap_settle();
	while (!store_ready(word[0]))
		;
	old = word[0];
	store_drop(old);
	put(1);
	for (unsigned n = 0; n < 2000 && word[1] != old; n++) {
		store_drop(word[1]);
		put(1);
	}
	assert_int_equal(word[1], old);
	host_swap_settle();
	assert_true(on_disk(1));
	assert_returns(1);
	store_drop(word[1]);
}

static void test_swap_more_wanted_than_can_be_read_at_a_time(void **state)
{
	(void)state;
	put_all(PAGES);
	host_swap_settle();
	host_disk.silent = true;
	for (unsigned i = 0; i < PAGES; i++)
		assert_false(store_ready(word[i]));
	assert_int_equal(host_disk.under_way, SWAP_READS);
	host_disk.silent = false;
	host_disk.late = 2;
	for (unsigned i = 0; i < PAGES; i++)
		assert_returns(i);
	assert_int_equal(stats().reads_total, PAGES);
	drop_all(PAGES);
}

/* A VM that was stopped does not come for what it wanted. */
static void test_swap_what_nobody_comes_for_is_forgotten(void **state)
{
	(void)state;
	host_time_set(1000000000);
	put_all(PAGES);
	host_swap_settle();
	for (unsigned i = 0; i < SWAP_READS; i++)
		assert_false(store_ready(word[i]));
	assert_true(store_ready(word[0]));
	for (unsigned k = 0; k < 5; k++)
		assert_false(store_ready(word[100])); /* they may still come */
	host_time_add(2000000000);
	assert_returns(100);
	for (unsigned i = 0; i < SWAP_READS; i++)
		assert_returns(i);
	drop_all(PAGES);
}

static void test_swap_a_disk_with_little_room(void **state)
{
	(void)state;
	host_disk.room = 1;
	host_disk.late = 1;
	put_all(PAGES);
	assert_int_equal(swap_turn(), SWAP_WAITS);
	host_swap_settle();
	assert_int_equal(number_on_disk(PAGES), PAGES);
	for (unsigned i = 0; i < 10; i++)
		assert_false(store_ready(word[i]) && i > 0);
	assert_int_equal(host_disk.under_way, 1);
	for (unsigned i = 0; i < PAGES; i++)
		assert_returns(i);
	drop_all(PAGES);
}

/* Free sectors that are nowhere as many in a row as a batch has. */
static void test_swap_shared_objects_move_once(void **state)
{
	struct pool_stats st;
	u64 first, second;
	u32 saved;

	(void)state;
	page_make(frame_ptr(in), 1);
	assert_int_equal(store_put_shared(in, &first, &saved), STORE_OK);
	assert_int_equal(store_put_shared(in, &second, &saved), STORE_OK);
	assert_true(saved > 0 && first == second);
	host_swap_settle();
	pool_snapshot(&st);
	assert_int_equal(st.on_disk, 1);
	assert_int_equal(store_audit(), 0);
	word[1] = first;
	assert_returns(1);
	store_drop(first);
	assert_returns(1);
	/* Nobody knows what lies there: the next equal page is kept by itself. */
	page_make(frame_ptr(in), 1);
	assert_int_equal(store_put_shared(in, &first, &saved), STORE_OK);
	assert_int_equal(saved, 0);
	store_drop(first);
	store_drop(second);
}

/* An object that is in no order stays where it is; the others go. */
static void test_swap_there_is_hope_while_the_pool_is_large(void **state)
{
	(void)state;
	host_swap_destroy();
	host_swap_create(SECTORS, 100);
	put_all(PAGES); /* some 70 of 4000 frames */
	assert_int_equal(swap_turn(), SWAP_IDLE);
	assert_false(swap_makes_room());
	for (unsigned i = 0; i < 4; i++) {
		static u64 more[4][PAGES];

		for (unsigned k = 0; k < PAGES; k++) {
			page_make(frame_ptr(in), 1000 * i + k + 1000);
			assert_int_equal(store_put(in, &more[i][k]), STORE_OK);
		}
		if (i < 3)
			continue;
		assert_true(swap_makes_room());
		assert_true(host_swap_wakes() > 0);
		assert_int_equal(swap_turn(), SWAP_WAITS);
		host_swap_settle();
		assert_true(number_on_disk(PAGES) > 10);
		for (unsigned n = 0; n < 4; n++)
			for (unsigned k = 0; k < PAGES; k++)
				store_drop(more[n][k]);
	}
	drop_all(PAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_swap_off_keeps_all_in_frames),
	        with_disk(test_swap_pages_come_back_as_they_left),
	        with_disk(test_swap_takes_the_oldest_first),
	        with_disk(test_swap_leaves_the_pool_its_share),
	        with_disk(test_swap_dropped_while_it_is_written),
	        with_disk(test_swap_dropped_while_it_is_read),
	        with_disk(test_swap_a_handle_that_comes_again),
	        with_disk(test_swap_more_wanted_than_can_be_read_at_a_time),
	        with_disk(test_swap_what_nobody_comes_for_is_forgotten),
	        with_disk(test_swap_a_disk_with_little_room),
	        with_disk(test_swap_shared_objects_move_once),
	        with_disk(test_swap_there_is_hope_while_the_pool_is_large),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
