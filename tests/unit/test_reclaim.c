/* mm/reclaim and mm/space: from whom, how much, and who has to go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 2048u

static struct fake_guest guests[3];
static unsigned nr_guests;
static struct space *victim;
static unsigned ooms, wakes, yields;

static void on_wake(void)
{
	wakes++;
}

static void on_oom(struct space *s, const char *why)
{
	assert_non_null(strstr(why, "nothing more can be packed"));
	victim = s;
	ooms++;
}

static void on_yield(void)
{
	yields++;
}

static const struct reclaim_ops ops = {.wake = on_wake, .out_of_memory = on_oom, .yield = on_yield};

static void start(const char *name, u64 npages)
{
	const struct fake_config c = {.name = name, .npages = npages};

	fake_guest_create(&guests[nr_guests++], &c);
}

static int setup(void **state)
{
	(void)state;
	nr_guests = 0;
	victim = NULL;
	ooms = wakes = yields = 0;
	fake_frames_create(FRAMES);
	reclaim_init(&ops);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(audit_all(NULL), 0);
	while (nr_guests)
		fake_guest_destroy(&guests[--nr_guests]);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	return 0;
}

static void write_pages(struct fake_guest *g, u64 n)
{
	for (u64 page = 0; page < n; page++)
		fake_write(g, 0, page, 5, page + 1);
}

static u64 resident(unsigned i)
{
	return a64_load(&guests[i].space->resident);
}

static void test_reclaim_background_goes_to_the_high_mark(void **state)
{
	(void)state;
	start("one", FRAMES);
	write_pages(&guests[0], FRAMES - frame_marks.low + 1);
	assert_true(reclaim_needed());
	assert_true(wakes > 0);
	assert_false(reclaim_background());
	assert_false(reclaim_needed());
	assert_in_range(frame_free_count(), frame_marks.high, frame_marks.high + 64);
	assert_true(yields > 0);
	assert_false(reclaim_background());
}

/* The larger one gives more; nobody is spared, nobody bled dry. */
static void test_reclaim_is_in_proportion_to_what_they_hold(void **state)
{
	u64 big, small;

	(void)state;
	start("big", 1500);
	start("small", 500);
	write_pages(&guests[0], 1200);
	write_pages(&guests[1], 400);
	for (unsigned i = 0; i < 12; i++)
		assert_int_not_equal(reclaim_direct(guests[1].space), 0);
	big = 1200 - resident(0);
	small = 400 - resident(1);
	assert_in_range(small, 64, 320);
	assert_in_range(big, 2 * small, 6 * small);
}

/* Pages that are touched all the time stay, those of an idle guest go. */
static void read_pages(struct fake_guest *g, u64 n)
{
	flush_wait(g->space, flush_request(g->space));
	for (u64 page = 0; page < n; page++)
		(void)fake_read(g, 0, page, 0);
}

static void test_reclaim_prefers_the_idle(void **state)
{
	(void)state;
	start("busy", 600);
	start("idle", 600);
	write_pages(&guests[0], 600);
	write_pages(&guests[1], 600);
	for (unsigned i = 0; i < 6; i++) {
		reclaim_age_periodic(hal_time_ns(), 0);
		read_pages(&guests[0], 600);
	}
	for (unsigned i = 0; i < 6; i++) {
		(void)reclaim_direct(guests[0].space);
		read_pages(&guests[0], 600);
	}
	assert_in_range(resident(1), 0, 300);
	assert_int_equal(resident(0), 600);
	assert_true(a64_load(&guests[0].space->stats.refaults_total) < 64);
}

