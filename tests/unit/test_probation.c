/* policy.probation: pages of one use go first, over the real evictor, faults and MMU. */
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
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/policy_switch.h"
#include "mm/probation.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define FRAMES 2048u
#define PAGES  1200u

static struct host_vm vm;

static void start(const struct host_machine *m)
{
	policy_init();
	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	a32_store(&policy.probation, 1);
	a32_store(&policy.guard,
	          0); /* what pages do that recency would rather have is shown here */
	host_vm_create(&vm, m, PAGES, 1);
}

static void stop(void)
{
	epoch_barrier();
	assert_int_equal(audit_all(NULL), 0);
	host_vm_destroy(&vm);
	assert_int_equal(frame_free_count(), FRAMES);
	policy_init();
}

static struct lruvec *lru(void)
{
	return &vm.space->lru;
}

static gpa_t at(u64 g)
{
	return gfn_gpa(gfn(g));
}

/* By writes alone, so that all are of one type from the start. */
static void touch(u64 first, u64 n)
{
	for (u64 g = first; g < first + n; g++)
		assert_int_equal(host_vm_write(&vm, 0, at(g), g + 1), FAULT_FIXED);
	vm_flush(vm.space);
}

static void pass(void)
{
	assert_true(vm_age(vm.space, true).produced);
	vm_flush(vm.space);
}

static u64 evict(u64 target)
{
	struct evict_result r = evict_space(vm.space, evict_any(target));

	/* A pass was asked for; it asks once, and nobody makes it here. */
	if (r.need_aging && r.freed < target)
		return r.freed + evict_space(vm.space, evict_any(target - r.freed)).freed;
	return r.freed;
}

/* The state word of a page's frame, 0 if it is away. */
static u64 state_of(u64 g)
{
	u64 word, state = 0;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	if (gfn_word_tag(word) == GFN_RESIDENT)
		state = a64_load(&frame_at(gfn_word_frame(word))->state);
	epoch_exit();
	return state;
}

static u64 here(u64 first, u64 n)
{
	u64 sum = 0;

	for (u64 g = first; g < first + n; g++)
		sum += state_of(g) != 0;
	return sum;
}

static u64 label_of(u64 g)
{
	return gen_label_seq(state_of(g), a64_load(&lru()->max_seq));
}

/* Pages that the evictor has looked at as they came in: their first sighting is over, and all are on probation. */
static void settled(u64 n)
{
	touch(0, n);
	pass();
	assert_int_equal(lru()->on_probation, n);
}

static void test_probation_first_in_first_out(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		settled(200);
		assert_int_equal(evict(GEN_BATCH), GEN_BATCH);
		assert_int_equal(here(0, GEN_BATCH), 0);
		assert_int_equal(here(GEN_BATCH, 200 - GEN_BATCH), 200 - GEN_BATCH);
		stop();
	}
}

/* Nothing was harvested yet: the evictor asks for a pass before it judges anybody, and once only. */
static void test_probation_asks_for_a_pass_first(void **state)
{
	struct evict_result r;

	(void)state;
	start(&host_machines[0]);
	touch(0, 200);
	r = evict_space(vm.space, evict_any(1));
	assert_true(r.need_aging);
	assert_int_equal(r.freed, 0);
	assert_int_equal(evict(1), GEN_BATCH);
	stop();
}

static void test_probation_second_use_is_kept(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		settled(128);
		touch(0, 32);
		/* The evictor sees it. */
		assert_int_equal(evict(32), 32);
		assert_int_equal(here(0, 32), 32);
		assert_int_equal(here(32, 32), 0);
		for (u64 g = 0; g < 32; g++) {
			assert_false(state_of(g) & FRAME_PROBATION);
			assert_true(state_of(g) & FRAME_WORKINGSET);
		}
		/* A pass sees it: sorted when the evictor comes across. */
		touch(100, 20);
		pass();
		assert_true(state_of(100) & FRAME_PROBATION);
		assert_int_equal(evict(8), 44);
		assert_int_equal(here(100, 20), 20);
		assert_int_equal(lru()->on_probation, 0);
		stop();
	}
}

/* Accessed is set, but by nothing else than the access that was retried after the fault. */
static void test_probation_retried_access_is_no_use(void **state)
{
	(void)state;
	start(&host_machines[0]);
	settled(64);
	touch(200, 64);
	touch(400, 200);
	assert_true(notifier_age_one(vm.space, gfn(200), NOTIFIER_TEST) & NOTIFIER_YOUNG);
	assert_int_equal(evict(64), 64);
	assert_int_equal(here(0, 64), 0);
	assert_int_equal(evict(64), 64);
	assert_int_equal(here(200, 64), 0);
	stop();
}

