/* mm/huge, hv/mmu/tdp_huge: 2 MiB mappings over the real mm, on all four kinds of machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/tdp_huge.h"
#include "hv/mmu/tdp_iter.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/huge.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  2048u
#define FRAMES 4096u
#define HUGE   TABLE_PAGES

static struct host_vm vm;
static u64 pages_used;

static gpa_t page(u64 g)
{
	return gfn_gpa(gfn(g));
}

/* The pool keeps what it once needed. */
static u64 pages_without_store(void)
{
	struct store_stats st;

	store_snapshot(&st);
	return hal_pages_used() - (st.meta_bytes + PAGE_SIZE - 1) / PAGE_SIZE;
}

static void start_pages(const struct host_machine *m, u64 npages)
{
	pages_used = pages_without_store();
	host_vm_create(&vm, m, npages, 2);
	a32_store(&vm.space->wants_huge, 1);
}

static void start(const struct host_machine *m)
{
	start_pages(m, PAGES);
}

static void stop(void)
{
	u64 frames;

	epoch_barrier();
	assert_int_equal(audit_all(&frames), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
	host_vm_destroy(&vm);
	assert_int_equal(frame_free_count() + frame_pool_count(), FRAMES);
	assert_int_equal(frame_pool_count(), 0);
	epoch_barrier();
	assert_int_equal(pages_without_store(), pages_used);
}

static a64 *word_at(u64 g)
{
	a64 *word;

	epoch_enter();
	word = gfnmap_word(vm.space, gfn(g));
	epoch_exit();
	return word;
}

static u32 frame_at_gfn(u64 g)
{
	return gfn_word_frame(a64_load(word_at(g)));
}

static u64 huge_now(void)
{
	return a64_load(&vm.space->huge_mappings);
}

static u64 splits(void)
{
	return a64_load(&vm.space->stats.splits_total);
}

static void read_is(u64 g, u64 expected)
{
	u64 value = ~expected;

	assert_int_equal(host_vm_read(&vm, 0, page(g), &value), FAULT_FIXED);
	assert_int_equal(value, expected);
}

static void write_to(u64 g, u64 value)
{
	assert_int_equal(host_vm_write(&vm, 0, page(g), value), FAULT_FIXED);
}

static struct notifier_zap zap(u64 g)
{
	struct notifier_zap z;

	invalidate_begin(vm.space, gfn(g), gfn(g));
	notifier_zap(vm.space, gfn(g), &z);
	invalidate_end(vm.space, gfn(g), gfn(g));
	flush_wait(vm.space, flush_request(vm.space));
	return z;
}

static u64 audit_tdp(void)
{
	return vm.tdp.notifier.ops->audit(&vm.tdp.notifier);
}

/* --- first touch --- */

static void test_huge_first_touch_maps_all_512(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 spte;

		start(m);
		memset(hal_frame_ptr(frame_pfn(0)), 0x5a, FRAMES / 2 * (size_t)PAGE_SIZE);
		read_is(HUGE + 7, 0);
		for (u64 g = 0; g < HUGE; g++)
			read_is(HUGE + g, 0);
		assert_int_equal(vm.vcpu[0].faults, 1);
		assert_int_equal(huge_now(), 1);
		assert_int_equal(a64_load(&vm.space->resident), HUGE);
		assert_int_equal(a64_load(&vm.tdp.leaves), 1);
		assert_int_equal(a64_load(&vm.tdp.tables), 3);
		assert_int_equal(a64_load(&vm.space->stats.faults_total), 1);
		assert_int_equal(a64_load(&vm.space->stats.first_touch_total), HUGE);
		spte = host_vm_spte(&vm, gfn(HUGE));
		assert_true(spte_is_leaf(m->format, 2, spte) && spte_valid(m->format, 2, spte));
		assert_int_equal(spte_dirty(m->format, spte), !spte_has_dirty(m->format));
		assert_true(frame_is_huge(frame_at_gfn(HUGE + 300)));
		/* A write needs no fault either. */
		write_to(2 * HUGE - 1, 99);
		assert_int_equal(vm.vcpu[0].faults, 1);
		read_is(2 * HUGE - 1, 99);
		stop();
	}
}

static void test_huge_only_if_wanted(void **state)
{
	(void)state;
	start(&host_machines[0]);
	a32_store(&vm.space->wants_huge, 0);
	read_is(7, 0);
	assert_int_equal(huge_now(), 0);
	assert_int_equal(a64_load(&vm.space->resident), 1);
	stop();
}

