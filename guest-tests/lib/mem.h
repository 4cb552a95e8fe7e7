/*
 * The RAM of the machine: a list of ranges of free pages, everything in use taken out (the image,
 * what mem_alloc() gave, the first 64 KiB, the boot information). All RAM is mapped to itself, with
 * 2 MiB pages or, with the argument `pages=4k`, with 4 KiB pages.
 */
#pragma once

#include "guest-tests/lib/multiboot.h"
#include "guest-tests/lib/types.h"

/* Reads the memory map. CPU 0, once. FAILs if there is none. */
void mem_init(const struct multiboot_info *info);
/* Maps all RAM. After cmdline_init() and mem_init(). */
void mem_map_all(void);

/* Zeroed pages, contiguous, aligned to align_pages (a power of two); FAILs when there are none.
 * Before the pages of the test are counted: it changes mem_pages() and mem_page(). */
void *mem_alloc(u64 pages, u64 align_pages);

/* Free pages, and the address of the i-th of them, i < mem_pages(), in rising order. */
u64 mem_pages(void);
u64 *mem_page(u64 i);
/* Free pages of the largest range: what mem_alloc() can give at once. */
u64 mem_largest(void);
/* ... and its first one: they lie behind each other. */
u64 *mem_largest_start(void);
/* First byte above the last RAM. */
u64 mem_top(void);
/* Whether the page at address belongs to RAM according to the memory map. */
bool mem_is_ram(u64 address);

/* Maps the 2 MiB around gpa to itself, uncached, unless it is mapped. CPU 0 only. */
void mem_map_device(u64 gpa);
/* The same as memory, which may be there later. */
void mem_map_window(u64 gpa);
