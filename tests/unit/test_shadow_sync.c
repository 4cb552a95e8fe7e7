/* hv/mmu/shadow*: tables that the guest writes, evicted tables, limits; each case by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/shadow_core.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/shadow_vm.h"
#include "tests/host/vm.h"

#define PAGES  4096u
#define FRAMES 8192u

#define P     1ull
#define W     2ull
#define U     4ull
#define A     0x20ull
#define D     0x40ull
#define PS    0x80ull
#define ALL   (P | W | U)
#define READ  0u
#define WRITE CPU_WRITE

/*
 * Guest tables in long mode: page 1 is the root, 2 leads on, 3 is a directory, 4 .. 11 map the first 16 MiB to
 * themselves. A write to a table is one through there.
 */
#define ROOT      1u
#define LEVEL_3   2u
#define DIRECTORY 3u
#define LEAVES    4u

static struct shadow_vm vm;
static const struct shadow_regs long_mode = {.cr0 = BIT(31) | BIT(16) | 1,
                                             .cr3 = ROOT * PAGE_SIZE,
                                             .cr4 = BIT(5),
                                             .efer = BIT(10) | BIT(11),
                                             .phys_bits = 40,
                                             .page_1g = true};

static void poke(u64 at, u64 value)
{
	assert_int_equal(guest_write(&vm.mem, gpa(at), &value, 8), 8);
}

static u64 peek(u64 at)
{
	u64 value;

	assert_int_equal(guest_read(&vm.mem, gpa(at), &value, 8), 8);
	return value;
}

static u64 entry_at(u64 table, u64 i)
{
	return table * PAGE_SIZE + i * 8;
}

static void start(const struct spte_format *format, unsigned vcpus)
{
	shadow_vm_create(&vm, format, PAGES, vcpus);
	poke(entry_at(ROOT, 0), LEVEL_3 * PAGE_SIZE | ALL);
	poke(entry_at(LEVEL_3, 0), DIRECTORY * PAGE_SIZE | ALL);
	for (u64 i = 0; i < 8; i++)
		poke(entry_at(DIRECTORY, i), (LEAVES + i) * PAGE_SIZE | ALL);
	for (u64 i = 0; i < PAGES; i++)
		poke(entry_at(LEAVES + i / 512, i % 512), i * PAGE_SIZE | ALL);
	for (unsigned i = 0; i < vcpus; i++)
		shadow_vm_load(&vm, i, &long_mode);
}

static u64 count(const a64 *counter)
{
	return a64_load(counter);
}

static void stop(void)
{
	assert_int_equal(vm.shadow.notifier.ops->audit(&vm.shadow.notifier), 0);
	shadow_vm_destroy(&vm);
	epoch_barrier();
	assert_int_equal(frame_table_count(), 0);
	assert_int_equal(frame_free_count() + frame_pool_count(), FRAMES);
}

static u64 reads(unsigned vcpu, u64 at)
{
	u64 value = 0;

	assert_int_equal(shadow_vm_access(&vm, vcpu, gva(at), READ, &value).result, SHADOW_FIXED);
	return value;
}

static void writes(unsigned vcpu, u64 at, u64 value)
{
	assert_int_equal(shadow_vm_access(&vm, vcpu, gva(at), WRITE, &value).result, SHADOW_FIXED);
}

static u32 faults(unsigned vcpu, u64 at, unsigned access)
{
	u64 value = 0;
	struct shadow_vm_access a = shadow_vm_access(&vm, vcpu, gva(at), access, &value);

	assert_int_equal(a.result, SHADOW_GUEST_FAULT);
	return a.out.error;
}

/* The address 16 MiB + n pages is where the tests map things: through the leaf table page 20. */
#define HERE(n) (0x1000000ull + (n)*PAGE_SIZE)
#define TABLE   20u

static void map_here(void)
{
	poke(entry_at(DIRECTORY, 8), TABLE * PAGE_SIZE | ALL);
}

