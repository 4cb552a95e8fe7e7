/* hv/mmu/shadow_age: harvesting shadow tables through the reverse maps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/evict.h"
#include "mm/policy.h"
#include "tests/unit/shadow_guest.h"

#define FRAMES 1024u

static struct rmap *rmap_at(u64 g)
{
	return shadow_rmap(&guest.shadow, gfn(g));
}

static u64 entry_of(u64 g)
{
	struct rmap_iter it;

	return a64_load(rmap_first(&it, rmap_word(rmap_at(g))));
}

static void test_shadow_age_finds_what_was_touched(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		u64 bitmap[NOTIFIER_WORDS], visited = 0;

		guest_start(f);
		for (unsigned g = 0; g < 512; g += 3)
			guest_touch(g, g % 2);
		memset(bitmap, 0xff, sizeof(bitmap));
		assert_true(guest_ask(512, bitmap, NOTIFIER_CLEAR, &visited) & NOTIFIER_YOUNG);
		for (unsigned g = 0; g < 512; g++)
			assert_int_equal(bitmap[g / 64] >> g % 64 & 1, g % 3 == 0);
		assert_int_equal(visited, 171);
		memset(bitmap, 0xff, sizeof(bitmap));
		assert_int_equal(guest_ask(512, bitmap, NOTIFIER_CLEAR, &visited), 0);
		guest_forget();
		guest_touch(9, false);
		assert_int_equal(guest_young(NOTIFIER_CLEAR), 1ull << 9);
		guest_stop();
	}
}

/* Only what was asked for is told, and changed; what lies beyond the slot is not young. */
static void test_shadow_age_asks_for_nothing_else(void **state)
{
	u64 bitmap[NOTIFIER_WORDS] = {0xf0}, visited = 0;

	(void)state;
	guest_start(&spte_shadow_ad);
	for (unsigned g = 0; g < 16; g++)
		guest_touch(g, false);
	guest_touch(GUEST_PAGES - 1, false);
	assert_true(guest_ask(10, bitmap, NOTIFIER_CLEAR, &visited) & NOTIFIER_YOUNG);
	assert_int_equal(bitmap[0], 0xf0);
	assert_int_equal(visited, 4);
	assert_int_equal(guest_young(NOTIFIER_TEST) & ~1ull, 0);
	assert_int_equal(guest_young(NOTIFIER_CLEAR), 0xff0f);
	epoch_enter();
	memset(bitmap, 0xff, sizeof(bitmap));
	assert_true(shadow_age(&guest.shadow.notifier, gfn(GUEST_PAGES - 3), 130, bitmap,
	                       NOTIFIER_CLEAR, &visited) &
	            NOTIFIER_YOUNG);
	epoch_exit();
	assert_int_equal(bitmap[0], 4);
	assert_int_equal(bitmap[1], 0);
	assert_int_equal(bitmap[2] & 3, 0);
	guest_stop();
}

/* TEST changes nothing, and looks no further than the first young page. */
static void test_shadow_age_test_stops_at_the_first_young(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		u64 bitmap[NOTIFIER_WORDS] = {~0ull}, visited = 0;

		guest_start(f);
		for (unsigned g = 4; g < 40; g++)
			guest_touch(g, true);
		for (unsigned i = 0; i < 2; i++) {
			bitmap[0] = ~0ull;
			assert_true(guest_ask(64, bitmap, NOTIFIER_TEST, &visited) &
			            NOTIFIER_YOUNG);
			assert_int_equal(bitmap[0], 1ull << 4);
			assert_int_equal(visited, i + 1);
		}
		assert_int_equal(guest_young(NOTIFIER_CLEAR), 0xfffffffff0ull);
		guest_stop();
	}
}

/* A page that is mapped at several addresses is young if it was touched at one, and old at all of them afterwards. */
static void test_shadow_age_asks_every_alias(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		u64 bitmap[NOTIFIER_WORDS] = {1}, visited = 0;

		guest_start(f);
		for (unsigned at = 0; at < 40; at++)
			guest_map(at, at < 20 ? 0 : 1);
		guest_start_paging();
		for (unsigned at = 0; at < 40; at++)
			guest_touch(at, at == 7);
		assert_int_equal(rmap_count(rmap_at(0)), 20);
		assert_true(guest_ask(1, bitmap, NOTIFIER_CLEAR, &visited) & NOTIFIER_YOUNG);
		assert_int_equal(visited, 20);
		assert_int_equal(guest_young(NOTIFIER_CLEAR) & 3, 2);
		guest_forget();
		guest_touch(19, false);
		assert_int_equal(guest_young(NOTIFIER_CLEAR) & 3, 1);
		assert_int_equal(guest_young(NOTIFIER_CLEAR) & 3, 0);
		guest_stop();
	}
}

