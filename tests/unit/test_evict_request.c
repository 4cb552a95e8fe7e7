/* mm/evict: what is asked for, and the counters of what was met on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 1024u
#define PAGES  300u

static struct fake_guest guest;

static int setup(void **state)
{
	const struct fake_config c = {.name = "asked", .npages = PAGES};

	(void)state;
	policy_init();
	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	fake_frames_create(FRAMES);
	if (!store_init())
		return -1;
	fake_guest_create(&guest, &c);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	policy_init();
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	return 0;
}

static bool is_resident(u64 page)
{
	return gfn_word_tag(fake_word(&guest, page)) == GFN_RESIDENT;
}

static u32 frame_of(u64 page)
{
	return gfn_word_frame(fake_word(&guest, page));
}

/* Ten dirty pages, 0 .. 9, and ten that were only read, 10 .. 19, all of them cold. */
static void ten_of_each(void)
{
	for (u64 page = 0; page < 10; page++) {
		fake_write(&guest, 0, page, 3, page + 1);
		(void)fake_read(&guest, 0, 10 + page, 3);
	}
	fake_make_cold(&guest);
	/* The MMU knows who is dirty; what decides is what the frames say. */
	for (u64 page = 0; page < 20; page++)
		assert_int_equal(!(fake_state(&guest, page) & FRAME_DIRTY), page >= 10);
}

static struct evict_result evict(int swappiness, u64 last_seq)
{
	return evict_space(guest.space,
	                   (struct evict_request){20, swappiness, last_seq, GEN_BATCH});
}

static void test_evict_request_swappiness(void **state)
{
	(void)state;
	ten_of_each();
	assert_int_equal(evict(0, EVICT_ANY_SEQ).freed, 10);
	for (u64 page = 0; page < 20; page++)
		assert_int_equal(is_resident(page), page < 10);
	assert_int_equal(evict(0, EVICT_ANY_SEQ).freed, 0);
	assert_int_equal(evict(1, EVICT_ANY_SEQ).freed, 10);
}

static void test_evict_request_follows_policy(void **state)
{
	struct evict_request request = evict_any(10);

	(void)state;
	ten_of_each();
	a32_store(&policy.swappiness, POLICY_SWAPPINESS_MAX);
	assert_int_equal(evict_space(guest.space, request).freed, 10);
	for (u64 page = 0; page < 20; page++)
		assert_int_equal(is_resident(page), page >= 10);
}

static void test_evict_request_spares_the_younger(void **state)
{
	u64 seq;

	(void)state;
	ten_of_each();
	seq = guest.space->lru.min_seq[GEN_DIRTY];
	assert_int_equal(evict(EVICT_SWAPPINESS_POLICY, seq - 1).scanned, 0);
	assert_true(is_resident(0));
	assert_int_equal(evict(EVICT_SWAPPINESS_POLICY, seq).freed, 20);
}

static void test_evict_request_counts_what_it_meets(void **state)
{
	struct space_stats *stats = &guest.space->stats;
	struct gen_batch batch = {.promoted = 0};
	struct evict_result r;

	(void)state;
	ten_of_each();
	/* One is pinned, one promoted, and two are protected. */
	assert_true(frame_pin_try(frame_of(0)));
	assert_true(gen_promote(&guest.space->lru, frame_of(1), guest.space->id, &batch));
	gen_batch_flush(&guest.space->lru, &batch);
	for (u64 page = 2; page < 4; page++)
		frame_state_change(frame_of(page), 0, FRAME_REFS | FRAME_WORKINGSET);
	/* Where they go is not asked for. */
	r = evict(EVICT_SWAPPINESS_POLICY, guest.space->lru.min_seq[GEN_DIRTY]);
	assert_int_equal(r.freed, 16);
	assert_int_equal(r.scanned, 20);
	assert_int_equal(r.rotated, 1);
	assert_int_equal(r.sorted, 1);
	assert_int_equal(r.protected_, 2);
	assert_int_equal(a64_load(&stats->scanned_total), 20);
	assert_int_equal(a64_load(&stats->rotated_total), 1);
	assert_int_equal(a64_load(&stats->sorted_total), 1);
	assert_int_equal(a64_load(&stats->protected_total), 2);
	for (u64 page = 0; page < 4; page++)
		assert_true(is_resident(page));
	frame_unpin(frame_of(0));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_evict_request_swappiness),
	        T(test_evict_request_follows_policy),
	        T(test_evict_request_spares_the_younger),
	        T(test_evict_request_counts_what_it_meets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
