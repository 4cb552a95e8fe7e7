/*
 * hv/mmu/shadow*: whatever the guest's tables are, an access on shadow tables ends as a walk of the guest's own says,
 * and marks them as hardware would.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/gwalk.h"
#include "hv/mmu/shadow_core.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/shadow_vm.h"
#include "tests/host/vm.h"

#define PAGES  640u
#define FRAMES 2048u
#define TABLES 12u /* pages in which the guest's tables lie */

#define CR0_PE   BIT(0)
#define CR0_WP   BIT(16)
#define CR0_PG   BIT(31)
#define CR4_PSE  BIT(4)
#define CR4_PAE  BIT(5)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

static struct shadow_vm vm;
static u64 seed;

static u64 rnd(u64 n)
{
	return host_random(&seed) % n;
}

static const struct spte_format *const formats[] = {&spte_shadow_ad, &spte_shadow_track};

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

static u64 audit(void)
{
	u64 faults = 0;

	for (unsigned i = 0; i < vm.nr_vcpus; i++)
		assert_int_equal(a32_load(&vm.vcpu[i].in_guest), 0);
	faults += vm.shadow.notifier.ops->audit(&vm.shadow.notifier);
	return faults;
}

/* Over all worlds: what no test sees is not tested. */
static struct shadow_stats sum;

static void add_up(void)
{
	const a64 *from = (const a64 *)&vm.shadow.stats;
	a64 *to = (a64 *)&sum;

	for (unsigned i = 0; i < sizeof(sum) / sizeof(*to); i++)
		a64_count(&to[i], a64_load(&from[i]));
}

/* Entries of pages in sync are what the guest's tables say, at any time. */
static void check_in_sync(void)
{
	struct shadow *sh = &vm.shadow;

	epoch_enter();
	write_lock(&vm.space->mmu_lock);
	for (struct shadow_page *sp = sh->oldest; sp; sp = sp->newer)
		for (unsigned i = 0; i < TABLE_PAGES && shadow_mirrors(sp) && !sp->unsync; i++) {
			u64 spte = a64_load(&sp->entry[i]), entry = 0;
			struct shadow_want want;
			unsigned bytes;
			gpa_t at;

			if (spte_is_empty(spte))
				continue;
			if (shadow_guest_entry(sp, i, &at, &bytes))
				assert_true(shadow_read_entry(sh, at, bytes, &entry));
			want = shadow_want(sh, sp, i, entry);
			/* Dirty was set since, by a write through another root: this one may do less. */
			if (want.role & ROLE_DIRTY && !(shadow_child(sh, spte)->role & ROLE_DIRTY))
				want.role &= ~(u32)ROLE_DIRTY;
			assert_true(shadow_agrees(sh, &want, sp->role, spte));
		}
	write_unlock(&vm.space->mmu_lock);
	epoch_exit();
}

static void stop(void)
{
	assert_int_equal(audit(), 0);
	add_up();
	shadow_vm_destroy(&vm);
	epoch_barrier();
	assert_int_equal(frame_table_count(), 0);
	assert_int_equal(frame_free_count() + frame_pool_count(), FRAMES);
}

/* --- guest memory, past the MMU --------------------------------------------------------------------- */

static u64 peek(u64 at)
{
	u64 value;

	assert_int_equal(guest_read(&vm.mem, gpa(at), &value, 8), 8);
	return value;
}

static void poke(u64 at, u64 value)
{
	assert_int_equal(guest_write(&vm.mem, gpa(at), &value, 8), 8);
}

static bool read_entry(void *ctx, gpa_t at, unsigned bytes, u64 *entry)
{
	(void)ctx;
	*entry = 0;
	return guest_read(&vm.mem, at, entry, bytes) == bytes;
}

/* --- against the guest's own tables ------------------------------------------------------------------ */

static struct gwalk_state state_of(unsigned vcpu)
{
	const struct shadow_regs *r = &vm.vcpu[vcpu].regs;

	return (struct gwalk_state){.cr0 = r->cr0,
	                            .cr3 = r->cr3,
	                            .cr4 = r->cr4,
	                            .efer = r->efer,
	                            .phys_bits = r->phys_bits,
	                            .page_1g = r->page_1g,
	                            .ac = vm.vcpu[vcpu].ac};
}