/* More rights for the user are fewer for supervisor mode. Found by the paging guest, two CPUs, pae, seed 5. */
static void test_shadow_sync_a_page_that_becomes_a_users_is_smaps(void **state)
{
	struct shadow_regs regs = long_mode;

	(void)state;
	regs.cr4 |= BIT(21);
	start(&spte_shadow_ad, 1);
	map_here();
	poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | P | W);
	poke(entry_at(TABLE, 1), TABLE * PAGE_SIZE | P | W);
	shadow_vm_load(&vm, 0, &regs);
	(void)reads(0, HERE(0));
	writes(0, HERE(1), 100 * PAGE_SIZE | ALL | A);
	shadow_vm_load(&vm, 0, &regs);
	assert_int_equal(faults(0, HERE(0), READ), 1);
	stop();
}

static void test_shadow_sync_a_new_entry_needs_no_invalidation(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 1);
	map_here();
	assert_int_equal(faults(0, HERE(0), READ), 0);
	poke(100 * PAGE_SIZE, 4711);
	writes(0, entry_at(TABLE, 0), 100 * PAGE_SIZE | ALL);
	assert_int_equal(reads(0, HERE(0)), 4711);
	/* nor do more rights */
	writes(0, entry_at(TABLE, 1), 100 * PAGE_SIZE | P | U);
	assert_int_equal(faults(0, HERE(1), WRITE), 3);
	writes(0, entry_at(TABLE, 1), 100 * PAGE_SIZE | ALL);
	writes(0, HERE(1), 4712);
	assert_int_equal(reads(0, HERE(0)), 4712);
	stop();
}

static void test_shadow_sync_a_changed_leaf_holds_after_invlpg(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 2);
	map_here();
	for (u64 i = 0; i < 3; i++) {
		poke((100 + i) * PAGE_SIZE, 100 + i);
		poke(entry_at(TABLE, i), (100 + i) * PAGE_SIZE | ALL);
		assert_int_equal(reads(0, HERE(i)), 100 + i);
		assert_int_equal(reads(1, HERE(i)), 100 + i);
	}
	for (u64 i = 0; i < 3; i++)
		writes(0, entry_at(TABLE, i), (102 - i) * PAGE_SIZE | ALL);
	assert_int_equal(count(&vm.shadow.unsynced), 1);
	shadow_vm_invlpg(&vm, 0, gva(HERE(0)));
	shadow_vm_invlpg(&vm, 1, gva(HERE(0)));
	assert_int_equal(reads(0, HERE(0)), 102);
	assert_int_equal(reads(1, HERE(0)), 102);
	/* the others after a load of CR3 */
	shadow_vm_reload(&vm, 1);
	assert_int_equal(reads(1, HERE(2)), 100);
	stop();
}

static void test_shadow_sync_an_upper_entry_holds_after_any_invlpg(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 1);
	map_here();
	poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | ALL);
	poke(entry_at(TABLE + 1, 0), 101 * PAGE_SIZE | ALL);
	poke(100 * PAGE_SIZE, 100);
	poke(101 * PAGE_SIZE, 101);
	assert_int_equal(reads(0, HERE(0)), 100);
	writes(0, entry_at(DIRECTORY, 8), (TABLE + 1) * PAGE_SIZE | ALL);
	shadow_vm_invlpg(&vm, 0, gva(0x5000)); /* empties the paging-structure caches as well */
	assert_int_equal(reads(0, HERE(0)), 101);
	/* the root, written through itself */
	writes(0, entry_at(ROOT, 0), LEVEL_3 * PAGE_SIZE | ALL);
	writes(0, entry_at(ROOT, 1), ROOT * PAGE_SIZE | ALL);
	assert_int_equal(reads(0, 1ull << 39 | 1ull << 30 | 1ull << 21 | 1ull << 12) & ~(A | D),
	                 LEVEL_3 * PAGE_SIZE | ALL);
	writes(0, 1ull << 39 | 1ull << 30 | 1ull << 21 | 1ull << 12 | 2 * 8, 0x1234);
	assert_int_equal(peek(entry_at(ROOT, 2)), 0x1234);
	stop();
}