/* Once there are evictions, a page is asked some faults after its own, and what sets the bit then is a use. */
static void test_probation_later_fault_settles(void **state)
{
	(void)state;
	start(&host_machines[0]);
	settled(100);
	touch(200, PROBATION_RECENT + 1);
	assert_false(state_of(200) & FRAME_REFERENCED);
	assert_int_equal(evict(1), GEN_BATCH);
	touch(300, 1);
	touch(400, PROBATION_RECENT - 1);
	assert_false(state_of(300) & FRAME_REFERENCED);
	touch(500, 1);
	assert_true(state_of(300) & FRAME_REFERENCED);
	assert_false(notifier_age_one(vm.space, gfn(300), NOTIFIER_TEST) & NOTIFIER_YOUNG);
	assert_int_equal(label_of(300), a64_load(&lru()->max_seq));
	touch(300, 1);
	pass();
	assert_true(state_of(300) & FRAME_WORKINGSET);
	assert_false(state_of(500) & FRAME_WORKINGSET);
	stop();
}

static void share_set(u64 share)
{
	lru()->probation_started = true;
	a64_store(&lru()->probation_share, share);
}

static void test_probation_share_starts_with_half(void **state)
{
	(void)state;
	start(&host_machines[0]);
	settled(200);
	assert_int_equal(probation_wanted_locked(lru()), 0);
	assert_int_equal(a64_load(&lru()->probation_share), 100);
	/* Bounds: all there is, and a part of it. */
	share_set(100000);
	assert_int_equal(probation_wanted_locked(lru()), 0);
	assert_int_equal(a64_load(&lru()->probation_share), 200);
	share_set(-5ull);
	assert_int_equal(probation_wanted_locked(lru()), 0);
	assert_int_equal(a64_load(&lru()->probation_share), 200 / PROBATION_PART + 1);
	stop();
}

static void test_probation_share_follows_what_comes_back(void **state)
{
	(void)state;
	start(&host_machines[0]);
	settled(128);
	share_set(100);
	assert_int_equal(evict(64), 64);
	assert_int_equal(a64_load(&lru()->probation_share), 100 - 64);
	/* Nobody has left the generations: whoever comes back was used later than that. */
	touch(0, 8);
	assert_int_equal(a64_load(&lru()->probation_share), 100 - 64 + 8 * PROBATION_GROWTH);
	for (u64 g = 0; g < 8; g++) {
		assert_false(state_of(g) & FRAME_PROBATION);
		assert_int_equal(label_of(g), a64_load(&lru()->max_seq));
	}
	/* The page that left last was used later than they were: they are what they were. */
	a64_store(&lru()->probation_horizon, a64_load(&lru()->max_seq));
	touch(8, 8);
	assert_int_equal(a64_load(&lru()->probation_share), 100 - 64 + 8 * PROBATION_GROWTH);
	for (u64 g = 8; g < 16; g++)
		assert_true(state_of(g) & FRAME_PROBATION);
	stop();
}

/* Protects the first n pages: used twice, and sorted. */
static void protect(u64 n)
{
	settled(n);
	touch(0, n);
	pass();
	touch(PAGES - 1, 1);
	assert_int_equal(evict(1), 1);
	assert_int_equal(lru()->on_probation, 0);
	assert_int_equal(here(0, n), n);
}

static void test_probation_oldest_leaves(void **state)
{
	u64 old;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		protect(100);
		old = label_of(0);
		touch(40, 60);
		pass();
		/* Those have Accessed set, and no pass has seen it. */
		touch(0, 10);
		share_set(30);
		probation_balance(vm.space);
		assert_int_equal(lru()->on_probation, 30);
		for (u64 g = 10; g < 40; g++) {
			assert_true(state_of(g) & FRAME_PROBATION);
			assert_true(state_of(g) & FRAME_TESTED);
			assert_int_equal(label_of(g), old);
		}
		assert_int_equal(a64_load(&lru()->probation_horizon), old);
		/* A second look before it goes. Their share does not shrink by them. */
		touch(10, 10);
		share_set(15);
		assert_int_equal(evict(15), 20);
		assert_int_equal(here(10, 10), 10);
		assert_int_equal(here(20, 20), 0);
		assert_int_equal(a64_load(&lru()->probation_share), 15);
		/* And they are tested no more. */
		touch(20, 1);
		assert_true(state_of(20) & FRAME_PROBATION);
		stop();
	}
}

/* Who asks for generations gets them: the list is sorted into them, whatever came in first. */
static void test_probation_generations_on_request(void **state)
{
	struct evict_request request = evict_any(PAGES);

	(void)state;
	start(&host_machines[0]);
	settled(100);
	pass();
	pass();
	touch(0, 50); /* the first to come in are the last that were used */
	pass();
	request.last_seq = lru()->min_seq[GEN_DIRTY];
	(void)evict_space(vm.space, request);
	assert_int_equal(here(0, 50), 50);
	assert_int_equal(here(50, 50), 0);
	assert_int_equal(lru()->on_probation, 0);
	stop();
}

