/* mm/audit: each invariant it checks, broken on purpose, is noticed. */
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
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 1024u
#define PAGES  200u

static struct fake_guest guest;

/* Pages 0 .. 49 resident and dirty, 50 .. 99 resident and clean, 100 .. 149 in the store, the rest none. */
static int setup(void **state)
{
	const struct fake_config c = {.name = "audited", .npages = PAGES};

	(void)state;
	fake_frames_create(FRAMES);
	assert_true(store_init());
	fake_guest_create(&guest, &c);
	for (u64 page = 100; page < 150; page++)
		fake_write(&guest, 0, page, 5, page);
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(50)).freed, 50);
	for (u64 page = 0; page < 50; page++)
		fake_write(&guest, 0, page, 5, page);
	for (u64 page = 50; page < 100; page++)
		(void)fake_read(&guest, 0, page, 5);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	fake_store_reset();
	return 0;
}

static a64 *where_of(u64 page)
{
	a64 *where;

	epoch_enter();
	where = gfnmap_word(guest.space, gfn(page));
	epoch_exit();
	return where;
}

static u32 frame_of(u64 page)
{
	return gfn_word_frame(fake_word(&guest, page));
}

/* Changes one word to `value`, audits, and puts it back. */
static u64 audit_with(a64 *at, u64 value)
{
	u64 was = a64_load(at), faults;

	a64_store(at, value);
	faults = audit_all(NULL);
	a64_store(at, was);
	return faults;
}

static void test_audit_good_state_has_no_faults(void **state)
{
	u64 frames = 0;

	(void)state;
	assert_int_equal(audit_all(&frames), 0);
	assert_int_equal(frames, FRAMES);
	assert_int_equal(audit_all(NULL), 0);
}

static void test_audit_i1_two_words_one_frame(void **state)
{
	(void)state;
	assert_true(audit_with(where_of(160), fake_word(&guest, 0)));
	assert_true(audit_with(where_of(1), fake_word(&guest, 0)));
}

static void test_audit_i1_word_of_a_frame_that_is_free(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);

	(void)state;
	frame_free(frame);
	assert_true(audit_with(where_of(160), gfn_word(GFN_RESIDENT, frame)));
	assert_true(audit_with(where_of(160), gfn_word(GFN_RESIDENT, FRAMES + 5)));
}

static void test_audit_i1_frame_without_a_word(void **state)
{
	u64 owner = frame_at(frame_of(7))->owner;

	(void)state;
	assert_true(audit_with(where_of(7), 0));
	frame_at(frame_of(7))->owner = (u64)(guest.space->id + 1) << 48 | 7;
	assert_true(audit_all(NULL));
	frame_at(frame_of(7))->owner = owner;
}

static void test_audit_frame_that_somebody_forgot(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);

	(void)state;
	assert_true(audit_all(NULL));
	frame_free(frame);
}

static void test_audit_i2_words_in_transition(void **state)
{
	u64 word = fake_word(&guest, 3);

	(void)state;
	assert_true(audit_with(where_of(3), word | GFN_BUSY));
	assert_true(audit_with(where_of(3), gfn_word(GFN_EVICTING, frame_of(3))));
	assert_true(audit_with(where_of(3), word | GFN_WORKINGSET));
	assert_true(audit_with(where_of(160), GFN_BUSY));
	assert_true(audit_with(where_of(160), 7));
}

static void test_audit_counters_of_states(void **state)
{
	struct space *s = guest.space;

	(void)state;
	assert_true(audit_with(&s->resident, a64_load(&s->resident) + 1));
	assert_true(audit_with(&s->pooled, 49));
	assert_true(audit_with(&s->zero, 1));
	assert_true(audit_with(&s->filled, 1));
	assert_true(audit_with(where_of(160), gfn_word(GFN_ZERO, 0)));
}

static void test_audit_i3_frame_on_no_list(void **state)
{
	u32 frame = frame_of(9);

	(void)state;
	assert_true(gen_remove(&guest.space->lru, frame));
	assert_true(audit_all(NULL));
	gen_insert(&guest.space->lru, frame, GEN_ENTER_FRESH);
}

static void test_audit_i3_broken_links(void **state)
{
	struct frame *f = frame_at(frame_of(20));
	u32 next = f->next, prev = f->prev;

	(void)state;
	f->next = frame_of(20); /* a ring */
	assert_true(audit_all(NULL));
	f->next = FRAMES + 3;
	assert_true(audit_all(NULL));
	f->next = next;
	f->prev = frame_of(40);
	assert_true(audit_all(NULL));
	f->prev = prev;
}

