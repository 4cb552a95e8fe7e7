/* hv/mmu/null: an MMU that can only unmap, beside one that harvests: who is asked, in which order, and what for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/null.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  300u
#define FRAMES 400u
#define TEST   NOTIFIER_TEST
#define FAST   (NOTIFIER_YOUNG | NOTIFIER_WAS_FAST)

static struct host_vm vm;
static struct null_mmu null;

static void start(const struct host_machine *m)
{
	host_vm_create(&vm, m, PAGES, 1);
	null_create(&null, vm.space);
	vm.mem.device = &null;
}

static void stop(void)
{
	assert_int_equal(audit_all(NULL), 0);
	host_vm_destroy(&vm);
	assert_int_equal(a64_load(&null.mapped), 0);
}

static void guest_writes(u64 page, u64 value)
{
	assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(page)), value), FAULT_FIXED);
}

static u64 guest_reads(u64 page)
{
	u64 value = 0;

	assert_int_equal(host_vm_read(&vm, 0, gfn_gpa(gfn(page)), &value), FAULT_FIXED);
	return value;
}

static u64 device_reads(u64 page)
{
	u64 value = 0;

	assert_int_equal(guest_read(&vm.mem, gfn_gpa(gfn(page)), &value, sizeof(value)),
	                 sizeof(value));
	return value;
}

static void device_writes(u64 page, u64 value)
{
	assert_int_equal(guest_write(&vm.mem, gfn_gpa(gfn(page)), &value, sizeof(value)),
	                 sizeof(value));
}

static struct age_result age(void)
{
	return age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
}

static u64 asked(void)
{
	return a64_load(&null.asked_total);
}

static void test_null_maps_what_the_device_uses(void **state)
{
	u8 there[3 * PAGE_SIZE], back[3 * PAGE_SIZE];

	(void)state;
	start(&host_machines[0]);
	for (unsigned i = 0; i < sizeof(there); i++)
		there[i] = (u8)(i * 7);
	assert_int_equal(guest_write(&vm.mem, gpa(PAGE_SIZE + 100), there, sizeof(there)),
	                 sizeof(there));
	assert_int_equal(a64_load(&null.mapped), 4);
	assert_int_equal(null_read(&null, gpa(PAGE_SIZE + 100), back, sizeof(back)), sizeof(back));
	assert_memory_equal(there, back, sizeof(there));
	null_unmap(&null, gfn(2));
	null_unmap(&null, gfn(200));
	assert_int_equal(a64_load(&null.mapped), 3);
	/* The end of memory cuts it short. */
	assert_int_equal(null_read(&null, gpa(PAGES * PAGE_SIZE - 10), back, 100), 10);
	/* Two pages for one place: the newer one has it. */
	(void)device_reads(5);
	(void)device_reads(5 + NULL_ENTRIES);
	assert_int_equal(device_reads(5), 0);
	stop();
}

/* Walks and look-around do not ask it, and its translations stay. */
static void test_null_is_never_asked_fast(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct age_result r;

		start(m);
		guest_writes(1, 1);
		device_writes(2, 2);
		r = age();
		assert_int_equal(r.young, 1);
		age_look_around(vm.space, gfn(1), FAST);
		assert_int_equal(notifier_age_one(vm.space, gfn(2), TEST | NOTIFIER_FAST_ONLY), 0);
		assert_int_equal(asked(), 0);
		assert_int_equal(a64_load(&null.mapped), 1);
		stop();
	}
}

static void test_null_answers_the_accurate_question(void **state)
{
	(void)state;
	start(&host_machines[0]);
	guest_writes(1, 1);
	device_writes(2, 2);
	guest_writes(3, 3);
	(void)device_reads(3);
	/* TDP first; a test ends with the first young. */
	assert_int_equal(notifier_age_one(vm.space, gfn(3), TEST), FAST);
	assert_int_equal(asked(), 0);
	/* Young, and no fast MMU says so: no look-around. A test changes nothing. */
	assert_int_equal(notifier_age_one(vm.space, gfn(2), TEST), NOTIFIER_YOUNG);
	assert_int_equal(notifier_age_one(vm.space, gfn(2), TEST), NOTIFIER_YOUNG);
	assert_int_equal(asked(), 2);
	assert_int_equal(a64_load(&null.mapped), 2);
	/* To clear, everybody is asked. */
	assert_int_equal(notifier_age_one(vm.space, gfn(3), NOTIFIER_CLEAR), FAST);
	assert_int_equal(asked(), 3);
	assert_int_equal(a64_load(&null.mapped), 1);
	assert_int_equal(a64_load(&null.aged_total), 1);
	assert_int_equal(notifier_age_one(vm.space, gfn(3), NOTIFIER_CLEAR), 0);
	/* What it does not map is not young. */
	assert_int_equal(notifier_age_one(vm.space, gfn(1), NOTIFIER_CLEAR), FAST);
	assert_int_equal(notifier_age_one(vm.space, gfn(1), NOTIFIER_CLEAR), 0);
	stop();
}