/* Fast-only leaves a page whose word somebody has, and goes on with the others. */
static void test_shadow_age_fast_only_does_not_wait_for_a_word(void **state)
{
	u64 word;

	(void)state;
	guest_start(&spte_shadow_ad);
	for (unsigned g = 0; g < 4; g++)
		guest_touch(g, false);
	host_cpu_set(1);
	word = rmap_lock_readonly(rmap_at(2));
	host_cpu_set(0);
	assert_int_equal(guest_young(NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY), 0xb);
	host_cpu_set(1);
	rmap_unlock_readonly(rmap_at(2), word);
	host_cpu_set(0);
	assert_int_equal(guest_young(NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY), 4);
	guest_stop();
}

static u64 held_word;
static unsigned pauses;

static void let_go_at_third(void *arg)
{
	(void)arg;
	if (++pauses != 3)
		return;
	host_cpu_set(1);
	rmap_unlock_readonly(rmap_at(2), held_word);
	host_cpu_set(0);
}

/* Accurate waits until it is let go, and then knows. */
static void test_shadow_age_accurate_waits_for_the_word(void **state)
{
	(void)state;
	guest_start(&spte_shadow_ad);
	for (unsigned g = 0; g < 4; g++)
		guest_touch(g, false);
	host_cpu_set(1);
	held_word = rmap_lock_readonly(rmap_at(2));
	host_cpu_set(0);
	pauses = 0;
	host_on_pause(let_go_at_third, NULL);
	assert_int_equal(guest_young(NOTIFIER_CLEAR), 0xf);
	host_on_pause(NULL, NULL);
	assert_int_equal(pauses, 3);
	guest_stop();
}

/* While another CPU holds the MMU lock; if anybody waited for it, this would not end. */
static void test_shadow_age_takes_no_mmu_lock(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		guest_start(f);
		guest_touch(5, true);
		host_cpu_set(1);
		write_lock(&guest.space->mmu_lock);
		host_cpu_set(0);
		assert_int_equal(guest_young(NOTIFIER_TEST | NOTIFIER_FAST_ONLY), 1ull << 5);
		assert_int_equal(guest_young(NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY), 1ull << 5);
		assert_int_equal(guest_young(NOTIFIER_CLEAR), spte_has_dirty(f) ? 0 : 1ull << 5);
		assert_int_equal(rw_waits(&guest.space->mmu_lock), 0);
		host_cpu_set(1);
		write_unlock(&guest.space->mmu_lock);
		host_cpu_set(0);
		guest_stop();
	}
}

/* Without Accessed bits, aging costs the guest a fault: fast-only tells what is young and does not do that. */
static void test_shadow_age_fast_only_does_not_rearm(void **state)
{
	u64 before, faults;

	(void)state;
	guest_start(&spte_shadow_track);
	assert_false(guest.shadow.notifier.ops->has_fast_aging);
	guest_touch(5, true);
	before = entry_of(5);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(guest_young(NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY), 1ull << 5);
	assert_int_equal(entry_of(5), before);
	assert_int_equal(guest_young(NOTIFIER_CLEAR), 1ull << 5);
	assert_true(spte_is_tracked(&spte_shadow_track, entry_of(5)));
	assert_int_equal(guest_young(NOTIFIER_CLEAR), 0);
	/* The restore: one fault, without the MMU lock, and the entry is what it was. */
	guest_forget();
	faults = guest.vcpu[0].faults;
	guest_touch(5, true);
	assert_int_equal(guest.vcpu[0].faults, faults + 1);
	assert_int_equal(entry_of(5), before);
	guest_stop();
}

/* With them, it is declared, and re-arming is what hardware undoes by itself. */
static void test_shadow_age_is_fast_with_accessed_bits(void **state)
{
	u64 faults;

	(void)state;
	guest_start(&spte_shadow_ad);
	assert_true(guest.shadow.notifier.ops->has_fast_aging);
	guest_touch(5, true);
	faults = guest.vcpu[0].faults;
	assert_int_equal(guest_young(NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY), 1ull << 5);
	guest_forget();
	guest_touch(5, true);
	assert_int_equal(guest_young(NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY), 1ull << 5);
	assert_int_equal(guest.vcpu[0].faults, faults);
	guest_stop();
}

/* Random touches through random aliases, and random questions, against what the guest did. */
static void test_shadow_age_agrees_with_an_oracle(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		u64 touched = 0, seed = 99, page[256];

		guest_start(f);
		for (unsigned at = 0; at < ARRAY_SIZE(page); at++)
			guest_map(at, page[at] = host_random(&seed) % 64);
		guest_start_paging();
		for (unsigned i = 0; i < 4000; i++) {
			unsigned at = (unsigned)(host_random(&seed) % ARRAY_SIZE(page));
			u64 bitmap[NOTIFIER_WORDS] = {host_random(&seed)}, asked = bitmap[0],
			    visited = 0;

			if (host_random(&seed) % 8) {
				guest_touch(at, host_random(&seed) & 1);
				touched |= 1ull << page[at];
				continue;
			}
			(void)guest_ask(64, bitmap, NOTIFIER_CLEAR, &visited);
			assert_int_equal(bitmap[0], asked & touched);
			touched &= ~asked;
			guest_forget();
		}
		guest_stop();
	}
}

