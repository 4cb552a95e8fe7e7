#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/spte.h"
#include "tests/host/hal.h"

static const struct spte_format *const formats[] = {&spte_ept_ad,    &spte_ept_track,
                                                    &spte_npt_ad,    &spte_npt_track,
                                                    &spte_shadow_ad, &spte_shadow_track};

#define PAGE  pfn(0x1234567)
#define OTHER pfn(0x1234568)
#define RWX   (SPTE_R | SPTE_W | SPTE_X)
#define RX    (SPTE_R | SPTE_X)

#define for_each_format(f)                                      \
	for (const struct spte_format *const *it = formats, *f; \
	     it < formats + ARRAY_SIZE(formats) && (f = *it); it++)

static u64 leaf(const struct spte_format *f, u64 rights, bool dirty)
{
	return spte_make_leaf(f, 1, PAGE, rights, dirty);
}

/* The bits that the manuals give, written out once by hand. */
static void test_spte_encodings(void **state)
{
	(void)state;
	assert_int_equal(leaf(&spte_ept_ad, RWX, true), 0x1234567b37ull);
	assert_int_equal(leaf(&spte_ept_ad, RX, false) & 0xfff, 0x935);
	assert_int_equal(leaf(&spte_ept_track, RWX, true) & 0xfff, 0x937);
	assert_int_equal(leaf(&spte_npt_ad, RWX, true) & 0xfff, 0x867);
	assert_int_equal(leaf(&spte_npt_ad, RWX, false) & 0xfff, 0x827);
	assert_int_equal(leaf(&spte_npt_track, RX, false) & 0xfff, 0x865);
	assert_int_equal(leaf(&spte_npt_ad, SPTE_R, false) >> 63, 1);
	assert_int_equal(spte_make_table(&spte_ept_ad, PAGE), 0x1234567807ull);
	assert_int_equal(spte_make_table(&spte_npt_ad, PAGE), 0x1234567807ull);
	assert_int_equal(spte_make_leaf(&spte_ept_ad, 2, pfn(0x200), RWX, false), 0x2009b7);
	assert_int_equal(spte_make_leaf(&spte_npt_ad, 2, pfn(0x200), RWX, false), 0x2008a7);
	assert_int_equal(leaf(&spte_shadow_ad, RWX | SPTE_U, true), 0x1234567867ull);
	assert_int_equal(leaf(&spte_shadow_ad, RWX, false), 0x1234567823ull);
	assert_int_equal(leaf(&spte_shadow_track, RX, false), 0x1234567861ull);
	assert_int_equal(leaf(&spte_shadow_track, SPTE_R | SPTE_U, false) >> 52, 0x800);
	assert_int_equal(spte_make_table(&spte_shadow_track, PAGE), 0x1234567807ull);
}

static void test_spte_format_of(void **state)
{
	(void)state;
	assert_ptr_equal(spte_format_of(true, true), &spte_ept_ad);
	assert_ptr_equal(spte_format_of(true, false), &spte_ept_track);
	assert_ptr_equal(spte_format_of(false, true), &spte_npt_ad);
	assert_ptr_equal(spte_format_of(false, false), &spte_npt_track);
	assert_ptr_equal(spte_shadow_format(true), &spte_shadow_ad);
	assert_ptr_equal(spte_shadow_format(false), &spte_shadow_track);
}

static void test_spte_leaf_says_what_it_was_made_of(void **state)
{
	(void)state;
	for_each_format(f)
	{
		for (unsigned level = 1; level <= 3; level++) {
			pfn_t p = pfn(PAGE.v & ~((1ull << ((level - 1) * 9)) - 1));
			u64 s = spte_make_leaf(f, level, p, RX, false);

			assert_true(spte_valid(f, level, s));
			assert_true(spte_is_leaf(f, level, s));
			assert_false(spte_is_table(f, level, s));
			assert_false(spte_is_tracked(f, s));
			assert_true(spte_young(f, s));
			assert_false(spte_dirty(f, s));
			assert_int_equal(spte_pfn(f, s).v, p.v);
			assert_int_equal(spte_rights(f, s), RX);
		}
		assert_true(spte_dirty(f, leaf(f, RWX, true)));
		assert_int_equal(spte_rights(f, leaf(f, SPTE_R, false)), SPTE_R);
	}
}