/* What may be cached of an address whose path led there is never right for one whose path did not. */
static void test_shadow_sync_a_new_path_does_not_see_a_stale_leaf(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 1);
	map_here();
	for (u64 i = 0; i < 3; i++)
		poke((100 + i) * PAGE_SIZE, 100 + i);
	poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | ALL);
	poke(entry_at(TABLE, 1), 100 * PAGE_SIZE | ALL);
	assert_int_equal(reads(0, HERE(0)), 100);
	writes(0, entry_at(TABLE, 0), 101 * PAGE_SIZE | ALL);
	writes(0, entry_at(DIRECTORY, 9), TABLE * PAGE_SIZE | ALL);
	assert_int_equal(reads(0, HERE(513)), 100); /* the page fault that links the path */
	assert_int_equal(reads(0, HERE(512)), 101); /* none is needed any more */
	/* likewise if the path is new above a table that was in sync */
	writes(0, entry_at(TABLE, 0), 102 * PAGE_SIZE | ALL);
	writes(0, entry_at(LEVEL_3, 1), DIRECTORY * PAGE_SIZE | ALL);
	assert_int_equal(reads(0, (1ull << 30) + HERE(1)), 100);
	assert_int_equal(reads(0, (1ull << 30) + HERE(0)), 102);
	stop();
}

static void test_shadow_sync_a_quiet_table_is_tracked_again(void **state)
{
	u64 before;

	(void)state;
	start(&spte_shadow_ad, 2);
	map_here();
	poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | ALL);
	reads(0, HERE(0));
	reads(1, entry_at(TABLE, 0));
	writes(1, entry_at(TABLE, 7), 107 * PAGE_SIZE | ALL);
	assert_false(shadow_tracks(&vm.shadow, gfn(TABLE)));
	for (unsigned i = 0; i < 8; i++)
		shadow_vm_reload(&vm, 0);
	assert_int_equal(count(&vm.shadow.unsynced), 0);
	assert_true(shadow_tracks(&vm.shadow, gfn(TABLE)));
	before = count(&vm.shadow.stats.unsync_total);
	writes(1, entry_at(TABLE, 7), 0);
	assert_int_equal(count(&vm.shadow.stats.unsync_total), before + 1);
	shadow_vm_reload(&vm, 0);
	assert_int_equal(faults(0, HERE(7), READ), 0);
	stop();
}

static void test_shadow_sync_hypervisor_writes_count(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 1);
	map_here();
	poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | ALL);
	reads(0, HERE(0));
	poke(entry_at(TABLE, 0), 0);
	shadow_vm_invlpg(&vm, 0, gva(HERE(0)));
	assert_int_equal(faults(0, HERE(0), READ), 0);
	stop();
}

static void test_shadow_sync_evicted_table_takes_its_shadow_along(void **state)
{
	static const u64 tables[] = {TABLE, DIRECTORY, LEVEL_3, ROOT};

	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		start(f ? &spte_shadow_track : &spte_shadow_ad, 1);
		map_here();
		poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | ALL);
		poke(100 * PAGE_SIZE, 4711);
		for (unsigned i = 0; i < 4; i++) {
			u64 zapped = count(&vm.shadow.stats.zapped_total);

			assert_int_equal(reads(0, HERE(0)), 4711);
			assert_int_equal(evict_page(vm.space, gfn(tables[i])), EVICT_PAGE_DONE);
			assert_int_equal(count(&vm.shadow.stats.zapped_total), zapped + 1);
			assert_false(shadow_tracks(&vm.shadow, gfn(tables[i])));
		}
		assert_int_equal(evict_page(vm.space, gfn(100)), EVICT_PAGE_DONE);
		assert_int_equal(reads(0, HERE(0)), 4711);
		stop();
	}
}

/* Accessed and Dirty that were set for the guest go where its table goes. */
static void test_shadow_sync_marks_survive_an_eviction(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 1);
	map_here();
	poke(entry_at(TABLE, 3), 100 * PAGE_SIZE | ALL);
	assert_int_equal(evict_page(vm.space, gfn(TABLE)), EVICT_PAGE_DONE);
	reads(0, HERE(3));
	assert_int_equal(evict_page(vm.space, gfn(TABLE)), EVICT_PAGE_DONE);
	assert_int_equal(peek(entry_at(TABLE, 3)), 100 * PAGE_SIZE | ALL | A);
	writes(0, HERE(3), 1);
	assert_int_equal(evict_page(vm.space, gfn(TABLE)), EVICT_PAGE_DONE);
	assert_int_equal(peek(entry_at(TABLE, 3)), 100 * PAGE_SIZE | ALL | A | D);
	stop();
}

