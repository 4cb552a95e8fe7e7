/*
 * Four levels, identity. Entries get Accessed and Dirty when they are made, so that the walker never
 * writes to them. Large pages are split when a part gets other rights; never joined again.
 */
#include "arch/x86/paging.h"

#include "arch/hal.h"
#include "arch/x86/cpu.h"
#include "lib/atomic.h"
#include "lib/lock.h"

#define PTE_PRESENT  BIT(0)
#define PTE_WRITE    BIT(1)
#define PTE_USER     BIT(2)
#define PTE_PWT      BIT(3)
#define PTE_PCD      BIT(4)
#define PTE_ACCESSED BIT(5)
#define PTE_DIRTY    BIT(6)
#define PTE_LARGE    BIT(7)
#define PTE_NX       BIT(63)
#define PTE_ADDR     BITS(51, 12)

#define LEVELS 4u
#define MAX_VA BIT(47) /* the lower canonical half */

extern u8 image_start[], image_end[];
extern u8 image_text_start[], image_text_end[], image_rodata_start[], image_rodata_end[];
extern u8 image_data_start[];

static a64 root[TABLE_PAGES] aligned_to(PAGE_SIZE);
static a32 generation;
static struct spinlock lock = SPINLOCK_INIT(LOCK_PAGING, "paging");

static u64 addr_of(const void *p)
{
	return (u64)(uintptr_t)p;
}

/* Bytes one entry of a table of this level covers; level 1 holds 4 KiB pages. */
static u64 level_bytes(unsigned level)
{
	return BIT(PAGE_SHIFT + 9 * (level - 1));
}

static a64 *entry_of(a64 *table, u64 va, unsigned level)
{
	return &table[va / level_bytes(level) % TABLE_PAGES];
}

static a64 *table_of(u64 pte)
{
	return (a64 *)(uintptr_t)(pte & PTE_ADDR);
}

static bool is_leaf(u64 pte, unsigned level)
{
	return level == 1 || (pte & PTE_LARGE);
}

static u64 leaf_bits(u32 flags, unsigned level)
{
	u64 bits = PTE_PRESENT | PTE_ACCESSED;

	if (level > 1)
		bits |= PTE_LARGE;
	if (flags & PAGING_WRITE)
		bits |= PTE_WRITE | PTE_DIRTY;
	if (!(flags & PAGING_EXEC))
		bits |= PTE_NX;
	if (flags & PAGING_UNCACHED)
		bits |= PTE_PCD | PTE_PWT;
	return bits;
}

static u32 leaf_flags(u64 pte)
{
	u32 flags = 0;

	if (pte & PTE_WRITE)
		flags |= PAGING_WRITE;
	if (!(pte & PTE_NX))
		flags |= PAGING_EXEC;
	if (pte & PTE_PCD)
		flags |= PAGING_UNCACHED;
	return flags;
}

static a64 *table_new(void)
{
	a64 *table = hal_pages_alloc(1);

	if (!table)
		hal_panic("no memory for the hypervisor's page tables");
	return table;
}

/*
 * The table below an entry; makes one, with the same translations as a large page had. A walker loads the
 * table's address before its entries, which x86 keeps in order (ord X3).
 */
static a64 *table_below(a64 *entry, unsigned level)
{
	u64 old = a64_load(entry);
	a64 *table;

	if ((old & PTE_PRESENT) && !is_leaf(old, level))
		return table_of(old);
	table = table_new();
	if (old & PTE_PRESENT) {
		u64 bits = level == 2 ? old & ~PTE_LARGE : old;

		for (u64 i = 0; i < TABLE_PAGES; i++)
			a64_store(&table[i], bits + i * level_bytes(level - 1));
	}
	/* ord X3: pairs with the hardware walkers of the other CPUs, which find the table filled. */
	a64_store_release(entry, addr_of(table) | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED);
	return table;
}

static unsigned biggest_level(u64 va, u64 end)
{
	unsigned level = cpu_features.gib_pages ? 3 : 2;

	while (level > 1 && (va % level_bytes(level) || end - va < level_bytes(level)))
		level--;
	return level;
}

/* Writes one leaf at `va` of at most `level`; returns the level it has. */
static unsigned leaf_put(u64 va, unsigned level, bool present, u32 flags)
{
	a64 *table = root, *entry;
	unsigned l = LEVELS;
	u64 old, new;

	for (;; l--) {
		entry = entry_of(table, va, l);
		old = a64_load(entry);
		/* A table that is there stays: its pages are written one by one. */
		if (l <= level && (l == 1 || !(old & PTE_PRESENT) || (old & PTE_LARGE)))
			break;
		table = table_below(entry, l);
	}
	new = present ? va | leaf_bits(flags, l) : 0;
	if (old == new)
		return l;
	a64_store(entry, new);
	if (old & PTE_PRESENT) {
		/* ord X4: pairs with paging_sync; who sees the new generation walks the new entry. */
		a32_fetch_add(&generation, 1);
		tlb_flush_page(va);
	}
	return l;
}

static void range_put(u64 va, u64 end, bool present, u32 flags)
{
	while (va < end)
		va += level_bytes(leaf_put(va, biggest_level(va, end), present, flags));
}

void paging_map(u64 va, u64 bytes, u32 flags)
{
	ASSERT((va | bytes) % PAGE_SIZE == 0 && va <= MAX_VA && bytes <= MAX_VA - va);
	spin_lock(&lock);
	range_put(va, va + bytes, true, flags);
	spin_unlock(&lock);
}

