/*
 * hv/mmu/shadow_fault.c: what a fault found without the MMU lock is believed under it only if it still is so. The
 * other actor comes in while the page's contents are unpacked, which is between the two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/evict.h"
#include "mm/notifier.h"
#include "tests/unit/shadow_guest.h"

#define AT     5u /* the address page that is accessed */
#define PAGE   100u
#define OTHER  101u
#define PIECES (PAGE_SIZE / 8)

static bool came; /* the other actor did */
static unsigned pauses;

/* Different in each page, neither all one word nor random. */
static void fill(u64 g)
{
	for (u64 i = 0; i < PIECES; i++) {
		u64 value = g * 1000 + i % 7;

		assert_int_equal(guest_write(&guest.mem, gpa(g * PAGE_SIZE + i * 8), &value, 8), 8);
	}
}

/* What the guest reads there; `between` is called once, when the page is known to be missing, before it is mapped. */
static u64 read_with(void (*between)(void))
{
	u64 value = 0;

	came = false;
	pauses = 0;
	assert_int_equal(evict_page(guest.space, gfn(PAGE)), EVICT_PAGE_DONE);
	host_on_fpu(between);
	assert_int_equal(shadow_vm_access(&guest, 0, gva((u64)AT * PAGE_SIZE), 0, &value).result,
	                 SHADOW_FIXED);
	host_on_fpu(NULL);
	host_on_pause(NULL, NULL);
	assert_true(came);
	return value;
}

static void start(const struct spte_format *f)
{
	guest_start(f);
	fill(PAGE);
	fill(OTHER);
	guest_map(AT, PAGE);
	guest_start_paging();
}

/* As another vCPU would: in place. No shadow page mirrors the table yet. */
static void remap(void)
{
	a64 *where;

	if (came)
		return;
	came = true;
	epoch_enter();
	where = gfnmap_word(guest.space, gfn(GUEST_TABLE));
	a32_store((a32 *)frame_ptr(gfn_word_frame(a64_load(where))) + AT, OTHER * PAGE_SIZE | 0x67);
	epoch_exit();
}

static void test_shadow_fault_believes_no_table_that_changed(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		start(f);
		assert_int_equal(read_with(remap), OTHER * 1000);
		guest_stop();
	}
}

static gfn_t going; /* what is being taken away */

/* No lock held, no epoch section: the invalidation ends, and the page goes for good. */
static void finish(void *arg)
{
	(void)arg;
	if (pauses++)
		return;
	assert_int_equal(a64_load(&guest.shadow.leaves), 0);
	invalidate_end(guest.space, going, going);
	assert_int_equal(evict_page(guest.space, gfn(PAGE)), EVICT_PAGE_DONE);
}

static void begin(void)
{
	if (came)
		return;
	came = true;
	invalidate_begin(guest.space, going, going);
	host_on_pause(finish, NULL);
}

/* An invalidation of the page, or of a table on the way, begins after both were found, and ends with the page gone. */
static void test_shadow_fault_maps_nothing_that_is_going(void **state)
{
	const u64 what[] = {PAGE, GUEST_TABLE, GUEST_DIRECTORY};

	(void)state;
	for_each_shadow_format(f) for (unsigned i = 0; i < ARRAY_SIZE(what); i++)
	{
		start(f);
		going = gfn(what[i]);
		assert_int_equal(read_with(begin), PAGE * 1000);
		assert_true(pauses > 0);
		guest_stop();
	}
}

/* The same, but it is over when the lock is taken: that it was there shows. */
static void begin_and_end(void)
{
	if (came)
		return;
	came = true;
	invalidate_begin(guest.space, going, going);
	invalidate_end(guest.space, going, going);
}

static void test_shadow_fault_looks_again_after_an_invalidation(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		start(f);
		going = gfn(GUEST_TABLE);
		assert_int_equal(read_with(begin_and_end), PAGE * 1000);
		assert_int_equal(a64_load(&guest.shadow.leaves), 1);
		guest_stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_shadow_fault_believes_no_table_that_changed),
	        cmocka_unit_test(test_shadow_fault_maps_nothing_that_is_going),
	        cmocka_unit_test(test_shadow_fault_looks_again_after_an_invalidation),
	};

	return vm_group_run(tests, 2048);
}