static void test_huge_not_where_a_page_was_touched(void **state)
{
	struct fault_page p;

	(void)state;
	start(&host_machines[0]);
	assert_int_equal(fault_bring_in(vm.space, gfn(511), true, false, &p), FAULT_FIXED);
	read_is(7, 0);
	assert_int_equal(huge_now(), 0);
	assert_int_equal(a64_load(&vm.space->resident), 2);
	/* The next range is another matter. */
	read_is(600, 0);
	assert_int_equal(huge_now(), 1);
	stop();
}

static void test_huge_not_past_the_end_of_a_slot(void **state)
{
	(void)state;
	start_pages(&host_machines[0], HUGE + 511);
	read_is(HUGE + 5, 0);
	assert_int_equal(huge_now(), 0);
	read_is(5, 0);
	assert_int_equal(huge_now(), 1);
	stop();
}

static void test_huge_not_when_memory_is_short(void **state)
{
	u32 taken[FRAMES];
	unsigned n = 0;

	(void)state;
	start(&host_machines[0]);
	while (frame_free_count() >= frame_marks.high + 2 * HUGE)
		taken[n++] = frame_alloc(FRAME_FOR_FAULT);
	read_is(7, 0);
	assert_int_equal(huge_now(), 0);
	while (n)
		frame_free(taken[--n]);
	stop();
}

/* All 512 words or none: whichever of them is in somebody's hands. */
static void test_huge_gives_way_to_a_busy_word(void **state)
{
	const u64 at[] = {0, 255, 511};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		u64 none = 0, free_before;

		start(&host_machines[0]);
		free_before = frame_free_count();
		assert_true(gfnmap_busy_try(word_at(at[i]), &none));
		assert_int_equal(huge_bring_in(vm.space, gfn(0), false), FRAME_NONE);
		gfnmap_busy_end(word_at(at[i]), 0);
		for (u64 g = 0; g < HUGE; g++)
			assert_int_equal(a64_load(word_at(g)), 0);
		assert_int_equal(frame_free_count(), free_before);
		assert_int_equal(a64_load(&vm.space->resident), 0);
		stop();
	}
}

/* An invalidation anywhere in the range: the pages stay, one leaf each as they are touched. */
static void test_huge_first_touch_inside_invalidation(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		invalidate_begin(vm.space, gfn(5), gfn(5));
		write_to(100, 1);
		assert_int_equal(huge_now(), 0);
		assert_int_equal(a64_load(&vm.tdp.leaves), 1);
		assert_int_equal(a64_load(&vm.space->resident), HUGE);
		invalidate_end(vm.space, gfn(5), gfn(5));
		read_is(5, 0);
		read_is(100, 1);
		assert_int_equal(a64_load(&vm.tdp.leaves), 2);
		stop();
	}
}

static void test_huge_no_memory_for_the_spare(void **state)
{
	struct tdp_access a = {.gpa = gpa(HUGE * PAGE_SIZE)};

	(void)state;
	start(&host_machines[0]);
	read_is(7, 0);
	host_pages_limit(0);
	assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_NO_MEMORY);
	host_pages_limit(HOST_NO_LIMIT);
	assert_int_equal(huge_now(), 1);
	assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
	stop();
}

/* --- split --- */

static void test_huge_zap_of_one_leaves_511(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct notifier_zap z;

		start(m);
		for (u64 g = 0; g < HUGE; g++)
			write_to(g, 1000 + g);
		z = zap(77);
		assert_true(z.mapped && z.dirty && z.young);
		assert_int_equal(host_vm_spte(&vm, gfn(77)), SPTE_EMPTY);
		assert_int_equal(huge_now(), 0);
		assert_int_equal(splits(), 1);
		assert_int_equal(a64_load(&vm.tdp.leaves), HUGE - 1);
		assert_int_equal(a64_load(&vm.tdp.tables), 4);
		assert_false(frame_is_huge(frame_at_gfn(0)));
		for (u64 g = 0; g < HUGE; g++) {
			u64 spte = host_vm_spte(&vm, gfn(g));

			if (g == 77)
				continue;
			assert_true(spte_valid(m->format, 1, spte));
			assert_true(spte_dirty(m->format, spte) && spte_young(m->format, spte));
			assert_int_equal(spte_pfn(m->format, spte).v, frame_pfn(frame_at_gfn(g)).v);
		}
		assert_int_equal(audit_tdp(), 0);
		for (u64 g = 0; g < HUGE; g++)
			read_is(g, 1000 + g);
		assert_int_equal(vm.vcpu[0].faults, 2);
		stop();
	}
}

