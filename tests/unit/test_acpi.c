/* boot/acpi: the tables, whole, cut short and spoiled. */
#include "tests/unit/boot_window.h"

#include "boot/acpi.h"

static struct acpi_info acpi;

#define RSDT 0x400u
#define XSDT 0x500u
#define MADT 0x600u
#define MCFG 0x2000u

static void fix_sum(u32 at, u32 bytes, u32 sum_at)
{
	u8 sum = 0;

	memory[at + sum_at] = 0;
	for (u32 i = 0; i < bytes; i++)
		sum = (u8)(sum + memory[at + i]);
	memory[at + sum_at] = (u8)-sum;
}

static void table_finish(u32 at, const char *name, u32 bytes)
{
	memcpy(memory + at, name, 4);
	put32(at + 4, bytes);
	fix_sum(at, bytes, 9);
}

static void rsdp_finish(u32 at)
{
	memcpy(memory + at, "RSD PTR ", 8);
	fix_sum(at, 20, 8);
	put32(at + 20, 36);
	fix_sum(at, 36, 32);
}

static u32 madt_end;

static void madt_lapic(u32 id, u32 flags)
{
	memory[madt_end] = 0;
	memory[madt_end + 1] = 8;
	memory[madt_end + 3] = (u8)id;
	put32(madt_end + 4, flags);
	madt_end += 8;
}

static void madt_x2apic(u32 id, u32 flags)
{
	memory[madt_end] = 9;
	memory[madt_end + 1] = 16;
	put32(madt_end + 4, id);
	put32(madt_end + 8, flags);
	madt_end += 16;
}

static void madt_override(u64 base)
{
	memory[madt_end] = 5;
	memory[madt_end + 1] = 12;
	put64(madt_end + 4, base);
	madt_end += 12;
}

static void madt_begin(void)
{
	put32(MADT + 36, 0xfee00000);
	madt_end = MADT + 44;
}

static void madt_finish(void)
{
	table_finish(MADT, "APIC", madt_end - MADT);
}

static void acpi_build(void)
{
	clear();
	put32(16, BASE + RSDT);
	put64(24, BASE + XSDT);
	memory[15] = 2;
	rsdp_finish(0);
	put32(RSDT + 36, BASE + MADT);
	table_finish(RSDT, "RSDT", 40);
	put64(XSDT + 36, BASE + MCFG);
	put64(XSDT + 44, BASE + MADT);
	put64(XSDT + 52, 0xffffffffffffffff); /* nothing there */
	table_finish(XSDT, "XSDT", 60);
	put64(MCFG + 44, 0xb0000000);
	table_finish(MCFG, "MCFG", 60);
	madt_begin();
	madt_lapic(4, 1);
	madt_lapic(0, 0);
	madt_lapic(0xff, 0);
	madt_lapic(6, 2);
	madt_x2apic(6, 1);
	madt_x2apic(0x1234, 1);
	madt_x2apic(UINT32_MAX, 1);
	madt_finish();
}

static const char *parse_acpi(u32 bytes)
{
	const char *error = acpi_parse(&window, memory, bytes, &acpi);

	forget_copies();
	return error;
}

static void test_acpi_whole(void **state)
{
	(void)state;
	acpi_build();
	assert_null(parse_acpi(36));
	assert_null(acpi.warning);
	assert_int_equal(acpi.lapic_base, 0xfee00000);
	assert_int_equal(acpi.mcfg_base, 0xb0000000);
	assert_int_equal(acpi.nr_cpus, 4);
	assert_int_equal(acpi.cpu[0].apic_id, 4);
	assert_true(acpi.cpu[0].usable);
	assert_int_equal(acpi.cpu[1].apic_id, 0);
	assert_false(acpi.cpu[1].usable);
	assert_int_equal(acpi.cpu[2].apic_id, 6);
	assert_true(acpi.cpu[2].usable);
	assert_int_equal(acpi.cpu[3].apic_id, 0x1234);
	madt_override(0xfec12340000);
	madt_finish();
	assert_null(parse_acpi(36));
	assert_int_equal(acpi.lapic_base, 0xfec12340000);
}

