/*
 * What the parsers of boot information have in common: how they read foreign memory, and the form in
 * which they leave what they found. Pure: no machine, no allocation.
 */
#pragma once

#include "hv/bootinfo.h"
#include "lib/types.h"
#include "lib/util.h"

/*
 * Physical memory as a parser may see it. at() gives `bytes` readable bytes at `addr`, not aligned, or
 * NULL if any of them may not be read. No parser touches memory that at() did not give it.
 */
struct bootmem {
	const u8 *(*at)(void *ctx, u64 addr, u64 bytes);
	void *ctx;
};

static inline const u8 *bootmem_at(const struct bootmem *mem, u64 addr, u64 bytes)
{
	return bytes && addr + bytes > addr ? mem->at(mem->ctx, addr, bytes) : NULL;
}
/* A little-endian word at an address of any alignment; false if it may not be read. */
bool bootmem_u32(const struct bootmem *mem, u64 addr, u32 *out) must_check;
/* A string of fewer than `size` bytes; false if it is longer (out holds its start) or unreadable. */
bool bootmem_string(const struct bootmem *mem, u64 addr, char *out, size_t size) must_check;

#define RAW_MAX_REGIONS 512u
#define RAW_MAX_CUTS    (BOOT_MAX_MODULES * 2 + 16)
#define RAW_RSDP_BYTES  36u

enum region_type { REGION_RAM = 1, REGION_RESERVED = 2, REGION_ACPI = 3, REGION_NVS = 4 };

struct region {
	u64 start; /* bytes */
	u64 end;   /* exclusive */
	u32 type;  /* REGION_RAM, or anything else: not for us */
};

struct raw_module {
	u64 start, end;
	u64 args; /* address of its string, 0 if it has none */
};

struct boot_raw {
	char cmdline[BOOT_CMDLINE_MAX];
	char loader[64];
	bool multiboot2;
	bool uefi;
	u32 nr_regions;
	struct region region[RAW_MAX_REGIONS];
	u32 nr_modules;
	struct raw_module module[BOOT_MAX_MODULES];
	/* Memory that must not be handed out: modules, their strings, the boot information itself. */
	u32 nr_cuts;
	struct region cut[RAW_MAX_CUTS];
	u8 rsdp[RAW_RSDP_BYTES]; /* a copy that the loader passed on */
	u32 rsdp_bytes;          /* 0: none */
	const char *warning;     /* something that was left out, NULL if nothing was */
};

/* Appends [start, end); false if the table is full or the region is empty or turned around. */
bool raw_add_region(struct boot_raw *raw, u64 start, u64 end, u32 type) must_check;
bool raw_add_cut(struct boot_raw *raw, u64 start, u64 end) must_check;
/* A module with its string, both cut out. NULL, or what is wrong. */
const char *raw_add_module(struct boot_raw *raw, const struct bootmem *mem, struct raw_module mod);