/* What was only read is clean, and comes back without having been stored. */
static void test_huge_split_of_a_clean_leaf_is_clean(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		if (!spte_has_dirty(m->format))
			continue;
		start(m);
		read_is(3, 0);
		assert_false(zap(77).dirty);
		/* Dirty of a small leaf is that page's alone. */
		write_to(3, 8);
		assert_true(zap(3).dirty);
		assert_false(zap(4).dirty);
		stop();
	}
}

/* An access-tracked large leaf, or one whose Accessed was cleared, has such parts. */
static void test_huge_split_of_an_aged_leaf(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 spte;

		start(m);
		write_to(3, 8);
		assert_int_equal(notifier_age_one(vm.space, gfn(200), NOTIFIER_CLEAR),
		                 NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
		notifier_split(vm.space, gfn(0));
		assert_int_equal(splits(), 1);
		spte = host_vm_spte(&vm, gfn(511));
		assert_false(spte_young(m->format, spte));
		assert_true(spte_dirty(m->format, spte));
		assert_int_equal(spte_is_tracked(m->format, spte), !spte_has_dirty(m->format));
		assert_int_equal(audit_tdp(), 0);
		assert_int_equal(host_vm_leaks(&vm), 0);
		flush_wait(vm.space, flush_request(vm.space));
		read_is(511, 0);
		assert_true(spte_young(m->format, host_vm_spte(&vm, gfn(511))));
		assert_false(spte_young(m->format, host_vm_spte(&vm, gfn(510))));
		read_is(3, 8);
		notifier_split(vm.space, gfn(3)); /* is one no more */
		assert_int_equal(splits(), 1);
		stop();
	}
}

/* A TLB still has the large translation: writes through it must not be lost. */
static void test_huge_write_through_a_stale_large_translation(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		read_is(3, 0); /* in the TLB, Dirty not known to be set */
		notifier_split(vm.space, gfn(3));
		write_to(3, 5);
		assert_int_equal(vm.vcpu[0].faults, 1);
		assert_true(zap(3).dirty);
		read_is(3, 5);
		stop();
	}
	for_each_machine(m)
	{
		start(m);
		write_to(3, 4); /* in the TLB with Dirty known to be set: no walk from now on */
		notifier_split(vm.space, gfn(3));
		write_to(3, 5);
		assert_true(zap(3).dirty);
		read_is(3, 5);
		stop();
	}
}

static void test_huge_split_needs_no_memory(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_to(3, 8);
		host_pages_limit(0);
		assert_true(zap(3).mapped);
		host_pages_limit(HOST_NO_LIMIT);
		assert_int_equal(splits(), 1);
		read_is(3, 8);
		stop();
	}
}

/* --- aging and eviction --- */

static void test_huge_one_bit_is_512_young_pages(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 bitmap[NOTIFIER_WORDS], visited = 0;

		start(m);
		read_is(3, 0);
		memset(bitmap, 0xff, sizeof(bitmap));
		assert_true(notifier_age(vm.space, gfn(0), HUGE, bitmap, NOTIFIER_CLEAR, &visited));
		for (unsigned i = 0; i < NOTIFIER_WORDS; i++)
			assert_int_equal(bitmap[i], ~0ull);
		assert_int_equal(visited, 1);
		assert_false(notifier_age(vm.space, gfn(0), HUGE, bitmap, NOTIFIER_TEST, &visited));
		stop();
	}
}

static void test_huge_cold_is_evicted_and_comes_back(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		for (u64 g = 0; g < 2 * HUGE; g++)
			write_to(g, 5000 + g);
		assert_int_equal(huge_now(), 2);
		assert_int_equal(host_vm_evict(&vm, HUGE + 10), HUGE + 10 + 54);
		assert_int_equal(splits(), 2);
		for (u64 g = 0; g < 2 * HUGE; g++)
			read_is(g, 5000 + g);
		stop();
	}
}

/* A young leaf is asked once for all 64 of a chunk, and none of them is evicted. */
static void test_huge_young_stays_whole(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct evict_result r;

		start(m);
		for (u64 g = 0; g < HUGE; g++)
			write_to(g, g);
		for (unsigned i = 0; i < 2; i++)
			assert_true(gen_advance(&vm.space->lru, a64_load(&vm.space->lru.max_seq)));
		r = evict_space(vm.space, evict_any(1));
		assert_int_equal(r.freed, 0);
		assert_int_equal(r.rejected, 64);
		assert_int_equal(splits(), 0);
		assert_int_equal(huge_now(), 1);
		/* The other 448 have been promoted by the same bit, twice touched. */
		assert_int_equal(r.sorted, HUGE - 64);
		stop();
	}
}

