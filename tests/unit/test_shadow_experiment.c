/* What experiments want of the shadow MMU: pages that nobody may write, and slots that come and go while it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/evict.h"
#include "tests/unit/shadow_guest.h"

#define FRAMES   1024u
#define ADDRESS  40u /* pages that the guest uses */
#define FIRST    10u /* of them, those that are protected */
#define SOME     20u
#define NO_SLOTS ((struct shadow_window){.npages = 0})

static struct shadow_vm_access access_to(u64 page, bool write, u64 *value)
{
	return shadow_vm_access(&guest, 0, gva(page * PAGE_SIZE + 8), write ? CPU_WRITE : 0, value);
}

static void expect(u64 page, u64 wanted)
{
	u64 value = ~wanted;

	assert_int_equal(access_to(page, false, &value).result, SHADOW_FIXED);
	assert_int_equal(value, wanted);
}

static void write_to(u64 page, u64 value)
{
	assert_int_equal(access_to(page, true, &value).result, SHADOW_FIXED);
}

static void expect_caught(u64 page)
{
	u64 value = 666;
	struct shadow_vm_access a = access_to(page, true, &value);

	assert_int_equal(a.result, SHADOW_PROTECTED);
	assert_int_equal(a.out.gpa.v, page * PAGE_SIZE + 8);
}

static bool mapped_writable(u64 g)
{
	struct rmap *r = shadow_rmap(&guest.shadow, gfn(g));
	struct rmap_iter it;
	bool found = false;

	rmap_for_each(&it, rmap_word(r), entry)
	{
		u64 spte = a64_load(entry);

		found |= spte_saved_rights(guest.shadow.format, spte) & SPTE_W;
	}
	return found;
}

static void evict(u64 g)
{
	assert_int_equal(evict_page(guest.space, gfn(g)), EVICT_PAGE_DONE);
}

static void expect_protected(void)
{
	for (u64 page = 0; page < ADDRESS; page++) {
		bool is = page - FIRST < SOME;

		expect(page, page);
		if (is)
			expect_caught(page);
		else
			write_to(page, page);
		assert_int_equal(mapped_writable(page), !is);
	}
}

static void start(const struct spte_format *f, bool paging)
{
	guest_start(f);
	for (unsigned at = 0; at < ADDRESS; at++)
		guest_map(at, at);
	if (paging)
		guest_start_paging();
	for (unsigned at = 0; at < ADDRESS; at++)
		write_to(at, at);
}

/* Through tables of the guest and without: reads go on, writes are told of, whatever happens to the page meanwhile. */
static void test_shadow_experiment_protected_pages(void **state)
{
	(void)state;
	for (unsigned paging = 0; paging < 2; paging++)
		for_each_shadow_format(f)
		{
			start(f, paging);
			space_set_protect(guest.space, gfn(FIRST), SOME);
			expect_protected();
			(void)guest_young(NOTIFIER_CLEAR);
			guest_forget();
			expect_protected();
			for (u64 g = 0; g < ADDRESS; g += 3)
				evict(g);
			expect_protected();
			space_set_protect(guest.space, gfn(0), 0);
			for (u64 page = 0; page < ADDRESS; page++)
				write_to(page, page + 1);
			guest_stop();
		}
}

static bool slot_add(u64 first, u64 npages)
{
	return notifier_may_add_slot(guest.space, gfn(first), npages) &&
	       gfnmap_add(guest.space, gfn(first), npages);
}

static void slot_remove(u64 first, u64 npages)
{
	assert_true(gfnmap_close(guest.space, gfn(first)));
	space_drop_range(guest.space, gfn(first), npages);
	gfnmap_remove(guest.space, gfn(first));
}

static void expect_nothing(u64 page)
{
	u64 value;

	assert_int_equal(access_to(page, false, &value).result, SHADOW_NO_SLOT);
	assert_int_equal(access_to(page, true, &value).result, SHADOW_NO_SLOT);
}

static void test_shadow_experiment_slots_come_and_go(void **state)
{
	const u64 first = SHADOW_VM_WINDOW + 7, npages = SHADOW_VM_WINDOW_PAGES - 7;

	(void)state;
	for_each_shadow_format(f)
	{
		guest_start(f);
		expect_nothing(first);
		for (u64 round = 0; round < 3; round++) {
			assert_true(slot_add(first, npages));
			assert_false(slot_add(first, npages));
			for (u64 page = first; page < first + npages; page++) {
				expect(page, 0);
				write_to(page, page);
			}
			evict(first + 1);
			for (u64 page = first; page < first + npages; page++)
				expect(page, page);
			slot_remove(first, npages);
			for (u64 page = first; page < first + npages; page++) {
				assert_int_equal(rmap_count(shadow_rmap(&guest.shadow, gfn(page))),
				                 0);
				expect_nothing(page);
			}
		}
		guest_stop();
	}
}

/* There are no reverse maps for others. */
static void test_shadow_experiment_slots_fit_the_window(void **state)
{
	(void)state;
	guest_start(&spte_shadow_ad);
	assert_false(slot_add(SHADOW_VM_WINDOW - 1, 1));
	assert_false(slot_add(SHADOW_VM_WINDOW - 1, 2));
	assert_false(slot_add(SHADOW_VM_WINDOW, SHADOW_VM_WINDOW_PAGES + 1));
	assert_false(slot_add(SHADOW_VM_WINDOW + SHADOW_VM_WINDOW_PAGES, 1));
	assert_false(slot_add(SHADOW_VM_WINDOW + SHADOW_VM_WINDOW_PAGES - 1, ~0ull));
	assert_true(slot_add(SHADOW_VM_WINDOW + SHADOW_VM_WINDOW_PAGES - 1, 1));
	slot_remove(SHADOW_VM_WINDOW + SHADOW_VM_WINDOW_PAGES - 1, 1);
	guest.shadow.window = NO_SLOTS;
	assert_false(slot_add(0, 1));
	assert_false(slot_add(SHADOW_VM_WINDOW, 1));
	guest_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_shadow_experiment_protected_pages),
	        cmocka_unit_test(test_shadow_experiment_slots_come_and_go),
	        cmocka_unit_test(test_shadow_experiment_slots_fit_the_window),
	};

	return vm_group_run(tests, FRAMES);
}
