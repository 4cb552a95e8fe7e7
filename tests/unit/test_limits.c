/* mm/limits: what is promised, and reclaim that keeps to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/huge.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/vmlru.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 8192u
#define GUESTS 4u
#define SECOND 1000000000ull

static struct fake_guest guests[GUESTS];
static unsigned nr_guests, ooms, wakes;
static char why_oom[128];

static void on_wake(void)
{
	wakes++;
}

static void on_oom(struct space *s, const char *why)
{
	(void)s;
	ooms++;
	strncpy(why_oom, why, sizeof(why_oom) - 1);
}

static const struct reclaim_ops ops = {.wake = on_wake, .out_of_memory = on_oom};

static struct space *start(const char *name, u64 npages)
{
	const struct fake_config c = {.name = name, .npages = npages};
	struct fake_guest *g = &guests[nr_guests++];

	fake_guest_create(g, &c);
	return g->space;
}

static void write_pages(unsigned guest, u64 n)
{
	for (u64 page = 0; page < n; page++)
		fake_write(&guests[guest], 0, page, 5, page + 1);
}

static int setup(void **state)
{
	(void)state;
	nr_guests = ooms = wakes = 0;
	host_time_set(SECOND);
	vmlru_init();
	policy_init();
	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
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
	host_time_set(HOST_TIME_REAL);
	policy_init();
	return 0;
}

static u64 resident(unsigned i)
{
	return a64_load(&guests[i].space->resident);
}

static u64 evictions(unsigned i)
{
	return a64_load(&guests[i].space->stats.evictions_total);
}

/* Everybody uses everything in turn, and somebody needs frames all the time. */
static void long_run(unsigned rounds, u64 npages)
{
	for (unsigned round = 0; round < rounds; round++) {
		(void)reclaim_direct(guests[0].space);
		for (unsigned i = 0; i < nr_guests; i++)
			for (u64 page = round % 8; page < npages; page += 8)
				(void)fake_read(&guests[i], 0, page, 5);
	}
}

static void test_limits_fair(void **state)
{
	u64 sum = 0;

	(void)state;
	for (unsigned i = 0; i < GUESTS; i++) {
		start("fair", 1000);
		write_pages(i, 1000);
	}
	long_run(400, 1000);
	for (unsigned i = 0; i < GUESTS; i++)
		sum += evictions(i);
	assert_true(sum > 400 * GEN_BATCH / 2);
	for (unsigned i = 0; i < GUESTS; i++)
		assert_in_range(evictions(i), sum / GUESTS * 8 / 10, sum / GUESTS * 12 / 10);
}

/* Of equal size, with weights 50 : 100 : 200 : 400 what they give is as 8 : 4 : 2 : 1. */
static void test_limits_weights(void **state)
{
	u64 sum = 0;

	(void)state;
	for (unsigned i = 0; i < GUESTS; i++) {
		limits_set_weight(start("weighed", 1000), 50u << i);
		write_pages(i, 1000);
	}
	long_run(400, 1000);
	for (unsigned i = 0; i < GUESTS; i++)
		sum += evictions(i);
	for (unsigned i = 0; i < GUESTS; i++) {
		u64 share = sum * (8u >> i) / 15;

		assert_in_range(evictions(i), share * 8 / 10, share * 12 / 10);
	}
}

static void test_limits_idle_gives_first(void **state)
{
	u64 busy;

	(void)state;
	start("busy", 1000);
	start("idle", 1000);
	write_pages(0, 1000);
	write_pages(1, 1000);
	reclaim_age_periodic(hal_time_ns(), 0);
	assert_false(space_idle(guests[1].space));
	host_time_add(SPACE_IDLE_NS);
	(void)fake_read(&guests[0], 0, 0, 5);
	assert_true(space_idle(guests[1].space));
	assert_false(space_idle(guests[0].space));
	/* The busy one touches only a page now and then, and would have enough cold ones to give. */
	while (resident(1) >= GEN_BATCH) {
		busy = resident(0);
		assert_int_not_equal(reclaim_direct(guests[0].space), 0);
		assert_int_equal(resident(0), busy);
		(void)fake_read(&guests[0], 0, 0, 5);
	}
	assert_int_equal(evictions(0), 0);
	assert_int_not_equal(reclaim_direct(guests[0].space), 0);
	assert_int_not_equal(evictions(0), 0);
}