/* With memory nearly used up a young leaf is split, for the cold in it to show. */
static void test_huge_is_split_to_sample(void **state)
{
	static u32 taken[FRAMES];
	unsigned n = 0;

	(void)state;
	start(&host_machines[0]);
	write_to(3, 1);
	huge_ask(vm.space, gfn(3));
	assert_int_equal(splits(), 0);
	while (frame_free_count() >= frame_marks.min)
		taken[n++] = frame_alloc(FRAME_FOR_POOL);
	huge_ask(vm.space, gfn(3)); /* it is old now: that needs no sample */
	assert_int_equal(splits(), 0);
	flush_wait(vm.space, flush_request(vm.space));
	read_is(7, 0);
	huge_ask(vm.space, gfn(3));
	assert_int_equal(splits(), 1);
	while (n)
		frame_free(taken[--n]);
	stop();
}

static void test_huge_pinned_page_keeps_its_frame(void **state)
{
	u64 value = 7;
	u32 frame;

	(void)state;
	start(&host_machines[0]);
	write_to(3, 1);
	frame = frame_at_gfn(3);
	assert_true(frame_pin_try(frame));
	assert_int_equal(host_vm_evict(&vm, HUGE - 1), HUGE - 1);
	assert_int_equal(frame_at_gfn(3), frame);
	frame_unpin(frame);
	assert_int_equal(guest_write(&vm.mem, page(3), &value, 8), 8);
	read_is(3, 7);
	stop();
}

/* --- the auditor --- */

static void test_huge_audit_finds_planted_faults(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 frames, word, good;
		struct tdp_spare *spare;
		u32 head;
		a64 *at;

		start(m);
		read_is(HUGE, 0);
		head = frame_at_gfn(HUGE);
		epoch_barrier();
		assert_int_equal(audit_all(&frames), 0);
		/* The head forgets. */
		frame_state_change(head, FRAME_HUGE, 0);
		assert_true(audit_tdp());
		assert_true(audit_all(&frames));
		/* Another claims to be one. */
		frame_state_change(head + 5, 0, FRAME_HUGE);
		assert_true(audit_all(&frames));
		frame_state_change(head + 5, FRAME_HUGE, 0);
		frame_state_change(head, 0, FRAME_HUGE);
		/* One of the pages has another frame. */
		word = a64_load(word_at(HUGE + 9));
		a64_store(word_at(HUGE + 9), gfn_word(GFN_RESIDENT, head + 10));
		assert_true(audit_tdp());
		a64_store(word_at(HUGE + 9), word);
		/* No page for its table. */
		spare = vm.tdp.spare;
		vm.tdp.spare = NULL;
		assert_true(audit_tdp());
		vm.tdp.spare = spare;
		/* Read-only. */
		epoch_enter();
		at = tdp_find(&vm.tdp, gfn(HUGE)).at;
		epoch_exit();
		good = a64_load(at);
		a64_store(at, good & ~m->format->write);
		assert_true(audit_tdp());
		a64_store(at, good + PAGE_SIZE);
		assert_true(audit_tdp());
		a64_store(at, good);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_huge_first_touch_maps_all_512),
	        cmocka_unit_test(test_huge_only_if_wanted),
	        cmocka_unit_test(test_huge_not_where_a_page_was_touched),
	        cmocka_unit_test(test_huge_not_past_the_end_of_a_slot),
	        cmocka_unit_test(test_huge_not_when_memory_is_short),
	        cmocka_unit_test(test_huge_gives_way_to_a_busy_word),
	        cmocka_unit_test(test_huge_first_touch_inside_invalidation),
	        cmocka_unit_test(test_huge_no_memory_for_the_spare),
	        cmocka_unit_test(test_huge_zap_of_one_leaves_511),
	        cmocka_unit_test(test_huge_split_of_a_clean_leaf_is_clean),
	        cmocka_unit_test(test_huge_split_of_an_aged_leaf),
	        cmocka_unit_test(test_huge_write_through_a_stale_large_translation),
	        cmocka_unit_test(test_huge_split_needs_no_memory),
	        cmocka_unit_test(test_huge_one_bit_is_512_young_pages),
	        cmocka_unit_test(test_huge_cold_is_evicted_and_comes_back),
	        cmocka_unit_test(test_huge_young_stays_whole),
	        cmocka_unit_test(test_huge_is_split_to_sample),
	        cmocka_unit_test(test_huge_pinned_page_keeps_its_frame),
	        cmocka_unit_test(test_huge_audit_finds_planted_faults),
	};

	a32_store(&policy.probation, 0);     /* what is tested here goes by age alone */
	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	return vm_group_run(tests, FRAMES);
}