/* Ages are those that they would be without. */
static void test_probation_ages_are_exact(void **state)
{
	struct gen_view view[2][GEN_MAX];
	unsigned n[2];

	(void)state;
	for (unsigned on = 0; on < 2; on++) {
		start(&host_machines[0]);
		a32_store(&policy.probation, on);
		for (u64 i = 0; i < 6; i++) {
			touch(0, 300 - i * 40);
			pass();
		}
		assert_int_equal(lru()->on_probation, on ? 300 : 0);
		n[on] = gen_snapshot(lru(), view[on]);
		stop();
	}
	assert_int_equal(n[0], n[1]);
	for (unsigned i = 0; i < n[0]; i++) {
		assert_int_equal(view[0][i].seq, view[1][i].seq);
		assert_memory_equal(view[0][i].frames, view[1][i].frames,
		                    sizeof(view[0][i].frames));
	}
}

/* The generation of a page on probation stays in the window, though no list of it has a frame. */
static void test_probation_window_waits(void **state)
{
	(void)state;
	start(&host_machines[0]);
	settled(10);
	pass();
	pass();
	spin_lock(&lru()->lock);
	gen_trim_locked(lru(), GEN_CLEAN);
	gen_trim_locked(lru(), GEN_DIRTY);
	spin_unlock(&lru()->lock);
	assert_int_equal(lru()->min_seq[GEN_DIRTY], label_of(0));
	assert_true(lru()->min_seq[GEN_CLEAN] > label_of(0));
	stop();
}

static void test_probation_off_and_two_lists(void **state)
{
	(void)state;
	start(&host_machines[0]);
	settled(100);
	a32_store(&policy.probation, 0);
	touch(200, 4);
	assert_int_equal(lru()->on_probation, 100);
	(void)evict(1);
	assert_int_equal(lru()->on_probation, 0);
	a32_store(&policy.probation, 1);
	touch(300, 4);
	assert_int_equal(lru()->on_probation, 4);
	policy_switch(true);
	assert_int_equal(lru()->on_probation, 0);
	touch(400, 4);
	assert_int_equal(lru()->on_probation, 0);
	policy_switch(false);
	stop();
}

/* Everything at once, with contents checked, and the setting changed meanwhile. */
static void test_probation_keeps_contents(void **state)
{
	u64 x = 1;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		for (unsigned i = 0; i < 4000; i++) {
			u64 g = host_random(&x) % (i % 3 ? 200 : PAGES), value;

			assert_int_equal(host_vm_read(&vm, 0, at(g), &value), FAULT_FIXED);
			assert_true(!value || value == g + 1);
			if (i % 2)
				touch(g, 1);
			if (i % 97 == 0)
				pass();
			if (i % 29 == 0)
				(void)evict(1 + host_random(&x) % 20);
			if (i % 701 == 0)
				a32_store(&policy.probation, i % 2);
		}
		assert_true(a64_load(&vm.space->stats.refaults_total) > 100);
		stop();
	}
}

/* With swappiness 0, a VM was stopped for memory while clean pages were in its generations: only dirty ones were on probation. */
static void test_probation_of_the_other_type_leaves_the_generations(void **state)
{
	const struct evict_request clean_only = {10, 0, EVICT_ANY_SEQ, GEN_BATCH};
	u64 value;

	(void)state;
	start(&host_machines[0]);
	a32_store(&policy.probation, 0);
	for (u64 g = 0; g < 10; g++)
		assert_int_equal(host_vm_read(&vm, 0, at(g), &value), FAULT_FIXED);
	vm_flush(vm.space);
	for (unsigned i = 0; i < 4; i++)
		pass();
	a32_store(&policy.probation, 1);
	touch(10, 100);
	assert_int_equal(lru()->on_probation, 100);
	assert_int_equal(evict_space(vm.space, clean_only).freed, 10);
	assert_int_equal(here(0, 10), 0);
	assert_int_equal(here(10, 100), 100);
	stop();
}

#define T(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_probation_of_the_other_type_leaves_the_generations),
	        T(test_probation_first_in_first_out),
	        T(test_probation_asks_for_a_pass_first),
	        T(test_probation_second_use_is_kept),
	        T(test_probation_retried_access_is_no_use),
	        T(test_probation_later_fault_settles),
	        T(test_probation_share_starts_with_half),
	        T(test_probation_share_follows_what_comes_back),
	        T(test_probation_oldest_leaves),
	        T(test_probation_generations_on_request),
	        T(test_probation_ages_are_exact),
	        T(test_probation_window_waits),
	        T(test_probation_off_and_two_lists),
	        T(test_probation_keeps_contents),
	};

	return vm_group_run(tests, FRAMES);
}
