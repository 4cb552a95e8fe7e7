/* hv/mmu/shadow_zap, shadow_audit: taking pages away from a guest on shadow tables, and what the audit finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/evict.h"
#include "tests/unit/shadow_guest.h"

#define FRAMES 1024u

static struct rmap *rmap_at(u64 g)
{
	return shadow_rmap(&guest.shadow, gfn(g));
}

static struct notifier_zap zap(u64 g)
{
	struct notifier_zap z;

	invalidate_begin(guest.space, gfn(g), gfn(g));
	notifier_zap(guest.space, gfn(g), &z);
	invalidate_end(guest.space, gfn(g), gfn(g));
	guest_forget();
	return z;
}

/* All aliases at once, with what any of them had. */
static void test_shadow_zap_takes_every_alias(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		struct notifier_zap z;
		u64 leaves;

		guest_start(f);
		for (unsigned at = 0; at < 30; at++)
			guest_map(at, at % 2);
		guest_start_paging();
		for (unsigned at = 0; at < 30; at++)
			guest_touch(at, at == 4);
		leaves = a64_load(&guest.shadow.leaves);
		z = zap(0);
		assert_true(z.mapped && z.dirty && z.young);
		assert_int_equal(a64_load(&guest.shadow.leaves), leaves - 15);
		assert_int_equal(rmap_count(rmap_at(0)), 0);
		assert_int_equal(rmap_count(rmap_at(1)), 15);
		z = zap(0);
		assert_false(z.mapped || z.dirty || z.young);
		assert_true(guest_young(NOTIFIER_CLEAR) & 2);
		z = zap(1);
		assert_true(z.mapped);
		assert_false(z.young);
		/* What was taken comes back by a fault. */
		guest_touch(4, false);
		assert_int_equal(rmap_count(rmap_at(0)), 1);
		guest_stop();
	}
}

/* A page that holds a table of the guest: its shadow page goes, with all that this maps. */
static void test_shadow_zap_of_a_table_takes_its_shadow_pages(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		u64 pages;

		guest_start(f);
		for (unsigned at = 0; at < 8; at++)
			guest_map(at, 100 + at);
		guest_start_paging();
		for (unsigned at = 0; at < 8; at++)
			guest_touch(at, true);
		pages = a64_load(&guest.shadow.pages);
		assert_int_equal(a64_load(&guest.shadow.leaves), 8);
		(void)zap(GUEST_TABLE);
		assert_int_equal(a64_load(&guest.shadow.pages), pages - 1);
		assert_int_equal(a64_load(&guest.shadow.leaves), 0);
		for (unsigned at = 0; at < 8; at++)
			assert_int_equal(rmap_count(rmap_at(100 + at)), 0);
		assert_int_equal(guest.shadow.notifier.ops->audit(&guest.shadow.notifier), 0);
		guest_touch(3, false);
		guest_stop();
	}
}

/* Tables and pages are evicted under a guest that goes on: every word is what it wrote. */
static void test_shadow_zap_evicted_tables_and_pages_come_back(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		u64 seed = 5;

		guest_start(f);
		for (unsigned at = 0; at < 300; at++)
			guest_map(at, at);
		guest_start_paging();
		for (unsigned i = 0; i < 1500; i++) {
			unsigned at = (unsigned)(host_random(&seed) % 300);
			u64 value = 0;

			guest_touch(at, true);
			if (i % 50 == 0)
				(void)!evict_page(guest.space, gfn(i % 100 ? GUEST_TABLE : at));
			assert_int_equal(
			        shadow_vm_access(&guest, 0, gva((u64)at * PAGE_SIZE + 8), 0, &value)
			                .result,
			        SHADOW_FIXED);
			assert_int_equal(value, at);
		}
		assert_true(a64_load(&guest.space->stats.evictions_total) > 10);
		guest_stop();
	}
}

/* While nothing is shadowed, the question costs a load: another CPU has the lock, and nobody waits. */
static void test_shadow_zap_is_free_while_nothing_is_shadowed(void **state)
{
	struct notifier_zap z = {.mapped = false};

	(void)state;
	guest_start(&spte_shadow_ad);
	assert_int_equal(a64_load(&guest.shadow.pages), 0);
	host_cpu_set(1);
	write_lock(&guest.space->mmu_lock);
	host_cpu_set(0);
	shadow_zap(&guest.shadow.notifier, gfn(3), &z);
	assert_false(z.mapped);
	assert_int_equal(rw_waits(&guest.space->mmu_lock), 0);
	host_cpu_set(1);
	write_unlock(&guest.space->mmu_lock);
	host_cpu_set(0);
	guest_stop();
}

/* More than a thousand translations of one page are made anew, not chained for ever. */
static void test_shadow_zap_recycles_an_overfull_map(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		u64 most = 0;

		guest_start(f);
		for (unsigned at = 0; at < GUEST_ADDRESSES; at++)
			guest_map(at, 7);
		guest_start_paging();
		for (unsigned at = 0; at < GUEST_ADDRESSES; at++) {
			guest_touch(at, at % 2);
			most = max_of(most, rmap_count(rmap_at(7)));
		}
		assert_int_equal(most, 1000);
		assert_int_equal(a64_load(&guest.shadow.stats.overfull_total), 2);
		assert_true(zap(7).dirty);
		guest_stop();
	}
}

