/* The multiboot 1 information, as far as guests read it (Multiboot specification 0.6.96, 3.3). */
#pragma once

#include "guest-tests/lib/types.h"

#define MULTIBOOT_BOOT_MAGIC 0x2badb002u

#define MULTIBOOT_HAS_MEM     (1u << 0)
#define MULTIBOOT_HAS_CMDLINE (1u << 2)
#define MULTIBOOT_HAS_MMAP    (1u << 6)

struct multiboot_info {
	u32 flags;
	u32 mem_lower_kib;
	u32 mem_upper_kib;
	u32 boot_device;
	u32 cmdline;
	u32 mods_count;
	u32 mods_addr;
	u32 syms[4];
	u32 mmap_bytes;
	u32 mmap_addr;
};

struct multiboot_mmap {
	u32 size; /* of what follows */
	u64 base;
	u64 bytes;
	u32 type; /* 1: usable RAM */
} __attribute__((packed));

_Static_assert(offsetof(struct multiboot_info, mmap_addr) == 48, "multiboot information");
_Static_assert(sizeof(struct multiboot_mmap) == 24, "multiboot memory map");