static void test_spte_table_is_no_leaf(void **state)
{
	(void)state;
	for_each_format(f)
	{
		u64 s = spte_make_table(f, PAGE);

		assert_true(spte_is_table(f, 2, s));
		assert_false(spte_is_leaf(f, 2, s));
		assert_true(spte_valid(f, 2, s));
		/* Hardware sets Accessed in it. */
		assert_true(spte_is_table(f, 4, s | f->accessed));
		assert_true(spte_valid(f, 4, s | f->accessed));
	}
}

static void test_spte_dirty_is_writable_without_dirty_bits(void **state)
{
	(void)state;
	assert_false(spte_dirty(&spte_ept_ad, leaf(&spte_ept_ad, RWX, false)));
	assert_false(spte_dirty(&spte_npt_ad, leaf(&spte_npt_ad, RWX, false)));
	assert_true(spte_dirty(&spte_ept_track, leaf(&spte_ept_track, RWX, false)));
	assert_true(spte_dirty(&spte_npt_track, leaf(&spte_npt_track, RWX, false)));
	assert_false(spte_dirty(&spte_npt_track, leaf(&spte_npt_track, RX, false)));
}

/* Every leaf that can be, for the tests over all of them. */
struct variant {
	u64 rights;
	bool dirty;
};
static const struct variant variants[] = {
        {SPTE_R, false}, {RX, false}, {RWX, false}, {RWX, true}, {SPTE_R | SPTE_W, true}};

static void test_spte_old_and_young_again(void **state)
{
	(void)state;
	for_each_format(f)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
			u64 s = leaf(f, variants[i].rights, variants[i].dirty);
			u64 old = spte_make_old(f, s);

			assert_false(spte_young(f, old));
			assert_true(spte_is_leaf(f, 1, old));
			assert_true(spte_valid(f, 1, old));
			assert_int_equal(spte_pfn(f, old).v, PAGE.v);
			assert_int_equal(spte_saved_rights(f, old), variants[i].rights);
			assert_int_equal(spte_dirty(f, old), spte_dirty(f, s));
			assert_int_equal(spte_is_tracked(f, old), !spte_has_dirty(f));
			assert_int_equal(spte_make_young(f, 1, old, 0, false), s);
		}
	}
}

/* User mode is a right like the others: aged away, given back, granted. In PAE tables nothing else may stand above bit 51. */
static void test_spte_shadow_keeps_user(void **state)
{
	const struct spte_format *both[] = {&spte_shadow_ad, &spte_shadow_track};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(both); i++) {
		const struct spte_format *f = both[i];
		u64 s = leaf(f, RX | SPTE_U, false), old = spte_make_old(f, s);

		assert_int_equal(spte_rights(f, s), RX | SPTE_U);
		assert_int_equal(spte_saved_rights(f, old), RX | SPTE_U);
		assert_int_equal(spte_make_young(f, 1, old, 0, false), s);
		assert_int_equal(s & BITS(62, 52), 0);
		assert_int_equal(spte_rights(f, leaf(f, RWX, true)), RWX);
		assert_false(spte_change_valid(f, 1, s, leaf(f, RX, false)));
		assert_true(spte_change_valid(f, 1, leaf(f, RX, false), s));
	}
	/* A second level grants it to everybody and does not speak of it. */
	assert_int_equal(spte_rights(&spte_npt_ad, leaf(&spte_npt_ad, RWX, true)), RWX);
}

/* W goes, Dirty and Accessed stay; the write that comes later gives W back. */
static void test_spte_write_protect(void **state)
{
	(void)state;
	for_each_format(f)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
			u64 s = leaf(f, variants[i].rights, variants[i].dirty);
			u64 ro = spte_make_protected(f, s), old = spte_make_old(f, s);
			u64 old_ro = spte_make_protected(f, old);

			assert_int_equal(spte_rights(f, ro), variants[i].rights & ~SPTE_W);
			assert_int_equal(spte_saved_rights(f, old_ro),
			                 variants[i].rights & ~SPTE_W);
			assert_int_equal(ro & f->dirty, s & f->dirty);
			assert_true(spte_young(f, ro));
			assert_false(spte_young(f, old_ro));
			assert_true(spte_valid(f, 1, ro) && spte_valid(f, 1, old_ro));
			assert_true(spte_change_valid(f, 1, s, ro));
			assert_true(spte_change_valid(f, 1, old, old_ro));
			assert_int_equal(spte_make_old(f, ro), old_ro);
			assert_int_equal(spte_make_young(f, 1, old_ro, 0, false), ro);
			assert_int_equal(spte_make_young(f, 1, ro, SPTE_W, true),
			                 leaf(f, variants[i].rights | SPTE_W, true));
		}
	}
}

