/* From the multiboot entry to guest_main(). */
#include "guest-tests/lib/guest.h"

void guest_start(u32 magic, const struct multiboot_info *info);

void guest_start(u32 magic, const struct multiboot_info *info)
{
	console_init();
	trap_init();
	VERDICT_CHECK(magic == MULTIBOOT_BOOT_MAGIC, "not started by multiboot: EAX is 0x%x",
	              magic);
	if (info->flags & MULTIBOOT_HAS_CMDLINE)
		cmdline_init((const char *)(u64)info->cmdline);
	mem_init(info);
	mem_map_all();
	mem_map_device(APIC_BASE);
	time_init();
	smp_init();
	apic_init();
	cpu_sti();
	guest_main();
	verdict_pass();
}
