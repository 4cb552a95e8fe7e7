#include "boot/multiboot2.h"

#include "lib/string.h"

/* Multiboot2 specification 2.0, section 3.6: tag types. */
enum tag {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_LOADER = 2,
	TAG_MODULE = 3,
	TAG_MMAP = 6,
	TAG_EFI32 = 11,
	TAG_EFI64 = 12,
	TAG_RSDP1 = 14,
	TAG_RSDP2 = 15,
};
#define HEADER_BYTES    8u /* of the information and of every tag */
#define MAX_INFO_BYTES  (1u << 20)
#define MMAP_HEAD_BYTES 16u
#define MMAP_MIN_ENTRY  24u
#define MODULE_HEAD     16u

static u32 word(const u8 *at, u64 offset)
{
	u32 v;

	memcpy(&v, at + offset, sizeof(v));
	return v;
}

static u64 word64(const u8 *at, u64 offset)
{
	return word(at, offset) | (u64)word(at, offset + 4) << 32;
}

static u64 end_of(u64 start, u64 bytes)
{
	return bytes > UINT64_MAX - start ? UINT64_MAX : start + bytes;
}

/* A string that has to end inside its tag and fit into out. */
static bool tag_string(const u8 *tag, u32 bytes, char *out, size_t size)
{
	for (u32 i = HEADER_BYTES; i < bytes && i - HEADER_BYTES < size; i++) {
		out[i - HEADER_BYTES] = (char)tag[i];
		if (!tag[i])
			return true;
	}
	out[0] = '\0';
	return false;
}

static const char *parse_mmap(const u8 *tag, u32 bytes, struct boot_raw *raw)
{
	u32 entry = bytes >= MMAP_HEAD_BYTES ? word(tag, 8) : 0;

	if (entry < MMAP_MIN_ENTRY)
		return "the memory map has entries of impossible size";
	for (u64 at = MMAP_HEAD_BYTES; at + entry <= bytes; at += entry) {
		u64 base = word64(tag, at), length = word64(tag, at + 8);

		if (raw->nr_regions == RAW_MAX_REGIONS)
			return "the memory map has more entries than there is room for";
		if (length && !raw_add_region(raw, base, end_of(base, length), word(tag, at + 16)))
			return "the memory map has an entry that makes no sense";
	}
	return NULL;
}

static const char *parse_module(const struct bootmem *mem, const u8 *tag, u64 addr, u32 bytes,
                                struct boot_raw *raw)
{
	struct raw_module mod;

	if (bytes <= MODULE_HEAD || !memchr(tag + MODULE_HEAD, 0, bytes - MODULE_HEAD))
		return "the string of a boot module has no end";
	mod = (struct raw_module){word(tag, 8), word(tag, 12), addr + MODULE_HEAD};
	return raw_add_module(raw, mem, mod);
}

static void keep_rsdp(const u8 *tag, u32 bytes, struct boot_raw *raw)
{
	u32 n = min_of(bytes - HEADER_BYTES, RAW_RSDP_BYTES);

	if (n <= raw->rsdp_bytes) /* the newer form is the longer one */
		return;
	memcpy(raw->rsdp, tag + HEADER_BYTES, n);
	raw->rsdp_bytes = n;
}

static const char *parse_tag(const struct bootmem *mem, const u8 *tag, u64 addr, u32 bytes,
                             struct boot_raw *raw)
{
	switch (word(tag, 0)) {
	case TAG_CMDLINE:
		if (!tag_string(tag, bytes, raw->cmdline, sizeof(raw->cmdline)))
			return "the command line is too long or has no end";
		return NULL;
	case TAG_LOADER:
		if (!tag_string(tag, bytes, raw->loader, sizeof(raw->loader)))
			raw->warning = "the boot loader's name does not end where it should";
		return NULL;
	case TAG_MODULE:
		return parse_module(mem, tag, addr, bytes, raw);
	case TAG_MMAP:
		return parse_mmap(tag, bytes, raw);
	case TAG_EFI32:
	case TAG_EFI64:
		raw->uefi = true;
		return NULL;
	case TAG_RSDP1:
	case TAG_RSDP2:
		keep_rsdp(tag, bytes, raw);
		return NULL;
	default:
		return NULL;
	}
}

const char *multiboot2_parse(const struct bootmem *mem, u64 addr, struct boot_raw *raw)
{
	u32 total;
	const u8 *info;

	*raw = (struct boot_raw){.multiboot2 = true};
	if (!bootmem_u32(mem, addr, &total))
		return "the boot information lies where it cannot be read";
	info = total >= HEADER_BYTES && total <= MAX_INFO_BYTES ? bootmem_at(mem, addr, total)
	                                                        : NULL;
	if (!info || !raw_add_cut(raw, addr, addr + total))
		return "the boot information has an impossible size";
	for (u32 at = HEADER_BYTES; total - at >= HEADER_BYTES;) {
		u32 bytes = word(info, at + 4);
		const char *error;

		if (word(info, at) == TAG_END)
			return raw->nr_regions ? NULL : "the boot loader gave no memory map";
		if (bytes < HEADER_BYTES || bytes > total - at)
			return "the boot information has a tag of impossible size";
		error = parse_tag(mem, info + at, addr + at, bytes, raw);
		if (error)
			return error;
		/* Tags start at multiples of 8. */
		bytes = align_up(bytes, 8u);
		if (bytes > total - at)
			break;
		at += bytes;
	}
	return "the boot information has no end tag";
}
