/* hv/pv, mm/balloon: pages lent and reported free, what the host makes of it, and that no call does any harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/pv.h"
#include "mm/balloon.h"
#include "mm/controller.h"
#include "mm/evict.h"
#include "mm/gfnmap.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "tests/unit/shadow_guest.h"

#define FRAMES 4096u
#define PAGES  1300u
#define SECOND 1000000000ull

static struct host_vm vm;
static struct pv_call last;

static u32 ask(struct space *s, u32 command, u64 arg0, u64 arg1)
{
	last = (struct pv_call){.command = command, .arg = {arg0, arg1}};
	return pv_run(s, &last);
}

/* Its result 0. */
static u64 call(u32 command, u64 arg0, u64 arg1)
{
	assert_int_equal(ask(vm.space, command, arg0, arg1), PV_OK);
	return last.result[0];
}

static void start(const struct host_machine *m)
{
	host_vm_create(&vm, m, PAGES, 2);
	assert_true(balloon_enable(vm.space));
}

static void stop(void)
{
	epoch_barrier();
	assert_int_equal(audit_all(NULL), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
	host_vm_destroy(&vm);
	assert_int_equal(frame_free_count(), FRAMES);
}

static gpa_t word_of(u64 g)
{
	return gpa(g << PAGE_SHIFT | (g % 512) * 8);
}

static void write_all(u64 first, u64 n)
{
	for (u64 g = first; g < first + n; g++)
		assert_int_equal(host_vm_write(&vm, g % 2, word_of(g), g + 1), FAULT_FIXED);
}

static void check_all(u64 first, u64 n, bool zero)
{
	u64 value;

	for (u64 g = first; g < first + n; g++) {
		assert_int_equal(host_vm_read(&vm, g % 2, word_of(g), &value), FAULT_FIXED);
		assert_int_equal(value, zero ? 0 : g + 1);
	}
}

static u64 word(u64 g)
{
	u64 w;

	epoch_enter();
	w = a64_load(gfnmap_word(vm.space, gfn(g)));
	epoch_exit();
	return w;
}

static u64 inside(void)
{
	return a64_load(&vm.space->balloon.inside);
}

static void test_pv_given_pages_are_gone_and_come_back_zero(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_all(0, 600);
		assert_true(host_vm_evict(&vm, 100) >= 100);
		assert_int_equal(call(PV_GIVE, 100, 400), 400);
		assert_int_equal(call(PV_GIVE, 90, 20), 10);
		for (u64 g = 90; g < 500; g++)
			assert_int_equal(word(g), 0);
		assert_int_equal(inside(), 410);
		assert_int_equal(audit_all(NULL), 0);
		assert_int_equal(call(PV_RETURN, 300, 1000), 200);
		assert_int_equal(call(PV_RETURN, 300, 1000), 0);
		check_all(300, 200, true);
		assert_int_equal(inside(), 210);
		/* Touched inside: out. */
		check_all(90, 10, true);
		write_all(100, 10);
		assert_int_equal(inside(), 190);
		assert_int_equal(a64_load(&vm.space->stats.balloon_touched_total), 20);
		check_all(0, 90, false);
		check_all(100, 10, false);
		check_all(500, 100, false);
		stop();
	}
}

static void test_pv_reported_pages_are_dropped_unpacked(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 evictions;

		start(m);
		write_all(0, 600);
		assert_true(host_vm_evict(&vm, 100) >= 100);
		evictions = a64_load(&vm.space->stats.evictions_total);
		assert_int_equal(call(PV_REPORT_FREE, 0, 700), 600);
		assert_int_equal(call(PV_REPORT_FREE, 0, 700), 0);
		assert_int_equal(a64_load(&vm.space->resident) + a64_load(&vm.space->pooled), 0);
		assert_int_equal(a64_load(&vm.space->stats.evictions_total), evictions);
		assert_int_equal(inside(), 0);
		check_all(0, 600, true);
		write_all(0, 600);
		check_all(0, 600, false);
		stop();
	}
}

static void unpin(void *arg)
{
	u32 *frame = arg;

	if (*frame != FRAME_NONE)
		frame_unpin(*frame);
	*frame = FRAME_NONE;
}

