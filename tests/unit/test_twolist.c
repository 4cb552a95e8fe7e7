/* policy.twolist: the classic pair of lists over the real evictor, faults and MMU. */
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
#include "mm/gen_view.h"
#include "mm/gfnmap.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/proactive.h"
#include "mm/refault.h"
#include "mm/twolist.h"
#include "tests/unit/host_vm.h"

#define FRAMES 2048u
#define PAGES  1200u

static struct host_vm vm;
static u64 filler;

static void start(const struct host_machine *m)
{
	policy_init();
	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	a32_store(&policy.twolist, 1);
	filler = 600;
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

static gpa_t at(u64 g)
{
	return gfn_gpa(gfn(g));
}

static void touch(u64 first, u64 n)
{
	u64 value;

	for (u64 g = first; g < first + n; g++) {
		assert_int_equal(host_vm_read(&vm, 0, at(g), &value), FAULT_FIXED);
		assert_true(!value || value == g + 1);
		assert_int_equal(host_vm_write(&vm, 0, at(g), g + 1), FAULT_FIXED);
	}
	vm_flush(vm.space);
}

/* As if nobody had touched it since it was brought in. */
static void forget(u64 first, u64 n)
{
	for (u64 g = first; g < first + n; g++)
		(void)notifier_age_one(vm.space, gfn(g), NOTIFIER_CLEAR);
	vm_flush(vm.space);
}

static u64 evict(u64 target)
{
	return evict_space(vm.space, evict_any(target)).freed;
}

/* 'a' active, 'i' inactive, '-' away or never touched. */
static char where(u64 g)
{
	u64 word;
	int steps;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	steps = gfn_word_tag(word) == GFN_RESIDENT
	                ? gen_frame_steps(&vm.space->lru, gfn_word_frame(word))
	                : -1;
	epoch_exit();
	assert_true(steps == -1 || steps == 0 || steps == 1);
	return steps < 0 ? '-' : steps ? 'i' : 'a';
}

static u64 count(char what, u64 first, u64 n)
{
	u64 sum = 0;

	for (u64 g = first; g < first + n; g++)
		sum += where(g) == what;
	return sum;
}

static u64 listed(u64 seq)
{
	const struct lruvec *l = &vm.space->lru;

	return a64_load(&l->size[gen_index(seq)][GEN_CLEAN]) +
	       a64_load(&l->size[gen_index(seq)][GEN_DIRTY]);
}

static void test_twolist_first_in_first_out(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		touch(0, 200);
		forget(0, 200);
		assert_int_equal(count('i', 0, 200), 200);
		assert_int_equal(evict(GEN_BATCH), GEN_BATCH);
		assert_int_equal(count('-', 0, GEN_BATCH), GEN_BATCH);
		assert_int_equal(count('i', GEN_BATCH, 200 - GEN_BATCH), 200 - GEN_BATCH);
		stop();
	}
}

/*
 * One look at all that is inactive: the evictor goes past what it keeps until it has freed as many cold pages as
 * were put behind. Those are new ones each time.
 */
static void look(void)
{
	touch(filler, GEN_BATCH);
	forget(filler, GEN_BATCH);
	assert_int_equal(evict(GEN_BATCH), GEN_BATCH);
	assert_int_equal(count('-', filler, GEN_BATCH), GEN_BATCH);
	filler += GEN_BATCH;
}

/* The first n pages, which nobody has touched yet; at most as many as look() has for balance. */
static void activate(u64 n)
{
	for (unsigned i = 0; i < 2; i++) {
		touch(0, n);
		look();
	}
	assert_int_equal(count('a', 0, n), n);
	assert_int_equal(listed(twolist_active(&vm.space->lru)), n);
}

static void test_twolist_second_look_activates(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		touch(0, 64);
		look();
		assert_int_equal(count('i', 0, 64), 64);
		touch(0, 32);
		/* Those that were touched again are active; the others had their second chance. */
		assert_int_equal(evict(32), 32);
		assert_int_equal(count('a', 0, 32), 32);
		assert_int_equal(count('-', 32, 32), 32);
		stop();
	}
}

static void test_twolist_one_touch_if_told_so(void **state)
{
	(void)state;
	start(&host_machines[0]);
	a32_store(&policy.two_touch, 0);
	touch(0, 64);
	look();
	assert_int_equal(count('a', 0, 64), 64);
	stop();
}

