/* lib/lock: exclusion on real threads, fairness, and the run-time checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/atomic.h"
#include "lib/lock.h"
#include "tests/host/hal.h"

#define THREADS 4u

static struct spinlock spin, inner;
static struct rwlock rw;
static u64 shared, copy;
static a32 readers_in, writers_in, most_readers;
static u64 rounds;

static void setup_locks(void)
{
	spin_init(&spin, LOCK_STORE, "spin");
	spin_init(&inner, LOCK_FRAME, "inner");
	rw_init(&rw, LOCK_MMU, "rw");
	shared = copy = 0;
	a32_store(&readers_in, 0);
	a32_store(&writers_in, 0);
	a32_store(&most_readers, 0);
}

static void run_threads(void *(*fn)(void *))
{
	pthread_t thread[THREADS];

	setup_locks();
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, fn, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
}

static void *spin_thread(void *arg)
{
	host_cpu_set((unsigned)(uintptr_t)arg);
	for (u64 i = 0; i < rounds; i++) {
		if (i % 3)
			spin_lock(&spin);
		else
			while (!spin_trylock(&spin))
				hal_pause();
		shared++;
		copy++;
		spin_unlock(&spin);
	}
	return NULL;
}

static void test_lock_spin_excludes(void **state)
{
	(void)state;
	rounds = host_steps(3000);
	run_threads(spin_thread);
	assert_int_equal(shared, THREADS * rounds);
	assert_int_equal(copy, shared);
}

static void *rw_thread(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	u64 seed = self;

	host_cpu_set(self);
	for (u64 i = 0; i < rounds; i++) {
		if (host_random(&seed) % 4) {
			if (i % 3)
				read_lock(&rw);
			else if (!read_trylock(&rw))
				continue;
			u32 n = a32_fetch_add(&readers_in, 1) + 1, most = a32_load(&most_readers);

			while (n > most && !a32_cas(&most_readers, &most, n))
				;
			if (shared != copy || a32_load(&writers_in))
				abort();
			a32_fetch_add(&readers_in, (u32)-1);
			read_unlock(&rw);
			continue;
		}
		if (i % 2)
			write_lock(&rw);
		else if (!write_trylock(&rw))
			continue;
		if (a32_fetch_add(&writers_in, 1) || a32_load(&readers_in))
			abort();
		shared++;
		hal_pause();
		copy++;
		a32_fetch_add(&writers_in, (u32)-1);
		write_unlock(&rw);
	}
	return NULL;
}

static void test_lock_rw_excludes(void **state)
{
	(void)state;
	rounds = host_steps(3000);
	run_threads(rw_thread);
	assert_int_equal(shared, copy);
	assert_true(shared > 0);
	/* Everything is released: a writer gets in at once. */
	assert_true(write_trylock(&rw));
	write_unlock(&rw);
}

static void test_lock_rw_trylock(void **state)
{
	(void)state;
	setup_locks();
	host_cpu_set(0);
	read_lock(&rw);
	host_cpu_set(1);
	assert_false(write_trylock(&rw));
	/* The attempt leaves nothing behind: readers come in, and the writer once they left. */
	read_lock(&rw);
	read_unlock(&rw);
	host_cpu_set(0);
	read_unlock(&rw);
	assert_true(write_trylock(&rw));
	host_cpu_set(1);
	assert_false(write_trylock(&rw));
	host_cpu_set(0);
	write_unlock(&rw);
	/* Both phases. */
	for (int i = 0; i < 3; i++) {
		write_lock(&rw);
		write_unlock(&rw);
		read_lock(&rw);
		read_unlock(&rw);
	}
}

