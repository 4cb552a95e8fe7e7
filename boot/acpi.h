/*
 * The few ACPI tables that boot needs: MADT (CPUs, local APIC) and MCFG. Pure; ACPI 6.4, chapter 5.
 * A table with a wrong checksum or length is not believed.
 */
#pragma once

#include "boot/raw.h"

struct acpi_info {
	u64 rsdp; /* where the RSDP was found; the address of the copy is not known: 0 */
	u32 nr_cpus;
	struct boot_cpu cpu[BOOT_MAX_CPUS];
	u64 lapic_base;      /* 0: no MADT */
	u64 mcfg_base;       /* of PCI segment 0, 0: none */
	bool cpus_lost;      /* more than there is room for */
	const char *warning; /* a table that was not believed, NULL if all were */
};

/* Address of the RSDP in the places where a BIOS leaves it, 0 if there is none. */
u64 acpi_scan_bios(const struct bootmem *mem) must_check;
/*
 * Reads the tables that hang on an RSDP of `bytes` (20 or 36) at hand. NULL, or why there is nothing
 * to be had from it.
 */
const char *acpi_parse(const struct bootmem *mem, const u8 *rsdp, u32 bytes,
                       struct acpi_info *info) must_check;