static void test_pv_give_waits_for_a_pin(void **state)
{
	u32 frame;

	(void)state;
	start(&host_machines[0]);
	write_all(0, 10);
	frame = gfn_word_frame(word(3));
	epoch_enter();
	assert_true(frame_pin_try(frame));
	epoch_exit();
	host_on_pause(unpin, &frame);
	assert_int_equal(call(PV_GIVE, 0, 10), 10);
	host_on_pause(NULL, NULL);
	assert_int_equal(frame, FRAME_NONE);
	stop();
}

/* The large leaf is split, 511 stay, and no first touch of 512 fetches what is lent. */
static void test_pv_give_of_a_page_in_a_large_leaf(void **state)
{
	u64 value;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		a32_store(&vm.space->wants_huge, 1);
		assert_int_equal(host_vm_write(&vm, 0, word_of(5), 6), FAULT_FIXED);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 1);
		assert_int_equal(call(PV_GIVE, 7, 1), 1);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
		check_all(5, 1, false);
		assert_int_equal(call(PV_GIVE, 600, 1), 1);
		assert_int_equal(host_vm_read(&vm, 0, word_of(700), &value), FAULT_FIXED);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
		assert_int_equal(inside(), 2);
		stop();
	}
}

static void test_pv_refuses_what_is_out_of_bounds(void **state)
{
	static const u32 ranged[] = {PV_GIVE, PV_RETURN, PV_REPORT_FREE};
	static const u64 bad[][2] = {
	        {0, 0},
	        {0, PV_PAGES_MAX + 1},
	        {0, ~0ull},
	        {PAGES, 1},
	        {PAGES - 1, 2},
	        {~0ull, 1},
	        {~0ull, ~0ull},
	        {~0ull - 1, 3},
	        {1ull << 52, 1},
	        {1ull << 63, 1024},
	        {PAGES - 5, 1024},
	};

	(void)state;
	start(&host_machines[0]);
	write_all(0, PAGES);
	for (unsigned i = 0; i < ARRAY_SIZE(ranged); i++)
		for (unsigned j = 0; j < ARRAY_SIZE(bad); j++) {
			assert_int_equal(ask(vm.space, ranged[i], bad[j][0], bad[j][1]), PV_RANGE);
			assert_int_equal(last.result[0], 0);
		}
	assert_int_equal(ask(vm.space, PV_STATE, PAGES + 1, 0), PV_RANGE);
	assert_int_equal(ask(vm.space, PV_STATE, 0, 1001), PV_RANGE);
	assert_int_equal(ask(vm.space, PV_FORGET + 1, 0, 0), PV_UNKNOWN);
	assert_int_equal(ask(vm.space, ~0u, 0, 0), PV_UNKNOWN);
	check_all(0, PAGES, false);
	assert_int_equal(inside(), 0);
	stop();
}

static u64 dice(u64 *x)
{
	*x = *x * 6364136223846793005ull + 1442695040888963407ull;
	return *x >> 33;
}

/* Numbers that are nearly right. */
static u64 number(u64 *x, u64 pages)
{
	const u64 near[] = {0, 1, pages, PV_PAGES_MAX, 511, 512, 1ull << 52, ~0ull};
	u64 pick = dice(x);

	return pick % 3 ? dice(x) % pages : near[pick % ARRAY_SIZE(near)] + dice(x) % 3 - 1;
}

/* What the guest wrote last, or zero if it has lent or reported the page since. */
static void test_pv_any_call_is_harmless(void **state)
{
	static u64 wrote[PAGES];
	u64 x = 4711, ok = 0;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		memset(wrote, 0, sizeof(wrote));
		a32_store(&vm.space->wants_huge, m == &host_machines[0]);
		for (unsigned i = 0; i < 4000; i++) {
			u64 g = dice(&x) % PAGES, value, a = number(&x, PAGES), b = dice(&x) % 90;

			assert_int_equal(host_vm_read(&vm, 0, word_of(g), &value), FAULT_FIXED);
			assert_true(value == wrote[g] || !value);
			assert_int_equal(host_vm_write(&vm, 1, word_of(g), i + 1), FAULT_FIXED);
			wrote[g] = i + 1;
			if (i % 16 == 0)
				(void)evict_space(vm.space, evict_any(20));
			ok += ask(vm.space, (u32)dice(&x) % 11, a, i % 7 ? b : number(&x, PAGES)) ==
			      PV_OK;
		}
		assert_int_equal(audit_all(NULL), 0);
		stop();
	}
	assert_true(ok > 4000);
}