static void test_audit_i4_frame_older_than_its_list(void **state)
{
	a64 *at = &frame_at(frame_of(4))->state;
	u64 was = a64_load(at);
	struct lruvec *l = &guest.space->lru;

	(void)state;
	assert_true(audit_with(at, was - BIT(FRAME_LABEL_SHIFT)));
	/* Younger than its list is all right (but for the sizes), younger than the youngest is not. */
	assert_true(audit_with(at, was + (a64_load(&l->max_seq) + 1 - gen_seq_locked(l, was)) *
	                                           BIT(FRAME_LABEL_SHIFT)));
	l->oldest_label[GEN_DIRTY] = a64_load(&l->max_seq) + 1;
	assert_true(audit_all(NULL));
	l->oldest_label[GEN_DIRTY] = 0;
}

static void test_audit_i4_window(void **state)
{
	struct lruvec *l = &guest.space->lru;
	u64 min = l->min_seq[GEN_DIRTY];

	(void)state;
	l->min_seq[GEN_DIRTY] = a64_load(&l->max_seq);
	assert_true(audit_all(NULL));
	l->min_seq[GEN_DIRTY] = a64_load(&l->max_seq) - GEN_MAX;
	assert_true(audit_all(NULL));
	l->min_seq[GEN_DIRTY] = min;
}

static void test_audit_sizes(void **state)
{
	struct lruvec *l = &guest.space->lru;

	(void)state;
	for (unsigned g = 0; g < GEN_MAX; g++)
		for (unsigned t = 0; t < GEN_TYPES; t++)
			assert_true(audit_with(&l->size[g][t], a64_load(&l->size[g][t]) + 1));
}

static void test_audit_types(void **state)
{
	a64 *dirty = &frame_at(frame_of(4))->state, *clean = &frame_at(frame_of(60))->state;

	(void)state;
	assert_true(audit_with(dirty, a64_load(dirty) & ~FRAME_DIRTY)); /* clean without a copy */
	assert_true(audit_with(clean, a64_load(clean) | FRAME_DIRTY));  /* on the wrong list */
	assert_true(audit_with(&frame_at(frame_of(60))->copy, 0));
}

static void test_audit_frames_in_somebodys_hands(void **state)
{
	a64 *at = &frame_at(frame_of(4))->state;

	(void)state;
	assert_true(audit_with(at, a64_load(at) | FRAME_ISOLATED));
	assert_true(audit_with(at, a64_load(at) + FRAME_PIN_ONE));
}

static void test_audit_store_objects(void **state)
{
	u64 word = fake_word(&guest, 120);

	(void)state;
	assert_true(audit_with(where_of(120), gfn_word(GFN_ZERO, 0))); /* its object leaks */
	assert_true(audit_with(where_of(160), word));                  /* two words, one object */
	fake_store.objects++;
	assert_true(audit_all(NULL));
	fake_store.objects--;
}

static void test_audit_i6_entry_of_a_page_that_is_away(void **state)
{
	(void)state;
	assert_true(audit_with(&guest.mmu[0].entry[120], FAKE_P | (u64)frame_of(3) << 12));
	assert_true(audit_with(&guest.mmu[0].entry[120], (u64)frame_of(3) << 12));
}

static void test_audit_open_invalidation(void **state)
{
	(void)state;
	invalidate_begin(guest.space, gfn(0), gfn(1));
	assert_true(audit_all(NULL));
	invalidate_end(guest.space, gfn(0), gfn(1));
}

/* A frame on its way to the allocator is no fault, on whatever CPU it waits. */
static void test_audit_retired_frames_are_expected(void **state)
{
	(void)state;
	host_cpu_count_set(2);
	host_cpu_set(1);
	epoch_enter(); /* holds the frames back */
	host_cpu_set(0);
	fake_make_cold(&guest);
	assert_true(evict_space(guest.space, evict_any(10)).freed > 0);
	assert_true(epoch_pending() > 0);
	host_cpu_set(1);
	epoch_exit();
	assert_int_equal(audit_all(NULL), 0); /* on CPU 1: CPU 0 has not polled */
	host_cpu_set(0);
	epoch_barrier();
	host_cpu_count_set(1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_audit_good_state_has_no_faults),
	        T(test_audit_i1_two_words_one_frame),
	        T(test_audit_i1_word_of_a_frame_that_is_free),
	        T(test_audit_i1_frame_without_a_word),
	        T(test_audit_frame_that_somebody_forgot),
	        T(test_audit_i2_words_in_transition),
	        T(test_audit_counters_of_states),
	        T(test_audit_i3_frame_on_no_list),
	        T(test_audit_i3_broken_links),
	        T(test_audit_i4_frame_older_than_its_list),
	        T(test_audit_i4_window),
	        T(test_audit_sizes),
	        T(test_audit_types),
	        T(test_audit_frames_in_somebodys_hands),
	        T(test_audit_store_objects),
	        T(test_audit_i6_entry_of_a_page_that_is_away),
	        T(test_audit_open_invalidation),
	        T(test_audit_retired_frames_are_expected),
	};

	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