void paging_unmap(u64 va, u64 bytes)
{
	ASSERT((va | bytes) % PAGE_SIZE == 0 && va <= MAX_VA && bytes <= MAX_VA - va);
	spin_lock(&lock);
	range_put(va, va + bytes, false, 0);
	spin_unlock(&lock);
}

void *map_mmio(hpa_t base, u64 bytes)
{
	u64 start = align_down(base.v, (u64)PAGE_SIZE);
	u64 end = align_up(base.v + bytes, (u64)PAGE_SIZE);

	paging_map(start, end - start, PAGING_WRITE | PAGING_UNCACHED);
	return (void *)(uintptr_t)base.v;
}

void paging_sync(void)
{
	/* ord X4: pairs with leaf_put. */
	u32 now = a32_load_acquire(&generation);

	if (this_cpu()->paging_seen == now)
		return;
	this_cpu()->paging_seen = now;
	tlb_flush_local();
}

u64 paging_root(void)
{
	return addr_of(root);
}

static void map_image(void)
{
	u64 text = addr_of(image_text_start), text_end = addr_of(image_text_end);
	u64 rodata = addr_of(image_rodata_start), rodata_end = addr_of(image_rodata_end);
	u64 data = addr_of(image_data_start), end = addr_of(image_end);

	paging_map(text, text_end - text, PAGING_EXEC);
	paging_map(rodata, rodata_end - rodata, 0);
	paging_map(data, end - data, PAGING_WRITE);
}

void paging_init(const struct paging_extent *ram, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		u64 start = max_of(ram[i].start.v, (u64)PAGE_SIZE);

		if (ram[i].end.v > start)
			paging_map(start, ram[i].end.v - start, PAGING_WRITE);
	}
	map_image();
	cr3_write(paging_root());
}

static u64 leaf_find(u64 va, unsigned *level)
{
	a64 *table = root;

	for (unsigned l = LEVELS; l > 0; l--) {
		u64 pte = a64_load(entry_of(table, va, l));

		*level = l;
		if (!(pte & PTE_PRESENT))
			return 0;
		if (is_leaf(pte, l))
			return pte;
		table = table_of(pte);
	}
	return 0;
}

bool paging_mapped(u64 va, u64 bytes)
{
	u64 end = va + bytes;
	unsigned level;

	if (end < va || end > MAX_VA)
		return false;
	while (va < end) {
		if (!leaf_find(va, &level))
			return false;
		va = (va / level_bytes(level) + 1) * level_bytes(level);
	}
	return true;
}

/* --- the audit ----------------------------------------------------------------------------------- */

struct audit_walk {
	struct paging_audit result;
	bool (*report)(u64 va, u64 bytes, u32 flags);
	u64 run_start, run_end;
	u32 run_flags;
};

static void audit_report(struct audit_walk *w)
{
	if (w->report && w->run_end > w->run_start &&
	    !w->report(w->run_start, w->run_end - w->run_start, w->run_flags))
		w->report = NULL;
}

static bool within(u64 va, u64 end, const u8 *low, const u8 *high)
{
	return va >= addr_of(low) && end <= addr_of(high);
}

/* What the sections allow; `outside` the image anything that is not executable. */
static bool image_rights_ok(u64 va, u64 end, u32 flags)
{
	if (end <= addr_of(image_start) || va >= addr_of(image_end))
		return true;
	if (within(va, end, image_text_start, image_text_end))
		return flags == PAGING_EXEC;
	if (within(va, end, image_rodata_start, image_rodata_end))
		return flags == 0;
	if (within(va, end, image_data_start, image_end))
		return flags == PAGING_WRITE;
	return false;
}

static void audit_leaf(struct audit_walk *w, u64 va, u64 pte, unsigned level)
{
	u64 end = va + level_bytes(level);
	u32 flags = leaf_flags(pte);

	w->result.mappings++;
	w->result.write_exec += flags & PAGING_WRITE && flags & PAGING_EXEC;
	w->result.exec_outside += (flags & PAGING_EXEC) &&
	                          !within(va, end, image_text_start, image_text_end);
	w->result.image_wrong += !image_rights_ok(va, end, flags);
	w->result.user += (pte & PTE_USER) != 0;
	w->result.null_mapped |= va == 0;
	if (va == w->run_end && flags == w->run_flags) {
		w->run_end = end;
		return;
	}
	audit_report(w);
	w->run_start = va;
	w->run_end = end;
	w->run_flags = flags;
}

/* Rights are taken from the leaf: the tables above it allow everything but user mode. */
static void audit_table(struct audit_walk *w, a64 *table, u64 va, unsigned level)
{
	for (u64 i = 0; i < TABLE_PAGES; i++, va += level_bytes(level)) {
		u64 pte = a64_load(&table[i]);

		if (!(pte & PTE_PRESENT))
			continue;
		if (is_leaf(pte, level))
			audit_leaf(w, va, pte, level);
		else
			audit_table(w, table_of(pte), va, level - 1);
	}
}

struct paging_audit paging_audit(bool (*report)(u64 va, u64 bytes, u32 flags))
{
	struct audit_walk w = {.report = report};

	w.result.protect_off = !(cr0_read() & CR0_WP) || !(msr_read(MSR_EFER) & EFER_NXE);
	audit_table(&w, table_of(cr3_read()), 0, LEVELS);
	audit_report(&w);
	return w.result;
}