/* A reader that tries declines wherever one that waits would wait, and leaves nothing behind. */
static void test_lock_rw_read_trylock(void **state)
{
	(void)state;
	setup_locks();
	for (int phase = 0; phase < 3; phase++) {
		host_cpu_set(0);
		assert_int_equal(rw_writers(&rw), 0);
		write_lock(&rw);
		assert_int_equal(rw_writers(&rw), 1);
		host_cpu_set(1);
		assert_false(read_trylock(&rw));
		assert_false(read_trylock(&rw));
		host_cpu_set(0);
		write_unlock(&rw);
		host_cpu_set(1);
		assert_true(read_trylock(&rw));
		host_cpu_set(2);
		assert_true(read_trylock(&rw));
		assert_false(write_trylock(&rw));
		read_unlock(&rw);
		host_cpu_set(1);
		read_unlock(&rw);
	}
	assert_int_equal(rw_waits(&rw), 0);
}

/*
 * Phase fairness: a reader that comes while a writer waits goes after that writer, not before it.
 * CPU 1 reads; the writer waits on CPU 2; CPU 3 comes to read; CPU 1 leaves.
 */
static a32 order_next, writer_place, reader_place, writer_waits;

static void *order_writer(void *arg)
{
	(void)arg;
	host_cpu_set(2);
	a32_store(&writer_waits, 1);
	write_lock(&rw);
	a32_store(&writer_place, a32_fetch_add(&order_next, 1) + 1);
	write_unlock(&rw);
	return NULL;
}

static void *order_reader(void *arg)
{
	(void)arg;
	host_cpu_set(3);
	read_lock(&rw);
	a32_store(&reader_place, a32_fetch_add(&order_next, 1) + 1);
	read_unlock(&rw);
	return NULL;
}

static void test_lock_rw_reader_waits_for_waiting_writer(void **state)
{
	pthread_t writer, reader;

	(void)state;
	setup_locks();
	a32_store(&order_next, 0);
	host_cpu_set(1);
	read_lock(&rw);
	assert_int_equal(pthread_create(&writer, NULL, order_writer, NULL), 0);
	/* Its bits in rin are what the reader will see. */
	while (!(a32_load(&rw.rin) & 2))
		hal_pause();
	assert_int_equal(pthread_create(&reader, NULL, order_reader, NULL), 0);
	while (a32_load(&rw.rin) < 0x200)
		hal_pause();
	/* Who tries does not get in before the writer either. */
	host_cpu_set(4);
	assert_false(read_trylock(&rw));
	assert_int_equal(rw_writers(&rw), 1);
	host_cpu_set(1);
	assert_int_equal(a32_load(&order_next), 0);
	read_unlock(&rw);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_int_equal(a32_load(&writer_place), 1);
	assert_int_equal(a32_load(&reader_place), 2);
	assert_int_equal(a32_load(&rw.writer_waits_readers), 1);
	assert_int_equal(a32_load(&rw.writer_waits_writer), 0);
	assert_int_equal(a32_load(&rw.reader_waits), 1);
}

static void test_lock_counters_wrap(void **state)
{
	(void)state;
	setup_locks();
	host_cpu_set(0);
	a32_store(&spin.next, UINT32_MAX);
	a32_store(&spin.owner, UINT32_MAX);
	for (int i = 0; i < 3; i++) {
		spin_lock(&spin);
		assert_true(spin_held(&spin));
		spin_unlock(&spin);
	}
	a32_store(&rw.rin, 0xffffff01);
	a32_store(&rw.rout, 0xffffff00);
	a32_store(&rw.win, UINT32_MAX);
	a32_store(&rw.wout, UINT32_MAX);
	for (int i = 0; i < 3; i++) {
		read_lock(&rw);
		read_unlock(&rw);
		write_lock(&rw);
		write_unlock(&rw);
		assert_true(write_trylock(&rw));
		write_unlock(&rw);
	}
}

static void take_twice(void *arg)
{
	(void)arg;
	spin_lock(&spin);
	spin_lock(&spin);
}

static void take_against_order(void *arg)
{
	(void)arg;
	spin_lock(&inner);
	spin_lock(&spin);
}

static void read_twice(void *arg)
{
	(void)arg;
	read_lock(&rw);
	read_lock(&rw);
}

static void release_unheld(void *arg)
{
	(void)arg;
	spin_unlock(&spin);
}

