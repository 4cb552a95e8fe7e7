/* mm/dirty_log and the TDP under it: what is read is what was written, all of it and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/null.h"
#include "mm/audit.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/zap.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  1200u
#define FRAMES 4096u

static struct host_vm vm;
static enum dirty_log_mode mode;
static u64 oracle[2 * PAGES];

static void start(const struct host_machine *m)
{
	host_vm_create(&vm, m, PAGES, 2);
	vm.space->logs_writes = spte_has_dirty(m->format);
	memset(oracle, 0, sizeof(oracle));
}

static void stop(void)
{
	epoch_barrier();
	assert_int_equal(audit_all(NULL), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
	host_vm_destroy(&vm);
	assert_int_equal(frame_free_count(), FRAMES);
}

#define for_each_way(m)                                                            \
	for_each_machine(m) for (mode = DIRTY_LOG_PROTECT; mode < DIRTY_LOG_MODES; \
	                         mode++) if (mode == DIRTY_LOG_PROTECT ||          \
	                                     spte_has_dirty((m)->format))

static bool is_dirty(u64 g)
{
	u64 spte = host_vm_spte(&vm, gfn(g));

	return spte_has_dirty(vm.tdp.format) && spte & vm.tdp.format->dirty;
}

static void put(unsigned vcpu, u64 g, u64 value)
{
	u64 at = g << PAGE_SHIFT | (g % 512) * 8;

	oracle[g] = value;
	assert_int_equal(host_vm_write(&vm, vcpu, gpa(at), value), FAULT_FIXED);
}

static void check(unsigned vcpu, u64 g)
{
	u64 value;

	assert_int_equal(host_vm_read(&vm, vcpu, gpa(g << PAGE_SHIFT | (g % 512) * 8), &value),
	                 FAULT_FIXED);
	assert_int_equal(value, oracle[g]);
}

/* Reads the log of everything into a flag for each page; how many. */
static u64 read_log(bool *out)
{
	u64 bitmap[NOTIFIER_WORDS], n = 0;

	dirty_log_sync(vm.space, gfn(0), PAGES);
	for (u64 g = 0; g < PAGES; g += 512) {
		unsigned part = (unsigned)min_of(512ull, PAGES - g);

		n += dirty_log_take(vm.space, gfn(g), part, bitmap);
		for (unsigned i = 0; i < part; i++)
			out[g + i] = bitmap[i / 64] >> i % 64 & 1;
	}
	return n;
}

static void expect(const bool *written)
{
	bool found[PAGES];
	u64 n = read_log(found);

	for (u64 g = 0; g < PAGES; g++) {
		if (found[g] != written[g])
			print_error("%s, %s: page %llu: written %d, in the log %d\n",
			            vm.tdp.format->name, dirty_log_names[mode],
			            (unsigned long long)g, written[g], found[g]);
		assert_int_equal(found[g], written[g]);
		n -= written[g];
	}
	assert_int_equal(n, 0);
}

static void expect_one(u64 g)
{
	bool written[PAGES] = {false};

	written[g] = true;
	expect(written);
}

static void expect_none(void)
{
	static const bool written[PAGES];

	expect(written);
}

/* What else happens to a page: nothing of it is a write, and no write is lost by it. */
static void disturb(u64 r)
{
	u64 g = (r >> 8) % PAGES;

	switch (r % 8) {
	case 0:
	case 1:
		(void)!evict_page(vm.space, gfn(g));
		break;
	case 2:
		(void)notifier_age_one(vm.space, gfn(g), NOTIFIER_CLEAR);
		break;
	case 3:
		(void)zap_range(vm.space, gfn(g), min_of(8ull, PAGES - g));
		break;
	case 4:
		vm_age(vm.space, true);
		break;
	default:
		check((unsigned)(r >> 40) % 2, g);
		break;
	}
}

