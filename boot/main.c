/* The boot CPU from the first line of C to hv_main(). */
#include "hv/main.h"

#include "arch/hal.h"
#include "arch/x86/apic.h"
#include "arch/x86/console.h"
#include "arch/x86/cpu.h"
#include "arch/x86/hostmem.h"
#include "arch/x86/init.h"
#include "arch/x86/power.h"
#include "arch/x86/time.h"
#include "boot/acpi.h"
#include "boot/memmap.h"
#include "boot/multiboot1.h"
#include "boot/multiboot2.h"
#include "boot/options.h"
#include "boot/raw.h"
#include "boot/selftest.h"
#include "boot/smp.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define EARLY_LIMIT     (1ull << 32) /* what the early tables map */
#define CANONICAL_LIMIT (1ull << 47)

extern u8 image_start[], image_end[];
extern u8 boot_stack_low[], boot_stack_top[];

noreturn_fn void boot_main(u32 magic, u32 info); /* from entry.S */

/* Too big for a stack, and used once. */
static struct boot_raw raw;
static struct acpi_info acpi;
static struct memmap_output map;
static struct memmap_edge edges[MEMMAP_MAX_EDGES];
static struct hostmem_extent extents[BOOT_MAX_RANGES];
static struct paging_extent ram[RAW_MAX_REGIONS];
static struct boot_info boot_info;

static noreturn_fn void fail(const char *why)
{
	char line[160];
	int n = fmt_snprintf(line, sizeof(line), "VARVE: FAIL boot: %s\n", why);

	console_write(line, (size_t)n);
	machine_exit(false);
}

static const u8 *early_at(void *ctx, u64 addr, u64 bytes)
{
	(void)ctx;
	return bytes <= EARLY_LIMIT && addr <= EARLY_LIMIT - bytes ? (const u8 *)(uintptr_t)addr
	                                                           : NULL;
}

static const struct bootmem early_memory = {.at = early_at};

/* QEMU's -kernel puts the name of the kernel before its arguments; GRUB does not. */
static void drop_kernel_name(void)
{
	char *cmdline = raw.cmdline;
	size_t skip = 0;

	if (raw.multiboot2 || strncmp(raw.loader, "qemu", 4) != 0)
		return;
	while (cmdline[skip] && cmdline[skip] != ' ')
		skip++;
	while (cmdline[skip] == ' ')
		skip++;
	memmove(cmdline, cmdline + skip, strlen(cmdline + skip) + 1);
}

static void parse_information(u32 magic, u32 info)
{
	const char *error = "not started by a Multiboot 1 or 2 boot loader";

	if (magic == MULTIBOOT1_MAGIC)
		error = multiboot1_parse(&early_memory, info, &raw);
	else if (magic == MULTIBOOT2_MAGIC)
		error = multiboot2_parse(&early_memory, info, &raw);
	if (error)
		fail(error);
	drop_kernel_name();
}

static void parse_acpi(void)
{
	const u8 *rsdp = raw.rsdp;
	u32 bytes = raw.rsdp_bytes;
	const char *error;
	u64 at = 0;

	if (!bytes) {
		at = acpi_scan_bios(&early_memory);
		rsdp = (const u8 *)(uintptr_t)at;
		/* Revision 2 and later are 36 bytes long. */
		bytes = at && rsdp[15] >= 2 ? RAW_RSDP_BYTES : 20;
	}
	error = rsdp ? acpi_parse(&early_memory, rsdp, bytes, &acpi) : "no ACPI root pointer";
	if (error)
		hal_log(HAL_WARN, "%s: only the boot CPU runs", error);
	else
		boot_info.rsdp = hpa((u64)(uintptr_t)rsdp);
	if (acpi.warning)
		hal_log(HAL_WARN, "ACPI: %s", acpi.warning);
	if (acpi.cpus_lost)
		hal_log(HAL_WARN, "ACPI: more than %u CPUs, the rest is ignored", BOOT_MAX_CPUS);
	acpi.rsdp = at;
}

static void build_memory_map(void)
{
	struct memmap_input in = {
	        .region = raw.region,
	        .nr_regions = raw.nr_regions,
	        .cut = raw.cut,
	        .limit = min_of(BIT(cpu_features.phys_bits), CANONICAL_LIMIT),
	};

	if (!raw_add_cut(&raw, (u64)(uintptr_t)image_start, (u64)(uintptr_t)image_end))
		fail("no room in the memory map for the image itself");
	in.nr_cuts = raw.nr_cuts;
	if (!memmap_build(&in, edges, &map) || !map.nr_ranges)
		fail("no usable memory in the memory map");
	if (map.lost_bytes)
		hal_log(HAL_WARN, "%llu KiB of memory left unused: too many ranges",
		        (unsigned long long)(map.lost_bytes >> 10));
}

