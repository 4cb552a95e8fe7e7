/* What unit tests of the shadow MMU have in common: guests without paging, and with one page table. After cmocka.h. */
#pragma once

#include "hv/mmu/shadow_core.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/shadow_vm.h"
#include "tests/unit/host_vm.h"

#define GUEST_PAGES 640u

static struct shadow_vm guest;

/* The last pages hold the guest's tables: 32-bit paging, two page tables, 2048 addresses. */
#define GUEST_DIRECTORY (GUEST_PAGES - 3u)
#define GUEST_TABLE     (GUEST_PAGES - 2u)
#define GUEST_ADDRESSES 2048u

static inline void guest_poke32(u64 g, unsigned i, u32 value)
{
	ASSERT(guest_write(&guest.mem, gpa(g * PAGE_SIZE + 4ull * i), &value, 4) == 4);
}

/* Address page `at` is page g, with all rights; no INVLPG: only for what was not mapped. */
static inline void guest_map(unsigned at, u64 g)
{
	guest_poke32(GUEST_TABLE + at / 1024, at % 1024, (u32)(g * PAGE_SIZE) | 0x67);
}

static inline void guest_start(const struct spte_format *format)
{
	shadow_vm_create(&guest, format, GUEST_PAGES, 1);
}

/* From here on addresses go through the guest's tables. */
static inline void guest_start_paging(void)
{
	const struct shadow_regs regs = {.cr0 = BIT(0) | BIT(16) | BIT(31),
	                                 .cr3 = GUEST_DIRECTORY * PAGE_SIZE,
	                                 .phys_bits = 36};

	guest_poke32(GUEST_DIRECTORY, 0, (GUEST_TABLE + 0) * PAGE_SIZE | 0x27);
	guest_poke32(GUEST_DIRECTORY, 1, (GUEST_TABLE + 1) * PAGE_SIZE | 0x27);
	shadow_vm_load(&guest, 0, &regs);
}

static inline void guest_stop(void)
{
	ASSERT(!guest.shadow.notifier.ops->audit(&guest.shadow.notifier));
	ASSERT(!audit_all(NULL));
	shadow_vm_destroy(&guest);
	epoch_barrier();
	ASSERT(!frame_table_count());
}

/* One access to an address page. */
static inline void guest_touch(unsigned at, bool write)
{
	u64 value = at;

	ASSERT(shadow_vm_access(&guest, 0, gva((u64)at * PAGE_SIZE + 8), write ? CPU_WRITE : 0,
	                        &value)
	               .result == SHADOW_FIXED);
}

/* The next access of every page sets Accessed again. */
static inline void guest_forget(void)
{
	flush_wait(guest.space, flush_request(guest.space));
}

/* Asks the MMU itself about pages 0 .. n - 1; bitmap in, bitmap out. */
static inline unsigned guest_ask(unsigned n, u64 *bitmap, unsigned flags, u64 *visited)
{
	struct notifier *mmu = &guest.shadow.notifier;
	unsigned result;

	epoch_enter();
	result = mmu->ops->age(mmu, gfn(0), n, bitmap, flags, visited);
	epoch_exit();
	return result;
}

/* Those of the first 64 pages that are young. */
static inline u64 guest_young(unsigned flags)
{
	u64 bitmap[NOTIFIER_WORDS] = {~0ull}, visited = 0;

	(void)guest_ask(64, bitmap, flags, &visited);
	return bitmap[0];
}

static const struct spte_format *const guest_formats[] = {&spte_shadow_ad, &spte_shadow_track};
#define for_each_shadow_format(f)                                     \
	for (const struct spte_format *const *it = guest_formats, *f; \
	     it < guest_formats + ARRAY_SIZE(guest_formats) && (f = *it); it++)