static void test_dirty_log_is_exact(void **state)
{
	u64 seed = 0xd1;

	(void)state;
	for_each_way(m)
	{
		start(m);
		for (u64 g = 0; g < PAGES; g += 3)
			put(0, g, g + 1);
		assert_true(dirty_log_start(vm.space, mode));
		expect_none();
		for (unsigned round = 0; round < 12; round++) {
			bool written[PAGES] = {false};

			for (unsigned i = 0; i < 300; i++) {
				u64 g = host_random(&seed) % PAGES;

				disturb(host_random(&seed));
				if (host_random(&seed) % 2)
					continue;
				put(i % 2, g, host_random(&seed) % 4 ? i : 0);
				written[g] = true;
			}
			expect(written);
			expect_none();
		}
		for (u64 g = 0; g < PAGES; g++)
			check(0, g);
		dirty_log_stop(vm.space);
		stop();
	}
}

/* Row 148: the write that follows a reading is let through by who holds no lock, and by who cannot get it. */
static void test_dirty_log_gives_w_back_without_the_lock(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = gfn_gpa(gfn(7)), .write = true};

		mode = DIRTY_LOG_PROTECT;
		start(m);
		put(0, 7, 5);
		assert_true(dirty_log_start(vm.space, mode));
		for (unsigned aged = 0; aged < 2; aged++) {
			u64 spte, fast = a64_load(&vm.tdp.fixed_fast_total);

			if (aged)
				(void)notifier_age_one(vm.space, gfn(7), NOTIFIER_CLEAR);
			spte = host_vm_spte(&vm, gfn(7));
			assert_true(spte & SPTE_LOGGED);
			assert_false(spte_saved_rights(m->format, spte) & SPTE_W);
			write_lock(&vm.space->mmu_lock);
			assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
			write_unlock(&vm.space->mmu_lock);
			assert_int_equal(a64_load(&vm.tdp.fixed_fast_total), fast + 1);
			spte = host_vm_spte(&vm, gfn(7));
			assert_true(spte_rights(m->format, spte) & SPTE_W);
			assert_true(spte_young(m->format, spte));
			assert_false(spte & SPTE_LOGGED);
			expect_one(7);
		}
		stop();
	}
}

/* The other half of row 148: no lock for W to a page that had a copy, where no Dirty bit would tell. */
static void test_tdp_first_write_of_a_clean_page_needs_no_lock(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = gfn_gpa(gfn(7)), .write = true};

		start(m);
		put(0, 7, 5);
		assert_int_equal(evict_page(vm.space, gfn(7)), EVICT_PAGE_DONE);
		check(0, 7);
		write_lock(&vm.space->mmu_lock);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		write_unlock(&vm.space->mmu_lock);
		put(0, 7, 6);
		assert_int_equal(evict_page(vm.space, gfn(7)), EVICT_PAGE_DONE);
		check(1, 7);
		stop();
	}
}

/* A page in somebody's hands, or write-protected by an experiment, gets no W; it is asked for again. */
static void test_tdp_write_of_a_clean_page_asks_first(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = gfn_gpa(gfn(7)), .write = true};
		u64 word;

		if (spte_has_dirty(m->format))
			continue;
		start(m);
		check(0, 7);
		assert_true(gfnmap_busy_resident(vm.space, gfn(7), &word));
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_RETRY);
		gfnmap_busy_give(vm.space, gfn(7), word);
		assert_int_equal(spte_saved_rights(m->format, host_vm_spte(&vm, gfn(7))) & SPTE_W,
		                 0);
		a64_store(&vm.space->protect.first, 7);
		a64_store(&vm.space->protect.pages, 1);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_RETRY);
		assert_int_equal(spte_saved_rights(m->format, host_vm_spte(&vm, gfn(7))) & SPTE_W,
		                 0);
		a64_store(&vm.space->protect.pages, 0);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		stop();
	}
}

