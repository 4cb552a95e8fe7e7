/* mm/ledger, mm/sampler: two consumers of the Accessed bits, and each learns of every touch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/collapse.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/ledger.h"
#include "mm/policy.h"
#include "mm/sampler.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"
#include "tests/host/vm.h"

#define FRAMES  9000u
#define BASE    160u /* neither a word's nor a table's first page */
#define PAGES   2000u
#define CORE    (NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY)
#define SAMPLER (CORE | NOTIFIER_SAMPLER)

static struct fake_guest guest, other;
static u64 rnd;

static void create(struct fake_guest *g, u64 npages)
{
	const struct fake_config c = {
	        .name = "sampled", .npages = npages, .base = BASE, .upper_bits = true};

	fake_guest_create(g, &c);
}

/* As hardware sees it: the translation was not in a TLB. */
static void touch(struct fake_guest *g, u64 page)
{
	(void)flush_request(g->space);
	fake_write(g, 0, page, 0, page);
}

static void touch_all(struct fake_guest *g)
{
	for (u64 page = 0; page < g->npages; page++)
		touch(g, page);
}

static int setup(void **state)
{
	(void)state;
	policy_init();
	rnd = 7;
	fake_frames_create(FRAMES);
	return !store_init();
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

static bool young(struct fake_guest *g, u64 page, unsigned flags)
{
	return notifier_age_one(g->space, gfn(BASE + page), flags) & NOTIFIER_YOUNG;
}

static void test_ledger_tells_each_what_the_other_found(void **state)
{
	(void)state;
	create(&guest, PAGES);
	touch(&guest, 5);
	assert_true(ledger_open(guest.space));
	assert_true(young(&guest, 5, SAMPLER));
	assert_true(young(&guest, 5, NOTIFIER_TEST));
	assert_int_equal(notifier_age_one(guest.space, gfn(BASE + 5), CORE),
	                 NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
	assert_false(young(&guest, 5, CORE));
	assert_false(young(&guest, 5, SAMPLER));
	touch(&guest, 5);
	assert_true(young(&guest, 5, CORE));
	assert_true(young(&guest, 5, SAMPLER));
	assert_false(young(&guest, 5, CORE));
	assert_false(young(&guest, 5, SAMPLER));
	ledger_close(guest.space);
}

static void test_ledger_note_brings_the_walk_to_its_table(void **state)
{
	gfn_t table = gfn(TABLE_PAGES * 2);

	(void)state;
	create(&guest, PAGES);
	touch_all(&guest);
	assert_true(ledger_open(guest.space));
	age_space(guest.space, a64_load(&guest.space->lru.max_seq), true);
	touch(&guest, table.v + 3 - BASE);
	/* A pass clears the upper bit while the touch is in the sampler's hands. */
	assert_true(notifier_range_young(guest.space, table, TABLE_PAGES, CORE));
	assert_true(young(&guest, table.v + 3 - BASE, SAMPLER));
	assert_true(notifier_range_young(guest.space, table, TABLE_PAGES, NOTIFIER_TEST));
	assert_true(notifier_range_young(guest.space, table, TABLE_PAGES, CORE));
	assert_false(notifier_range_young(guest.space, table, TABLE_PAGES, CORE));
	assert_true(young(&guest, table.v + 3 - BASE, CORE));
	ledger_close(guest.space);
}

/* What makes the age of a page. */
static u64 age_bits(struct fake_guest *g, u64 page)
{
	return fake_state(g, page) & (FRAME_LABEL | FRAME_LISTED | FRAME_REFERENCED |
	                              FRAME_WORKINGSET | FRAME_REFS | FRAME_DIRTY);
}

static void test_ledger_pays_at_its_end(void **state)
{
	static u64 before[PAGES];

	(void)state;
	create(&guest, PAGES);
	touch_all(&guest);
	fake_make_cold(&guest);
	assert_true(ledger_open(guest.space));
	for (u64 page = 0; page < PAGES; page++)
		before[page] = age_bits(&guest, page);
	for (u64 page = 0; page < PAGES; page += 3) {
		touch(&guest, page);
		assert_true(young(&guest, page, SAMPLER));
		if (page % 2)
			touch(&guest, page);
	}
	ledger_close(guest.space);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(age_bits(&guest, page) != before[page], page % 6 == 0);
	age_space(guest.space, a64_load(&guest.space->lru.max_seq), true);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(age_bits(&guest, page) != before[page], page % 3 == 0);
}

static struct ledger *found;

/* The other CPU found the ledger before it went: it notes a page, then leaves its section. */
static void reader_notes(void *arg)
{
	host_cpu_set(1);
	if (epoch_active()) {
		ledger_owe(found, LEDGER_GENERATIONS, gfn(BASE + 5), 1, &(u64){1});
		*(bool *)arg = true;
		epoch_exit();
	}
	host_cpu_set(0);
}

static void test_ledger_ends_behind_who_found_it(void **state)
{
	bool waited_for = false;
	u64 before;

	(void)state;
	create(&guest, PAGES);
	touch_all(&guest);
	fake_make_cold(&guest);
	assert_true(ledger_open(guest.space));
	before = age_bits(&guest, 5);
	host_cpu_count_set(2);
	host_cpu_set(1);
	epoch_enter();
	found = aptr_load_acquire(&guest.space->ledger);
	host_cpu_set(0);
	host_on_pause(reader_notes, &waited_for);
	ledger_close(guest.space);
	host_on_pause(NULL, NULL);
	host_cpu_count_set(1);
	assert_true(waited_for);
	assert_int_not_equal(age_bits(&guest, 5), before);
}

static void test_ledger_knows_no_slots_that_came_later(void **state)
{
	(void)state;
	create(&guest, PAGES);
	assert_true(ledger_open(guest.space));
	epoch_enter();
	assert_false(ledger_range(aptr_load_acquire(&guest.space->ledger), gfn(1 << 20),
	                          TABLE_PAGES, false));
	epoch_exit();
	assert_false(notifier_age_one(guest.space, gfn(BASE + PAGES), SAMPLER));
	ledger_close(guest.space);
}

/* Two readers and a memory of what each has not been told yet. */
struct readers {
	bool untold[LEDGER_READERS][PAGES];
};

static void ask_range(struct readers *r, enum ledger_reader who, u64 first, unsigned n, bool test)
{
	u64 asked[NOTIFIER_WORDS], bitmap[NOTIFIER_WORDS], visited = 0;
	unsigned flags = test ? NOTIFIER_TEST
	                      : NOTIFIER_CLEAR | (who == LEDGER_SAMPLER ? NOTIFIER_SAMPLER : 0);

	for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
		bitmap[w] = asked[w] = host_random(&rnd) | host_random(&rnd);
	(void)notifier_age(guest.space, gfn(BASE + first), n, bitmap, flags, &visited);
	for (unsigned i = 0; i < n; i++) {
		bool is_asked = asked[i / 64] & BIT(i % 64);
		bool *untold = &r->untold[who][first + i];

		if (test && who == LEDGER_SAMPLER)
			continue;
		assert_int_equal(!!(bitmap[i / 64] & BIT(i % 64)), is_asked && *untold);
		if (is_asked && !test)
			*untold = false;
	}
}

/* Tests look as the generations do: what only the sampler has not been told of is no longer in the bits. */
static void test_ledger_random_questions_lose_nothing(void **state)
{
	static struct readers r;

	(void)state;
	create(&guest, PAGES);
	touch_all(&guest);
	memset(&r, 1, sizeof(r));
	assert_true(ledger_open(guest.space));
	for (unsigned step = 0; step < 6000; step++) {
		u64 page = host_random(&rnd) % PAGES, what = host_random(&rnd) % 8;
		u64 most = PAGES - page < NOTIFIER_MAX_PAGES ? PAGES - page : NOTIFIER_MAX_PAGES;
		unsigned n = 1 + (unsigned)(host_random(&rnd) % most);

		if (what < 4) {
			touch(&guest, page);
			r.untold[LEDGER_GENERATIONS][page] = r.untold[LEDGER_SAMPLER][page] = true;
		} else {
			ask_range(&r, what < 6 ? LEDGER_SAMPLER : LEDGER_GENERATIONS, page, n,
			          false);
		}
	}
	ledger_close(guest.space);
}

/* The same guest twice, touched alike and aged alike, one of them sampled: all ages are the same, always. */
static void test_sampler_leaves_the_ages_as_they_are(void **state)
{
	(void)state;
	create(&guest, PAGES);
	create(&other, PAGES);
	touch_all(&guest);
	touch_all(&other);
	sampler_switch(guest.space, true);
	for (unsigned pass = 0; pass < 40; pass++) {
		for (unsigned i = 0; i < 100; i++) {
			u64 page = host_random(&rnd) % (i % 4 ? 200 : PAGES);

			touch(&guest, page);
			touch(&other, page);
			if (i % 10 == 0)
				sampler_step(guest.space);
		}
		age_space(guest.space, a64_load(&guest.space->lru.max_seq), pass % 8 == 0);
		age_space(other.space, a64_load(&other.space->lru.max_seq), pass % 8 == 0);
		for (u64 page = 0; page < PAGES; page++)
			assert_int_equal(age_bits(&guest, page), age_bits(&other, page));
	}
	fake_guest_destroy(&other);
	assert_true(a64_load(&guest.space->stats.sampled_young_total) > 20);
}

static void check_cover(const struct sampler_report *report, u64 npages)
{
	u64 at = BASE;

	assert_in_range(report->nr, 1, SAMPLER_MAX_REGIONS);
	for (u32 i = 0; i < report->nr; i++) {
		assert_int_equal(report->region[i].first.v, at);
		assert_in_range(report->region[i].accesses, 0, SAMPLER_SAMPLES);
		assert_true(report->region[i].npages > 0);
		at += report->region[i].npages;
	}
	assert_int_equal(at, BASE + npages);
}

/* Mean count of the pages first .. first + n - 1, in thousandths of SAMPLER_SAMPLES. */
static u64 heat(u64 first, u64 n)
{
	struct sampler_region r;
	u64 sum = 0;

	for (u64 page = first; page < first + n; page++) {
		assert_true(sampler_region_of(guest.space, gfn(BASE + page), &r));
		sum += r.accesses;
	}
	return sum * 1000 / (n * SAMPLER_SAMPLES);
}

static void run_reports(u64 reports, u64 hot, u64 nhot)
{
	static struct sampler_report report;
	u64 until;

	(void)!sampler_report(guest.space, &report);
	until = report.nr_reports + reports;
	do {
		for (u64 page = hot; page < hot + nhot; page++)
			touch(&guest, page);
		sampler_step(guest.space);
		if (sampler_report(guest.space, &report))
			check_cover(&report, guest.npages);
	} while (report.nr_reports < until);
}

static void test_sampler_finds_the_hot_region_and_follows_it(void **state)
{
	struct sampler_region r;

	(void)state;
	create(&guest, 4 * PAGES);
	touch_all(&guest);
	assert_false(sampler_region_of(guest.space, gfn(BASE), &r));
	sampler_switch(guest.space, true);
	run_reports(25, 3000, 500);
	assert_true(heat(3000, 500) >= 800);
	assert_true(heat(0, 2500) <= 100);
	assert_true(heat(4000, 4000) <= 100);
	run_reports(25, 6000, 300);
	assert_true(heat(6000, 300) >= 700);
	assert_true(heat(3000, 500) <= 100);
	sampler_switch(guest.space, false);
	sampler_step(guest.space);
	assert_false(sampler_region_of(guest.space, gfn(BASE), &r));
	assert_null(aptr_load_acquire(&guest.space->ledger));
}

static void test_sampler_of_a_tiny_guest_has_a_page_a_region(void **state)
{
	static struct sampler_report report;
	u64 reports = 1, regions = 1;

	(void)state;
	create(&guest, 3);
	sampler_extent(guest.space, &reports, &regions);
	assert_int_equal(reports + regions, 0);
	touch_all(&guest);
	sampler_switch(guest.space, true);
	run_reports(3, 1, 1);
	assert_true(sampler_report(guest.space, &report));
	sampler_extent(guest.space, &reports, &regions);
	assert_int_equal(reports, report.nr_reports);
	assert_int_equal(regions, report.nr);
	assert_int_equal(regions, 3);
	assert_true(heat(1, 1) >= 900);
	assert_int_equal(heat(0, 1) + heat(2, 1), 0);
}

static void test_sampler_without_memory_stays_off(void **state)
{
	(void)state;
	create(&guest, PAGES);
	for (unsigned after = 0; after < 5; after++) {
		sampler_switch(guest.space, true);
		host_pages_limit(after);
		sampler_step(guest.space);
		host_pages_limit(HOST_NO_LIMIT);
		assert_false(sampler_wanted(&guest.space->sampler));
		assert_null(aptr_load_acquire(&guest.space->ledger));
	}
	sampler_switch(guest.space, true);
	sampler_step(guest.space);
	assert_true(sampler_wanted(&guest.space->sampler));
	assert_true(sampler_run());
}

/* One Accessed bit for 512 pages: who samples one of them takes nothing from the other 511. */
static void test_sampler_of_a_large_leaf_hands_all_512_on(void **state)
{
	static struct host_vm vm;
	u64 value, all[NOTIFIER_WORDS], visited = 0;

	(void)state;
	create(&guest, 3);
	host_vm_create(&vm, &host_machines[0], 2 * TABLE_PAGES, 1);
	a32_store(&vm.space->wants_huge, 1);
	assert_int_equal(host_vm_read(&vm, 0, gpa(0), &value), FAULT_FIXED);
	assert_int_equal(a64_load(&vm.space->huge_mappings), 1);
	sampler_switch(vm.space, true);
	sampler_step(vm.space);
	sampler_step(vm.space);
	memset(all, 0xff, sizeof(all));
	assert_true(notifier_age(vm.space, gfn(0), TABLE_PAGES, all, CORE, &visited));
	for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
		assert_int_equal(all[w], ~0ull);
	host_vm_destroy(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_ledger_tells_each_what_the_other_found, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(test_ledger_note_brings_the_walk_to_its_table,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(test_ledger_pays_at_its_end, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_ledger_ends_behind_who_found_it, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(test_ledger_knows_no_slots_that_came_later, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(test_ledger_random_questions_lose_nothing, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(test_sampler_leaves_the_ages_as_they_are, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(test_sampler_finds_the_hot_region_and_follows_it,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(test_sampler_of_a_tiny_guest_has_a_page_a_region,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(test_sampler_without_memory_stays_off, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(test_sampler_of_a_large_leaf_hands_all_512_on,
	                                        setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
