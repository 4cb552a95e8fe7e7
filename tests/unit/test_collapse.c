/* mm/collapse over the real mm and TDP, on all four kinds of machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/collapse.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/huge.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  2048u
#define FRAMES 4096u
#define HUGE   TABLE_PAGES

static struct host_vm vm;

static gpa_t page(u64 g)
{
	return gfn_gpa(gfn(g));
}

/* Without huge first touches, so that there is something to collapse. */
static void start(const struct host_machine *m)
{
	host_vm_create(&vm, m, PAGES, 2);
}

static void audit(void)
{
	u64 frames;

	epoch_barrier();
	assert_int_equal(audit_all(&frames), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
}

static void stop(void)
{
	audit();
	host_vm_destroy(&vm);
	assert_int_equal(frame_free_count() + frame_pool_count(), FRAMES);
	assert_int_equal(frame_pool_count(), 0);
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

/* Pages 0 .. 511, each with 1000 + gfn in it; in an order that gives them frames all over the place. */
static void write_scattered(void)
{
	for (u64 i = 0; i < HUGE; i++)
		write_to(i * 77 % HUGE, 1000 + i * 77 % HUGE);
	assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
}

static void all_are_right(void)
{
	for (u64 g = 0; g < HUGE; g++)
		read_is(g, 1000 + g);
}

static bool young(u64 g)
{
	return notifier_age_one(vm.space, gfn(g), NOTIFIER_TEST);
}

static void test_collapse_copies_what_is_scattered(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u32 head;

		start(m);
		write_scattered();
		assert_int_equal(a64_load(&vm.tdp.tables), 4);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		head = frame_at_gfn(0);
		assert_int_equal(frame_huge_head(head), head);
		for (u64 g = 0; g < HUGE; g++)
			assert_int_equal(frame_at_gfn(g), head + g);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 1);
		assert_int_equal(a64_load(&vm.tdp.leaves), 1);
		assert_int_equal(a64_load(&vm.tdp.tables), 3);
		assert_int_equal(a64_load(&vm.space->resident), HUGE);
		audit();
		assert_int_equal(frame_free_count(), FRAMES - HUGE);
		/* The TLB was flushed twice; one fault at most tells what is there now. */
		vm.vcpu[0].faults = 0;
		all_are_right();
		assert_int_equal(vm.vcpu[0].faults, 0);
		write_to(5, 1005);
		/* And it is large for good: it can be split and collapsed again, in place. */
		notifier_split(vm.space, gfn(9));
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		assert_int_equal(frame_at_gfn(0), head);
		all_are_right();
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_UNFIT);
		stop();
	}
}

/* In a range that was split, and stayed where it is, nothing is copied: no frame is needed. */
static void test_collapse_in_place(void **state)
{
	static u32 taken[FRAMES];
	unsigned n = 0;

	(void)state;
	for_each_machine(m)
	{
		u32 head;

		start(m);
		a32_store(&vm.space->wants_huge, 1);
		for (u64 g = 0; g < HUGE; g++)
			write_to(g, 1000 + g);
		head = frame_at_gfn(0);
		notifier_split(vm.space, gfn(9));
		while (frame_free_count() > frame_marks.high)
			taken[n++] = frame_alloc(FRAME_FOR_POOL);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		assert_int_equal(frame_at_gfn(0), head);
		while (n)
			frame_free(taken[--n]);
		all_are_right();
		stop();
	}
}

/* Whether or not a page was written since its copy was made must not be lost (I8). */
static void test_collapse_keeps_dirty_and_copies(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 clean;

		if (!spte_has_dirty(m->format))
			continue;
		start(m);
		write_scattered();
		assert_int_equal(host_vm_evict(&vm, HUGE), HUGE);
		all_are_right(); /* back, clean, each with a copy in the pool */
		write_to(3, 7);  /* only its Dirty bit knows */
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		audit();
		clean = a64_load(&vm.space->stats.clean_evictions_total);
		/* The large leaf is not dirty, the frame of page 3 is. */
		assert_int_equal(host_vm_evict(&vm, HUGE), HUGE);
		assert_int_equal(a64_load(&vm.space->stats.clean_evictions_total),
		                 clean + HUGE - 1);
		read_is(3, 7);
		read_is(4, 1004);
		stop();
	}
}