/* Whoever else takes W from a page of the log keeps it. */
static void test_dirty_log_does_not_undo_other_protection(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = gfn_gpa(gfn(7)), .write = true};
		bool flush;

		mode = DIRTY_LOG_PROTECT;
		start(m);
		put(0, 7, 5);
		assert_true(dirty_log_start(vm.space, mode));
		space_set_protect(vm.space, gfn(7), 1);
		check(0, 7);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_RETRY);
		space_set_protect(vm.space, gfn(0), 0);
		put(0, 7, 6);
		expect_one(7);
		/* W may have gone a moment ago, and not yet from the TLBs: to be flushed. */
		write_lock(&vm.space->mmu_lock);
		flush = tdp_write_protect_locked(&vm.tdp, gfn(7));
		write_unlock(&vm.space->mmu_lock);
		assert_true(flush);
		assert_false(host_vm_spte(&vm, gfn(7)) & SPTE_LOGGED);
		stop();
	}
}

/* A Dirty bit that the log has cleared was told to the frame: what is evicted then is what was written. */
static void test_dirty_log_clears_no_dirty_that_nobody_knows(void **state)
{
	(void)state;
	for_each_way(m)
	{
		start(m);
		put(0, 9, 1);
		assert_true(dirty_log_start(vm.space, mode));
		for (u64 value = 2; value < 6; value++) {
			assert_int_equal(evict_page(vm.space, gfn(9)), EVICT_PAGE_DONE);
			check(1, 9); /* with its copy */
			put(0, 9, value);
			if (value % 2)
				expect_one(9);
			else
				dirty_log_sync(vm.space, gfn(9), 1);
			if (mode != DIRTY_LOG_PROTECT)
				assert_false(is_dirty(9));
		}
		assert_int_equal(evict_page(vm.space, gfn(9)), EVICT_PAGE_DONE);
		check(1, 9);
		expect_none();
		stop();
	}
}

static void test_dirty_log_splits_large_leaves(void **state)
{
	(void)state;
	for_each_way(m)
	{
		start(m);
		a32_store(&vm.space->wants_huge, 1);
		put(0, 7, 5);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 1);
		assert_true(dirty_log_start(vm.space, mode));
		assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
		expect_none();
		put(1, 8, 6);
		expect_one(8);
		/* None is made while it is on, and again when it is off. */
		put(1, 600, 6);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
		expect_one(600);
		dirty_log_stop(vm.space);
		space_drop_range(vm.space, gfn(0), PAGES);
		assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(7)), 1), FAULT_FIXED);
		stop();
	}
}

/* One that was made before the log was on, and that nobody has split yet when it is read. */
static void test_dirty_log_splits_what_it_finds_large(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 bitmap[NOTIFIER_WORDS] = {0};

		start(m);
		a32_store(&vm.space->wants_huge, 1);
		put(0, 7, 5);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 1);
		if (spte_has_dirty(m->format)) {
			assert_true(notifier_log_clean(vm.space, gfn(7)));
			assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
			assert_false(is_dirty(7));
		} else {
			notifier_log_protect(vm.space, gfn(0), 512, bitmap);
			assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
			assert_true(bitmap[0] & BIT(7));
			assert_false(spte_saved_rights(m->format, host_vm_spte(&vm, gfn(7))) &
			             SPTE_W);
		}
		check(1, 7);
		stop();
	}
}

static void test_dirty_log_knows_the_hypervisors_writes(void **state)
{
	(void)state;
	for_each_way(m)
	{
		bool written[PAGES] = {false};
		u64 value[3] = {1, 2, 3};

		start(m);
		put(0, 20, 1);
		put(0, 30, 1);
		assert_int_equal(evict_page(vm.space, gfn(30)), EVICT_PAGE_DONE);
		assert_true(dirty_log_start(vm.space, mode));
		assert_int_equal(guest_read(&vm.mem, gfn_gpa(gfn(20)), value, 8), 8);
		expect_none();
		/* Over the edge of two pages. */
		assert_int_equal(guest_write(&vm.mem, gpa((11ull << PAGE_SHIFT) - 8), value, 16),
		                 16);
		written[10] = written[11] = true;
		expect(written);
		written[10] = written[11] = false;
		/* Pages that are given back are zero: resident, away, and never touched. */
		space_drop_range(vm.space, gfn(20), 1);
		space_drop_range(vm.space, gfn(30), 2);
		written[20] = written[30] = true;
		expect(written);
		stop();
	}
}