/* The same on shadow tables, whose guest lends the pages of its own page tables as well. */
static void test_pv_any_call_is_harmless_on_shadow_tables(void **state)
{
	u64 x = 11, ok = 0;

	(void)state;
	guest_start(spte_shadow_format(true));
	assert_true(balloon_enable(guest.space));
	guest_start_paging();
	for (unsigned i = 0; i < 4000; i++) {
		unsigned at = (unsigned)dice(&x) % GUEST_ADDRESSES;
		u64 value = i, a = number(&x, GUEST_PAGES);

		if (i % 50 == 0)
			guest_start_paging();
		guest_map(at, dice(&x) % (GUEST_PAGES - 3));
		(void)shadow_vm_access(&guest, 0, gva((u64)at * PAGE_SIZE + 8), CPU_WRITE, &value);
		ok += ask(guest.space, (u32)dice(&x) % 11, a, dice(&x) % 70) == PV_OK;
	}
	assert_true(ok > 1000);
	guest_stop();
}

static void test_pv_working_set_tells_touched_from_idle(void **state)
{
	u64 value;

	(void)state;
	start(&host_machines[0]);
	write_all(0, 500);
	for (unsigned i = 0; i < 4; i++) {
		(void)vm_age(vm.space, true);
		vm_flush(vm.space);
		for (u64 g = 0; g < 100; g++)
			assert_int_equal(host_vm_read(&vm, 0, word_of(g), &value), FAULT_FIXED);
	}
	assert_int_equal(ask(vm.space, PV_WORKING_SET, 0, 0), PV_OK);
	assert_int_equal(last.result[0] + last.result[1], 100);
	assert_int_equal(last.result[0] + last.result[1] + last.result[2] + last.result[3], 500);
	assert_int_equal(last.result[5], PAGES - 500);
	assert_true(host_vm_evict(&vm, 200) >= 200);
	assert_int_equal(ask(vm.space, PV_WORKING_SET, 0, 0), PV_OK);
	assert_true(last.result[4] >= 200);
	stop();
}

static void test_balloon_target_is_the_larger_and_leaves_min(void **state)
{
	bool urgent;

	(void)state;
	start(&host_machines[0]);
	balloon_set_target(vm.space, 300);
	assert_int_equal(balloon_target(vm.space, &urgent), 300);
	assert_false(urgent);
	a64_store(&vm.space->balloon.asked, 500);
	assert_int_equal(balloon_target(vm.space, &urgent), 500);
	limits_set_min(vm.space, PAGES - 200);
	assert_int_equal(balloon_target(vm.space, &urgent), 200);
	limits_set_min(vm.space, 0);
	balloon_relax(450, hal_time_ns());
	assert_int_equal(balloon_target(vm.space, &urgent), 300);
	stop();
}

static void test_balloon_asks_who_listens_and_follows(void **state)
{
	bool urgent;

	(void)state;
	host_time_set(10 * SECOND);
	start(&host_machines[0]);
	write_all(0, 600);
	balloon_told(vm.space, 250, 0);
	assert_int_equal(balloon_ask(vm.space, 100, 10 * SECOND), 0);
	(void)call(PV_BALLOON, 0, 0);
	assert_int_equal(balloon_ask(vm.space, 100, 10 * SECOND), 100);
	assert_int_equal(balloon_ask(vm.space, 400, 10 * SECOND), 250);
	assert_int_equal(balloon_target(vm.space, &urgent), 250);
	for (unsigned i = 0; i < BALLOON_LOOKS; i++) {
		assert_true(balloon_ask(vm.space, 100, hal_time_ns()) > 0);
		(void)call(PV_BALLOON, 0, 0);
	}
	assert_int_equal(balloon_ask(vm.space, 100, hal_time_ns()), 0);
	assert_int_equal(call(PV_GIVE, 0, 250), 250);
	assert_int_equal(balloon_ask(vm.space, 100, hal_time_ns()), 100);
	assert_int_equal(balloon_target(vm.space, &urgent), 350);
	host_time_add(BALLOON_LISTENS_NS);
	assert_int_equal(balloon_ask(vm.space, 100, hal_time_ns()), 0);
	stop();
	host_time_set(HOST_TIME_REAL);
}

