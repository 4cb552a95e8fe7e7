#include "hv/elf.h"

#include "lib/string.h"

#define MULTIBOOT_MAGIC     0x1badb002u
#define MULTIBOOT_SEARCH    8192u /* the header lies whole in the first 8 KiB, 4-byte aligned */
#define MULTIBOOT_ADDRESSES BIT(16)

#define ELF_MACHINE_386    3u
#define ELF_MACHINE_X86_64 62u
#define ELF_TYPE_EXEC      2u
#define ELF_PT_LOAD        1u

/* The fields of both classes that matter here (System V ABI, chapters 4 and 5). */
struct elf_header {
	u64 entry, phoff;
	u16 type, machine, phentsize, phnum;
};

struct multiboot_header {
	u32 flags;
	u64 offset; /* in the image */
	u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

/* Unaligned little-endian reads; the caller checked the bounds. */
static u16 get16(const u8 *p)
{
	return (u16)(p[0] | p[1] << 8);
}
static u32 get32(const u8 *p)
{
	return get16(p) | (u32)get16(p + 2) << 16;
}
static u64 get64(const u8 *p)
{
	return get32(p) | (u64)get32(p + 4) << 32;
}

static bool inside(u64 offset, u64 size, u64 bytes)
{
	return offset <= bytes && size <= bytes - offset;
}

static bool find_multiboot(const u8 *data, u64 bytes, struct multiboot_header *h)
{
	u64 limit = min_of(bytes, (u64)MULTIBOOT_SEARCH);

	for (u64 at = 0; inside(at, 12, limit); at += 4) {
		u32 flags = get32(data + at + 4);

		if (get32(data + at) != MULTIBOOT_MAGIC)
			continue;
		if (MULTIBOOT_MAGIC + flags + get32(data + at + 8) != 0)
			continue;
		*h = (struct multiboot_header){.flags = flags, .offset = at};
		if (!(flags & MULTIBOOT_ADDRESSES))
			return true;
		if (!inside(at, 32, limit))
			continue;
		h->header_addr = get32(data + at + 12);
		h->load_addr = get32(data + at + 16);
		h->load_end_addr = get32(data + at + 20);
		h->bss_end_addr = get32(data + at + 24);
		h->entry_addr = get32(data + at + 28);
		return true;
	}
	return false;
}

static const char *add_segment(struct elf_image *out, const struct elf_segment *s)
{
	if (!s->bytes)
		return NULL;
	if (s->file_bytes > s->bytes)
		return "a segment is larger in the file than in memory";
	if (s->gpa + s->bytes < s->gpa)
		return "a segment wraps around the end of the address space";
	if (out->nr_segments == ELF_MAX_SEGMENTS)
		return "it has too many segments (at most 16)";
	out->segment[out->nr_segments++] = *s;
	out->end = max_of(out->end, s->gpa + s->bytes);
	return NULL;
}

/* Address fields: the image is one piece that begins at load_addr. */
static const char *parse_flat(u64 bytes, const struct multiboot_header *h, struct elf_image *out)
{
	struct elf_segment s = {.gpa = h->load_addr};
	u64 before = h->header_addr - h->load_addr;

	if (h->header_addr < h->load_addr || before > h->offset)
		return "its multiboot header has impossible addresses";
	s.file_offset = h->offset - before;
	s.file_bytes = bytes - s.file_offset;
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr)
			return "its multiboot header has impossible addresses";
		if (h->load_end_addr - h->load_addr > s.file_bytes)
			return "it is truncated (the multiboot header promises more)";
		s.file_bytes = h->load_end_addr - h->load_addr;
	}
	s.bytes = s.file_bytes;
	if (h->bss_end_addr > s.gpa + s.bytes)
		s.bytes = h->bss_end_addr - s.gpa;
	out->entry = h->entry_addr;
	return add_segment(out, &s);
}

static bool read_header(const u8 *data, u64 bytes, bool wide, struct elf_header *h)
{
	if (bytes < (wide ? 64u : 52u))
		return false;
	h->type = get16(data + 16);
	h->machine = get16(data + 18);
	h->entry = wide ? get64(data + 24) : get32(data + 24);
	h->phoff = wide ? get64(data + 32) : get32(data + 28);
	h->phentsize = get16(data + (wide ? 54 : 42));
	h->phnum = get16(data + (wide ? 56 : 44));
	return true;
}