static void test_spte_protect_says_whether_to_flush(void **state)
{
	(void)state;
	for_each_format(f)
	{
		a64 entry = {leaf(f, RWX, true)};

		assert_true(spte_protect(f, 1, &entry));
		assert_int_equal(spte_rights(f, entry.raw), RX);
		assert_false(spte_protect(f, 1, &entry));
		entry.raw = SPTE_EMPTY;
		assert_false(spte_protect(f, 1, &entry));
		assert_int_equal(entry.raw, SPTE_EMPTY);
		entry.raw = spte_make_table(f, PAGE);
		assert_false(spte_protect(f, 2, &entry));
		assert_int_equal(entry.raw, spte_make_table(f, PAGE));
	}
}

static void test_spte_unlink_takes_a_shadow_table(void **state)
{
	a64 entry = {spte_make_table(&spte_shadow_ad, PAGE) | spte_shadow_ad.accessed};
	u64 was = entry.raw;

	(void)state;
	assert_int_equal(spte_unlink(&spte_shadow_ad, 2, &entry), was);
	assert_int_equal(entry.raw, SPTE_EMPTY);
}

static void test_spte_tracked_large_leaf_comes_back_large(void **state)
{
	(void)state;
	for_each_format(f)
	{
		u64 s = spte_make_leaf(f, 2, pfn(0x40000), RWX, false);
		u64 old = spte_make_old(f, s);

		assert_true(spte_is_leaf(f, 2, old));
		assert_int_equal(spte_make_young(f, 2, old, 0, false), s);
	}
}

/* I6 and the rule that makes Accessed alone mean "present leaf". */
static void test_spte_not_present_keeps_no_frame_number(void **state)
{
	(void)state;
	for_each_format(f)
	{
		if (spte_has_dirty(f))
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
			u64 old = spte_make_old(f, leaf(f, variants[i].rights, variants[i].dirty));

			assert_int_equal(old & f->present, 0);
			assert_int_equal(old & SPTE_RESERVED, 0);
			assert_int_equal((old & SPTE_ADDRESS) >> PAGE_SHIFT,
			                 ~PAGE.v & (BIT(40) - 1));
		}
	}
	assert_int_equal(SPTE_EMPTY & SPTE_RESERVED, 0);
}

static void test_spte_write_fault_grants_write(void **state)
{
	(void)state;
	for_each_format(f)
	{
		u64 old = spte_make_old(f, leaf(f, RX, false));
		u64 now = spte_make_young(f, 1, old, SPTE_W, true);

		assert_int_equal(spte_rights(f, now), RWX);
		assert_true(spte_dirty(f, now));
		assert_true(spte_young(f, now));
	}
}

/* The whole relation over all encodings: only the arrows of spte.h. */
static void test_spte_change_valid(void **state)
{
	(void)state;
	for_each_format(f)
	{
		u64 table = spte_make_table(f, PAGE), ro = leaf(f, RX, false),
		    rw = leaf(f, RWX, true);

		assert_true(spte_change_valid(f, 2, SPTE_EMPTY, table));
		assert_true(spte_change_valid(f, 1, SPTE_EMPTY, ro));
		assert_true(spte_change_valid(f, 1, ro, SPTE_EMPTY));
		assert_true(spte_change_valid(f, 1, ro, rw));
		assert_true(spte_change_valid(f, 1, rw, spte_make_old(f, rw)));
		assert_true(spte_change_valid(f, 1, spte_make_old(f, rw), rw));

		/* W alone may go, Dirty may not; without the bit there is only W to go. */
		assert_int_equal(spte_change_valid(f, 1, rw, ro), !spte_has_dirty(f));
		assert_false(spte_change_valid(f, 1, rw, leaf(f, SPTE_R, false)));
		assert_false(spte_change_valid(f, 1, rw, spte_make_leaf(f, 1, OTHER, RWX, true)));
		assert_false(spte_change_valid(f, 1, SPTE_EMPTY, SPTE_EMPTY));
		assert_false(spte_change_valid(f, 2, table, SPTE_EMPTY));
		assert_false(spte_change_valid(f, 2, table, spte_make_table(f, OTHER)));
		assert_false(spte_change_valid(f, 2, table, table | f->accessed));
		assert_int_equal(spte_change_valid(f, 2, table | f->accessed, table),
		                 spte_has_dirty(f));
		assert_false(spte_change_valid(f, 1, SPTE_EMPTY, BIT(8)));
		assert_false(spte_change_valid(f, 1, SPTE_EMPTY, f->present));
		assert_false(spte_change_valid(f, 1, SPTE_EMPTY, leaf(f, RX, false) | SPTE_SAVED));
		if (spte_has_dirty(f))
			assert_false(spte_change_valid(f, 1, rw, rw & ~f->dirty));
		else
			assert_false(spte_change_valid(f, 1, SPTE_EMPTY, spte_make_old(f, rw)));
	}
}