/* As soon as a vCPU runs, it stands in line as the others do. */
static void test_limits_idle_no_more(void **state)
{
	(void)state;
	start("one", 1000);
	start("two", 1000);
	write_pages(0, 1000);
	write_pages(1, 1000);
	reclaim_age_periodic(hal_time_ns(), 0);
	host_time_add(SPACE_IDLE_NS);
	(void)fake_read(&guests[0], 0, 0, 5);
	(void)reclaim_direct(guests[0].space);
	assert_int_not_equal(evictions(1), 0);
	for (unsigned i = 0; i < 8; i++) {
		(void)fake_read(&guests[1], 0, 0, 5);
		(void)reclaim_direct(guests[0].space);
	}
	assert_in_range(evictions(0), 3 * GEN_BATCH, 6 * GEN_BATCH);
}

static void test_limits_min_is_never_taken(void **state)
{
	(void)state;
	limits_set_min(start("promised", 1000), 700);
	start("other", 300);
	write_pages(0, 1000);
	write_pages(1, 300);
	for (unsigned i = 0; i < 50; i++)
		(void)reclaim_direct(guests[1].space);
	assert_in_range(resident(0), 700, 700 + GEN_BATCH);
	assert_int_equal(resident(1), 0);
	assert_int_equal(reclaim_direct(guests[1].space), 0);
	/* Lowered, it counts at once. */
	limits_set_min(guests[0].space, 0);
	assert_int_not_equal(reclaim_direct(guests[1].space), 0);
}

static void test_limits_low_is_taken_last(void **state)
{
	u64 lowest = ~0ull;

	(void)state;
	limits_set_low(start("lower", 1000), 600);
	limits_set_min(guests[0].space, 200);
	start("other", 500);
	write_pages(0, 1000);
	write_pages(1, 500);
	while (resident(1)) {
		lowest = min_of(lowest, resident(0));
		assert_int_not_equal(reclaim_direct(guests[1].space), 0);
	}
	assert_true(lowest >= 600);
	for (unsigned i = 0; i < 30; i++)
		(void)reclaim_direct(guests[1].space);
	assert_in_range(resident(0), 200, 200 + GEN_BATCH);
}

static void test_limits_fault_at_the_limit_gives_first(void **state)
{
	(void)state;
	start("limited", 1000);
	start("other", 500);
	write_pages(1, 500);
	limits_set_limit(guests[0].space, 300);
	for (u64 page = 0; page < 1000; page++) {
		fake_write(&guests[0], 0, page, 5, page + 1);
		assert_in_range(resident(0), 0, 300);
	}
	/* A part of the limit is taken ahead of need, not a full chunk. */
	assert_true(resident(0) >= 300 - 300 / POLICY_CHUNK_PART);
	assert_int_equal(resident(1), 500);
	assert_true(a64_load(&guests[0].space->stats.limit_reclaims_total) >= 700 / GEN_BATCH);
	assert_int_equal(a64_load(&guests[0].space->stats.over_limit_total), 0);
	for (u64 page = 0; page < 1000; page++)
		assert_int_equal(fake_read(&guests[0], 0, page, 5), page + 1);
}