static void read_segment(const u8 *p, bool wide, struct elf_segment *s)
{
	s->file_offset = wide ? get64(p + 8) : get32(p + 4);
	s->gpa = wide ? get64(p + 24) : get32(p + 12); /* the physical address */
	s->file_bytes = wide ? get64(p + 32) : get32(p + 16);
	s->bytes = wide ? get64(p + 40) : get32(p + 20);
}

static const char *parse_segments(const u8 *data, u64 bytes, bool wide, const struct elf_header *h,
                                  struct elf_image *out)
{
	if (h->phentsize < (wide ? 56u : 32u))
		return "its program headers are too small";
	if (!inside(h->phoff, (u64)h->phentsize * h->phnum, bytes))
		return "it is truncated (program headers)";
	for (u32 i = 0; i < h->phnum; i++) {
		const u8 *p = data + h->phoff + (u64)i * h->phentsize;
		struct elf_segment s;
		const char *why;

		if (get32(p) != ELF_PT_LOAD)
			continue;
		read_segment(p, wide, &s);
		if (!inside(s.file_offset, s.file_bytes, bytes))
			return "it is truncated (a segment)";
		why = add_segment(out, &s);
		if (why)
			return why;
	}
	return NULL;
}

static const char *parse_elf(const u8 *data, u64 bytes, struct elf_image *out)
{
	bool wide = bytes > 4 && data[4] == 2;
	struct elf_header h;

	if (!read_header(data, bytes, wide, &h))
		return "it is truncated (ELF header)";
	if (data[4] != 1 && data[4] != 2)
		return "it is an ELF file of no known class";
	if (data[5] != 1)
		return "it is a big-endian ELF file";
	if (h.type != ELF_TYPE_EXEC || h.machine != (wide ? ELF_MACHINE_X86_64 : ELF_MACHINE_386))
		return "it is not an executable for i386 or x86-64";
	if (h.entry > 0xffffffffu)
		return "its entry point is above 4 GiB";
	out->entry = (u32)h.entry;
	return parse_segments(data, bytes, wide, &h, out);
}

static const char *check_pair(const struct elf_segment *a, const struct elf_segment *b)
{
	if (a->gpa < b->gpa + b->bytes && b->gpa < a->gpa + a->bytes)
		return "two of its segments overlap";
	return NULL;
}

/* What holds for every format: page 0 stays free, segments are disjoint, one has the entry point. */
static const char *check_image(const struct elf_image *image)
{
	bool entry = false;

	for (u32 i = 0; i < image->nr_segments; i++) {
		const struct elf_segment *s = &image->segment[i];

		if (s->gpa < PAGE_SIZE)
			return "a segment lies in page 0";
		for (u32 k = 0; k < i; k++)
			if (check_pair(s, &image->segment[k]))
				return check_pair(s, &image->segment[k]);
		entry |= image->entry >= s->gpa && image->entry - s->gpa < s->file_bytes;
	}
	if (!image->nr_segments)
		return "it has nothing to load";
	return entry ? NULL : "its entry point is in none of its segments";
}

static const char *parse(const u8 *data, u64 bytes, struct elf_image *out)
{
	struct multiboot_header h = {0};
	bool elf = bytes >= 4 && !memcmp(data, "\177ELF", 4);
	bool multiboot = find_multiboot(data, bytes, &h);
	const char *why;

	if (!bytes)
		return "it is empty";
	if (multiboot && (h.flags & MULTIBOOT_ADDRESSES))
		return parse_flat(bytes, &h, out);
	if (!elf)
		return multiboot ? "it is neither an ELF file nor says where to load it"
		                 : "it is neither an ELF file nor has it a multiboot header";
	why = parse_elf(data, bytes, out);
	return why || multiboot ? why : "it has no multiboot 1 header";
}

const char *elf_parse(const u8 *data, u64 bytes, struct elf_image *out)
{
	const char *why;

	memset(out, 0, sizeof(*out));
	why = parse(data, bytes, out);
	return why ? why : check_image(out);
}
