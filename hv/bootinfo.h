/*
 * What the machine looks like, in one form for every boot protocol. boot/ fills it before hv runs;
 * it is constant afterwards. Strings and modules stay where the boot loader put them: hostmem never
 * hands those pages out.
 */
#pragma once

#include "lib/types.h"

#define BOOT_MAX_RANGES  128u
#define BOOT_MAX_MODULES 32u
#define BOOT_MAX_CPUS    256u
#define BOOT_CMDLINE_MAX 1024u

/* Usable RAM left after holes, ACPI areas, the image, modules and boot information are cut out. */
struct boot_range {
	hpa_t start; /* page aligned */
	hpa_t end;   /* page aligned, exclusive */
};

struct boot_module {
	const u8 *data;
	u64 bytes;
	const char *args; /* "name words...": first word is the name as given to the loader */
};

struct boot_cpu {
	u32 apic_id;
	bool usable; /* enabled, or online-capable, in the MADT */
};

struct boot_info {
	char cmdline[BOOT_CMDLINE_MAX];
	char loader[64];
	bool multiboot2;
	bool uefi;
	u32 nr_ranges;
	struct boot_range range[BOOT_MAX_RANGES];
	u32 nr_modules;
	struct boot_module module[BOOT_MAX_MODULES];
	u32 nr_cpus; /* entries of the MADT; the one that boots is found by its APIC ID */
	struct boot_cpu cpu[BOOT_MAX_CPUS];
	hpa_t rsdp;      /* 0: no ACPI (then the boot CPU is the only one) */
	hpa_t mcfg_base; /* PCIe configuration space, 0 if none */
	hpa_t lapic_base;
	u64 ram_bytes; /* all usable RAM before anything was cut out */
};