static void test_reclaim_takes_from_the_next_if_one_has_nothing(void **state)
{
	(void)state;
	start("pinned", 1000);
	start("other", 200);
	write_pages(&guests[0], 1000);
	write_pages(&guests[1], 200);
	for (u64 page = 0; page < 1000; page++)
		assert_true(frame_pin_try(gfn_word_frame(fake_word(&guests[0], page))));
	for (unsigned i = 0; i < 3; i++)
		assert_int_not_equal(reclaim_direct(guests[0].space), 0);
	assert_int_equal(resident(0), 1000);
	for (u64 page = 0; page < 1000; page++)
		frame_unpin(gfn_word_frame(fake_word(&guests[0], page)));
}

/* Uses memory up with a store that takes nothing; returns the result of the fault that failed. */
static enum fault_result exhaust(struct fake_guest *g, u64 from)
{
	struct fault_page page;
	enum fault_result result;

	do
		result = fault_bring_in(g->space, gfn(from++), true, false, &page);
	while (result == FAULT_FIXED);
	return result;
}

static void fault_until_oom(struct fake_guest *g, u64 page)
{
	struct fault_page out;

	for (unsigned i = 0; i < 100 && !ooms; i++)
		(void)fault_bring_in(g->space, gfn(page), true, false, &out);
}

/* Share is in proportion to pages; the one furthest above it goes, whoever it is that faults. */
static void test_reclaim_oom_victim(void **state)
{
	(void)state;
	start("modest", 4000);
	start("greedy", 2000);
	fake_store.put = STORE_FULL;
	write_pages(&guests[0], 700);
	write_pages(&guests[1], 1000);
	assert_int_equal(exhaust(&guests[0], 700), FAULT_NO_MEMORY);
	fault_until_oom(&guests[0], 3999);
	assert_int_equal(ooms, 1);
	assert_ptr_equal(victim, guests[1].space);
	assert_true(a32_load(&victim->dying));
}

/*
 * One guest's pages do not pack, another's do: with little of the latter left they would come and go for
 * ever, one page in for one page out, and reclaim would always free something.
 */
static void decline_all(struct fake_guest *g)
{
	fake_store.put = STORE_INCOMPRESSIBLE;
	fake_make_cold(g);
	for (unsigned i = 0; i < FRAMES / GEN_BATCH; i++)
		(void)evict_space(g->space, evict_any(GEN_BATCH));
	fake_store.put = STORE_OK;
}

static void test_reclaim_nothing_packable_when_only_the_declined_is_left(void **state)
{
	u64 n = FRAMES - frame_marks.min - 200;

	(void)state;
	start("greedy", FRAMES);
	start("modest", 600);
	write_pages(&guests[0], n);
	write_pages(&guests[1], 201);
	assert_true(frame_free_count() < frame_marks.min);
	assert_false(reclaim_nothing_packable());
	decline_all(&guests[0]);
	assert_int_equal(frame_packable_count(), 201);
	assert_false(reclaim_nothing_packable());
	/* The modest one shrinks, the greedy one takes its place. */
	fake_make_cold(&guests[1]);
	assert_in_range(evict_space(guests[1].space, evict_any(128)).freed, 128, 200);
	for (u64 page = n; frame_free_count() >= frame_marks.min; page++)
		fake_write(&guests[0], 0, page, 5, page + 1);
	decline_all(&guests[0]);
	assert_true(reclaim_nothing_packable());
	assert_true(reclaim_out_of_memory());
	assert_ptr_equal(victim, guests[0].space);
}