static void test_dirty_log_says_no(void **state)
{
	static const struct notifier_ops silent = {.name = "silent"};
	struct notifier other = {.ops = &silent};

	(void)state;
	for_each_machine(m)
	{
		bool bits = spte_has_dirty(m->format);

		start(m);
		assert_false(dirty_log_start(vm.space, DIRTY_LOG_OFF));
		assert_int_equal(dirty_log_start(vm.space, DIRTY_LOG_BITS), bits);
		assert_false(bits && dirty_log_start(vm.space, DIRTY_LOG_PROTECT));
		dirty_log_stop(vm.space);
		assert_int_equal(dirty_log_start(vm.space, DIRTY_LOG_HARDWARE), bits);
		dirty_log_stop(vm.space);
		vm.space->logs_writes = false;
		assert_false(dirty_log_start(vm.space, DIRTY_LOG_HARDWARE));
		/* Off: nothing is collected. */
		put(0, 3, 1);
		mode = DIRTY_LOG_OFF;
		expect_none();
		/* An MMU that does not tell. */
		vm.space->notifier[1] = &other;
		a32_store(&vm.space->nr_notifiers, 2);
		assert_false(dirty_log_start(vm.space, DIRTY_LOG_PROTECT));
		a32_store(&vm.space->nr_notifiers, 1);
		assert_int_equal(dirty_log_mode(vm.space), DIRTY_LOG_OFF);
		stop();
	}
}

/* Pages that the CPU wrote down are dirty and seen to be used, without a look at any table. */
static void test_dirty_log_of_hardware_is_heat(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 word, state_word;

		mode = DIRTY_LOG_HARDWARE;
		if (!spte_has_dirty(m->format))
			continue;
		start(m);
		put(0, 9, 1);
		assert_int_equal(evict_page(vm.space, gfn(9)), EVICT_PAGE_DONE);
		check(0, 9);
		assert_true(dirty_log_start(vm.space, mode));
		epoch_enter();
		word = a64_load(gfnmap_word(vm.space, gfn(9)));
		epoch_exit();
		state_word = a64_load(&frame_at(gfn_word_frame(word))->state);
		assert_false(state_word & FRAME_DIRTY);
		frame_state_change(gfn_word_frame(word), FRAME_REFERENCED, 0);
		put(0, 9, 2);
		state_word = a64_load(&frame_at(gfn_word_frame(word))->state);
		assert_true(state_word & FRAME_DIRTY);
		assert_true(state_word & (FRAME_REFERENCED | FRAME_WORKINGSET));
		assert_int_equal(a64_load(&vm.space->dirty_log.hardware_total), 1);
		expect_one(9);
		/* What is no memory of the guest's is nobody's loss. */
		dirty_log_hardware(vm.space, (u64[]){(u64)PAGES << PAGE_SHIFT}, 1);
		expect_none();
		stop();
	}
}

/* A full log makes the guest leave before its access: nothing is written, and nothing is lost. */
static void test_dirty_log_of_hardware_fills_up(void **state)
{
	bool written[PAGES] = {false};

	(void)state;
	mode = DIRTY_LOG_HARDWARE;
	start(&host_machines[0]);
	for (u64 g = 0; g < 3 * HOST_VM_LOG; g++)
		put(0, g, 1);
	assert_true(dirty_log_start(vm.space, mode));
	host_vm_enter(&vm, 0);
	for (u64 g = 0; g < 3 * HOST_VM_LOG; g++) {
		enum walker_result r;
		hpa_t where;

		r = walker_translate(&vm.vcpu[0].walker, gfn_gpa(gfn(g)), true, false, &where);
		if (g && g % HOST_VM_LOG == 0) {
			assert_int_equal(r, WALKER_LOG_FULL);
			assert_false(is_dirty(g));
			host_vm_leave(&vm, 0);
			host_vm_enter(&vm, 0);
			r = walker_translate(&vm.vcpu[0].walker, gfn_gpa(gfn(g)), true, false,
			                     &where);
		}
		assert_int_equal(r, WALKER_OK);
		assert_true(is_dirty(g));
		written[g] = true;
	}
	host_vm_leave(&vm, 0);
	expect(written);
	assert_int_equal(a64_load(&vm.space->dirty_log.hardware_total), 3 * HOST_VM_LOG);
	stop();
}

