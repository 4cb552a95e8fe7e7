#include "boot/acpi.h"

#include "lib/string.h"

#define RSDP1_BYTES  20u
#define RSDP2_BYTES  36u
#define HEADER_BYTES 36u
#define MAX_TABLE    (1u << 20)
#define EBDA_POINTER 0x40eu
#define EBDA_BYTES   1024u
#define BIOS_START   0xe0000u
#define BIOS_END     0x100000u

#define MADT_LAPIC_BASE 36u
#define MADT_ENTRIES    44u
enum madt { MADT_LAPIC = 0, MADT_OVERRIDE = 5, MADT_X2APIC = 9 };
#define CPU_ENABLED BIT(0)
#define CPU_CAPABLE BIT(1) /* can be brought online */

#define MCFG_ENTRIES     44u
#define MCFG_ENTRY_BYTES 16u

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

static bool sum_is_zero(const u8 *at, u64 bytes)
{
	u8 sum = 0;

	for (u64 i = 0; i < bytes; i++)
		sum = (u8)(sum + at[i]);
	return sum == 0;
}

static bool rsdp_valid(const u8 *rsdp, u32 bytes)
{
	return bytes >= RSDP1_BYTES && memcmp(rsdp, "RSD PTR ", 8) == 0 &&
	       sum_is_zero(rsdp, RSDP1_BYTES);
}

static u64 scan(const struct bootmem *mem, u64 start, u64 end)
{
	for (u64 at = align_up(start, 16ull); at + RSDP1_BYTES <= end; at += 16) {
		const u8 *p = bootmem_at(mem, at, RSDP1_BYTES);

		if (p && rsdp_valid(p, RSDP1_BYTES))
			return at;
	}
	return 0;
}

u64 acpi_scan_bios(const struct bootmem *mem)
{
	const u8 *p = bootmem_at(mem, EBDA_POINTER, 2);
	u64 ebda = p ? (u64)(p[0] | p[1] << 8) << 4 : 0;
	u64 found = ebda ? scan(mem, ebda, ebda + EBDA_BYTES) : 0;

	return found ? found : scan(mem, BIOS_START, BIOS_END);
}

/* The table at `addr` if it can be read and its checksum is right, else NULL. */
static const u8 *table_at(const struct bootmem *mem, u64 addr, u32 *bytes)
{
	const u8 *t = bootmem_at(mem, addr, HEADER_BYTES);

	if (!t)
		return NULL;
	*bytes = word(t, 4);
	if (*bytes < HEADER_BYTES || *bytes > MAX_TABLE)
		return NULL;
	t = bootmem_at(mem, addr, *bytes);
	return t && sum_is_zero(t, *bytes) ? t : NULL;
}

static void add_cpu(struct acpi_info *info, u32 apic_id, u32 flags)
{
	struct boot_cpu cpu = {apic_id, (flags & (CPU_ENABLED | CPU_CAPABLE)) != 0};

	/* Some firmware lists a CPU both as type 0 and as type 9. */
	for (u32 i = 0; i < info->nr_cpus; i++) {
		if (info->cpu[i].apic_id == apic_id) {
			info->cpu[i].usable |= cpu.usable;
			return;
		}
	}
	if (info->nr_cpus == BOOT_MAX_CPUS)
		info->cpus_lost = true;
	else
		info->cpu[info->nr_cpus++] = cpu;
}

static void parse_madt_entry(const u8 *e, u32 bytes, struct acpi_info *info)
{
	switch (e[0]) {
	case MADT_LAPIC:
		/* 0xff: an empty slot of firmware that means to use type 9. */
		if (bytes >= 8 && e[3] != 0xff)
			add_cpu(info, e[3], word(e, 4));
		break;
	case MADT_OVERRIDE:
		if (bytes >= 12)
			info->lapic_base = word64(e, 4);
		break;
	case MADT_X2APIC:
		if (bytes >= 16 && word(e, 4) != UINT32_MAX)
			add_cpu(info, word(e, 4), word(e, 8));
		break;
	default:
		break;
	}
}

static void parse_madt(const u8 *t, u32 bytes, struct acpi_info *info)
{
	if (bytes < MADT_ENTRIES) {
		info->warning = "the MADT is too short";
		return;
	}
	info->lapic_base = word(t, MADT_LAPIC_BASE);
	for (u32 at = MADT_ENTRIES; bytes - at >= 2; at += t[at + 1]) {
		if (t[at + 1] < 2 || t[at + 1] > bytes - at) {
			info->warning = "the MADT has an entry of impossible size";
			return;
		}
		parse_madt_entry(t + at, t[at + 1], info);
	}
}

static void parse_mcfg(const u8 *t, u32 bytes, struct acpi_info *info)
{
	for (u32 at = MCFG_ENTRIES; at + MCFG_ENTRY_BYTES <= bytes; at += MCFG_ENTRY_BYTES)
		if ((word(t, at + 8) & 0xffff) == 0) /* segment group */
			info->mcfg_base = word64(t, at);
}

static void parse_table(const struct bootmem *mem, u64 addr, struct acpi_info *info)
{
	const u8 *head = bootmem_at(mem, addr, 4), *t;
	bool madt = head && memcmp(head, "APIC", 4) == 0;
	bool mcfg = head && memcmp(head, "MCFG", 4) == 0;
	u32 bytes = 0;

	if (!madt && !mcfg)
		return;
	t = table_at(mem, addr, &bytes);
	if (!t)
		info->warning = madt ? "the MADT is damaged" : "the MCFG is damaged";
	else if (madt)
		parse_madt(t, bytes, info);
	else
		parse_mcfg(t, bytes, info);
}

/* RSDT (entries of 4 bytes) or XSDT (8). False if it is not there or damaged. */
static bool parse_root(const struct bootmem *mem, u64 addr, const char *name, u32 entry,
                       struct acpi_info *info)
{
	u32 bytes = 0;
	const u8 *t = addr ? table_at(mem, addr, &bytes) : NULL;

	if (!t || memcmp(t, name, 4) != 0)
		return false;
	for (u32 at = HEADER_BYTES; at + entry <= bytes; at += entry)
		parse_table(mem, entry == 8 ? word64(t, at) : word(t, at), info);
	return true;
}

const char *acpi_parse(const struct bootmem *mem, const u8 *rsdp, u32 bytes, struct acpi_info *info)
{
	bool v2;

	*info = (struct acpi_info){.nr_cpus = 0};
	if (!rsdp_valid(rsdp, bytes))
		return "the ACPI root pointer is damaged";
	v2 = rsdp[15] >= 2 && bytes >= RSDP2_BYTES && sum_is_zero(rsdp, RSDP2_BYTES);
	if (v2 && parse_root(mem, word64(rsdp, 24), "XSDT", 8, info))
		return NULL;
	if (parse_root(mem, word(rsdp, 16), "RSDT", 4, info))
		return NULL;
	return "neither XSDT nor RSDT is usable";
}