/* ... and without a limit, of what it has: of 640 pages, 64 would be a tenth that nobody uses. */
static void test_limits_chunks_are_a_part_of_memory(void **state)
{
	(void)state;
	start("small", 640);
	write_pages(0, 640);
	fake_make_cold(&guests[0]);
	assert_int_equal(evict_space(guests[0].space, evict_any(1)).freed, 640 / POLICY_CHUNK_PART);
	limits_set_limit(guests[0].space, 1ull << 20);
	assert_int_equal(evict_space(guests[0].space, evict_any(1)).freed, GEN_BATCH);
	limits_set_limit(guests[0].space, 0);
	a32_store(&policy.chunk, 9);
	assert_int_equal(evict_space(guests[0].space, evict_any(1)).freed, 9);
}

static void test_limits_lowered_live(void **state)
{
	(void)state;
	start("limited", 1000);
	write_pages(0, 1000);
	limits_set_limit(guests[0].space, 2000);
	assert_int_equal(wakes, 0);
	limits_set_limit(guests[0].space, 400);
	assert_int_equal(wakes, 1);
	reclaim_limits();
	assert_in_range(resident(0), 400 - GEN_BATCH, 400);
	assert_int_equal(limits_over(guests[0].space), 0);
}

/* --- tables in frames: the fake MMU has some, and gives them when it is asked --- */

static u32 table[256];
static unsigned nr_tables;
static u64 wanted; /* of it, since the test began */

static void tables_make(struct space *s, unsigned n)
{
	for (wanted = nr_tables = 0; nr_tables < n; nr_tables++) {
		table[nr_tables] = frame_alloc(FRAME_FOR_CACHE);
		assert_int_not_equal(table[nr_tables], FRAME_NONE);
		frame_make_table(table[nr_tables], s->id, &table);
		a64_count(&s->tables, 1);
	}
}

static u64 tables_give(struct notifier *n, u64 want)
{
	u64 done;

	lock_assert_none();
	assert_false(epoch_active());
	wanted += want;
	for (done = 0; done < want && nr_tables; done++) {
		frame_unmake_table(table[--nr_tables]);
		frame_free(table[nr_tables]);
		a64_count(&n->space->tables, -1ull);
	}
	return done;
}

/* Of 300 that are allowed, 100 are tables at first: they go in their share, not all, and before pages. */
static void test_limits_tables_count_and_shrink(void **state)
{
	struct space *s = start("limited", 1000);

	(void)state;
	guests[0].mmu[0].ops.shrink = tables_give;
	limits_set_limit(s, 300);
	tables_make(s, 100);
	write_pages(0, 200);
	assert_int_equal(limits_over(s), 0);
	assert_false(limits_room(s, 1));
	assert_int_equal(wanted, 0);
	fake_write(&guests[0], 0, 200, 5, 201);
	assert_int_equal(wanted, 100 * GEN_BATCH / 300);
	assert_int_equal(nr_tables, 100 - wanted);
	for (u64 page = 0; page < 1000; page++) {
		fake_write(&guests[0], 0, page, 5, page + 1);
		assert_in_range(resident(0) + nr_tables, 0, 300);
	}
	(void)tables_give(&guests[0].mmu[0].notifier, nr_tables);
	guests[0].mmu[0].ops.shrink = NULL;
}

/* The need of others finds them as well. */
static void test_limits_tables_shrink_in_a_pass(void **state)
{
	struct space *s = start("one", 4000);

	(void)state;
	guests[0].mmu[0].ops.shrink = tables_give;
	tables_make(s, 200);
	write_pages(0, 1800);
	assert_int_not_equal(reclaim_direct(s), 0);
	assert_in_range(wanted, 1, GEN_BATCH);
	assert_int_equal(nr_tables, 200 - wanted);
	(void)tables_give(&guests[0].mmu[0].notifier, nr_tables);
	guests[0].mmu[0].ops.shrink = NULL;
}

