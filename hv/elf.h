/*
 * What a guest image wants loaded where: ELF for i386 or x86-64 with a multiboot 1 header, or a flat
 * image with the header's address fields (Multiboot specification 0.6.96, section 3.1). Pure: reads
 * the given bytes only, and nothing past them.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define ELF_MAX_SEGMENTS 16u

struct elf_segment {
	u64 gpa;
	u64 file_offset;
	u64 file_bytes; /* inside the image */
	u64 bytes;      /* in memory; what is past file_bytes is zero */
};

struct elf_image {
	u32 entry;
	u32 nr_segments;
	struct elf_segment segment[ELF_MAX_SEGMENTS]; /* none empty, none wraps */
	u64 end;                                      /* first address behind all segments */
};

/*
 * NULL if *out is a loadable image, else what is wrong with it, to be put behind "image NAME: ".
 * Segments are not checked against a memory size; use out->end and the segments for that.
 */
const char *elf_parse(const u8 *data, u64 bytes, struct elf_image *out) must_check;