static void test_twolist_balance_deactivates_the_oldest(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		const struct space_stats *stats;

		start(m);
		stats = &vm.space->stats;
		activate(64);
		touch(100, 64); /* as many inactive ones: nothing to do */
		twolist_balance(vm.space);
		assert_int_equal(a64_load(&stats->deactivated_total), 0);
		forget(100, 64);
		assert_int_equal(evict(64), 64);
		assert_int_equal(count('a', 0, 64), 64);
		/* None left: the old end goes over, young or not, and its Accessed bits are clear. */
		touch(0, 64);
		twolist_balance(vm.space);
		assert_int_equal(a64_load(&stats->deactivated_total), 64);
		assert_int_equal(count('i', 0, 64), 64);
		for (u64 g = 0; g < 64; g++)
			assert_int_equal(notifier_age_one(vm.space, gfn(g), NOTIFIER_TEST), 0);
		vm_flush(vm.space);
		/* What is not touched again goes. */
		assert_int_equal(evict(64), 64);
		assert_int_equal(listed(twolist_inactive(&vm.space->lru)) +
		                         listed(twolist_active(&vm.space->lru)),
		                 0);
		stop();
	}
}

static void test_twolist_refault_distance_decides(void **state)
{
	(void)state;
	start(&host_machines[0]);
	activate(64);
	touch(200, 64);
	forget(200, 64);
	assert_int_equal(evict(64), 64);
	assert_int_equal(count('-', 200, 64), 64);
	/* Soon: no more went since than are active. */
	touch(200, 8);
	assert_int_equal(count('a', 200, 8), 8);
	assert_int_equal(a64_load(&vm.space->stats.refaults_recent_total), 8);
	/* Late: more than there are on the lists. */
	for (unsigned i = 0; i < 2 * PAGES; i++)
		twolist_count(&vm.space->lru);
	touch(240, 8);
	assert_int_equal(count('i', 240, 8), 8);
	assert_int_equal(a64_load(&vm.space->stats.refaults_recent_total), 8);
	stop();
}

static void test_twolist_distance_in_quarters(void **state)
{
	struct lruvec l;
	u64 word, start = 16380; /* near the end of what 12 bits tell apart, four pages each */

	(void)state;
	a32_store(&policy.twolist, 1);
	memset(&l, 0, sizeof(l));
	gen_init(&l);
	twolist_set_memory(&l, 1000);
	a64_store(&l.size[gen_index(twolist_active(&l))][GEN_DIRTY], 300);
	a64_store(&l.size[gen_index(twolist_active(&l))][GEN_CLEAN], 60);
	a64_store(&l.size[gen_index(twolist_inactive(&l))][GEN_CLEAN], 39);
	a64_store(&l.size[gen_index(twolist_inactive(&l))][GEN_DIRTY], 5000);
	a64_store(&l.turnover, start);
	word = refault_shadow(0, GEN_DIRTY, twolist_stamp(&l)) | gfn_word(GFN_ZERO, 0);
	/* 399 pages that it competes with: 300, 60 and 39, but not its own inactive ones. */
	for (u64 n = 0; n <= 1000; n += 100) {
		a64_store(&l.turnover, start + n);
		assert_int_equal(refault_distance(&l, word), n / 100);
	}
	a32_store(&policy.twolist, 0);
}

/* Where a space may have little of a large machine, and where pages are away for many memories. */
static void test_twolist_distance_is_of_the_spaces_memory(void **state)
{
	const u64 machine = 1ull << 22, memory = 1000;
	struct lruvec l;
	u64 word;

	(void)state;
	a32_store(&policy.twolist, 1);
	memset(&l, 0, sizeof(l));
	gen_init(&l);
	a64_store(&l.size[gen_index(twolist_active(&l))][GEN_DIRTY], memory / 2);
	twolist_set_memory(&l, machine);
	word = refault_shadow(0, GEN_DIRTY, twolist_stamp(&l)) | gfn_word(GFN_ZERO, 0);
	a64_store(&l.turnover, memory);
	assert_int_equal(refault_distance(&l, word), 0); /* too coarse to tell */
	twolist_set_memory(&l, memory);
	/* Steps of a tenth of one, so that wherever the count came round, some would look recent. */
	for (u64 n = memory; n <= 15 * memory; n += memory / 10) {
		a64_store(&l.turnover, n);
		assert_true(refault_distance(&l, word) >= GEN_MAX);
	}
	a32_store(&policy.twolist, 0);
}

/* A limit is a space's memory, and without one it is the machine's. */
static void test_twolist_memory_is_the_limit(void **state)
{
	(void)state;
	start(&host_machines[0]);
	assert_int_equal(a32_load(&vm.space->lru.stamp_shift),
	                 64 - __builtin_clzll(frame_total() / 256));
	limits_set_limit(vm.space, 256 * 4);
	assert_int_equal(a32_load(&vm.space->lru.stamp_shift), 3);
	limits_set_limit(vm.space, 100);
	assert_int_equal(a32_load(&vm.space->lru.stamp_shift), 0);
	limits_set_limit(vm.space, 1ull << 50);
	assert_int_equal(a32_load(&vm.space->lru.stamp_shift),
	                 64 - __builtin_clzll(frame_total() / 256));
	limits_set_limit(vm.space, 0);
	assert_int_equal(a32_load(&vm.space->lru.stamp_shift),
	                 64 - __builtin_clzll(frame_total() / 256));
	stop();
}