/* 512 pages at once would exceed it: then one by one, with room made for each. */
static void test_limits_no_huge_page_beyond_the_limit(void **state)
{
	struct space *s = start("limited", 1024);

	(void)state;
	a32_store(&s->wants_huge, 1);
	limits_set_limit(s, TABLE_PAGES - 1);
	assert_int_equal(huge_bring_in(s, gfn(0), true), FRAME_NONE);
	limits_set_limit(s, TABLE_PAGES);
	assert_int_not_equal(huge_bring_in(s, gfn(0), true), FRAME_NONE);
	assert_int_equal(huge_bring_in(s, gfn(TABLE_PAGES), true), FRAME_NONE);
	assert_int_equal(resident(0), TABLE_PAGES);
}

/* Nothing packs, but there is memory: the guest goes on, and it is counted. */
static void test_limits_exceeded_by_what_does_not_pack(void **state)
{
	(void)state;
	start("limited", 1000);
	limits_set_limit(guests[0].space, 100);
	fake_store.put = STORE_INCOMPRESSIBLE;
	write_pages(0, 200);
	assert_int_equal(resident(0), 200);
	assert_true(a64_load(&guests[0].space->stats.over_limit_total) > 0);
	reclaim_limits();
	assert_int_equal(resident(0), 200);
}

static void test_limits_min_ttl_keeps_the_young(void **state)
{
	(void)state;
	start("one", 1000);
	write_pages(0, 1000);
	a64_store(&policy.min_ttl_ns, 10 * SECOND);
	/* Births are now; the guest touches nothing. */
	fake_make_cold(&guests[0]);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(reclaim_direct(guests[0].space), 0);
	host_time_add(9 * SECOND);
	assert_int_equal(reclaim_direct(guests[0].space), 0);
	host_time_add(SECOND);
	assert_int_not_equal(reclaim_direct(guests[0].space), 0);
}

static void test_limits_min_ttl_of_one_space(void **state)
{
	(void)state;
	start("kept", 1000);
	start("other", 1000);
	write_pages(0, 1000);
	write_pages(1, 1000);
	fake_make_cold(&guests[0]);
	fake_make_cold(&guests[1]);
	a64_store(&policy.min_ttl_ns, SECOND);
	limits_set_min_ttl(guests[0].space, 10 * SECOND);
	host_time_add(2 * SECOND);
	for (unsigned i = 0; i < 5; i++)
		assert_int_not_equal(reclaim_direct(guests[0].space), 0);
	assert_int_equal(resident(0), 1000);
}

static void fault_for_ns(unsigned guest, u64 ns)
{
	struct fault_page out;
	u64 npages = guests[guest].npages;

	for (u64 i = 0; i < ns / (SECOND / 10) && !ooms; i++) {
		(void)fault_bring_in(guests[guest].space, gfn(npages - 1 - i), true, false, &out);
		host_time_add(SECOND / 10);
	}
}

/* Memory is out, all is protected: policy, and the line says so. */
static void test_limits_min_ttl_protects_everything(void **state)
{
	(void)state;
	a64_store(&policy.min_ttl_ns, 1000 * SECOND);
	start("one", 2 * FRAMES);
	write_pages(0, FRAMES - frame_marks.reserve);
	fault_for_ns(0, SECOND);
	assert_int_equal(ooms, 0);
	fault_for_ns(0, 4 * SECOND);
	assert_int_equal(ooms, 1);
	assert_non_null(strstr(why_oom, "min_ttl protects all that could be packed"));
	assert_int_equal(evictions(0), 0);
}

/* Copies that the store keeps of pages that are resident as well go before a VM does. */
static void test_limits_copies_go_before_a_vm(void **state)
{
	u64 kept;

	(void)state;
	start("reader", 2 * FRAMES);
	write_pages(0, 500);
	fake_make_cold(&guests[0]);
	while (evict_space(guests[0].space, evict_any(GEN_BATCH)).freed)
		;
	for (u64 page = 0; page < 500; page++)
		assert_int_equal(fake_read(&guests[0], 0, page, 5), page + 1);
	kept = fake_store.objects;
	assert_true(kept >= 400);
	fake_store.put = STORE_FULL;
	a64_store(&policy.min_ttl_ns, 1000 * SECOND);
	for (u64 page = 500; frame_free_count() > frame_marks.reserve; page++)
		fake_write(&guests[0], 0, page, 5, page + 1);
	fault_for_ns(0, 3 * SECOND);
	assert_int_equal(ooms, 0);
	assert_int_equal(fake_store.objects, 0);
	fault_for_ns(0, 4 * SECOND);
	assert_int_equal(ooms, 1);
}

