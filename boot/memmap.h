/*
 * From a firmware's memory map, which may be unsorted and overlapping, to what can be used. Pure.
 * Where entries disagree the most restrictive wins: an address is usable if some entry calls it RAM
 * and none calls it anything else, and nothing was cut out there.
 */
#pragma once

#include "boot/raw.h"

struct memmap_input {
	const struct region *region;
	u32 nr_regions;
	const struct region *cut;
	u32 nr_cuts;
	u64 limit; /* addresses from here on cannot be used */
};

struct memmap_output {
	/* All RAM, whole pages, before anything was cut out. */
	u32 nr_ram;
	struct boot_range ram[RAW_MAX_REGIONS];
	/* Without the cuts and the first MiB. The biggest ones if there are too many. */
	u32 nr_ranges;
	struct boot_range range[BOOT_MAX_RANGES];
	u64 ram_bytes;
	u64 lost_bytes; /* in ranges for which there was no room */
	/* Number of a usable page below 1 MiB for the AP trampoline, 0 if there is none. */
	u32 low_page;
};

/* Room to sort in; a caller has one, since it is too big for a stack. */
struct memmap_edge {
	u64 at;
	s32 ram;   /* +1 an entry of RAM begins here, -1 it ends */
	s32 other; /* the same for everything that forbids */
};
#define MEMMAP_MAX_EDGES (2 * (RAW_MAX_REGIONS + RAW_MAX_CUTS + 1))

/* False if there are more entries than MEMMAP_MAX_EDGES allows. */
bool memmap_build(const struct memmap_input *in, struct memmap_edge *edges,
                  struct memmap_output *out) must_check;