static void test_reclaim_oom_names_one_victim_until_it_is_drained(void **state)
{
	struct fault_page page;

	(void)state;
	start("first", 1500);
	start("second", 1500);
	start("third", 1500);
	fake_store.put = STORE_FULL;
	write_pages(&guests[0], 1100);
	write_pages(&guests[1], 500);
	assert_int_equal(exhaust(&guests[2], 0), FAULT_NO_MEMORY);
	fault_until_oom(&guests[2], 1499);
	assert_ptr_equal(victim, guests[0].space);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(fault_bring_in(guests[2].space, gfn(1499), true, false, &page),
		                 FAULT_NO_MEMORY);
		assert_false(reclaim_out_of_memory());
	}
	assert_int_equal(ooms, 1);
	assert_int_equal(fault_bring_in(guests[0].space, gfn(0), false, false, &page),
	                 FAULT_STOP_VM);
	/* Drained, its memory is there for the others; then they may be judged again. */
	space_drain(guests[0].space);
	assert_int_equal(fault_bring_in(guests[2].space, gfn(1499), true, false, &page),
	                 FAULT_FIXED);
	assert_int_equal(exhaust(&guests[2], 0), FAULT_NO_SLOT);
	assert_int_equal(ooms, 1);
	assert_int_equal(exhaust(&guests[1], 0), FAULT_NO_MEMORY);
	fault_until_oom(&guests[1], 1498);
	assert_int_equal(ooms, 2);
	assert_ptr_equal(victim, guests[2].space);
}

static void test_reclaim_oom_is_not_for_young_pages(void **state)
{
	(void)state;
	start("only", FRAMES);
	write_pages(&guests[0], 500);
	for (unsigned i = 0; i < 20; i++)
		assert_false(reclaim_out_of_memory());
	assert_int_equal(ooms, 0);
}

/* Pages that are used all the time and do not pack: they look young whenever they are asked. */
static void all_young(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	(void)at;
	for (u64 page = 0; seam == FAKE_AGE && page < g->npages; page++)
		if (a64_load(&g->mmu[0].entry[page]) & FAKE_P)
			a64_fetch_or(&g->mmu[0].entry[page], FAKE_A);
}

static void test_reclaim_oom_comes_late_if_all_are_young(void **state)
{
	struct fault_page page;
	unsigned n = 0;

	(void)state;
	host_time_set(1000000000);
	fake_store.put = STORE_FULL;
	start("hot", FRAMES);
	write_pages(&guests[0], FRAMES - frame_marks.reserve);
	guests[0].hook = all_young;
	for (; !ooms && n < 100; n++) {
		assert_int_equal(
		        fault_bring_in(guests[0].space, gfn(FRAMES - 1), true, false, &page),
		        FAULT_NO_MEMORY);
		host_time_add(100000000);
	}
	assert_in_range(n, 20, 25);
	assert_int_equal(ooms, 1);
	guests[0].hook = NULL;
	host_time_set(HOST_TIME_REAL);
}

/* After a round in vain the background thread is left in peace for a while. */
static void test_reclaim_does_not_wake_in_vain(void **state)
{
	(void)state;
	start("full", FRAMES);
	fake_store.put = STORE_FULL;
	host_time_set(1000000000);
	write_pages(&guests[0], FRAMES - frame_marks.low + 1);
	while (reclaim_background())
		;
	wakes = 0;
	reclaim_wake();
	assert_int_equal(wakes, 0);
	host_time_add(1000000000);
	reclaim_wake();
	assert_int_equal(wakes, 1);
	host_time_set(HOST_TIME_REAL);
}

/* --- spaces ---------------------------------------------------------------------------------------- */

static struct space *at(u16 id)
{
	struct space *s;

	epoch_enter();
	s = space_at(id);
	epoch_exit();
	return s;
}

static void test_space_ids_are_found_and_used_again(void **state)
{
	u16 id;

	(void)state;
	start("a", 10);
	start("b", 10);
	id = guests[1].space->id;
	assert_ptr_equal(at(id), guests[1].space);
	assert_int_not_equal(id, guests[0].space->id);
	assert_null(at(0));
	assert_null(at(SPACE_MAX + 1));
	fake_guest_destroy(&guests[--nr_guests]);
	assert_null(at(id));
	start("c", 10);
	assert_ptr_equal(at(id), guests[1].space);
	assert_string_equal(guests[1].space->name, "c");
}