/* Writers that meet dirty pages only send for the background thread. */
static void test_limits_all_dirty_wakes_the_writer(void **state)
{
	u64 left;

	(void)state;
	start("one", FRAMES);
	write_pages(0, FRAMES - frame_marks.low - 10);
	left = frame_free_count();
	assert_false(reclaim_needed());
	wakes = 0;
	fake_make_cold(&guests[0]);
	assert_int_not_equal(reclaim_direct(guests[0].space), 0);
	assert_int_equal(wakes, 1);
	assert_int_equal(a64_load(&guests[0].space->stats.dirty_chunks_total), 1);
	if (left + GEN_BATCH < frame_marks.high)
		assert_true(reclaim_needed());
	(void)reclaim_background();
	assert_false(reclaim_needed());
	assert_true(frame_free_count() >= frame_marks.high);
}

/* --- admission ------------------------------------------------------------------------------------- */

static void test_limits_admission(void **state)
{
	struct limits_demand d = {.frames = 1000, .min_frames = 0, .nr_vms = 2, .vcpus = 2};
	struct limits_supply s = {.frames = 1000, .free_pages = 100000};

	(void)state;
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_ADMITTED);
	d.frames = 1001;
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_OVERCOMMIT);
	s.overcommit = true;
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_ADMITTED);
	d.min_frames = 990;
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_ADMITTED);
	d.min_frames = 991;
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_MIN);
	d.min_frames = 0;
	s.free_pages = limits_table_pages(&d);
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_ADMITTED);
	s.free_pages--;
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_ADMITTED);
	s.overcommit = false;
	d.frames = 1000;
	s.free_pages = limits_table_pages(&d);
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_ADMITTED);
	s.free_pages--;
	assert_int_equal(limits_admit(&d, &s, 10), LIMITS_TABLES);
	/* A word and a leaf entry for each page, at the least. */
	d.frames = 1u << 20;
	assert_in_range(limits_table_pages(&d), 4096, 5000);
}

static void test_limits_budget(void **state)
{
	struct space *s = start("one", 10);

	(void)state;
	a64_count(&s->resident, 500);
	assert_int_equal(limits_budget(s, 0, 1000, 64), 32);
	assert_int_equal(limits_budget(s, 400, 1000, 64), 6);
	assert_int_equal(limits_budget(s, 500, 1000, 64), 1);
	limits_set_weight(s, 200);
	assert_int_equal(limits_budget(s, 0, 1000, 64), 16);
	a64_count(&s->resident, -500ull);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_limits_fair),
	        T(test_limits_weights),
	        T(test_limits_idle_gives_first),
	        T(test_limits_idle_no_more),
	        T(test_limits_min_is_never_taken),
	        T(test_limits_low_is_taken_last),
	        T(test_limits_fault_at_the_limit_gives_first),
	        T(test_limits_chunks_are_a_part_of_memory),
	        T(test_limits_lowered_live),
	        T(test_limits_tables_count_and_shrink),
	        T(test_limits_tables_shrink_in_a_pass),
	        T(test_limits_no_huge_page_beyond_the_limit),
	        T(test_limits_exceeded_by_what_does_not_pack),
	        T(test_limits_min_ttl_keeps_the_young),
	        T(test_limits_min_ttl_of_one_space),
	        T(test_limits_min_ttl_protects_everything),
	        T(test_limits_copies_go_before_a_vm),
	        T(test_limits_all_dirty_wakes_the_writer),
	        T(test_limits_admission),
	        T(test_limits_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