/* Without Dirty bits a large leaf may be written, so a page that counts as clean must not be in one. */
static void test_collapse_needs_dirty_where_no_bit_tells(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		if (spte_has_dirty(m->format))
			continue;
		start(m);
		for (u64 g = 0; g < HUGE; g++)
			if (g == 300)
				read_is(g, 0);
			else
				write_to(g, 1000 + g);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_UNFIT);
		write_to(300, 1300);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		all_are_right();
		stop();
	}
}

/* Asked, never cleared: 255 young are too few and are still young afterwards; 256 are enough. */
static void test_collapse_only_what_is_hot(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_scattered();
		for (u64 g = 0; g < HUGE - 255; g++)
			notifier_age_one(vm.space, gfn(g * 2 % HUGE + g * 2 / HUGE),
			                 NOTIFIER_CLEAR);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_COLD);
		for (u64 g = 0; g < HUGE; g++)
			assert_int_equal(young(g), g % 2 && g > 1);
		flush_wait(vm.space, flush_request(vm.space));
		read_is(0, 1000);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		all_are_right();
		stop();
	}
}

static void test_collapse_never_a_pinned_frame(void **state)
{
	const u64 pinned[] = {0, 300, 511};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(pinned); i++) {
		u64 free_before;

		start(&host_machines[0]);
		write_scattered();
		free_before = frame_free_count();
		assert_true(frame_pin_try(frame_at_gfn(pinned[i])));
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_PINNED);
		assert_int_equal(a64_load(&vm.tdp.leaves), HUGE); /* nothing was unmapped */
		assert_int_equal(frame_free_count(), free_before);
		frame_unpin(frame_at_gfn(pinned[i]));
		audit();
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		stop();
	}
}

/* A page that an evictor has in hand is as good as pinned. */
static void test_collapse_leaves_isolated_frames_alone(void **state)
{
	u32 frame;

	(void)state;
	start(&host_machines[0]);
	write_scattered();
	frame = frame_at_gfn(300);
	assert_true(gen_remove(&vm.space->lru, frame));
	frame_state_change(frame, 0, FRAME_ISOLATED);
	assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_PINNED);
	assert_int_equal(a64_load(&vm.tdp.leaves), HUGE);
	gen_insert(&vm.space->lru, frame, GEN_ENTER_RESCUED);
	stop();
}

static void test_collapse_needs_all_512(void **state)
{
	u64 none = 0;

	(void)state;
	start(&host_machines[0]);
	for (u64 g = 0; g < HUGE - 1; g++)
		write_to(g, 1000 + g);
	assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_UNFIT);
	assert_true(gfnmap_busy_try(word_at(HUGE - 1), &none));
	assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_UNFIT);
	gfnmap_busy_end(word_at(HUGE - 1), 0);
	write_to(HUGE - 1, 1000 + HUGE - 1);
	assert_int_equal(collapse_range(vm.space, gfn(PAGES)), COLLAPSE_UNFIT);
	assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
	all_are_right();
	stop();
}

static bool has_nothing(struct notifier *n)
{
	(void)n;
	return false;
}
static void zaps_nothing(struct notifier *n, gfn_t g, struct notifier_zap *result)
{
	(void)n, (void)g, (void)result;
}
static u64 finds_nothing(struct notifier *n)
{
	(void)n;
	return 0;
}