static void test_shadow_sync_large_pages(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 1);
	poke(entry_at(DIRECTORY, 9), 0x400000 | ALL | PS); /* 4 MiB on */
	poke(entry_at(LEVEL_3, 1), 0 | P | U | PS);        /* 1 GiB */
	poke(0x412008, 4711);
	assert_int_equal(reads(0, 0x1200000 + 0x12008), 4711);
	assert_int_equal(peek(entry_at(DIRECTORY, 9)), 0x400000 | ALL | PS | A);
	writes(0, 0x1200000 + 0x12008, 4712);
	assert_int_equal(peek(entry_at(DIRECTORY, 9)), 0x400000 | ALL | PS | A | D);
	assert_int_equal(reads(0, 0x40000000 + 0x412008), 4712);
	assert_int_equal(faults(0, 0x40000000 + 0x412008, WRITE), 3);
	/* Dirty taken away by the guest is set again */
	writes(0, entry_at(DIRECTORY, 9), 0x400000 | ALL | PS | A);
	shadow_vm_invlpg(&vm, 0, gva(0x1200000));
	writes(0, 0x1200000 + 0x12008, 4713);
	assert_int_equal(peek(entry_at(DIRECTORY, 9)), 0x400000 | ALL | PS | A | D);
	stop();
}

static void test_shadow_sync_more_tables_than_allowed(void **state)
{
	u64 tables = 200;

	(void)state;
	start(&spte_shadow_ad, 1);
	assert_int_equal(vm.shadow.limit, PAGES / SHADOW_PAGES_PART);
	for (u64 i = 0; i < tables; i++) {
		poke(entry_at(DIRECTORY, 16 + i), (300 + i) * PAGE_SIZE | ALL);
		poke(entry_at(300 + i, 0), (600 + i) * PAGE_SIZE | ALL);
		poke((600 + i) * PAGE_SIZE, i);
	}
	for (unsigned round = 0; round < 3; round++)
		for (u64 i = 0; i < tables; i++) {
			assert_int_equal(reads(0, (16 + i) << 21), i);
			assert_true(count(&vm.shadow.pages) <= vm.shadow.limit);
		}
	assert_true(count(&vm.shadow.stats.recycled_total) > 2 * (tables - vm.shadow.limit));
	stop();
}

/* A table that is used stays, however many others come and go: hardware's Accessed bits say so. */
static void test_shadow_sync_recycling_spares_what_is_used(void **state)
{
	u64 before;

	(void)state;
	start(&spte_shadow_ad, 1);
	for (u64 i = 0; i < 200; i++) {
		poke(entry_at(DIRECTORY, 16 + i), (300 + i) * PAGE_SIZE | ALL);
		poke(entry_at(300 + i, 0), 100 * PAGE_SIZE | ALL);
	}
	reads(0, 0x3000);
	before = vm.vcpu[0].faults;
	for (u64 i = 0; i < 200; i++) {
		cpu_flush(&vm.vcpu[0].walker);
		reads(0, 0x3000);
		reads(0, (16 + i) << 21);
	}
	/* one for each of the others, and hardly any for the one that is used */
	assert_true(vm.vcpu[0].faults - before < 200 + 10);
	stop();
}

static void test_shadow_sync_more_aliases_than_kept(void **state)
{
	(void)state;
	start(&spte_shadow_ad, 1);
	for (u64 i = 0; i < 1100; i++) {
		if (i % 512 == 0)
			poke(entry_at(DIRECTORY, 16 + i / 512), (300 + i / 512) * PAGE_SIZE | ALL);
		poke(entry_at(300 + i / 512, i % 512), 100 * PAGE_SIZE | ALL);
	}
	poke(100 * PAGE_SIZE, 4711);
	for (u64 i = 0; i < 1100; i++)
		assert_int_equal(reads(0, 0x2000000 + i * PAGE_SIZE), 4711);
	assert_int_equal(count(&vm.shadow.stats.overfull_total), 1);
	assert_int_equal(evict_page(vm.space, gfn(100)), EVICT_PAGE_DONE);
	assert_int_equal(reads(0, 0x2000000 + 77 * PAGE_SIZE), 4711);
	stop();
}

