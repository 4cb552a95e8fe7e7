/*
 * Entries of page tables that several change (hv/mmu/spte.c, hv/mmu/tdp_iter.c, hv/mmu/shadow_fault.c), under the
 * weak memory of tests/host/weak.h: what an entry leads to was there before it, an entry that is gone stays gone, and a
 * write of the guest's to a table of its own is not undone.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"

#include "hv/mmu/spte.c"
#undef hal_cpu_id
#include "hv/mmu/tdp_iter.c"

#include "hv/mmu/shadow_fault.c"
#include "tests/host/hal.h"
#include "tests/host/vm.h"

#define RIGHTS 7ull

static const struct spte_format *const format = &spte_ept_ad;
static struct space *space;
static struct shadow shadow;
static a64 table[2][TABLE_PAGES] aligned_to(PAGE_SIZE); /* of level 1, of level 2 */
static u32 guest_table;                                 /* frame of the guest's */

static void setup(void)
{
	weak_reset(2);
	table[0][0].raw = spte_make_leaf(format, 1, frame_pfn(0), RIGHTS, true);
	table[1][0].raw = spte_make_leaf(format, 2, frame_pfn(0), RIGHTS, true);
	*(u64 *)frame_ptr(guest_table) = 1;
}

/* --- a table is found filled --- */

static u64 link_to_table(void)
{
	return spte_make_table(format, hal_ptr_pfn(table[0]));
}

static void run_split(void)
{
	u64 seen = a64_load(&table[1][0]);

	weak_write(table[0]);
	if (!spte_resize(format, 2, &table[1][0], &seen, link_to_table()))
		explorer_panic("somebody else changed it");
}

static void setup_none(void)
{
	setup();
	table[1][0].raw = SPTE_EMPTY;
}

static void run_build(void)
{
	u64 seen = SPTE_EMPTY;

	weak_write(table[0]);
	if (!spte_replace(format, 2, &table[1][0], &seen, link_to_table()))
		explorer_panic("somebody else changed it");
}

static void run_walk(void)
{
	struct tdp_entry e = tdp_read(table[1], gfn(0), 2);

	if (spte_is_table(format, 2, e.seen))
		weak_read(table[0]);
}

/* --- Dirty is cleared beside a zap, and beside hardware --- */

static void run_clean(void)
{
	(void)spte_clean(format, 1, &table[0][0]);
}

static void run_zap(void)
{
	(void)spte_zap(format, 1, &table[0][0]);
}

static void check_gone(void)
{
	if (table[0][0].raw)
		explorer_panic("an entry has come back");
}

static void run_touch(void)
{
	u64 seen = a64_load(&table[0][0]);

	while (!a64_cas(&table[0][0], &seen, seen | format->accessed))
		;
}

static void setup_old(void)
{
	setup();
	table[0][0].raw &= ~format->accessed;
}

static void check_touched(void)
{
	if (!(table[0][0].raw & format->accessed))
		explorer_panic("a touch is lost");
}

/* --- Accessed in a table of the guest's, which its other vCPU writes --- */

static void set_accessed(unsigned bytes)
{
	struct fault f = {.sh = &shadow};

	epoch_enter();
	(void)set_entry(&f, gpa(0), bytes, 1, 1 | BIT(5));
	epoch_exit();
}

static void run_accessed_8(void)
{
	set_accessed(8);
}

static void run_accessed_4(void)
{
	set_accessed(4);
}

static void run_guest_8(void)
{
	a64_store((a64 *)frame_ptr(guest_table), 0x2000);
}

static void run_guest_4(void)
{
	a32_store((a32 *)frame_ptr(guest_table), 0x2000);
}

static void check_written(void)
{
	if (*(u64 *)frame_ptr(guest_table) != 0x2000)
		explorer_panic("the guest's write is lost");
}

static const struct explorer_scene scenes[] = {
        {.name = "large leaf split, walked",
         .setup = setup,
         .actor = {{"split", run_split}, {"walk", run_walk}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "table built, walked",
         .setup = setup_none,
         .actor = {{"build", run_build}, {"walk", run_walk}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "cleaned, zapped",
         .setup = setup,
         .check = check_gone,
         .actor = {{"clean", run_clean}, {"zap", run_zap}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "cleaned, touched",
         .setup = setup_old,
         .check = check_touched,
         .actor = {{"clean", run_clean}, {"hardware", run_touch}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "entry of the guest's, eight bytes",
         .setup = setup,
         .check = check_written,
         .actor = {{"fault", run_accessed_8}, {"guest", run_guest_8}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "entry of the guest's, four bytes",
         .setup = setup,
         .check = check_written,
         .actor = {{"fault", run_accessed_4}, {"guest", run_guest_4}},
         .nr_actors = 2,
         .max_preemptions = 3},
};

static const struct space_ops no_ops;

int main(void)
{
	a64 *word;

	host_frames_create(64);
	space = space_create("guest", &no_ops, NULL);
	if (!space || !gfnmap_add(space, gfn(0), 16))
		return 1;
	shadow.notifier.space = space;
	guest_table = frame_alloc(FRAME_FOR_FAULT);
	frame_give(guest_table, FRAME_GUEST, space->id, gfn(0));
	frame_state_change(guest_table, FRAME_UNPACKABLE, FRAME_DIRTY);
	epoch_enter();
	word = gfnmap_word(space, gfn(0));
	epoch_exit();
	word->raw = gfn_word(GFN_RESIDENT, guest_table);
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
