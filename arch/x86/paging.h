/*
 * The hypervisor's own address space: the identity map VA = PA of RAM and of the MMIO it uses.
 *
 *	page 0            not mapped
 *	image .text       read, execute
 *	image .rodata     read
 *	image .data .bss  read, write
 *	other RAM         read, write		2 MiB and 1 GiB pages where nothing forbids it
 *	MMIO              read, write, uncached
 *	guard pages       not mapped		one below every stack
 *
 * Nothing is both writable and executable; nothing is accessible to user mode or global. All CPUs
 * share the tables. A mapping that is added needs no flush; one that is removed or changed bumps a
 * generation, and a CPU catches up in paging_sync() (at the latest when it switches stacks).
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

enum paging_flags {
	PAGING_WRITE = 1,
	PAGING_EXEC = 2,
	PAGING_UNCACHED = 4,
};

struct paging_extent {
	hpa_t start; /* page aligned */
	hpa_t end;   /* page aligned, exclusive */
};

/* Builds the tables over `ram` (all RAM, used or not) and the image, and loads them. Boot CPU. */
void paging_init(const struct paging_extent *ram, unsigned n);
/* Physical address of the top table; below 4 GiB, so that an AP can load it in 32-bit mode. */
u64 paging_root(void);
/*
 * Makes MMIO at [base, base + bytes) reachable, uncached, at its own address. Panics without memory
 * for tables; idempotent. Any CPU, under no lock above LOCK_HOSTMEM.
 */
void *map_mmio(hpa_t base, u64 bytes);
/* Removes the pages (a guard), or maps RAM again. Any CPU; others see it after paging_sync(). */
void paging_unmap(u64 va, u64 bytes);
void paging_map(u64 va, u64 bytes, u32 flags);
/* Flushes this CPU's TLB if a mapping was removed or changed since it last did. */
void paging_sync(void);
/* True if every byte of the range is mapped. Walks the live tables. */
bool paging_mapped(u64 va, u64 bytes);

struct paging_audit {
	u64 mappings;     /* leaves of all sizes */
	u64 write_exec;   /* leaves both writable and executable: must be 0 */
	u64 exec_outside; /* executable pages that are not .text: must be 0 */
	u64 image_wrong;  /* image pages without the rights of their section: must be 0 */
	u64 user;         /* leaves user mode could use: must be 0 */
	bool null_mapped; /* page 0: must be false */
	bool protect_off; /* CR0.WP or EFER.NXE of this CPU clear: must be false */
};
/*
 * Walks the live tables of this CPU. `report` (may be NULL) is called for each run of pages with
 * the same rights; it returns false to stop the calls.
 */
struct paging_audit paging_audit(bool (*report)(u64 va, u64 bytes, u32 flags));
