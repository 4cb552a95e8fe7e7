#include "guest-tests/lib/mem.h"

#include "guest-tests/lib/cmdline.h"
#include "guest-tests/lib/console.h"
#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/layout.h"
#include "guest-tests/lib/string.h"
#include "guest-tests/lib/verdict.h"

#define RANGE_MAX 32

#define PTE_PRESENT 0x001ull
#define PTE_WRITE   0x002ull
#define PTE_DEVICE  0x018ull /* PCD, PWT */
#define PTE_LARGE   0x080ull
#define PTE_ADDRESS 0x000ffffffffff000ull

struct range {
	u64 start, end; /* page aligned */
};

extern u64 boot_pml4[512];
extern char image_start[], image_end[];

static struct range ram[RANGE_MAX], avail[RANGE_MAX];
static unsigned ram_count, avail_count;
static u64 mapped_end = 4ull << 30;

static void avail_add(u64 start, u64 end)
{
	if (start >= end)
		return;
	VERDICT_CHECK(avail_count < RANGE_MAX, "memory map has too many pieces");
	avail[avail_count++] = (struct range){start, end};
}

static void avail_reserve(u64 start, u64 end)
{
	start &= ~(PAGE_SIZE - 1);
	end = (end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	for (unsigned i = 0; i < avail_count; i++) {
		struct range *r = &avail[i];
		u64 old_end = r->end;

		if (start >= r->end || end <= r->start)
			continue;
		if (end < old_end)
			avail_add(end, old_end);
		r->end = start > r->start ? start : r->start;
	}
}

/* Drops empty ranges and sorts, so that page numbers rise with addresses. */
static void avail_tidy(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < avail_count; i++)
		if (avail[i].start < avail[i].end)
			avail[n++] = avail[i];
	avail_count = n;
	for (unsigned i = 1; i < n; i++)
		for (unsigned j = i; j && avail[j].start < avail[j - 1].start; j--) {
			struct range swap = avail[j];

			avail[j] = avail[j - 1];
			avail[j - 1] = swap;
		}
}

