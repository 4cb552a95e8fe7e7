/*
 * Five races of the shadow MMU, move by move: what it takes to see that one of its rules is missing is a few steps in one
 * order, which threads and random plans do not come to. One thread is both vCPUs. The second sits in its guest with
 * what its TLB has; what it does while the first waits for it to leave happens in hal_pause().
 *
 * Each scene passes as the code is, and fails without the rule it is about (tests/host/shadow_spoilt.h).
 */
#include "tests/host/shadow_spoilt.h"

#include <stdio.h>
#include <stdlib.h>

#define SHADOW_VM_NO_SHOOTDOWN planted(SHADOW_FAULT_SHOOTDOWN)
#include "tests/host/shadow_vm.c"
#include "mm/evict.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/shrink.h"
#include "tests/host/vm.h"

/* Pages 0 .. PAGES - 1 are mapped to themselves by table SAME; table OTHER maps some again, 2 MiB higher. */
#define PAGES 64u
enum { ROOT = 40, LEVEL_3, DIRECTORY, SAME, OTHER };
#define AT(page)  ((u64)(page)*PAGE_SIZE)
#define HIGH(i)   ((u64)(TABLE_PAGES + (i)) * PAGE_SIZE)
#define ENTRY_ALL 0x67u /* P, W, U, A, D */

enum { FIRST, SITTER };

static struct shadow_vm vm;
static const struct spte_format *format;

static void fail(const char *what, u64 at, u64 value)
{
	printf("%s: %s: %#llx: %#llx\n", format->name, what, (unsigned long long)at,
	       (unsigned long long)value);
	fflush(stdout);
	exit(1);
}

/* --- the guest ------------------------------------------------------------------------------------- */

static u64 entry_of(u64 page)
{
	return AT(page) | ENTRY_ALL;
}

static void poke(u64 page, unsigned i, u64 value)
{
	ASSERT(guest_write(&vm.mem, gpa(AT(page) + 8ull * i), &value, 8) == 8);
}

static void look_at_table(const a64 *entry)
{
	u32 frame = frame_of_pfn(hal_ptr_pfn(entry));

	if (!(a64_load(&frame_at(frame)->state) & FRAME_TABLE))
		fail("hardware walks what is no table", frame, a64_load(&frame_at(frame)->state));
}

static void guest_make(void)
{
	const struct shadow_regs regs = {.cr0 = BIT(31) | BIT(16) | 1,
	                                 .cr3 = AT(ROOT),
	                                 .cr4 = BIT(5),
	                                 .efer = BIT(8) | BIT(10) | BIT(11),
	                                 .phys_bits = 36};

	shadow_vm_create(&vm, format, PAGES, 2);
	vm.linger = true;
	for (unsigned i = 0; i < PAGES; i++) {
		poke(SAME, i, entry_of(i));
		if (i < ROOT)
			poke(i, 0, i);
	}
	poke(ROOT, 0, entry_of(LEVEL_3));
	poke(LEVEL_3, 0, entry_of(DIRECTORY));
	poke(DIRECTORY, 0, entry_of(SAME));
	poke(DIRECTORY, 1, entry_of(OTHER));
	poke(OTHER, 0, entry_of(10));
	poke(OTHER, 1, entry_of(12));
	for (unsigned cpu = FIRST; cpu <= SITTER; cpu++) {
		shadow_vm_load(&vm, cpu, &regs);
		vm.vcpu[cpu].walker.reads = look_at_table;
	}
}

static u64 read_word(unsigned cpu, u64 at)
{
	u64 value = 0;

	if (shadow_vm_access(&vm, cpu, gva(at), 0, &value).result != SHADOW_FIXED)
		fail("an access fails", at, 0);
	return value;
}

static void write_entry(unsigned cpu, unsigned i, u64 page)
{
	u64 value = entry_of(page);

	if (shadow_vm_access(&vm, cpu, gva(AT(OTHER) + 8ull * i), CPU_WRITE, &value).result !=
	    SHADOW_FIXED)
		fail("a store fails", i, page);
}

static void must_reach(unsigned cpu, u64 at, u64 page)
{
	u64 found = read_word(cpu, at);

	if (found != page)
		fail("an address leads elsewhere", at, found);
}

/* The sitter has not left: it stores without asking anybody, if its TLB or the tables let it. */
static bool sits_and_stores(unsigned i, u64 page)
{
	struct shadow_vm_vcpu *v = &vm.vcpu[SITTER];
	hpa_t where;
	u32 error;

	if (!a32_load(&v->in_guest) ||
	    !cpu_translate(&v->walker, gva(AT(OTHER) + 8ull * i), CPU_WRITE, false, &where, &error))
		return false;
	a64_store((a64 *)(uintptr_t)where.v, entry_of(page));
	return true;
}

static bool stored;

/* Somebody waits for the sitter: a last store, and it leaves. */
static void on_pause(void *arg)
{
	(void)arg;
	if (!stored && vm.vcpu[SITTER].kicked.raw) {
		if (!sits_and_stores(0, 11))
			fail("the sitter has no translation any more", 0, 0);
		stored = true;
	}
	shadow_vm_leave(&vm, SITTER);
}