static void test_acpi_old_root(void **state)
{
	(void)state;
	acpi_build();
	/* The short root pointer, and a long one whose XSDT is damaged, both lead to the RSDT. */
	assert_null(parse_acpi(20));
	assert_int_equal(acpi.nr_cpus, 4);
	assert_int_equal(acpi.mcfg_base, 0);
	memory[XSDT + 50]++;
	assert_null(parse_acpi(36));
	assert_int_equal(acpi.mcfg_base, 0);
	memory[RSDT + 38]++;
	assert_non_null(parse_acpi(36));
	assert_int_equal(acpi.nr_cpus, 0);
}

static void test_acpi_damaged(void **state)
{
	(void)state;
	acpi_build();
	memory[9]++;
	assert_non_null(parse_acpi(36));
	acpi_build();
	assert_non_null(parse_acpi(19));
	acpi_build();
	memory[MADT + 50]++;
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
	assert_int_equal(acpi.nr_cpus, 0);
	acpi_build();
	memory[MADT + 44 + 8 + 1] = 0; /* an entry that would never end */
	madt_finish();
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
	assert_int_equal(acpi.nr_cpus, 1);
	acpi_build();
	memory[madt_end - 15] = 17; /* reaches over the end */
	madt_finish();
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
	acpi_build();
	table_finish(MADT, "APIC", 40);
	assert_null(parse_acpi(36));
	assert_non_null(acpi.warning);
}

static void test_acpi_cut_short(void **state)
{
	(void)state;
	acpi_build();
	for (limit = 0; limit < MCFG + 60; limit += limit < 0x700 ? 1 : 61) {
		(void)parse_acpi(36);
		assert_true(limit >= madt_end || acpi.nr_cpus == 0);
	}
	limit = MCFG + 60;
	assert_null(parse_acpi(36));
	assert_int_equal(acpi.nr_cpus, 4);
}

static void test_acpi_many_cpus(void **state)
{
	(void)state;
	acpi_build();
	madt_begin();
	for (u32 i = 0; i < BOOT_MAX_CPUS; i++)
		madt_x2apic(i * 3, 1);
	madt_finish();
	assert_null(parse_acpi(20));
	assert_int_equal(acpi.nr_cpus, BOOT_MAX_CPUS);
	assert_false(acpi.cpus_lost);
	madt_x2apic(9999, 1);
	madt_finish();
	assert_null(parse_acpi(20));
	assert_int_equal(acpi.nr_cpus, BOOT_MAX_CPUS);
	assert_true(acpi.cpus_lost);
}

/* The first MiB, for the search. */
static u8 low_memory[0x100000];

static const u8 *low_at(void *ctx, u64 addr, u64 bytes)
{
	(void)ctx;
	return addr <= sizeof(low_memory) && bytes <= sizeof(low_memory) - addr ? low_memory + addr
	                                                                        : NULL;
}

static void test_acpi_scan(void **state)
{
	const struct bootmem low = {.at = low_at};

	(void)state;
	clear();
	rsdp_finish(0);
	memset(low_memory, 0, sizeof(low_memory));
	assert_int_equal(acpi_scan_bios(&low), 0);
	memcpy(low_memory + 0xffff0 - 20, memory, 20); /* not at a multiple of 16 */
	assert_int_equal(acpi_scan_bios(&low), 0);
	memcpy(low_memory + 0xf5ad0, memory, 20);
	assert_int_equal(acpi_scan_bios(&low), 0xf5ad0);
	low_memory[0x40e] = 0xc0;
	low_memory[0x40f] = 0x9f;
	memcpy(low_memory + 0x9fc00 + 1024 - 32, memory, 20);
	assert_int_equal(acpi_scan_bios(&low), 0x9fc00 + 1024 - 32);
	low_memory[0x9fc00 + 1024 - 32]++;
	assert_int_equal(acpi_scan_bios(&low), 0xf5ad0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_acpi_whole),     cmocka_unit_test(test_acpi_old_root),
	        cmocka_unit_test(test_acpi_damaged),   cmocka_unit_test(test_acpi_cut_short),
	        cmocka_unit_test(test_acpi_many_cpus), cmocka_unit_test(test_acpi_scan),
	};

	return cmocka_run_group_tests_name("acpi", tests, NULL, teardown);
}
