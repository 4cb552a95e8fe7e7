/*
 * What boot loaders look for: the Multiboot 1 header (QEMU -kernel, GRUB's `multiboot`) and the
 * Multiboot 2 header (GRUB's `multiboot2`, BIOS and UEFI). Both stand at the start of the text
 * segment, one page into the file.
 */
	.set	MB1_MAGIC, 0x1badb002
	.set	MB1_FLAGS, 0x3			/* modules on page boundaries, memory map wanted */
	.set	MB2_MAGIC, 0xe85250d6

	.section .multiboot, "ax"
	.balign	8
multiboot1_header:
	.long	MB1_MAGIC
	.long	MB1_FLAGS
	.long	-(MB1_MAGIC + MB1_FLAGS)

	.balign	8
multiboot2_header:
	.long	MB2_MAGIC
	.long	0				/* i386, protected mode */
	.long	multiboot2_end - multiboot2_header
	.long	-(MB2_MAGIC + 0 + (multiboot2_end - multiboot2_header))
	/* Information request: memory map is needed, the rest is welcome (bit 0: optional). */
	.balign	8
1:	.word	1, 0
	.long	2f - 1b
	.long	6				/* memory map */
2:
	.balign	8
1:	.word	1, 1
	.long	2f - 1b
	.long	1, 2, 3, 14, 15, 11, 12		/* cmdline, loader, modules, RSDP 1 and 2, EFI */
2:
	.balign	8
	.word	6, 0				/* modules on page boundaries */
	.long	8
	/* No boot-services tag (7): GRUB is to leave boot services before it jumps here. */
	.balign	8
	.word	0, 0
	.long	8
multiboot2_end:
