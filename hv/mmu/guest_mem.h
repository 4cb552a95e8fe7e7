/*
 * The hypervisor's own access to guest memory (devices, loader, decoder's fetch): needs the space and no page
 * tables, so it is there whatever MMU the guest runs on.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct null_mmu;
struct shadow;
struct space;

struct guest_mem {
	struct space *space;
	struct null_mmu *device; /* through which all accesses go; NULL: none */
	struct shadow *shadow;   /* told of every write; NULL: none */
};

/*
 * Copies within the space, bringing pages in as a fault would, pinning each while it is copied and marking it
 * accessed. Returns the bytes copied: short where there is no slot, or no memory. May take long; no lock held.
 */
u64 guest_read(const struct guest_mem *m, gpa_t from, void *to, u64 bytes);
u64 guest_write(const struct guest_mem *m, gpa_t to, const void *from, u64 bytes);
