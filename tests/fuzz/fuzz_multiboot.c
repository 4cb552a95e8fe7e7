/*
 * Both Multiboot parsers and the memory map on any bytes. The first byte chooses the protocol, the rest
 * is memory at BASE, where the information starts. Every read is served from a copy of its size.
 */
#include <stdlib.h>
#include <string.h>

#include "boot/memmap.h"
#include "boot/multiboot1.h"
#include "boot/multiboot2.h"

#define BASE 0x1000ull

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct window {
	const u8 *data;
	size_t size;
	u8 *copy[64]; /* the last reads; a parser keeps no more than a few at a time */
	size_t next;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static const u8 *window_at(void *ctx, u64 addr, u64 bytes)
{
	struct window *w = ctx;
	u8 **slot;

	if (addr < BASE || addr - BASE > w->size || bytes > w->size - (addr - BASE))
		return NULL;
	/* The information itself (slot 0 and 1) is looked at till the end. */
	slot = &w->copy[w->next < 2 ? w->next : 2 + w->next % 62];
	w->next++;
	free(*slot);
	*slot = malloc(bytes);
	check(*slot != NULL);
	memcpy(*slot, w->data + (addr - BASE), bytes);
	return *slot;
}

static void check_raw(const struct boot_raw *raw)
{
	check(raw->nr_regions && raw->nr_regions <= RAW_MAX_REGIONS);
	check(raw->nr_modules <= BOOT_MAX_MODULES && raw->nr_cuts <= RAW_MAX_CUTS);
	check(memchr(raw->cmdline, 0, sizeof(raw->cmdline)) != NULL);
	check(memchr(raw->loader, 0, sizeof(raw->loader)) != NULL);
	check(raw->rsdp_bytes <= RAW_RSDP_BYTES);
	for (u32 i = 0; i < raw->nr_regions; i++)
		check(raw->region[i].start < raw->region[i].end);
	for (u32 i = 0; i < raw->nr_modules; i++)
		check(raw->module[i].start <= raw->module[i].end);
}

static bool overlaps(const struct region *r, struct boot_range range)
{
	return r->start < range.end.v && r->end > range.start.v;
}

/* What comes out is sorted, whole pages, and touches nothing that is not RAM or was cut out. */
static void check_map(const struct boot_raw *raw, const struct memmap_output *map)
{
	check(map->nr_ranges <= BOOT_MAX_RANGES && map->low_page < 0x100);
	for (u32 i = 0; i < map->nr_ranges; i++) {
		struct boot_range r = map->range[i];

		check(r.start.v >= 0x100000 && r.start.v < r.end.v);
		check((r.start.v | r.end.v) % PAGE_SIZE == 0);
		check(i == 0 || r.start.v >= map->range[i - 1].end.v);
		for (u32 j = 0; j < raw->nr_regions; j++)
			check(raw->region[j].type == REGION_RAM || !overlaps(&raw->region[j], r));
		for (u32 j = 0; j < raw->nr_cuts; j++)
			check(!overlaps(&raw->cut[j], r));
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct boot_raw raw;
	static struct memmap_output map;
	static struct memmap_edge edges[MEMMAP_MAX_EDGES];
	struct window w = {.data = data + 1, .size = size - 1};
	const struct bootmem mem = {.at = window_at, .ctx = &w};
	const char *error;

	if (size == 0)
		return 0;
	error = data[0] & 1 ? multiboot1_parse(&mem, BASE, &raw)
	                    : multiboot2_parse(&mem, BASE, &raw);
	for (size_t i = 0; i < ARRAY_SIZE(w.copy); i++)
		free(w.copy[i]);
	if (error) {
		check(error[0] != '\0');
		return 0;
	}
	check_raw(&raw);
	struct memmap_input in = {raw.region, raw.nr_regions, raw.cut, raw.nr_cuts, 1ull << 47};

	check(memmap_build(&in, edges, &map));
	check_map(&raw, &map);
	return 0;
}