/* Another MMU would have to agree: nothing is unmapped in vain. */
static void test_collapse_not_with_a_second_mmu(void **state)
{
	static const struct notifier_ops ops = {.name = "other",
	                                        .populated = has_nothing,
	                                        .zap = zaps_nothing,
	                                        .audit = finds_nothing};
	static struct notifier other;

	(void)state;
	start(&host_machines[0]);
	other = (struct notifier){.ops = &ops, .knows_dirty = true};
	space_add_notifier(vm.space, &other);
	write_scattered();
	assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_UNFIT);
	assert_int_equal(a64_load(&vm.tdp.leaves), HUGE);
	stop();
}

static void test_collapse_without_frames_or_memory(void **state)
{
	static u32 taken[FRAMES];
	unsigned n = 0;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_scattered();
		while (frame_free_count() >= frame_marks.high + 2 * HUGE)
			taken[n++] = frame_alloc(FRAME_FOR_POOL);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_NO_MEMORY);
		assert_int_equal(a64_load(&vm.tdp.leaves), HUGE);
		while (n)
			frame_free(taken[--n]);
		/* No page for a table: by then they are unmapped, and come back one by one. */
		host_pages_limit(0);
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_NO_MEMORY);
		host_pages_limit(HOST_NO_LIMIT);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
		audit();
		all_are_right();
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		all_are_right();
		stop();
	}
}

/* --- in the middle: a vCPU stays in its guest, so that the shootdown waits --- */

static void (*meanwhile)(void);
static unsigned waits;

static void on_pause(void *arg)
{
	(void)arg;
	if (waits++ == 0)
		meanwhile();
	/* It leaves, and honours what is wanted when it enters next. */
	a32_store(&vm.vcpu[1].in_guest, 0);
}

static enum collapse_result collapse_while(void (*fn)(void))
{
	enum collapse_result result;

	meanwhile = fn;
	waits = 0;
	a32_store(&vm.vcpu[1].in_guest, 1);
	host_on_pause(on_pause, NULL);
	result = collapse_range(vm.space, gfn(0));
	host_on_pause(NULL, NULL);
	assert_int_not_equal(waits, 0);
	return result;
}

static void nobody_gets_in(void)
{
	struct tdp_access a = {.gpa = page(7)};
	struct gen_batch batch = {.promoted = 0};

	assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_RETRY);
	a.gpa = page(HUGE);
	assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
	assert_false(frame_pin_try(frame_at_gfn(7)));
	assert_false(gen_promote(&vm.space->lru, frame_at_gfn(7), vm.space->id, &batch));
	for (u64 g = 0; g < HUGE; g++)
		assert_int_equal(host_vm_spte(&vm, gfn(g)), SPTE_EMPTY);
}

static void test_collapse_holds_faults_and_pins_off(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_scattered();
		assert_int_equal(collapse_while(nobody_gets_in), COLLAPSE_DONE);
		all_are_right();
		stop();
	}
}

static const struct notifier_ops *real_ops;
static u64 wanted_before;

static bool map_and_note(struct notifier *n, gfn_t first, pfn_t head, void **table)
{
	wanted_before = a64_load(&vm.space->flush.wanted);
	return real_ops->map_huge(n, first, head, table);
}

static void ager_leaves(void *arg)
{
	host_cpu_set(1);
	if (epoch_active()) {
		*(bool *)arg = true;
		epoch_exit();
	}
	host_cpu_set(0);
}

static void free_after_flush(struct notifier *n, void *table)
{
	bool waited_for = false;

	assert_true(a64_load(&vm.space->flush.done) > wanted_before);
	host_cpu_count_set(2);
	host_cpu_set(1);
	epoch_enter();
	host_cpu_set(0);
	host_on_pause(ager_leaves, &waited_for);
	real_ops->free_table(n, table);
	host_on_pause(NULL, NULL);
	host_cpu_count_set(1);
	assert_true(waited_for);
}

/*
 * A CPU may have walked through the table's entry since the shootdown of the zap: it keeps that until the next one. And
 * an ager may be in the table.
 */
