/* mm/hint: pages that a guest says belong together, and the look-around that follows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/pv.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/balloon.h"
#include "mm/epoch.h"
#include "mm/hint.h"
#include "mm/policy.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 1500u
#define BASE   160u
#define PAGES  1000u
#define WAS    (NOTIFIER_YOUNG | NOTIFIER_WAS_FAST)

static struct fake_guest guest;

/* Every page touched twice: harvesting it promotes it. */
static int setup(void **state)
{
	const struct fake_config c = {.name = "scattered", .npages = PAGES, .base = BASE};

	(void)state;
	policy_init();
	fake_frames_create(FRAMES);
	if (!store_init())
		return -1;
	fake_guest_create(&guest, &c);
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guest, 0, page, 0, page + 1);
	return !balloon_enable(guest.space);
}

static int teardown(void **state)
{
	(void)state;
	policy_init();
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	epoch_barrier();
	fake_frames_destroy();
	fake_store_reset();
	return 0;
}

static u32 together(u64 g, u64 next)
{
	struct pv_call c = {.command = PV_TOGETHER, .arg = {g, next}};

	return pv_run(guest.space, &c);
}

static u32 forget(void)
{
	struct pv_call c = {.command = PV_FORGET};

	return pv_run(guest.space, &c);
}

/* Page of BASE .. that is the i-th in the guest's own order: none of them neighbours. */
static u64 scattered(u64 i)
{
	return BASE + i * 97 % PAGES;
}

static void tell(u64 from, u64 n)
{
	for (u64 i = from; i + 1 < from + n; i++)
		assert_int_equal(together(scattered(i), scattered(i + 1)), PV_OK);
}

static unsigned group_of(u64 g, gfn_t *out)
{
	return hint_group(guest.space, gfn(g), out);
}

static void test_hint_pairs_make_groups(void **state)
{
	gfn_t out[HINT_GROUP];

	(void)state;
	assert_int_equal(group_of(scattered(0), out), 0);
	tell(0, 100);
	assert_int_equal(group_of(scattered(0), out), HINT_GROUP);
	for (unsigned i = 0; i < HINT_GROUP; i++)
		assert_int_equal(out[i].v, scattered(i));
	assert_int_equal(group_of(scattered(99), out), 100 - HINT_GROUP);
	assert_int_equal(out[0].v, scattered(HINT_GROUP));
	assert_int_equal(group_of(scattered(100), out), 0);
	assert_int_equal(group_of(BASE - 1, out), 0);
	assert_int_equal(group_of(~0ull, out), 0);
}

static void test_hint_a_page_is_in_the_group_it_joined_last(void **state)
{
	gfn_t out[HINT_GROUP];

	(void)state;
	tell(0, 10);
	tell(20, 10);
	assert_int_equal(together(scattered(29), scattered(3)), PV_OK);
	assert_int_equal(group_of(scattered(0), out), 9);
	assert_int_equal(group_of(scattered(3), out), 11);
	assert_int_equal(out[10].v, scattered(3));
	assert_int_equal(forget(), PV_OK);
	assert_int_equal(group_of(scattered(3), out), 0);
	tell(0, 5);
	assert_int_equal(group_of(scattered(3), out), 5);
}

static void test_hint_refuses_what_is_out_of_bounds(void **state)
{
	static const u64 bad[] = {0, BASE - 1, BASE + PAGES, 1ull << 40, ~0ull};

	(void)state;
	assert_int_equal(forget(), PV_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(together(bad[i], BASE), PV_RANGE);
		assert_int_equal(together(BASE, bad[i]), PV_RANGE);
		assert_int_equal(together(bad[i], bad[i]), PV_RANGE);
	}
}

/* Whoever changes its mind too often is told so, and can begin anew. */
static void test_hint_groups_come_to_an_end(void **state)
{
	gfn_t out[HINT_GROUP];
	u64 rnd = 5, full = 0;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		u64 g = BASE + host_random(&rnd) % PAGES, next = BASE + host_random(&rnd) % PAGES;
		u32 status = together(g, next);
		unsigned n = group_of(next, out);

		assert_true(status == PV_OK || status == PV_FULL);
		full += status == PV_FULL;
		assert_in_range(n, status == PV_OK ? 1 : 0, HINT_GROUP);
		for (unsigned j = 0; j < n; j++)
			assert_in_range(out[j].v, BASE, BASE + PAGES - 1);
		if (i % 10000 == 9999)
			assert_int_equal(forget(), PV_OK);
	}
	assert_true(full > 0);
}

static void test_hint_without_memory_is_no_hint(void **state)
{
	gfn_t out[HINT_GROUP];

	(void)state;
	for (unsigned after = 0; after < 4; after++) {
		host_pages_limit(after);
		assert_int_equal(together(BASE, BASE + 1), PV_FULL);
		host_pages_limit(HOST_NO_LIMIT);
		assert_int_equal(group_of(BASE, out), 0);
	}
	assert_int_equal(together(BASE, BASE + 1), PV_OK);
}

static u64 promoted(void)
{
	return a64_load(&guest.space->stats.lookaround_promoted_total);
}

static bool is_promoted(u64 g)
{
	const struct lruvec *l = &guest.space->lru;

	return gen_seq_locked(l, fake_state(&guest, g - BASE)) == a64_load(&l->max_seq);
}

/* The group is swept, and nothing of the window; a page without a group has its window as before. */
static void test_lookaround_follows_the_hint(void **state)
{
	u64 hinted = 0;

	(void)state;
	tell(0, 40);
	age_look_around(guest.space, gfn(scattered(7)), WAS);
	assert_int_equal(promoted(), 40);
	for (u64 i = 0; i < 40; i++)
		hinted += is_promoted(scattered(i));
	assert_int_equal(hinted, 40);
	assert_int_equal(a64_load(&guest.space->stats.lookarounds_hinted_total), 1);
	age_look_around(guest.space, gfn(scattered(900)), WAS);
	assert_int_equal(a64_load(&guest.space->stats.lookarounds_total), 2);
	assert_int_equal(a64_load(&guest.space->stats.lookarounds_hinted_total), 1);
	assert_true(promoted() > 40);
	/* A hint is no reason where the rule says that there is none. */
	a32_store(&policy.lookaround, POLICY_LOOK_OFF);
	age_look_around(guest.space, gfn(scattered(7)), WAS);
	assert_int_equal(a64_load(&guest.space->stats.lookarounds_total), 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        T(test_hint_pairs_make_groups),
	        T(test_hint_a_page_is_in_the_group_it_joined_last),
	        T(test_hint_refuses_what_is_out_of_bounds),
	        T(test_hint_groups_come_to_an_end),
	        T(test_hint_without_memory_is_no_hint),
	        T(test_lookaround_follows_the_hint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