/* Who waits for memory itself is not asked ahead of need, and is the first to get back. */
static void test_balloon_heeds_the_guests_pressure(void **state)
{
	static struct host_vm other;
	bool urgent;

	(void)state;
	host_time_set(1000 * SECOND);
	start(&host_machines[0]);
	host_vm_create(&other, &host_machines[0], PAGES, 1);
	assert_true(balloon_enable(other.space));
	balloon_look(vm.space);
	balloon_look(other.space);
	balloon_told(vm.space, 100, BALLOON_STALLED - 1);
	balloon_told(other.space, 100, 0);
	assert_int_equal(balloon_ask(vm.space, 50, hal_time_ns()), 50);
	assert_int_equal(balloon_ask(other.space, 50, hal_time_ns()), 50);
	balloon_told(other.space, 100, BALLOON_STALLED);
	assert_int_equal(balloon_ask(other.space, 90, hal_time_ns()), 0);
	balloon_relax(60, hal_time_ns());
	assert_int_equal(balloon_target(other.space, &urgent), 0);
	assert_int_equal(balloon_target(vm.space, &urgent), 40);
	host_vm_destroy(&other);
	stop();
	host_time_set(HOST_TIME_REAL);
}

/* What the guest has free is asked for, and only the rest is evicted. */
static void test_controller_free_prefers_what_guests_lend(void **state)
{
	const struct controller_target none = {CONTROLLER_OFF, 0};
	struct controller_target target = {CONTROLLER_FREE, 0};
	u64 evictions;
	bool urgent;

	(void)state;
	host_time_set(10 * SECOND);
	start(&host_machines[0]);
	write_all(0, PAGES);
	(void)host_vm_evict(&vm, 1);
	for (unsigned i = 0; i < 4; i++)
		(void)vm_age(vm.space, true);
	evictions = a64_load(&vm.space->stats.evictions_total);
	target.value = frame_free_count() + 300;
	(void)call(PV_BALLOON, 0, 0);
	balloon_told(vm.space, 300, 0);
	controller_set(vm.space, target);
	controller_run(hal_time_ns());
	assert_int_equal(a64_load(&vm.space->stats.evictions_total), evictions);
	assert_int_equal(balloon_target(vm.space, &urgent), 300);
	assert_int_equal(call(PV_GIVE, 0, 300), 300);
	epoch_barrier();
	controller_run(hal_time_ns());
	assert_int_equal(a64_load(&vm.space->stats.evictions_total), evictions);
	/* It says it has no more: evicted. */
	balloon_told(vm.space, 0, 0);
	target.value += 100;
	controller_set(vm.space, target);
	controller_run(hal_time_ns());
	assert_true(a64_load(&vm.space->stats.evictions_total) >= evictions + 100);
	controller_set(vm.space, none);
	controller_run(hal_time_ns());
	stop();
	host_time_set(HOST_TIME_REAL);
}