/* One access, which must end as the tables say. */
static enum shadow_result check(unsigned vcpu, u64 at, unsigned access, u64 value)
{
	const struct gwalk_state s = state_of(vcpu);
	struct gwalk_out expect, after;
	enum gwalk_result r = gwalk(&s, gva(at), access, read_entry, NULL, &expect);
	bool ram = r == GWALK_OK && gpa_gfn(expect.gpa).v < PAGES;
	u64 old = ram ? peek(expect.gpa.v) : 0, got = value;
	struct shadow_vm_access a = shadow_vm_access(&vm, vcpu, gva(at), access, &got);

	switch (r) {
	case GWALK_OK:
		assert_int_equal(a.result, ram ? SHADOW_FIXED : SHADOW_NO_SLOT);
		if (!ram) {
			assert_int_equal(a.out.gpa.v, expect.gpa.v);
			break;
		}
		if (access & GWALK_WRITE) {
			assert_int_equal(peek(expect.gpa.v), value);
		} else {
			/* what it marked may lie in the page that was read */
			assert_int_equal(got & ~0x60ull & ~0x6000000000ull,
			                 old & ~0x60ull & ~0x6000000000ull);
		}
		break;
	case GWALK_FAULT:
		assert_int_equal(a.result, SHADOW_GUEST_FAULT);
		assert_int_equal(a.out.error, expect.error);
		break;
	case GWALK_NONCANONICAL:
		assert_int_equal(a.result, SHADOW_NONCANONICAL);
		break;
	case GWALK_UNREADABLE:
		assert_int_equal(a.result, SHADOW_NO_TABLE);
		break;
	}
	/* Marked, unless the write went over the tables themselves. */
	if (r == GWALK_OK && !(access & GWALK_WRITE)) {
		assert_int_equal(gwalk(&s, gva(at), access, read_entry, NULL, &after), GWALK_OK);
		for (unsigned i = 0; i < after.steps; i++)
			assert_int_equal(gwalk_marks(&after, i, access), 0);
	}
	return a.result;
}

/* --- random tables ----------------------------------------------------------------------------------- */

enum mode { MODE_NONE, MODE_32, MODE_32_PSE, MODE_PAE, MODE_LONG, MODES };

static struct shadow_regs random_regs(enum mode mode)
{
	struct shadow_regs r = {
	        .cr0 = CR0_PE | (rnd(3) ? CR0_WP : 0) | (mode == MODE_NONE ? 0 : CR0_PG),
	        .cr3 = rnd(3) * PAGE_SIZE,
	        .phys_bits = 40,
	        .page_1g = true,
	};

	if (mode == MODE_32_PSE)
		r.cr4 |= CR4_PSE;
	if (mode >= MODE_PAE)
		r.cr4 |= CR4_PAE;
	if (mode == MODE_PAE)
		r.cr3 += rnd(4) * 32;
	if (mode == MODE_LONG)
		r.efer |= EFER_LMA;
	if (mode != MODE_NONE) {
		r.cr4 |= (rnd(2) ? CR4_SMEP : 0) | (rnd(2) ? CR4_SMAP : 0);
		r.efer |= rnd(2) ? EFER_NXE : 0;
	}
	return r;
}

/* With CR0.WP clear, SMAP cannot be had on a page that was written with AC set: decision 28. */
static bool random_ac(const struct shadow_regs *r)
{
	return rnd(2) && (r->cr0 & CR0_WP || !(r->cr4 & CR4_SMAP));
}

/* Of four bytes or eight; mostly sound, mostly leading to a table or to RAM. */
static u64 random_entry(enum mode mode)
{
	u64 to = rnd(8) ? rnd(rnd(2) ? TABLES : PAGES) : PAGES + rnd(40);
	u64 e = to * PAGE_SIZE | (rnd(12) ? 1 : 0) | (rnd(4) ? 2 : 0) | (rnd(4) ? 4 : 0) |
	        (rnd(2) ? 0x20 : 0) | (rnd(2) ? 0x40 : 0);

	/* An entry of both the top and a table below it would be unsound once it is marked Dirty. */
	if (mode == MODE_PAE && to < 3)
		e += 3 * PAGE_SIZE;
	if (!rnd(5)) /* large, and at 0, or beyond all RAM */
		e = (e & 0xfff) | 0x80 | (rnd(5) ? 0 : 0x40000000);
	if (mode >= MODE_PAE && !rnd(6))
		e |= BIT(63);
	if (mode >= MODE_PAE && !rnd(40))
		e |= BIT(45); /* beyond phys_bits */
	return e;
}