static void ram_add(u64 base, u64 bytes)
{
	u64 start = (base + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	u64 end = (base + bytes) & ~(PAGE_SIZE - 1);

	if (start >= end)
		return;
	VERDICT_CHECK(ram_count < RANGE_MAX, "memory map has too many pieces");
	ram[ram_count++] = (struct range){start, end};
	avail_add(start, end);
}

static void read_map(const struct multiboot_info *info)
{
	u64 at = info->mmap_addr, end = at + info->mmap_bytes;

	while (at < end) {
		const struct multiboot_mmap *entry = (const void *)at;

		if (entry->type == 1)
			ram_add(entry->base, entry->bytes);
		at += entry->size + sizeof(entry->size);
	}
}

void mem_init(const struct multiboot_info *info)
{
	if (info->flags & MULTIBOOT_HAS_MMAP) {
		read_map(info);
		avail_reserve(info->mmap_addr, (u64)info->mmap_addr + info->mmap_bytes);
	} else if (info->flags & MULTIBOOT_HAS_MEM) {
		ram_add(0, (u64)info->mem_lower_kib << 10);
		ram_add(1 << 20, (u64)info->mem_upper_kib << 10);
	}
	VERDICT_CHECK(ram_count, "no RAM in the multiboot information");
	avail_reserve(0, LOW_RESERVED);
	avail_reserve((u64)image_start, (u64)image_end);
	avail_reserve((u64)info, (u64)(info + 1));
	if (info->flags & MULTIBOOT_HAS_CMDLINE)
		avail_reserve(info->cmdline, info->cmdline + PAGE_SIZE);
	avail_tidy();
}

/* Until mem_map_all() is through, only what the boot mapping reaches counts. */
static struct range *largest(void)
{
	struct range *best = NULL;

	for (unsigned i = 0; i < avail_count; i++) {
		if (avail[i].end > mapped_end)
			continue;
		if (!best || avail[i].end - avail[i].start > best->end - best->start)
			best = &avail[i];
	}
	VERDICT_CHECK(best, "no free memory");
	return best;
}

/* From the top of the largest range. */
void *mem_alloc(u64 pages, u64 align_pages)
{
	struct range *r = largest();
	u64 bytes = pages * PAGE_SIZE, start, end = r->end;

	VERDICT_CHECK(pages <= (r->end - r->start) / PAGE_SIZE, "not enough memory for %lu pages",
	              pages);
	start = (r->end - bytes) & ~(align_pages * PAGE_SIZE - 1);
	VERDICT_CHECK(start >= r->start, "not enough memory for %lu pages", pages);
	r->end = start;
	avail_add(start + bytes, end);
	avail_tidy();
	return memset((void *)start, 0, bytes);
}

u64 mem_pages(void)
{
	u64 sum = 0;

	for (unsigned i = 0; i < avail_count; i++)
		sum += (avail[i].end - avail[i].start) / PAGE_SIZE;
	return sum;
}

u64 *mem_page(u64 i)
{
	for (unsigned k = 0; k < avail_count; k++) {
		u64 n = (avail[k].end - avail[k].start) / PAGE_SIZE;

		if (i < n)
			return (u64 *)(avail[k].start + i * PAGE_SIZE);
		i -= n;
	}
	verdict_fail("page number out of range");
}

u64 mem_largest(void)
{
	const struct range *r = largest();

	return (r->end - r->start) / PAGE_SIZE;
}

u64 *mem_largest_start(void)
{
	return (u64 *)largest()->start;
}

u64 mem_top(void)
{
	u64 top = 0;

	for (unsigned i = 0; i < ram_count; i++)
		if (ram[i].end > top)
			top = ram[i].end;
	return top;
}

bool mem_is_ram(u64 address)
{
	for (unsigned i = 0; i < ram_count; i++)
		if (address >= ram[i].start && address < ram[i].end)
			return true;
	return false;
}

/* The entry of table for address at a level (39, 30, 21), with a table below it made on demand. */
static u64 *step_down(u64 *table, u64 address, unsigned shift)
{
	u64 *entry = &table[address >> shift & 511];

	if (!(*entry & PTE_PRESENT))
		*entry = (u64)mem_alloc(1, 1) | PTE_PRESENT | PTE_WRITE;
	return (u64 *)(*entry & PTE_ADDRESS);
}

static u64 *large_entry(u64 address)
{
	u64 *pd = step_down(step_down(boot_pml4, address, 39), address, 30);

	return &pd[address >> 21 & 511];
}

static void split(u64 *entry, u64 base)
{
	u64 *table = mem_alloc(1, 1);

	for (u64 i = 0; i < 512; i++)
		table[i] = (base + i * PAGE_SIZE) | PTE_PRESENT | PTE_WRITE;
	*entry = (u64)table | PTE_PRESENT | PTE_WRITE;
}

static void map_ram(u64 base, bool small)
{
	u64 *entry = large_entry(base);

	if (!(*entry & PTE_PRESENT))
		*entry = base | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
	if (small && *entry & PTE_LARGE)
		split(entry, base);
}

void mem_map_all(void)
{
	const char *size = cmdline_text("pages");
	bool small = size && string_equal(size, "4k");

	VERDICT_CHECK(!size || small || string_equal(size, "2m"), "argument pages= is 4k or 2m");
	for (unsigned i = 0; i < ram_count; i++) {
		u64 base = ram[i].start & ~(LARGE_SIZE - 1);

		for (; base < ram[i].end; base += LARGE_SIZE)
			map_ram(base, small);
	}
	mapped_end = UINT64_MAX;
	cr3_write((u64)boot_pml4);
}

static void map_large(u64 gpa, u64 flags)
{
	u64 base = gpa & ~(LARGE_SIZE - 1), *entry = large_entry(base);

	if (!(*entry & PTE_PRESENT) || *entry & PTE_LARGE)
		*entry = base | PTE_PRESENT | PTE_WRITE | PTE_LARGE | flags;
	cr3_write((u64)boot_pml4);
}

void mem_map_device(u64 gpa)
{
	map_large(gpa, PTE_DEVICE);
}

void mem_map_window(u64 gpa)
{
	map_large(gpa, 0);
}
