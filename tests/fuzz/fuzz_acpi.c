/*
 * The ACPI parser on any bytes: the first 36 are the root pointer, the rest is memory at BASE. Check
 * sums would keep a fuzzer out, so those of the root pointer and of every table that is asked for are
 * made right unless the byte in which they stand is 0xff.
 */
#include <stdlib.h>
#include <string.h>

#include "boot/acpi.h"

#define BASE       0x1000ull
#define RSDP_BYTES 36u
#define COPIES     64u

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct window {
	const u8 *data;
	size_t size;
	u8 *copy[COPIES];
	size_t next;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void fix_sum(u8 *at, u64 bytes, u64 where)
{
	u8 sum = 0;

	if (bytes <= where || at[where] == 0xff)
		return;
	at[where] = 0;
	for (u64 i = 0; i < bytes; i++)
		sum = (u8)(sum + at[i]);
	at[where] = (u8)-sum;
}

static const u8 *window_at(void *ctx, u64 addr, u64 bytes)
{
	struct window *w = ctx;
	u32 table = 0;
	u8 **slot;

	if (addr < BASE || addr - BASE > w->size || bytes > w->size - (addr - BASE))
		return NULL;
	/* A read of a root table stays in use while its tables are read: slot by size. */
	slot = &w->copy[w->next < COPIES / 2 ? w->next : COPIES / 2 + w->next % (COPIES / 2)];
	w->next++;
	free(*slot);
	*slot = malloc(bytes);
	check(*slot != NULL);
	memcpy(*slot, w->data + (addr - BASE), bytes);
	if (bytes >= 36)
		memcpy(&table, *slot + 4, 4);
	if (table == bytes)
		fix_sum(*slot, bytes, 9);
	return *slot;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct acpi_info info;
	u8 rsdp[RSDP_BYTES];
	struct window w = {.size = 0};
	const struct bootmem mem = {.at = window_at, .ctx = &w};
	const char *error;

	if (size < RSDP_BYTES + 1)
		return 0;
	memcpy(rsdp, data, sizeof(rsdp));
	memcpy(rsdp, "RSD PTR ", 8);
	fix_sum(rsdp, 20, 8);
	fix_sum(rsdp, 36, 32);
	w.data = data + RSDP_BYTES;
	w.size = size - RSDP_BYTES;
	error = acpi_parse(&mem, rsdp, rsdp[15] >= 2 ? 36 : 20, &info);
	check(!error || error[0]);
	check(info.nr_cpus <= BOOT_MAX_CPUS);
	for (u32 i = 0; i < info.nr_cpus; i++)
		for (u32 j = 0; j < i; j++)
			check(info.cpu[i].apic_id != info.cpu[j].apic_id);
	(void)acpi_scan_bios(&mem);
	for (size_t i = 0; i < COPIES; i++)
		free(w.copy[i]);
	return 0;
}