static unsigned ask_page(u64 g, unsigned flags)
{
	return notifier_age_one(guest.space, gfn(g), flags) & NOTIFIER_YOUNG;
}

/* Nobody's entry maps the page of a table here: the guest's own walks, which hardware makes in ours, are its use. */
static void test_shadow_age_a_table_in_use_is_young(void **state)
{
	(void)state;
	for_each_shadow_format(f)
	{
		guest_start(f);
		guest_map(5, 100);
		guest_start_paging();
		assert_int_equal(ask_page(GUEST_TABLE, NOTIFIER_CLEAR), 0);
		guest_touch(5, true);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(ask_page(GUEST_TABLE, NOTIFIER_CLEAR));
			assert_true(ask_page(GUEST_DIRECTORY, NOTIFIER_TEST));
			assert_int_equal(ask_page(GUEST_TABLE, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY),
			                 0);
			assert_int_equal(ask_page(GUEST_TABLE - 2, NOTIFIER_CLEAR), 0);
		}
		assert_int_equal(a64_load(&guest.shadow.stats.kept_total), 3);
		/* Memory is short, and nobody walks there any more: first the shadow page goes, then it is cold. */
		guest_forget();
		while (notifier_shrink(guest.space, 16) || a64_load(&guest.shadow.pages))
			;
		assert_int_equal(ask_page(GUEST_TABLE, NOTIFIER_CLEAR), 0);
		guest_stop();
	}
}

/* All is equally old; what is evicted is data, up to the last page that is none. */
static void test_shadow_age_cold_data_goes_before_tables(void **state)
{
	const u64 table[] = {GUEST_DIRECTORY, GUEST_TABLE};

	(void)state;
	guest_start(&spte_shadow_ad);
	for (unsigned at = 0; at < 200; at++)
		guest_map(at, at);
	guest_start_paging();
	for (unsigned at = 0; at < 200; at++)
		guest_touch(at, true);
	for (unsigned i = 0; i < 4; i++) /* nobody touches anything in between */
		(void)age_space(guest.space, a64_load(&guest.space->lru.max_seq), true);
	for (unsigned i = 0; i < 4; i++)
		(void)evict_space(guest.space, evict_any(200));
	assert_true(a64_load(&guest.space->stats.evictions_total) >= 150);
	assert_int_equal(a64_load(&guest.shadow.stats.unshadowed_total), 0);
	assert_true(a64_load(&guest.shadow.stats.kept_total) > 0);
	epoch_enter();
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		assert_int_equal(gfn_word_tag(a64_load(gfnmap_word(guest.space, gfn(table[i])))),
		                 GFN_RESIDENT);
	epoch_exit();
	guest_stop();
}

/* That a table is read to be mirrored is an access of the hypervisor's. */
static void test_shadow_age_the_walk_marks_tables(void **state)
{
	u64 before, after;
	u32 frame;

	(void)state;
	guest_start(&spte_shadow_ad);
	guest_map(5, 100);
	guest_start_paging();
	epoch_enter();
	frame = gfn_word_frame(a64_load(gfnmap_word(guest.space, gfn(GUEST_TABLE))));
	epoch_exit();
	before = a64_load(&frame_at(frame)->state);
	frame_state_change(frame, FRAME_REFERENCED | FRAME_REFS, 0);
	assert_true(before & FRAME_REFERENCED); /* we wrote the table */
	guest_touch(5, true);
	after = a64_load(&frame_at(frame)->state);
	assert_int_equal(after & (FRAME_REFERENCED | FRAME_REFS), FRAME_REFERENCED);
	guest_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_shadow_age_finds_what_was_touched),
	        cmocka_unit_test(test_shadow_age_asks_for_nothing_else),
	        cmocka_unit_test(test_shadow_age_test_stops_at_the_first_young),
	        cmocka_unit_test(test_shadow_age_asks_every_alias),
	        cmocka_unit_test(test_shadow_age_fast_only_does_not_wait_for_a_word),
	        cmocka_unit_test(test_shadow_age_accurate_waits_for_the_word),
	        cmocka_unit_test(test_shadow_age_takes_no_mmu_lock),
	        cmocka_unit_test(test_shadow_age_fast_only_does_not_rearm),
	        cmocka_unit_test(test_shadow_age_is_fast_with_accessed_bits),
	        cmocka_unit_test(test_shadow_age_agrees_with_an_oracle),
	        cmocka_unit_test(test_shadow_age_a_table_in_use_is_young),
	        cmocka_unit_test(test_shadow_age_cold_data_goes_before_tables),
	        cmocka_unit_test(test_shadow_age_the_walk_marks_tables),
	};

	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	return vm_group_run(tests, FRAMES);
}
