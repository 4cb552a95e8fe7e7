#include "boot/multiboot1.h"

#include "lib/string.h"

/* Multiboot specification 0.6.96, section 3.3: offsets in the information and its flags. */
enum info {
	INFO_FLAGS = 0,
	INFO_MEM_LOWER = 4, /* KiB from 0 */
	INFO_MEM_UPPER = 8, /* KiB from 1 MiB */
	INFO_CMDLINE = 16,
	INFO_MODS_COUNT = 20,
	INFO_MODS_ADDR = 24,
	INFO_MMAP_BYTES = 44,
	INFO_MMAP_ADDR = 48,
	INFO_LOADER = 64,
	INFO_BYTES = 116,
};
#define FLAG_MEM     BIT(0)
#define FLAG_CMDLINE BIT(2)
#define FLAG_MODS    BIT(3)
#define FLAG_MMAP    BIT(6)
#define FLAG_LOADER  BIT(9)

#define MOD_BYTES        16u
#define MMAP_ENTRY_BYTES 20u /* behind its own size word */

static u32 word(const u8 *at, unsigned offset)
{
	u32 v;

	memcpy(&v, at + offset, sizeof(v));
	return v;
}

static u64 word64(const u8 *at, unsigned offset)
{
	return word(at, offset) | (u64)word(at, offset + 4) << 32;
}

static u64 end_of(u64 start, u64 bytes)
{
	return bytes > UINT64_MAX - start ? UINT64_MAX : start + bytes;
}

static const char *parse_mmap(const struct bootmem *mem, u64 addr, u64 bytes, struct boot_raw *raw)
{
	u64 end = addr + bytes;

	if (!raw_add_cut(raw, addr, end))
		return "the memory map is empty";
	while (end - addr >= MMAP_ENTRY_BYTES + 4) {
		const u8 *e = bootmem_at(mem, addr, MMAP_ENTRY_BYTES + 4);
		u64 base, length;

		if (!e)
			return "the memory map lies where it cannot be read";
		base = word64(e, 4);
		length = word64(e, 12);
		if (raw->nr_regions == RAW_MAX_REGIONS)
			return "the memory map has more entries than there is room for";
		if (length && !raw_add_region(raw, base, end_of(base, length), word(e, 20)))
			return "the memory map has an entry that makes no sense";
		/* The size does not count itself; less than an entry would never end. */
		if (word(e, 0) < MMAP_ENTRY_BYTES || word(e, 0) > end - addr - 4)
			return "the memory map has an entry of impossible size";
		addr += word(e, 0) + 4ull;
	}
	return raw->nr_regions ? NULL : "the memory map is empty";
}

static const char *parse_basic_memory(const u8 *info, struct boot_raw *raw)
{
	u64 lower = word(info, INFO_MEM_LOWER), upper = word(info, INFO_MEM_UPPER);

	raw->warning = "the boot loader gave no memory map, only sizes";
	if (lower && !raw_add_region(raw, 0, min_of(lower, 640ull) << 10, REGION_RAM))
		return "the memory sizes make no sense";
	if (!raw_add_region(raw, 1 << 20, (1 << 20) + (upper << 10), REGION_RAM))
		return "the memory sizes make no sense";
	return NULL;
}

static const char *parse_modules(const struct bootmem *mem, u64 addr, u32 count,
                                 struct boot_raw *raw)
{
	if (count && !raw_add_cut(raw, addr, addr + (u64)count * MOD_BYTES))
		return "the module list makes no sense";
	for (u32 i = 0; i < count; i++) {
		const u8 *m = bootmem_at(mem, addr + (u64)i * MOD_BYTES, MOD_BYTES);
		const char *error;

		if (!m)
			return "the module list lies where it cannot be read";
		error = raw_add_module(raw, mem,
		                       (struct raw_module){word(m, 0), word(m, 4), word(m, 8)});
		if (error)
			return error;
	}
	return NULL;
}

static const char *parse_strings(const struct bootmem *mem, const u8 *info, u64 flags,
                                 struct boot_raw *raw)
{
	if ((flags & FLAG_LOADER) &&
	    !bootmem_string(mem, word(info, INFO_LOADER), raw->loader, sizeof(raw->loader)))
		raw->warning = "the boot loader's name does not end where it should";
	if ((flags & FLAG_CMDLINE) &&
	    !bootmem_string(mem, word(info, INFO_CMDLINE), raw->cmdline, sizeof(raw->cmdline)))
		return "the command line is too long or cannot be read";
	return NULL;
}

const char *multiboot1_parse(const struct bootmem *mem, u64 addr, struct boot_raw *raw)
{
	const u8 *info = bootmem_at(mem, addr, INFO_BYTES);
	const char *error;
	u64 flags;

	*raw = (struct boot_raw){.multiboot2 = false};
	if (!info)
		return "the boot information lies where it cannot be read";
	flags = word(info, INFO_FLAGS);
	if (!raw_add_cut(raw, addr, addr + INFO_BYTES))
		return "the boot information lies where it cannot be read";
	error = parse_strings(mem, info, flags, raw);
	if (!error && (flags & FLAG_MMAP))
		error = parse_mmap(mem, word(info, INFO_MMAP_ADDR), word(info, INFO_MMAP_BYTES),
		                   raw);
	else if (!error && (flags & FLAG_MEM))
		error = parse_basic_memory(info, raw);
	else if (!error)
		error = "the boot loader says nothing about memory";
	if (!error && (flags & FLAG_MODS))
		error = parse_modules(mem, word(info, INFO_MODS_ADDR), word(info, INFO_MODS_COUNT),
		                      raw);
	return error;
}