/* A page that only the device uses is judged when its turn to go comes: it stays once. */
static void test_null_page_is_judged_at_eviction(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct evict_result r;

		start(m);
		device_writes(7, 77);
		for (unsigned i = 0; i < GEN_MAX; i++)
			(void)age();
		r = evict_space(vm.space, evict_any(1));
		assert_int_equal(r.freed, 0);
		assert_int_equal(r.rejected, 1);
		assert_int_equal(a64_load(&null.mapped), 0);
		assert_int_equal(a64_load(&vm.space->stats.lookarounds_total), 0);
		assert_int_equal(host_vm_evict(&vm, 1), 1);
		assert_int_equal(device_reads(7), 77);
		assert_int_equal(guest_reads(7), 77);
		stop();
	}
}

/* Taking a translation away is an invalidation: who was about to map the page starts over. */
static void test_null_aging_obeys_the_invalidate_protocol(void **state)
{
	u64 seq;

	(void)state;
	start(&host_machines[0]);
	(void)device_reads(9);
	seq = invalidate_seq(vm.space);
	assert_int_equal(notifier_age_one(vm.space, gfn(9), NOTIFIER_CLEAR), NOTIFIER_YOUNG);
	read_lock(&vm.space->mmu_lock);
	assert_true(invalidate_retry(vm.space, seq, gfn(9)));
	read_unlock(&vm.space->mmu_lock);
	invalidate_begin(vm.space, gfn(8), gfn(10));
	assert_int_equal(null_map(&null, gfn(9), false), FAULT_RETRY);
	assert_int_equal(a64_load(&null.mapped), 0);
	invalidate_end(vm.space, gfn(8), gfn(10));
	assert_int_equal(null_map(&null, gfn(9), false), FAULT_FIXED);
	stop();
}

/* A page mapped for reading is clean when it goes; a write through the device makes it dirty first. */
static void test_null_write_after_read_is_kept(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		device_writes(4, 40);
		assert_int_equal(host_vm_evict(&vm, 1), 1);
		assert_int_equal(device_reads(4), 40);
		device_writes(4, 41);
		assert_int_equal(host_vm_evict(&vm, 1), 1);
		assert_int_equal(guest_reads(4), 41);
		stop();
	}
}

static void test_null_audit_finds_a_wrong_translation(void **state)
{
	(void)state;
	start(&host_machines[0]);
	(void)device_reads(4);
	(void)device_reads(5);
	null.entry[4].frame = null.entry[5].frame;
	assert_int_equal(null.notifier.ops->audit(&null.notifier), 1);
	null_unmap(&null, gfn(4));
	assert_int_equal(null.notifier.ops->audit(&null.notifier), 0);
	stop();
}

/* Everything at once, at random, against a plain array. */
static void test_null_agrees_with_an_oracle(void **state)
{
	u64 seed = 0x2011;

	(void)state;
	for_each_machine(m)
	{
		u64 word[PAGES] = {0};

		start(m);
		for (unsigned step = 0; step < 4000; step++) {
			u64 page = host_random(&seed) % PAGES, what = host_random(&seed) % 100;

			if (what < 20)
				guest_writes(page, word[page] = step);
			else if (what < 40)
				device_writes(page, word[page] = step);
			else if (what < 65)
				assert_int_equal(guest_reads(page), word[page]);
			else if (what < 90)
				assert_int_equal(device_reads(page), word[page]);
			else if (what < 94)
				(void)age();
			else
				(void)evict_space(vm.space, evict_any(1 + host_random(&seed) % 40));
		}
		assert_true(a64_load(&vm.space->stats.evictions_total) > 100);
		assert_true(a64_load(&null.aged_total) > 10);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_null_maps_what_the_device_uses),
	        cmocka_unit_test(test_null_is_never_asked_fast),
	        cmocka_unit_test(test_null_answers_the_accurate_question),
	        cmocka_unit_test(test_null_page_is_judged_at_eviction),
	        cmocka_unit_test(test_null_aging_obeys_the_invalidate_protocol),
	        cmocka_unit_test(test_null_write_after_read_is_kept),
	        cmocka_unit_test(test_null_audit_finds_a_wrong_translation),
	        cmocka_unit_test(test_null_agrees_with_an_oracle),
	};

	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	return vm_group_run(tests, FRAMES);
}