static void test_twolist_both_types_in_proportion(void **state)
{
	u64 value, clean = 0, dirty = 0;

	(void)state;
	start(&host_machines[0]);
	for (u64 g = 0; g < 1000; g++)
		if (g < 500)
			assert_int_equal(host_vm_read(&vm, 0, at(g), &value), FAULT_FIXED);
		else
			assert_int_equal(host_vm_write(&vm, 0, at(g), g + 1), FAULT_FIXED);
	forget(0, 1000);
	a32_store(&policy.swappiness, 100);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(evict(1), GEN_BATCH);
	clean = 500 - count('i', 0, 500);
	dirty = 500 - count('i', 500, 500);
	assert_int_equal(clean, 3 * GEN_BATCH);
	assert_int_equal(dirty, 3 * GEN_BATCH);
	a32_store(&policy.swappiness, 0);
	assert_int_equal(evict(1), GEN_BATCH);
	assert_int_equal(500 - count('i', 500, 500), dirty);
	a32_store(&policy.swappiness, POLICY_SWAPPINESS_MAX);
	assert_int_equal(evict(1), GEN_BATCH);
	assert_int_equal(500 - count('i', 500, 500), dirty + GEN_BATCH);
	stop();
}

/* A page that something promotes while it is inactive is found on the wrong list, and moved. */
static void test_twolist_sorts_what_was_promoted(void **state)
{
	struct gen_batch batch = {.promoted = 0};

	(void)state;
	start(&host_machines[0]);
	touch(0, 64);
	forget(0, 64);
	for (u64 g = 0; g < 8; g++)
		for (unsigned i = 0; i < 2; i++) {
			epoch_enter();
			assert_true(
			        gen_promote(&vm.space->lru,
			                    gfn_word_frame(a64_load(gfnmap_word(vm.space, gfn(g)))),
			                    vm.space->id, &batch));
			epoch_exit();
		}
	gen_batch_flush(&vm.space->lru, &batch);
	assert_int_equal(evict(56), 56);
	assert_int_equal(count('a', 0, 8), 8);
	stop();
}

static void test_twolist_ages_nothing(void **state)
{
	u64 max_seq;

	(void)state;
	start(&host_machines[0]);
	touch(0, 100);
	max_seq = a64_load(&vm.space->lru.max_seq);
	assert_false(vm_age(vm.space, true).produced);
	assert_false(gen_advance(&vm.space->lru, max_seq));
	assert_int_equal(proactive_age(vm.space, max_seq, 60, false), PROACTIVE_INVALID);
	assert_int_equal(a64_load(&vm.space->lru.max_seq), max_seq);
	for (u64 g = 0; g < 100; g++)
		assert_int_equal(notifier_age_one(vm.space, gfn(g), NOTIFIER_TEST) & NOTIFIER_YOUNG,
		                 NOTIFIER_YOUNG);
	stop();
}

/* Everything at once, with contents checked: more pages than frames would be needed. */
static void test_twolist_keeps_contents(void **state)
{
	u64 x = 1;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		touch(0, PAGES);
		for (unsigned i = 0; i < 200; i++) {
			x = x * 6364136223846793005ull + 1442695040888963407ull;
			touch((x >> 33) % (PAGES - 50), 1 + (x >> 40) % 50);
			(void)evict(1 + (x >> 50) % 100);
			if (i % 8 == 0)
				assert_int_equal(audit_all(NULL), 0);
		}
		touch(0, PAGES);
		assert_int_equal(listed(twolist_active(&vm.space->lru)) +
		                         listed(twolist_inactive(&vm.space->lru)),
		                 PAGES);
		assert_true(a64_load(&vm.space->stats.refaults_total) > 1000);
		assert_true(a64_load(&vm.space->stats.deactivated_total) > 0);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_twolist_first_in_first_out),
	        cmocka_unit_test(test_twolist_second_look_activates),
	        cmocka_unit_test(test_twolist_one_touch_if_told_so),
	        cmocka_unit_test(test_twolist_balance_deactivates_the_oldest),
	        cmocka_unit_test(test_twolist_refault_distance_decides),
	        cmocka_unit_test(test_twolist_distance_in_quarters),
	        cmocka_unit_test(test_twolist_distance_is_of_the_spaces_memory),
	        cmocka_unit_test(test_twolist_memory_is_the_limit),
	        cmocka_unit_test(test_twolist_both_types_in_proportion),
	        cmocka_unit_test(test_twolist_sorts_what_was_promoted),
	        cmocka_unit_test(test_twolist_ages_nothing),
	        cmocka_unit_test(test_twolist_keeps_contents),
	};

	return vm_group_run(tests, FRAMES);
}