static void give_memory(void)
{
	for (u32 i = 0; i < map.nr_ranges; i++)
		extents[i] = (struct hostmem_extent){
		        hpa_pfn(map.range[i].start),
		        (map.range[i].end.v - map.range[i].start.v) >> PAGE_SHIFT,
		};
	hostmem_init(extents, map.nr_ranges, hpa(EARLY_LIMIT));
	for (u32 i = 0; i < map.nr_ram; i++)
		ram[i] = (struct paging_extent){map.ram[i].start, map.ram[i].end};
}

static void fill_boot_info(void)
{
	struct boot_info *bi = &boot_info;

	memcpy(bi->cmdline, raw.cmdline, sizeof(bi->cmdline));
	memcpy(bi->loader, raw.loader, sizeof(bi->loader));
	bi->multiboot2 = raw.multiboot2;
	bi->uefi = raw.uefi;
	bi->nr_ranges = map.nr_ranges;
	memcpy(bi->range, map.range, sizeof(bi->range));
	bi->nr_modules = raw.nr_modules;
	for (u32 i = 0; i < raw.nr_modules; i++)
		bi->module[i] = (struct boot_module){
		        .data = (const u8 *)(uintptr_t)raw.module[i].start,
		        .bytes = raw.module[i].end - raw.module[i].start,
		        .args = raw.module[i].args ? (const char *)(uintptr_t)raw.module[i].args
		                                   : "",
		};
	bi->nr_cpus = acpi.nr_cpus;
	memcpy(bi->cpu, acpi.cpu, sizeof(bi->cpu));
	bi->mcfg_base = hpa(acpi.mcfg_base);
	bi->lapic_base = hpa(acpi.lapic_base);
	bi->ram_bytes = map.ram_bytes;
}

/*
 * Modules and their strings are read for ever: map those outside of what the map calls RAM. The last
 * cut is the image, which has its mappings.
 */
static void map_modules(void)
{
	for (u32 i = 0; i + 1 < raw.nr_cuts; i++) {
		u64 start = align_down(raw.cut[i].start, (u64)PAGE_SIZE);
		u64 end = align_up(raw.cut[i].end, (u64)PAGE_SIZE);

		if (start && !paging_mapped(start, end - start))
			paging_map(start, end - start, 0);
	}
}

static void log_machine(void)
{
	char names[256];

	cpu_feature_names(names, sizeof(names));
	hal_log(HAL_INFO, "CPU: %s %s, %u physical bits: %s", cpu_features.vendor_name,
	        cpu_features.model_name, cpu_features.phys_bits, names);
	hal_log(HAL_INFO, "TSC %llu kHz (%s), %s", (unsigned long long)(tsc_hz() / 1000),
	        tsc_source(), apic_mode_name());
	hal_log(HAL_INFO, "memory: %llu KiB RAM, %llu KiB free in %u ranges up to 0x%llx",
	        (unsigned long long)(map.ram_bytes >> 10),
	        (unsigned long long)(hostmem_free_frames() << (PAGE_SHIFT - 10)), map.nr_ranges,
	        (unsigned long long)map.range[map.nr_ranges - 1].end.v);
}

static void start_machine(void)
{
	u32 usable = 0;
	struct arch_boot boot = {
	        .ram = ram,
	        .nr_ram = map.nr_ram,
	        .lapic_base = hpa(acpi.lapic_base),
	        .stack_low = (u64)(uintptr_t)boot_stack_low,
	        .stack_high = (u64)(uintptr_t)boot_stack_top,
	};

	for (u32 i = 0; i < acpi.nr_cpus; i++)
		usable += acpi.cpu[i].usable;
	usable = max_of(usable, 1u);
	boot.nr_cpus = min_of(usable, HAL_MAX_CPUS);
	arch_init_bsp(&boot);
	map_modules();
	log_machine();
}

static void test_machine(const struct boot_options *options)
{
	const char *why = selftest_mappings();

	if (!why && options->selftest_wx)
		why = selftest_wx();
	if (why)
		fail(why);
	hal_log(HAL_INFO, "page tables: nothing is both writable and executable%s",
	        options->selftest_wx ? "; self test wx passed" : "");
}

void boot_main(u32 magic, u32 info)
{
	struct boot_options options;

	console_init();
	desc_init_early();
	cpu_detect();
	parse_information(magic, info);
	options_apply(raw.cmdline, &options);
	hal_log(HAL_INFO, "Varve, started by %s (Multiboot %d%s), command line: %s",
	        raw.loader[0] ? raw.loader : "a loader without name", raw.multiboot2 ? 2 : 1,
	        raw.uefi ? ", UEFI" : "", raw.cmdline);
	if (raw.warning)
		hal_log(HAL_WARN, "%s", raw.warning);
	parse_acpi();
	build_memory_map();
	give_memory();
	fill_boot_info();
	start_machine();
	hv_init(&boot_info);
	smp_start(&boot_info, &options, map.low_page);
	hal_log(HAL_INFO, "%u of %u CPUs run", hal_cpu_count(), max_of(acpi.nr_cpus, 1u));
	test_machine(&options);
	smp_release();
	hv_main();
}