/* As the monitor reads it: runs of pages, over the slots; each of them once. */
static void test_dirty_log_by_runs(void **state)
{
	(void)state;
	for_each_way(m)
	{
		static const struct {
			u64 first, n;
		} run[] = {{0, 1}, {63, 3}, {510, 4}, {PAGES - 2, 2}, {PAGES + 100, 7}};
		gfn_t at = gfn(0);

		start(m);
		assert_true(gfnmap_add(vm.space, gfn(PAGES + 100), 7));
		assert_true(dirty_log_start(vm.space, mode));
		for (unsigned i = 0; i < ARRAY_SIZE(run); i++)
			for (u64 g = run[i].first; g < run[i].first + run[i].n; g++)
				put(0, g, 1);
		dirty_log_sync_all(vm.space);
		for (unsigned i = 0; i < ARRAY_SIZE(run); i++) {
			assert_int_equal(dirty_log_next(vm.space, &at), run[i].n);
			assert_int_equal(at.v, run[i].first);
			at = gfn_add(at, run[i].n);
		}
		assert_int_equal(dirty_log_next(vm.space, &at), 0);
		at = gfn(0);
		assert_int_equal(dirty_log_next(vm.space, &at), 0);
		assert_int_equal(a64_load(&vm.space->dirty_log.reported_total), 17);
		stop();
	}
}

/* From one log to the next: nothing is left over, in the bitmaps or in the entries. */
static void test_dirty_log_starts_anew(void **state)
{
	(void)state;
	for_each_way(m)
	{
		start(m);
		put(0, 5, 1);
		assert_true(dirty_log_start(vm.space, mode));
		put(0, 5, 2);
		dirty_log_sync(vm.space, gfn(0), PAGES);
		put(0, 6, 2);
		dirty_log_stop(vm.space);
		put(0, 5, 3);
		assert_true(dirty_log_start(vm.space, DIRTY_LOG_PROTECT));
		expect_none();
		put(0, 5, 4);
		expect_one(5);
		dirty_log_stop(vm.space);
		assert_true(dirty_log_start(vm.space, mode));
		expect_none();
		put(0, 5, 5);
		expect_one(5);
		check(1, 5);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_dirty_log_is_exact),
	        cmocka_unit_test(test_dirty_log_gives_w_back_without_the_lock),
	        cmocka_unit_test(test_tdp_first_write_of_a_clean_page_needs_no_lock),
	        cmocka_unit_test(test_tdp_write_of_a_clean_page_asks_first),
	        cmocka_unit_test(test_dirty_log_does_not_undo_other_protection),
	        cmocka_unit_test(test_dirty_log_clears_no_dirty_that_nobody_knows),
	        cmocka_unit_test(test_dirty_log_splits_large_leaves),
	        cmocka_unit_test(test_dirty_log_splits_what_it_finds_large),
	        cmocka_unit_test(test_dirty_log_knows_the_hypervisors_writes),
	        cmocka_unit_test(test_dirty_log_says_no),
	        cmocka_unit_test(test_dirty_log_of_hardware_is_heat),
	        cmocka_unit_test(test_dirty_log_of_hardware_fills_up),
	        cmocka_unit_test(test_dirty_log_by_runs),
	        cmocka_unit_test(test_dirty_log_starts_anew),
	};

	return vm_group_run(tests, FRAMES);
}
