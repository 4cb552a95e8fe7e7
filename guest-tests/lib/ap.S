/*
 * Where the other CPUs begin: real mode at AP_CODE, IP 0 (SIPI vector AP_CODE >> 12). smp.c copies
 * the 16-bit part there. Kept to the few plainest instructions, so that a hypervisor that has to
 * emulate real mode gets by with little.
 */
#include "guest-tests/lib/layout.h"

	.section .text.boot, "ax"
	.code16
	.globl ap_code, ap_code_end
ap_code:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	lgdtl ap_gdt_pointer - ap_code
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $ap32
	.balign 4
ap_gdt_pointer:
	.word 0x37
	.long gdt
ap_code_end:

	.code32
ap32:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl ap_stack_top, %esp
	movl $ap64, %ebp
	jmp enter_long

	.code64
ap64:
	call smp_ap_main
	ud2

	.section .note.GNU-stack, "", @progbits