static void test_shadow_sync_shrinks_when_asked(void **state)
{
	u64 tables, had;

	(void)state;
	start(&spte_shadow_ad, 1);
	for (u64 i = 0; i < 8; i++)
		reads(0, i << 21 | 0x1000);
	had = count(&vm.shadow.pages);
	tables = count(&vm.space->tables);
	assert_true(had >= 11);
	/* looked at once, all of them are in use; nobody uses them before the second time */
	assert_int_equal(notifier_shrink(vm.space, had), 0);
	assert_int_equal(notifier_shrink(vm.space, 5), 5);
	epoch_barrier();
	assert_int_equal(count(&vm.shadow.pages), had - 5);
	assert_int_equal(count(&vm.space->tables), tables - 5);
	assert_true(notifier_shrink(vm.space, 1000) == had - 5);
	for (u64 i = 0; i < 8; i++)
		reads(0, i << 21 | 0x1000);
	stop();
}

/* Without a frame for a table, the fault says so, and later it succeeds. */
static void test_shadow_sync_without_memory(void **state)
{
	static u32 taken[FRAMES];
	u64 value, n = 0;

	(void)state;
	start(&spte_shadow_ad, 1);
	while ((taken[n] = frame_alloc(FRAME_FOR_POOL)) != FRAME_NONE)
		n++;
	assert_int_equal(shadow_vm_access(&vm, 0, gva(0x5000), READ, &value).result,
	                 SHADOW_NO_MEMORY);
	while (n)
		frame_free(taken[--n]);
	reads(0, 0x5000);
	stop();
}

/* Tables that are in use are worth more than pages: memory for another table is made by evicting. */
static void test_shadow_sync_makes_room_for_a_table(void **state)
{
	static u32 taken[FRAMES];
	u64 n = 0;

	(void)state;
	start(&spte_shadow_ad, 1);
	for (u64 i = 64; i < 512; i++)
		reads(0, i * PAGE_SIZE);
	for (u64 i = 1; i < 7; i++) /* each needs a table, and no page */
		poke(entry_at(LEAVES + i, 5), (100 + i) * PAGE_SIZE | ALL);
	assert_int_equal(count(&vm.space->stats.evictions_total), 0);
	while ((taken[n] = frame_alloc(FRAME_FOR_FAULT)) != FRAME_NONE)
		n++;
	for (u64 i = 1; i < 7; i++)
		reads(0, i << 21 | 0x5000);
	assert_true(count(&vm.space->stats.evictions_total) > 0);
	assert_int_equal(count(&vm.shadow.stats.recycled_total), 0);
	while (n)
		frame_free(taken[--n]);
	stop();
}

static void test_shadow_sync_without_paging(void **state)
{
	struct shadow_regs r = {.cr0 = 1, .phys_bits = 40};
	u64 before, value = 0;

	(void)state;
	for (unsigned f = 0; f < 2; f++) {
		start(f ? &spte_shadow_track : &spte_shadow_ad, 1);
		shadow_vm_load(&vm, 0, &r);
		poke(0x7008, 4711);
		assert_int_equal(reads(0, 0x7008), 4711);
		writes(0, 0x7010, 1);
		assert_int_equal(peek(0x7010), 1);
		assert_int_equal(shadow_vm_access(&vm, 0, gva(0xfee00000), READ, &value).result,
		                 SHADOW_NO_SLOT);
		/* what aging took comes back without the MMU lock */
		before = count(&vm.shadow.stats.fixed_fast_total);
		(void)notifier_age_one(vm.space, gfn(7), NOTIFIER_CLEAR);
		cpu_flush(&vm.vcpu[0].walker);
		assert_int_equal(reads(0, 0x7008), 4711);
		assert_int_equal(count(&vm.shadow.stats.fixed_fast_total), before + f);
		/* a table of a guest that pages on another vCPU may be written here: see tracking */
		stop();
	}
}

