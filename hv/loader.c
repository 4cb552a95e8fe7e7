#include "hv/loader.h"

#include "arch/hal.h"
#include "arch/x86/vendor.h"
#include "hv/elf.h"
#include "hv/thread.h"
#include "hv/vcpu.h"
#include "hv/vm.h"
#include "hv/world.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define MULTIBOOT_BOOT_MAGIC 0x2badb002u
#define MULTIBOOT_HAS_MEM    BIT(0)
#define MULTIBOOT_HAS_CMD    BIT(2)
#define MULTIBOOT_HAS_MMAP   BIT(6)
#define MULTIBOOT_HAS_NAME   BIT(9)
#define MMAP_RAM             1u
#define MMAP_RESERVED        2u
#define WRITE_TRIES          100000u

/* Multiboot specification 0.6.96, section 3.3. */
struct multiboot_info {
	u32 flags;
	u32 mem_lower_kib, mem_upper_kib;
	u32 boot_device;
	u32 cmdline;
	u32 mods_count, mods_addr;
	u32 syms[4];
	u32 mmap_bytes, mmap_addr;
	u32 drives_bytes, drives_addr;
	u32 config_table;
	u32 boot_loader_name;
};
static_assert(offsetof(struct multiboot_info, mmap_addr) == 48, "multiboot 3.3");
static_assert(offsetof(struct multiboot_info, boot_loader_name) == 64, "multiboot 3.3");

struct multiboot_mmap {
	u32 size; /* of what follows */
	u64 base, bytes;
	u32 type;
} packed;

/* One page in the guest that has all of it. */
struct boot_page {
	struct multiboot_info info;
	struct multiboot_mmap mmap[VM_MAX_RAM + 1];
	char name[16];
	char cmdline[SCENARIO_IMAGE_MAX + SCENARIO_ARGS_MAX];
};
static_assert(sizeof(struct boot_page) <= PAGE_SIZE, "one page");

const char *loader_check(struct vm *vm)
{
	static char text[128];
	const char *why = elf_parse(vm->image->data, vm->image->bytes, &vm->elf);

	for (u32 i = 0; !why && i < vm->elf.nr_segments; i++) {
		const struct elf_segment *s = &vm->elf.segment[i];

		if (vm_has_ram(vm, gpa(s->gpa), s->bytes))
			continue;
		fmt_snprintf(text, sizeof(text),
		             "%llu KiB at 0x%llx are outside the %llu KiB of memory of the VM",
		             (unsigned long long)(s->bytes + 1023) / 1024,
		             (unsigned long long)s->gpa, (unsigned long long)vm->bytes / 1024);
		why = text;
	}
	return why;
}

/* Frames may be short for a while: others, or the reclaimer, make room when we yield. */
static bool write_all(struct vcpu *v, u64 at, const void *from, u64 bytes)
{
	u64 done = 0;

	for (u32 tries = 0; vm_running(v->vm); tries++) {
		u64 n = guest_write(&v->vm->mem, gpa(at + done), (const u8 *)from + done,
		                    min_of(bytes - done, 64ull * PAGE_SIZE));

		done += n;
		if (done == bytes)
			return true;
		tries = n ? 0 : tries;
		if (tries == WRITE_TRIES)
			break;
		world_leave();
		thread_yield();
		world_enter();
	}
	vm_stop(v->vm, VM_STOPPED, "its memory cannot be written while the image is loaded");
	return false;
}

static bool page_free(const struct elf_image *image, u64 at)
{
	for (u32 i = 0; i < image->nr_segments; i++) {
		const struct elf_segment *s = &image->segment[i];

		if (at < s->gpa + s->bytes && s->gpa < at + PAGE_SIZE)
			return false;
	}
	return true;
}

/* The highest free page below 640 KiB, else the first behind the image. */
static u64 place_boot_page(const struct vm *vm)
{
	u64 at;

	for (at = vm->ram[0].end - PAGE_SIZE; at; at -= PAGE_SIZE)
		if (page_free(&vm->elf, at))
			return at;
	at = align_up(vm->elf.end, (u64)PAGE_SIZE);
	return vm_has_ram(vm, gpa(at), PAGE_SIZE) ? at : 0;
}

static void add_range(struct boot_page *page, u32 *n, u64 start, u64 end, u32 type)
{
	page->mmap[(*n)++] = (struct multiboot_mmap){.size = sizeof(page->mmap[0]) - sizeof(u32),
	                                             .base = start,
	                                             .bytes = end - start,
	                                             .type = type};
}

/* RAM, and the hole below 1 MiB. */
static u32 fill_mmap(const struct vm *vm, struct boot_page *page)
{
	u32 n = 0;

	for (unsigned i = 0; i < vm->nr_ram; i++) {
		if (i == 1)
			add_range(page, &n, vm->ram[0].end, vm->ram[1].start, MMAP_RESERVED);
		add_range(page, &n, vm->ram[i].start, vm->ram[i].end, MMAP_RAM);
	}
	return n;
}

static void fill_boot_page(const struct vm *vm, struct boot_page *page, u32 at)
{
	u64 upper = vm->nr_ram > 1 ? vm->ram[1].end - vm->ram[1].start : 0;
	u32 n = fill_mmap(vm, page);

	fmt_snprintf(page->name, sizeof(page->name), "Varve");
	fmt_snprintf(page->cmdline, sizeof(page->cmdline), "%s%s%s", vm->config->image,
	             vm->config->args[0] ? " " : "", vm->config->args);
	page->info = (struct multiboot_info){
	        .flags = MULTIBOOT_HAS_MEM | MULTIBOOT_HAS_CMD | MULTIBOOT_HAS_MMAP |
	                 MULTIBOOT_HAS_NAME,
	        .mem_lower_kib = (u32)(vm->ram[0].end / 1024),
	        .mem_upper_kib = (u32)(upper / 1024),
	        .cmdline = at + (u32)offsetof(struct boot_page, cmdline),
	        .mmap_bytes = n * (u32)sizeof(page->mmap[0]),
	        .mmap_addr = at + (u32)offsetof(struct boot_page, mmap),
	        .boot_loader_name = at + (u32)offsetof(struct boot_page, name),
	};
}

static bool load_segments(struct vcpu *v)
{
	const struct elf_image *image = &v->vm->elf;

	/* What is zero in a segment is zero already: nothing was in this memory before (I9). */
	for (u32 i = 0; i < image->nr_segments; i++) {
		const struct elf_segment *s = &image->segment[i];

		if (s->file_bytes &&
		    !write_all(v, s->gpa, v->vm->image->data + s->file_offset, s->file_bytes))
			return false;
	}
	return true;
}

bool loader_load(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct vreset how = {
	        .mode = VRESET_FLAT32, .rip = vm->elf.entry, .eax = MULTIBOOT_BOOT_MAGIC};
	struct boot_page page = {0};
	u64 at = place_boot_page(vm);

	if (!at) {
		vm_stop(vm, VM_STOPPED,
		        "no page is left beside the image for the boot information");
		return false;
	}
	how.ebx = (u32)at;
	fill_boot_page(vm, &page, (u32)at);
	if (!load_segments(v) || !write_all(v, at, &page, sizeof(page)))
		return false;
	vcpu_reset(v, &how);
	vm->started_ns = hal_time_ns();
	return true;
}
