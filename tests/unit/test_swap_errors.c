/* mm/swap with a disk that fails, is silent, or full: what fails loses nothing that need not be lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/swap_pages.h"

static void test_swap_a_failed_write_loses_nothing(void **state)
{
	(void)state;
	put_all(PAGES);
	assert_int_equal(swap_turn(), SWAP_WAITS);
	assert_int_equal(swap_turn(), SWAP_AGAIN); /* the first went well */
	host_disk.bad_writes = 1;
	host_swap_settle();
	assert_int_equal(swap_state(), SWAP_STUCK);
	assert_non_null(strstr(host_log_last(), "the test's disk: writing"));
	assert_int_equal(stats().errors_total, 1);
	assert_in_range(number_on_disk(PAGES), 10, 32);
	assert_int_equal(stats().writes_total, 1);
	assert_int_equal(swap_turn(), SWAP_IDLE);
	assert_false(swap_makes_room());
	assert_int_equal(host_disk.writes, 2);
	assert_int_equal(store_audit(), 0);
	for (unsigned i = 0; i < PAGES; i++)
		assert_returns(i); /* from where it is */
	drop_all(PAGES);
}

static void test_swap_a_failed_read_is_one_pages_end(void **state)
{
	(void)state;
	put_all(40);
	host_swap_settle();
	host_disk.bad_reads = 1;
	assert_int_equal(get_patiently(3), STORE_BAD);
	assert_int_equal(stats().errors_total, 1);
	assert_int_equal(swap_state(), SWAP_ON);
	for (unsigned i = 0; i < 40; i++)
		assert_returns(i); /* that one, too: the error was the disk's, and once */
	drop_all(40);
}

static void test_swap_damage_on_the_disk_is_noticed(void **state)
{
	(void)state;
	put_all(40);
	host_swap_settle();
	for (u64 i = 0; i < 40 * 8 * DISK_SECTOR; i += DISK_SECTOR)
		host_disk.data[i + 100] ^= 4;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(get_patiently(i), STORE_BAD);
	assert_int_equal(stats().errors_total, 0);
	drop_all(40);
}

static void test_swap_a_silent_disk_is_given_up(void **state)
{
	unsigned moved;

	(void)state;
	host_time_set(1000000000);
	put_all(PAGES);
	assert_int_equal(swap_turn(), SWAP_WAITS);
	assert_int_equal(swap_turn(), SWAP_AGAIN);
	moved = number_on_disk(PAGES);
	host_disk.silent = true;
	assert_int_equal(swap_turn(), SWAP_WAITS);
	assert_false(store_ready(word[0]));
	host_time_add(SWAP_PATIENCE_NS / 2);
	assert_int_equal(swap_turn(), SWAP_WAITS);
	assert_false(store_ready(word[0]));
	assert_int_equal(swap_state(), SWAP_ON);
	host_time_add(SWAP_PATIENCE_NS);
	assert_true(store_ready(word[0]));
	assert_int_equal(swap_state(), SWAP_GONE);
	assert_int_equal(host_disk.resets, 1);
	assert_int_equal(get(0), STORE_BAD);
	assert_int_equal(get_patiently(1), STORE_BAD);
	host_swap_settle();
	assert_int_equal(swap_state(), SWAP_GONE);
	for (unsigned i = moved; i < PAGES; i++)
		assert_returns(i);
	drop_all(PAGES);
}

static void test_swap_a_disk_that_talks_nonsense_is_given_up(void **state)
{
	(void)state;
	put_all(40);
	host_swap_settle();
	host_disk.nonsense = true;
	assert_int_equal(get_patiently(2), STORE_BAD);
	assert_int_equal(swap_state(), SWAP_GONE);
	assert_int_equal(get_patiently(3), STORE_BAD);
	drop_all(40);
}

static void test_swap_a_full_disk(void **state)
{
	unsigned there;

	host_swap_destroy();
	host_swap_create(60, 0);
	(void)state;
	put_all(100);
	host_swap_settle();
	there = number_on_disk(100);
	assert_in_range(there, 10, 30);
	assert_true(stats().sectors_used > 50);
	assert_int_equal(swap_state(), SWAP_ON);
	assert_non_null(strstr(host_log_last(), "is full"));
	assert_false(swap_makes_room());
	for (unsigned i = 0; i < 100; i++) {
		assert_returns(i);
		assert_int_equal(on_disk(i), i < there);
	}
	/* Where something was given back, the next oldest goes. */
	store_drop(word[4]);
	put(4);
	host_swap_settle();
	assert_true(on_disk(there));
	for (unsigned i = 0; i < 100; i++)
		assert_returns(i);
	drop_all(100);
}

static void test_swap_a_disk_in_pieces(void **state)
{
	(void)state;
	host_swap_destroy();
	host_swap_create(520, 0);
	put_all(100);
	host_swap_settle();
	assert_int_equal(number_on_disk(100), 100);
	for (unsigned i = 100; i < PAGES; i++)
		put(i);
	for (unsigned i = 0; i < 100; i += 2)
		store_drop(word[i]);
	host_swap_settle();
	assert_true(number_on_disk(PAGES) >= 100);
	for (unsigned i = 1; i < 100; i += 2)
		assert_returns(i);
	for (unsigned i = 100; i < PAGES; i++)
		assert_returns(i);
	for (unsigned i = 0; i < PAGES; i++)
		if (i >= 100 || i % 2)
			store_drop(word[i]);
}

static void no_wake(void)
{
}

static void test_swap_without_memory_there_is_none(void **state)
{
	struct disk disk;

	(void)state;
	host_swap_destroy();
	disk = host_disk_create(SECTORS);
	for (u64 pages = 0;; pages++) {
		bool attached;

		host_pages_limit(pages);
		attached = swap_attach(&disk, 0, no_wake);
		host_pages_limit(HOST_NO_LIMIT);
		assert_int_equal(swap_state(), attached ? SWAP_ON : SWAP_OFF);
		if (attached)
			break;
	}
	put(0); /* as much as anybody has done with it */
	store_drop(word[0]);
}

static void test_swap_without_memory_for_the_order(void **state)
{
	(void)state;
	put(0);
	store_drop(word[0]); /* the pool has its tables */
	swap_detach();
	host_disk_destroy();
	host_swap_create(SECTORS, 0);
	host_pages_limit(0);
	put(0);
	host_pages_limit(HOST_NO_LIMIT);
	put(1);
	host_swap_settle();
	assert_false(on_disk(0));
	assert_true(on_disk(1));
	assert_returns(0);
	assert_returns(1);
	drop_all(2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        with_disk(test_swap_a_failed_write_loses_nothing),
	        with_disk(test_swap_a_failed_read_is_one_pages_end),
	        with_disk(test_swap_damage_on_the_disk_is_noticed),
	        with_disk(test_swap_a_silent_disk_is_given_up),
	        with_disk(test_swap_a_disk_that_talks_nonsense_is_given_up),
	        with_disk(test_swap_a_full_disk),
	        with_disk(test_swap_a_disk_in_pieces),
	        with_disk(test_swap_without_memory_there_is_none),
	        with_disk(test_swap_without_memory_for_the_order),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