/* With CR0.WP clear supervisor mode writes users' read-only pages, and user mode still does not. */
static void test_shadow_sync_write_protect_off(void **state)
{
	struct shadow_regs r = long_mode;
	u64 value = 1;

	(void)state;
	start(&spte_shadow_ad, 1);
	map_here();
	poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | P | U);
	r.cr0 &= ~BIT(16);
	r.cr4 |= BIT(20); /* SMEP */
	shadow_vm_load(&vm, 0, &r);
	for (unsigned i = 0; i < 3; i++) {
		writes(0, HERE(0), i);
		assert_int_equal(faults(0, HERE(0), CPU_FETCH),
		                 0x11); /* not though its form changed */
		assert_int_equal(shadow_vm_access(&vm, 0, gva(HERE(0)), CPU_USER, &value).result,
		                 SHADOW_FIXED);
		assert_int_equal(value, i);
		assert_int_equal(faults(0, HERE(0), CPU_USER | WRITE), 7);
	}
	shadow_vm_load(&vm, 0, &long_mode);
	assert_int_equal(faults(0, HERE(0), WRITE), 3);
	stop();
}

/*
 * SMAP and no CR0.WP, in every combination of rights, of who accesses and of AC; what is not allowed, and what is. The
 * page was brought into supervisor mode's form before SMAP was on, if it could be.
 */
static void smap_without_wp(u64 rights, unsigned access, bool ac)
{
	const bool user = access & CPU_USER;
	struct shadow_regs r = long_mode;
	u64 value = 1;
	bool allowed;

	start(&spte_shadow_ad, 1);
	map_here();
	poke(entry_at(TABLE, 0), 100 * PAGE_SIZE | P | rights);
	r.cr0 &= ~BIT(16);
	shadow_vm_load(&vm, 0, &r);
	writes(0, HERE(0), 7);
	r.cr4 |= BIT(21);
	shadow_vm_load(&vm, 0, &r);
	vm.vcpu[0].ac = ac;
	if (user)
		allowed = rights & U && (!(access & WRITE) || rights & W);
	else
		allowed = !(rights & U) || ac;
	assert_int_equal(shadow_vm_access(&vm, 0, gva(HERE(0)), access, &value).result,
	                 allowed ? SHADOW_FIXED : SHADOW_GUEST_FAULT);
	vm.vcpu[0].ac = false;
	stop();
}

static void test_shadow_sync_smap_without_write_protect(void **state)
{
	const u64 rights[] = {0, W, U, U | W};
	const unsigned access[] = {READ, WRITE, CPU_USER, CPU_USER | WRITE};

	(void)state;
	for (unsigned i = 0; i < 32; i++)
		smap_without_wp(rights[i / 8], access[i / 2 % 4], i % 2);
}

static int setup(void **state)
{
	(void)state;
	host_frames_create(FRAMES);
	return store_init() ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	host_frames_destroy();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_shadow_sync_a_page_that_becomes_a_users_is_smaps),
	        cmocka_unit_test(test_shadow_sync_a_new_entry_needs_no_invalidation),
	        cmocka_unit_test(test_shadow_sync_a_changed_leaf_holds_after_invlpg),
	        cmocka_unit_test(test_shadow_sync_an_upper_entry_holds_after_any_invlpg),
	        cmocka_unit_test(test_shadow_sync_a_new_path_does_not_see_a_stale_leaf),
	        cmocka_unit_test(test_shadow_sync_a_quiet_table_is_tracked_again),
	        cmocka_unit_test(test_shadow_sync_hypervisor_writes_count),
	        cmocka_unit_test(test_shadow_sync_evicted_table_takes_its_shadow_along),
	        cmocka_unit_test(test_shadow_sync_marks_survive_an_eviction),
	        cmocka_unit_test(test_shadow_sync_large_pages),
	        cmocka_unit_test(test_shadow_sync_more_tables_than_allowed),
	        cmocka_unit_test(test_shadow_sync_recycling_spares_what_is_used),
	        cmocka_unit_test(test_shadow_sync_more_aliases_than_kept),
	        cmocka_unit_test(test_shadow_sync_shrinks_when_asked),
	        cmocka_unit_test(test_shadow_sync_without_memory),
	        cmocka_unit_test(test_shadow_sync_makes_room_for_a_table),
	        cmocka_unit_test(test_shadow_sync_without_paging),
	        cmocka_unit_test(test_shadow_sync_write_protect_off),
	        cmocka_unit_test(test_shadow_sync_smap_without_write_protect),
	};

	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	return cmocka_run_group_tests(tests, setup, teardown);
}