static void test_spte_valid_refuses_single_bits(void **state)
{
	(void)state;
	for_each_format(f)
	{
		for (unsigned bit = 0; bit < 64; bit++)
			if (bit != 11)
				assert_false(spte_valid(f, 1, BIT(bit)));
		/* Bit 11 alone: tracked without rights, or nothing at all. */
		assert_false(spte_valid(f, 1, SPTE_MMU_PRESENT));
	}
}

static void test_spte_age_replaces_only_what_was_seen(void **state)
{
	(void)state;
	for_each_format(f)
	{
		u64 seen = leaf(f, RWX, false);
		a64 entry = {seen};

		spte_age(f, 1, &entry, seen);
		assert_int_equal(entry.raw, spte_make_old(f, seen));
		/* Hardware set Dirty in between, or a zap came: left alone. */
		entry.raw = seen | (f->dirty ? f->dirty : BIT(9));
		spte_age(f, 1, &entry, seen);
		assert_int_equal(entry.raw, seen | (f->dirty ? f->dirty : BIT(9)));
		entry.raw = SPTE_EMPTY;
		spte_age(f, 1, &entry, seen);
		assert_int_equal(entry.raw, SPTE_EMPTY);
	}
}

static void test_spte_zap_returns_the_last_word(void **state)
{
	(void)state;
	for_each_format(f)
	{
		a64 entry = {leaf(f, RWX, true)};

		assert_int_equal(spte_zap(f, 1, &entry), leaf(f, RWX, true));
		assert_int_equal(entry.raw, SPTE_EMPTY);
		assert_int_equal(spte_zap(f, 1, &entry), SPTE_EMPTY);
	}
}

static void drop_dirty(void *arg)
{
	const struct spte_format *f = arg;
	u64 seen = leaf(f, RWX, true);
	a64 entry = {seen};

	(void)!spte_replace(f, 1, &entry, &seen, leaf(f, SPTE_R, false));
}

static void zap_table(void *arg)
{
	const struct spte_format *f = arg;
	a64 entry = {spte_make_table(f, PAGE)};

	(void)spte_zap(f, 2, &entry);
}

static void unlink_second_level(void *arg)
{
	const struct spte_format *f = arg;
	a64 entry = {f->user ? spte_make_leaf(f, 2, pfn(0x200), RX, false)
	                     : spte_make_table(f, PAGE)};

	(void)spte_unlink(f, 2, &entry);
}

static void test_spte_funnel_catches_impossible_changes(void **state)
{
	(void)state;
	for_each_format(f)
	{
		assert_true(host_panics(drop_dirty, (void *)(uintptr_t)f));
		assert_non_null(strstr(host_panic_text(), "spte_change_valid"));
		assert_true(host_panics(zap_table, (void *)(uintptr_t)f));
		assert_true(host_panics(unlink_second_level, (void *)(uintptr_t)f));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_spte_encodings),
	        cmocka_unit_test(test_spte_format_of),
	        cmocka_unit_test(test_spte_leaf_says_what_it_was_made_of),
	        cmocka_unit_test(test_spte_table_is_no_leaf),
	        cmocka_unit_test(test_spte_dirty_is_writable_without_dirty_bits),
	        cmocka_unit_test(test_spte_old_and_young_again),
	        cmocka_unit_test(test_spte_shadow_keeps_user),
	        cmocka_unit_test(test_spte_write_protect),
	        cmocka_unit_test(test_spte_protect_says_whether_to_flush),
	        cmocka_unit_test(test_spte_unlink_takes_a_shadow_table),
	        cmocka_unit_test(test_spte_tracked_large_leaf_comes_back_large),
	        cmocka_unit_test(test_spte_not_present_keeps_no_frame_number),
	        cmocka_unit_test(test_spte_write_fault_grants_write),
	        cmocka_unit_test(test_spte_change_valid),
	        cmocka_unit_test(test_spte_valid_refuses_single_bits),
	        cmocka_unit_test(test_spte_age_replaces_only_what_was_seen),
	        cmocka_unit_test(test_spte_zap_returns_the_last_word),
	        cmocka_unit_test(test_spte_funnel_catches_impossible_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