static void test_balloon_comes_before_a_kill_and_has_an_end(void **state)
{
	bool urgent;

	(void)state;
	host_time_set(100 * SECOND);
	start(&host_machines[0]);
	write_all(0, 800);
	assert_false(balloon_before_kill());
	(void)call(PV_BALLOON, 0, 0);
	assert_true(balloon_before_kill());
	assert_int_equal(call(PV_BALLOON, 0, 0), 100);
	assert_int_equal(last.result[2], 1);
	assert_int_equal(balloon_turn(vm.space), BALLOON_FIRST);
	/* It follows: the count begins anew, and the next is asked for. */
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned look = 0; look < BALLOON_LOOKS - 2; look++)
			(void)call(PV_BALLOON, 0, 0);
		assert_true(balloon_before_kill());
		assert_int_equal(call(PV_GIVE, i * 200, 200), 200);
		assert_int_equal(balloon_turn(vm.space), BALLOON_ANY);
		assert_true(balloon_before_kill());
		assert_true(balloon_target(vm.space, &urgent) > (i + 1) * 200);
		assert_true(urgent);
	}
	/* It looks, and does not. */
	for (unsigned look = 0; look < BALLOON_LOOKS; look++) {
		assert_true(balloon_before_kill());
		(void)call(PV_BALLOON, 0, 0);
	}
	assert_false(balloon_before_kill());
	host_time_add(BALLOON_NEED_NS);
	assert_int_equal(balloon_turn(vm.space), BALLOON_ANY);
	/* Nor does it listen. */
	assert_int_equal(call(PV_GIVE, 600, 1), 1);
	assert_true(balloon_before_kill());
	host_time_add(2 * BALLOON_LISTENS_NS);
	assert_false(balloon_before_kill());
	stop();
	host_time_set(HOST_TIME_REAL);
}

/* Who does not lend leaves the last frames to who will, and only meanwhile. */
static void test_balloon_last_frames_are_for_lenders(void **state)
{
	static struct host_vm other;
	u64 value;

	(void)state;
	host_time_set(500 * SECOND);
	start(&host_machines[0]);
	host_vm_create(&other, &host_machines[0], FRAMES, 1);
	write_all(0, 800);
	(void)call(PV_BALLOON, 0, 0);
	assert_int_equal(balloon_turn(other.space), BALLOON_ANY);
	assert_true(balloon_before_kill());
	assert_int_equal(balloon_turn(other.space), BALLOON_LAST);
	assert_int_equal(balloon_turn(vm.space), BALLOON_FIRST);
	for (u64 g = 0; frame_free_count() >= frame_marks.min; g++)
		assert_int_equal(host_vm_read(&other, 0, word_of(g), &value), FAULT_FIXED);
	limits_set_min(other.space, FRAMES);
	limits_set_min(vm.space, PAGES);
	assert_int_equal(host_vm_read(&other, 0, word_of(FRAMES - 1), &value), FAULT_NO_MEMORY);
	assert_int_equal(host_vm_read(&vm, 0, word_of(900), &value), FAULT_FIXED);
	host_time_add(BALLOON_NEED_NS);
	assert_int_equal(host_vm_read(&other, 0, word_of(FRAMES - 1), &value), FAULT_FIXED);
	host_vm_destroy(&other);
	stop();
	host_time_set(HOST_TIME_REAL);
}

static void test_balloon_without_memory_for_it(void **state)
{
	(void)state;
	host_vm_create(&vm, &host_machines[0], PAGES, 1);
	for (unsigned after = 0; after < 2; after++) {
		host_pages_limit(after);
		assert_false(balloon_enable(vm.space));
		host_pages_limit(HOST_NO_LIMIT);
	}
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pv_given_pages_are_gone_and_come_back_zero),
	        cmocka_unit_test(test_pv_reported_pages_are_dropped_unpacked),
	        cmocka_unit_test(test_pv_give_waits_for_a_pin),
	        cmocka_unit_test(test_pv_give_of_a_page_in_a_large_leaf),
	        cmocka_unit_test(test_pv_refuses_what_is_out_of_bounds),
	        cmocka_unit_test(test_pv_any_call_is_harmless),
	        cmocka_unit_test(test_pv_any_call_is_harmless_on_shadow_tables),
	        cmocka_unit_test(test_pv_working_set_tells_touched_from_idle),
	        cmocka_unit_test(test_balloon_target_is_the_larger_and_leaves_min),
	        cmocka_unit_test(test_balloon_asks_who_listens_and_follows),
	        cmocka_unit_test(test_balloon_heeds_the_guests_pressure),
	        cmocka_unit_test(test_controller_free_prefers_what_guests_lend),
	        cmocka_unit_test(test_balloon_comes_before_a_kill_and_has_an_end),
	        cmocka_unit_test(test_balloon_last_frames_are_for_lenders),
	        cmocka_unit_test(test_balloon_without_memory_for_it),
	};

	return vm_group_run(tests, FRAMES);
}
