#include "boot/raw.h"

#include "lib/string.h"

bool bootmem_u32(const struct bootmem *mem, u64 addr, u32 *out)
{
	const u8 *p = bootmem_at(mem, addr, sizeof(*out));

	if (!p)
		return false;
	memcpy(out, p, sizeof(*out));
	return true;
}

bool bootmem_string(const struct bootmem *mem, u64 addr, char *out, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		const u8 *p = bootmem_at(mem, addr + i, 1);

		out[i] = p ? (char)*p : '\0';
		if (!out[i])
			return p != NULL;
	}
	out[size - 1] = '\0';
	return false;
}

bool raw_add_region(struct boot_raw *raw, u64 start, u64 end, u32 type)
{
	if (end <= start || raw->nr_regions == RAW_MAX_REGIONS)
		return false;
	raw->region[raw->nr_regions++] = (struct region){start, end, type};
	return true;
}

bool raw_add_cut(struct boot_raw *raw, u64 start, u64 end)
{
	if (end <= start || raw->nr_cuts == RAW_MAX_CUTS)
		return false;
	raw->cut[raw->nr_cuts++] = (struct region){start, end, REGION_RESERVED};
	return true;
}

/* Bytes of a string with its NUL, 0 if no end is found within a command line's length. */
static u64 string_bytes(const struct bootmem *mem, u64 addr)
{
	for (u64 n = 0; n < BOOT_CMDLINE_MAX; n++) {
		const u8 *p = bootmem_at(mem, addr + n, 1);

		if (!p)
			return 0;
		if (!*p)
			return n + 1;
	}
	return 0;
}

const char *raw_add_module(struct boot_raw *raw, const struct bootmem *mem, struct raw_module mod)
{
	u64 bytes = mod.args ? string_bytes(mem, mod.args) : 0;

	if (mod.end < mod.start)
		return "a boot module ends before it starts";
	if (mod.end > mod.start && !bootmem_at(mem, mod.start, mod.end - mod.start))
		return "a boot module lies where it cannot be read";
	if (mod.args && !bytes)
		return "the string of a boot module has no end";
	if (raw->nr_modules == BOOT_MAX_MODULES)
		return "more boot modules than there is room for";
	if (mod.end > mod.start && !raw_add_cut(raw, mod.start, mod.end))
		return "more boot modules than there is room for";
	if (mod.args && !raw_add_cut(raw, mod.args, mod.args + bytes))
		return "more boot modules than there is room for";
	raw->module[raw->nr_modules++] = mod;
	return NULL;
}