/* Who restores an entry without the lock may be on its way through a table that nothing leads to any more. */
static void test_shadow_tables_are_freed_behind_their_readers(void **state)
{
	u64 before;

	(void)state;
	for_each_shadow_format(f)
	{
		guest_start(f);
		guest_start_paging();
		guest_map(3, 7);
		guest_touch(3, true);
		host_cpu_count_set(2);
		host_cpu_set(1);
		epoch_enter();
		host_cpu_set(0);
		before = frame_free_count();
		assert_int_not_equal(shadow_shrink_used(&guest.shadow, 64), 0);
		shadow_reap(&guest.shadow);
		assert_int_equal(frame_free_count(), before);
		host_cpu_set(1);
		epoch_exit();
		host_cpu_set(0);
		epoch_barrier();
		assert_true(frame_free_count() > before);
		host_cpu_count_set(1);
		guest_stop();
	}
}

/* --- the audit ------------------------------------------------------------------------------------- */

static struct shadow_page *leaf_page;

/* A guest with two leaves and the audit that goes with it, sound as yet. */
static void start_audited(void)
{
	struct rmap_iter it;

	guest_start(&spte_shadow_ad);
	guest_map(1, 1);
	guest_map(2, 2);
	guest_start_paging();
	guest_touch(1, true);
	guest_touch(2, false);
	leaf_page = shadow_page_of(rmap_first(&it, rmap_word(rmap_at(1))));
	assert_int_equal(guest.shadow.notifier.ops->audit(&guest.shadow.notifier), 0);
}

/* With one fault planted; `what` is part of the last line it writes. */
static void found(const char *what)
{
	assert_true(guest.shadow.notifier.ops->audit(&guest.shadow.notifier) > 0);
	if (!strstr(host_log_last(), what))
		fail_msg("\"%s\" and not \"%s\"", host_log_last(), what);
}

static void test_shadow_audit_finds_planted_faults(void **state)
{
	struct shadow *sh = &guest.shadow;
	a64 *one, *two, was;

	(void)state;
	start_audited();
	one = &leaf_page->entry[1];
	two = &leaf_page->entry[2];

	was = *one;
	one->raw = BIT(5);
	found("leaves");
	one->raw = was.raw & ~SPTE_ADDRESS;
	found("another page");
	one->raw = was.raw | BIT(52);
	found("leaves");
	*one = was;

	/* An entry in a map that is not its page's; in two; in none. */
	was = rmap_at(1)->word;
	rmap_at(1)->word.raw = (u64)(uintptr_t)two;
	found("maps another page");
	rmap_at(3)->word = was;
	found("entries in reverse maps, and leaves, differ");
	rmap_at(3)->word.raw = 0;
	rmap_at(1)->word.raw = 0;
	found("entries in reverse maps, and leaves, differ");
	rmap_at(1)->word.raw = was.raw | RMAP_LOCKED;
	found("the reverse map is locked");
	rmap_at(1)->word.raw = (u64)(uintptr_t)&was;
	found("names what is no entry");
	rmap_at(1)->word = was;

	/* W where it must not be: over the table, and over a page that counts as clean. */
	assert_true(shadow_tracks(sh, gfn(GUEST_TABLE)));
	frame_at(frame_of_pfn(spte_pfn(sh->format, one->raw)))->state.raw &= ~FRAME_DIRTY;
	found("counts as clean");
	frame_at(frame_of_pfn(spte_pfn(sh->format, one->raw)))->state.raw |= FRAME_DIRTY;

	a64_count(&sh->pages, 1);
	found("pages found and counted differ");
	a64_count(&sh->pages, -1ull);
	a64_count(&sh->tracked, 1);
	found("tables mirrored and counted differ");
	a64_count(&sh->tracked, -1ull);
	was = leaf_page->parents.word;
	leaf_page->parents.word.raw = (u64)(uintptr_t)one;
	found("not once among the parents");
	leaf_page->parents.word = was;
	guest_stop();
}

/* The guest maps its own page table: that leaf must not have W while the table is in sync. */
static void test_shadow_audit_finds_w_over_a_tracked_table(void **state)
{
	struct rmap_iter it;
	a64 *entry;

	(void)state;
	guest_start(&spte_shadow_ad);
	guest_map(5, GUEST_TABLE);
	guest_start_paging();
	guest_touch(5, false);
	entry = rmap_first(&it, rmap_word(rmap_at(GUEST_TABLE)));
	assert_int_equal(spte_rights(&spte_shadow_ad, entry->raw) & SPTE_W, 0);
	entry->raw |= spte_shadow_ad.write;
	found("holds a table that is tracked");
	entry->raw &= ~spte_shadow_ad.write;
	guest_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_shadow_zap_takes_every_alias),
	        cmocka_unit_test(test_shadow_zap_of_a_table_takes_its_shadow_pages),
	        cmocka_unit_test(test_shadow_zap_evicted_tables_and_pages_come_back),
	        cmocka_unit_test(test_shadow_zap_is_free_while_nothing_is_shadowed),
	        cmocka_unit_test(test_shadow_zap_recycles_an_overfull_map),
	        cmocka_unit_test(test_shadow_tables_are_freed_behind_their_readers),
	        cmocka_unit_test(test_shadow_audit_finds_planted_faults),
	        cmocka_unit_test(test_shadow_audit_finds_w_over_a_tracked_table),
	};

	return vm_group_run(tests, FRAMES);
}
