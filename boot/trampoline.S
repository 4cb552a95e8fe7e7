/*
 * Where another CPU begins: real mode, CS:IP = page << 8 : 0. boot/smp.c copies it to a page below
 * 1 MiB; it is position independent and leaves at once for 32-bit code in the image.
 */
#include "boot/mailbox.h"

	.section .rodata.trampoline, "a"
	.code16
	.globl	trampoline_start, trampoline_end
trampoline_start:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	trampoline_gdtr - trampoline_start
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$0x18, $ap_entry32
	.balign	4
trampoline_gdtr:
	.word	BOOT_GDT_BYTES - 1
	.long	boot_gdt
trampoline_end:

	.section .note.GNU-stack, "", @progbits