static void test_space_create_says_when_there_is_no_more(void **state)
{
	static const struct space_ops none;
	struct space *s[SPACE_MAX];

	(void)state;
	host_pages_limit(0);
	assert_null(space_create("x", &none, NULL));
	host_pages_limit(HOST_NO_LIMIT);
	for (unsigned i = 0; i < SPACE_MAX; i++) {
		s[i] = space_create("a name that is far too long for the field it goes to", &none,
		                    NULL);
		assert_non_null(s[i]);
		assert_true(strlen(s[i]->name) < SPACE_NAME_MAX);
	}
	assert_null(space_create("x", &none, NULL));
	for (unsigned i = 0; i < SPACE_MAX; i++) {
		space_drain(s[i]);
		space_destroy(s[i]);
	}
}

static void let_go(void *arg)
{
	unsigned *left = arg;

	if (--*left == 0)
		space_put(guests[0].space);
}

static void test_space_drain_waits_for_reclaimers(void **state)
{
	unsigned left = 7;
	struct space *s;

	(void)state;
	start("held", 10);
	write_pages(&guests[0], 10);
	s = space_get_id(guests[0].space->id);
	assert_ptr_equal(s, guests[0].space);
	host_on_pause(let_go, &left);
	space_drain(s);
	host_on_pause(NULL, NULL);
	assert_int_equal(left, 0);
	assert_int_equal(frame_free_count(), FRAMES);
	assert_null(space_get_id(s->id));
}

static void unpin(void *arg)
{
	u32 *frame = arg;

	if (*frame != FRAME_NONE)
		frame_unpin(*frame);
	*frame = FRAME_NONE;
}

static void test_space_drain_waits_for_pins(void **state)
{
	u32 frame;

	(void)state;
	start("pinned", 10);
	write_pages(&guests[0], 10);
	frame = gfn_word_frame(fake_word(&guests[0], 4));
	assert_true(frame_pin_try(frame));
	host_on_pause(unpin, &frame);
	space_drain(guests[0].space);
	host_on_pause(NULL, NULL);
	assert_int_equal(frame, FRAME_NONE);
	assert_int_equal(frame_free_count(), FRAMES);
}

static const struct space *found;

/* The other CPU looks at it once more, then leaves its section. */
static void reader_leaves(void *arg)
{
	host_cpu_set(1);
	if (epoch_active()) {
		*(bool *)arg = strcmp(found->name, "read") == 0;
		epoch_exit();
	}
	host_cpu_set(0);
}

static void test_space_is_freed_behind_its_readers(void **state)
{
	static const struct space_ops none;
	struct space *s = space_create("read", &none, NULL);
	bool waited_for = false;
	u16 id;

	(void)state;
	assert_non_null(s);
	id = s->id;
	space_drain(s);
	host_cpu_count_set(2);
	host_cpu_set(1);
	epoch_enter();
	found = space_at(id);
	host_cpu_set(0);
	assert_ptr_equal(found, s);
	host_on_pause(reader_leaves, &waited_for);
	space_destroy(s);
	host_on_pause(NULL, NULL);
	assert_true(waited_for);
	assert_null(at(id));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_reclaim_background_goes_to_the_high_mark),
	        T(test_reclaim_is_in_proportion_to_what_they_hold),
	        T(test_reclaim_prefers_the_idle),
	        T(test_reclaim_takes_from_the_next_if_one_has_nothing),
	        T(test_reclaim_oom_victim),
	        T(test_reclaim_nothing_packable_when_only_the_declined_is_left),
	        T(test_reclaim_oom_names_one_victim_until_it_is_drained),
	        T(test_reclaim_oom_is_not_for_young_pages),
	        T(test_reclaim_oom_comes_late_if_all_are_young),
	        T(test_reclaim_does_not_wake_in_vain),
	        T(test_space_ids_are_found_and_used_again),
	        T(test_space_create_says_when_there_is_no_more),
	        T(test_space_drain_waits_for_reclaimers),
	        T(test_space_drain_waits_for_pins),
	        T(test_space_is_freed_behind_its_readers),
	};

	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