static void hold_where_none_may(void *arg)
{
	(void)arg;
	spin_lock(&spin);
	lock_assert_none();
}

/* Each on a CPU of its own: what it took stays held. */
static void assert_caught(unsigned cpu, void (*fn)(void *), const char *words)
{
	setup_locks();
	host_cpu_set(cpu);
	assert_true(host_panics(fn, NULL));
	if (!strstr(host_panic_text(), words))
		fail_msg("'%s' does not say '%s'", host_panic_text(), words);
	host_cpu_set(0);
}

static void test_lock_checks(void **state)
{
	(void)state;
	assert_caught(10, take_twice, "spin taken twice");
	assert_caught(11, take_against_order, "spin (class 80) taken under inner (class 90)");
	assert_caught(12, read_twice, "rw taken twice");
	assert_caught(13, release_unheld, "does not hold");
	assert_caught(14, hold_where_none_may, "spin is held");
}

static void test_lock_names(void **state)
{
	const char *names[4];

	(void)state;
	setup_locks();
	host_cpu_set(5);
	assert_int_equal(lock_held_names(5, names, 4), 0);
	write_lock(&rw);
	spin_lock(&spin);
	spin_lock(&inner);
	assert_int_equal(lock_held_names(5, names, 4), 3);
	assert_string_equal(names[0], "rw");
	assert_string_equal(names[2], "inner");
	assert_int_equal(lock_held_names(5, names, 2), 2);
	/* Not in the order of taking. */
	spin_unlock(&spin);
	assert_false(spin_held(&spin));
	assert_true(spin_held(&inner));
	assert_int_equal(lock_held_names(5, names, 4), 2);
	assert_string_equal(names[1], "inner");
	spin_unlock(&inner);
	write_unlock(&rw);
	lock_assert_none();
	host_cpu_set(0);
}

static void let_go(void *arg)
{
	bool *held_for_writing = arg;

	host_on_pause(NULL, NULL);
	host_cpu_set(1);
	if (*held_for_writing)
		write_unlock(&rw);
	else
		read_unlock(&rw);
	host_cpu_set(0);
}

/* Each that found it taken counts once, however long it took; the others do not. */
static void test_lock_rw_waits_are_counted(void **state)
{
	bool write = true, read = false;

	(void)state;
	setup_locks();
	read_lock(&rw);
	read_unlock(&rw);
	write_lock(&rw);
	write_unlock(&rw);
	assert_int_equal(rw_waits(&rw), 0);
	host_cpu_set(1);
	write_lock(&rw);
	host_cpu_set(0);
	host_on_pause(let_go, &write);
	read_lock(&rw);
	read_unlock(&rw);
	assert_int_equal(rw_waits(&rw), 1);
	host_cpu_set(1);
	read_lock(&rw);
	host_cpu_set(0);
	assert_false(write_trylock(&rw));
	assert_int_equal(rw_waits(&rw), 1);
	host_on_pause(let_go, &read);
	write_lock(&rw);
	write_unlock(&rw);
	assert_int_equal(rw_waits(&rw), 2);
	host_cpu_set(1);
	write_lock(&rw);
	host_cpu_set(0);
	host_on_pause(let_go, &write);
	write_lock(&rw);
	write_unlock(&rw);
	assert_int_equal(rw_waits(&rw), 3);
	assert_int_equal(a32_load(&rw.reader_waits), 1);
	assert_int_equal(a32_load(&rw.writer_waits_readers), 1);
	assert_int_equal(a32_load(&rw.writer_waits_writer), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_lock_spin_excludes),
	        cmocka_unit_test(test_lock_rw_excludes),
	        cmocka_unit_test(test_lock_rw_trylock),
	        cmocka_unit_test(test_lock_rw_read_trylock),
	        cmocka_unit_test(test_lock_rw_reader_waits_for_waiting_writer),
	        cmocka_unit_test(test_lock_rw_waits_are_counted),
	        cmocka_unit_test(test_lock_counters_wrap),
	        cmocka_unit_test(test_lock_checks),
	        cmocka_unit_test(test_lock_names),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