static void test_collapse_flushes_before_it_frees_the_table(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct notifier_ops ops;

		start(m);
		write_scattered();
		real_ops = vm.tdp.notifier.ops;
		ops = *real_ops;
		ops.map_huge = map_and_note;
		ops.free_table = free_after_flush;
		vm.tdp.notifier.ops = &ops;
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		assert_int_not_equal(wanted_before, 0);
		/* And in place, where no frame is on its way that the table's grace period could be. */
		notifier_split(vm.space, gfn(9));
		assert_int_equal(collapse_range(vm.space, gfn(0)), COLLAPSE_DONE);
		vm.tdp.notifier.ops = real_ops;
		all_are_right();
		stop();
	}
}

static void somebody_has_a_word(void)
{
	u64 word = a64_load(word_at(400));

	assert_true(gfnmap_busy_try(word_at(400), &word));
}

/* Check, then commit: a word that cannot be had, and no page has moved. */
static void test_collapse_gives_way_to_a_busy_word(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u32 before[HUGE];

		start(m);
		write_scattered();
		for (u64 g = 0; g < HUGE; g++)
			before[g] = frame_at_gfn(g);
		assert_int_equal(collapse_while(somebody_has_a_word), COLLAPSE_RACED);
		gfnmap_busy_end(word_at(400), gfn_word(GFN_RESIDENT, before[400]));
		for (u64 g = 0; g < HUGE; g++)
			assert_int_equal(frame_at_gfn(g), before[g]);
		assert_int_equal(frame_free_count(), FRAMES - HUGE);
		all_are_right();
		stop();
	}
}

/* --- the scan --- */

static void test_collapse_scan_takes_turns(void **state)
{
	(void)state;
	start(&host_machines[0]);
	for (u64 g = 0; g < 3 * HUGE; g++)
		write_to(g, 1000 + g);
	collapse_scan();
	assert_int_equal(a64_load(&vm.space->huge_mappings), 0); /* not wanted */
	a32_store(&vm.space->wants_huge, 1);
	assert_true(frame_pin_try(frame_at_gfn(HUGE)));
	for (u64 g = 0; g < HUGE; g++)
		notifier_age_one(vm.space, gfn(2 * HUGE + g), NOTIFIER_CLEAR);
	collapse_scan();
	assert_int_equal(a64_load(&vm.space->stats.collapses_total), 1);
	assert_int_equal(a64_load(&vm.space->stats.collapses_pinned_total), 1);
	assert_int_equal(a64_load(&vm.space->stats.collapses_cold_total), 1);
	frame_unpin(frame_at_gfn(HUGE));
	flush_wait(vm.space, flush_request(vm.space));
	for (u64 g = 0; g < 3 * HUGE; g++)
		read_is(g, 1000 + g);
	collapse_scan();
	assert_int_equal(a64_load(&vm.space->stats.collapses_total), 3);
	assert_int_equal(a64_load(&vm.space->huge_mappings), 3);
	all_are_right();
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_collapse_copies_what_is_scattered),
	        cmocka_unit_test(test_collapse_in_place),
	        cmocka_unit_test(test_collapse_keeps_dirty_and_copies),
	        cmocka_unit_test(test_collapse_needs_dirty_where_no_bit_tells),
	        cmocka_unit_test(test_collapse_only_what_is_hot),
	        cmocka_unit_test(test_collapse_never_a_pinned_frame),
	        cmocka_unit_test(test_collapse_leaves_isolated_frames_alone),
	        cmocka_unit_test(test_collapse_needs_all_512),
	        cmocka_unit_test(test_collapse_not_with_a_second_mmu),
	        cmocka_unit_test(test_collapse_without_frames_or_memory),
	        cmocka_unit_test(test_collapse_holds_faults_and_pins_off),
	        cmocka_unit_test(test_collapse_flushes_before_it_frees_the_table),
	        cmocka_unit_test(test_collapse_gives_way_to_a_busy_word),
	        cmocka_unit_test(test_collapse_scan_takes_turns),
	};

	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	return vm_group_run(tests, FRAMES);
}