static void kill_page(u64 page, unsigned level)
{
	struct shadow *sh = &vm.shadow;
	struct shadow_page *victim = NULL;

	shadow_vm_leave(&vm, FIRST);
	epoch_enter();
	write_lock(&vm.space->mmu_lock);
	shadow_for_each_of(sh, sp, gfn(page)) if (role_level(sp->role) == level) victim = sp;
	ASSERT(victim);
	shadow_kill(sh, victim);
	write_unlock(&vm.space->mmu_lock);
	epoch_exit();
}

/* --- the scenes ------------------------------------------------------------------------------------ */

/* A table gets its first shadow page while another vCPU writes it through its TLB. */
static void scene_ready(void)
{
	write_entry(SITTER, 9, 9);
	(void)read_word(FIRST, HIGH(0));
	if (!stored && !sits_and_stores(0, 11))
		fail("nobody stored", 0, 0);
	shadow_vm_invlpg(&vm, FIRST, gva(HIGH(0)));
	must_reach(FIRST, HIGH(0), 11);
}

/* A table that was quiet counts as in sync again while another vCPU writes it through its TLB. */
static void scene_settle(void)
{
	must_reach(FIRST, HIGH(0), 10);
	write_entry(SITTER, 9, 9);
	for (unsigned i = 0; i < 4 && !stored; i++)
		shadow_vm_reload(&vm, FIRST);
	if (!stored && !sits_and_stores(0, 11))
		fail("nobody stored", 0, 0);
	shadow_vm_invlpg(&vm, FIRST, gva(HIGH(0)));
	must_reach(FIRST, HIGH(0), 11);
}

/* A shadow page goes while another vCPU has the way to it in its paging-structure cache. */
static void scene_free(void)
{
	struct shadow_vm_vcpu *v = &vm.vcpu[SITTER];
	hpa_t where;
	u32 error;

	must_reach(FIRST, AT(20), 20);
	must_reach(SITTER, HIGH(0), 10);
	kill_page(OTHER, 1);
	/* Faults of the other vCPU move the dead on, as far as they may go. */
	for (unsigned i = 0; i < 8; i++)
		must_reach(FIRST, AT(i), i);
	if (!a32_load(&v->in_guest))
		fail("the sitter was made to leave", 0, 0);
	if (cpu_translate(&v->walker, gva(HIGH(1)), 0, false, &where, &error))
		fail("an entry of a dead page", HIGH(1), where.v);
}

/* An unsync page loses its way from the root, INVLPG does not find it, and another way leads to it again. */
static void scene_refresh(void)
{
	must_reach(FIRST, HIGH(0), 10);
	must_reach(FIRST, HIGH(1), 12);
	write_entry(FIRST, 5, 5);
	kill_page(DIRECTORY, 2);
	write_entry(FIRST, 1, 13);
	shadow_vm_invlpg(&vm, FIRST, gva(HIGH(1)));
	must_reach(FIRST, HIGH(0), 10);
	must_reach(FIRST, HIGH(1), 13);
}

/* A page is evicted while another vCPU, in its guest, has a translation of it. */
static void scene_shootdown(void)
{
	struct shadow_vm_vcpu *v = &vm.vcpu[SITTER];
	hpa_t where;
	u32 error;

	stored = true; /* it only leaves when it is asked to */
	must_reach(SITTER, AT(20), 20);
	if (evict_page(vm.space, gfn(20)) != EVICT_PAGE_DONE)
		fail("a page is not evicted", 20, 0);
	if (a32_load(&v->in_guest) &&
	    cpu_translate(&v->walker, gva(AT(20)), 0, false, &where, &error))
		fail("a frame that was given back is reached", AT(20), where.v);
	must_reach(SITTER, AT(20), 20);
}

static const struct {
	enum shadow_fault_planted fault;
	void (*run)(void);
} scenes[] = {{SHADOW_FAULT_READY, scene_ready},
              {SHADOW_FAULT_SETTLE, scene_settle},
              {SHADOW_FAULT_FREE, scene_free},
              {SHADOW_FAULT_REFRESH, scene_refresh},
              {SHADOW_FAULT_SHOOTDOWN, scene_shootdown}};

static void run_scene(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	host_frames_create(4 * PAGES);
	ASSERT(store_init());
	guest_make();
	host_on_pause(on_pause, NULL);
	scenes[i].run();
	shadow_vm_leave(&vm, FIRST);
	shadow_vm_leave(&vm, SITTER);
	if (vm.shadow.notifier.ops->audit(&vm.shadow.notifier))
		fail(host_log_last(), 0, 0);
	shadow_vm_destroy(&vm);
}

static bool scene_good(unsigned i)
{
	const char *missing = shadow_fault_text[scenes[i].fault];
	void *arg = (void *)(uintptr_t)i;
	bool sound, noticed = true;

	sound = !shrink_fails(run_scene, arg, false, SHRINK_SECONDS);
	if (!getenv("VARVE_AS_IS")) {
		shadow_planted = scenes[i].fault;
		noticed = shrink_fails(run_scene, arg, true, SHRINK_SECONDS);
		shadow_planted = SHADOW_FAULT_SOUND;
	}
	printf("%s: missing: %s: %s; as it is: %s\n", format->name, missing,
	       noticed ? "noticed" : "NOT noticed", sound ? "passes" : "FAILS");
	return sound && noticed;
}

int main(void)
{
	static const struct spte_format *const formats[] = {&spte_shadow_ad, &spte_shadow_track};
	bool good = true;

	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
		format = formats[f];
		for (unsigned i = 0; i < ARRAY_SIZE(scenes); i++)
			good &= scene_good(i);
	}
	return good ? 0 : 1;
}