static void random_tables(enum mode mode)
{
	for (unsigned t = 0; t < TABLES; t++)
		for (unsigned i = 0; i < 512; i++) {
			u64 e = random_entry(mode);

			if (mode < MODE_PAE)
				e = (u32)e | random_entry(mode) << 32;
			/* the four at the top of PAE paging have fewer bits */
			if (mode == MODE_PAE && t < 3 && i < 16 && rnd(8))
				e = (e & BITS(31, 12)) < 3 * PAGE_SIZE ? 3 * PAGE_SIZE | 1
				                                       : e & (BITS(31, 12) | 1);
			poke(t * PAGE_SIZE + i * 8ull, e);
		}
}

/* Addresses that differ in few places, so that tables are used again. */
static u64 random_address(enum mode mode)
{
	u64 at = 0;

	if (mode == MODE_LONG) {
		for (unsigned l = 0; l < 4; l++)
			at |= (rnd(4) ? rnd(3) : 509 + rnd(3)) << (12 + 9 * l);
		at = (u64)((s64)(at << 16) >> 16);
	} else if (mode == MODE_PAE) {
		at = rnd(4) << 30 | rnd(5) << 21 | rnd(5) << 12;
	} else if (mode == MODE_NONE) {
		at = (rnd(20) ? rnd(PAGES) : rnd(1 << 20)) * PAGE_SIZE;
	} else {
		at = (rnd(4) ? rnd(4) : 1020 + rnd(4)) << 22 | (rnd(4) ? rnd(4) : 1020 + rnd(4))
		                                                       << 12;
	}
	return at | rnd(512) * 8;
}

static unsigned random_access(void)
{
	static const unsigned kinds[] = {0, GWALK_WRITE, GWALK_FETCH};

	return kinds[rnd(3)] | (rnd(2) ? GWALK_USER : 0);
}

/* What the guest changed is told to all its CPUs, as it has to be. */
static void tell_all(void)
{
	for (unsigned i = 0; i < vm.nr_vcpus; i++)
		shadow_vm_reload(&vm, i);
}

static void evict_some(u64 g)
{
	(void)!evict_page(vm.space, gfn(g));
	epoch_poll();
}

/* Takes Accessed from everything: leaves of the format without such bits are tracked then. */
static void vm_age_clear(void)
{
	for (u64 g = 0; g < PAGES; g++)
		(void)notifier_age_one(vm.space, gfn(g), NOTIFIER_CLEAR);
}

static void one_world(enum mode mode, const struct spte_format *format, unsigned vcpus,
                      unsigned steps)
{
	shadow_vm_create(&vm, format, PAGES, vcpus);
	random_tables(mode);
	for (unsigned i = 0; i < vcpus; i++) {
		struct shadow_regs r = random_regs(mode);

		shadow_vm_load(&vm, i, &r);
	}
	for (unsigned i = 0; i < steps; i++) {
		unsigned vcpu = (unsigned)rnd(vcpus), access = random_access();
		u64 at = random_address(mode), value = random_entry(mode);
		struct shadow_regs r;

		vm.vcpu[vcpu].ac = random_ac(&vm.vcpu[vcpu].regs);
		if (check(vcpu, at, access, value) == SHADOW_FIXED && access & GWALK_WRITE)
			tell_all();
		if (i % 16 == 0)
			check_in_sync();
		switch (rnd(60)) {
		case 0:
			r = random_regs(mode);
			shadow_vm_load(&vm, vcpu, &r);
			break;
		case 1:
			evict_some(rnd(2) ? rnd(TABLES) : rnd(PAGES));
			break;
		case 2:
			poke(rnd(TABLES) * PAGE_SIZE + rnd(512) * 8, random_entry(mode));
			tell_all();
			break;
		case 3:
			vm_age_clear();
			break;
		case 4:
			if (!rnd(10))
				assert_int_equal(audit(), 0);
			if (!rnd(10))
				(void)shadow_shrink(&vm.shadow.notifier, rnd(20));
			break;
		}
	}
	stop();
}

static void test_shadow_random_tables(void **state)
{
	u64 worlds = host_steps(12);

	(void)state;
	for (u64 w = 0; w < worlds; w++) {
		seed = 0x5eed + w * 77;
		for (unsigned mode = 0; mode < MODES; mode++)
			one_world(mode, formats[w % 2], 1 + w % 3 % 2, 600);
	}
	/* Else the worlds were too small to see anything. */
	assert_true(a64_load(&sum.faults_total) && a64_load(&sum.guest_total));
	assert_true(a64_load(&sum.unsync_total) && a64_load(&sum.stale_total));
	assert_true(a64_load(&sum.settled_total) && a64_load(&sum.recycled_total));
	assert_true(a64_load(&sum.fixed_fast_total));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_shadow_random_tables),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
