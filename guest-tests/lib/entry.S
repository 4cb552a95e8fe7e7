/*
 * Multiboot 1 header and the way from 32-bit protected mode, paging off, to 64-bit C.
 *
 * The first 4 GiB are mapped to themselves with 2 MiB pages; mem.c refines that. The same second
 * half (enter_long) serves the other CPUs, see ap.S.
 */
#include "guest-tests/lib/layout.h"

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002
	.long 3                         /* modules page aligned, memory information wanted */
	.long -(0x1badb002 + 3)

	.section .text.boot, "ax"
	.code32
	.globl _start
_start:
	cli
	cld
	movl %eax, %edi                 /* magic and information, first arguments of guest_start() */
	movl %ebx, %esi

	movl $boot_pdpt + 3, boot_pml4
	movl $boot_pd + 3, %eax
	movl $boot_pdpt, %edx
	movl $4, %ecx
1:	movl %eax, (%edx)
	addl $4096, %eax
	addl $8, %edx
	decl %ecx
	jnz 1b

	movl $0x83, %eax                /* present, writable, 2 MiB */
	movl $boot_pd, %edx
	movl $2048, %ecx
2:	movl %eax, (%edx)
	addl $0x200000, %eax
	addl $8, %edx
	decl %ecx
	jnz 2b

	movl $boot_cpu_area + CPU_AREA_SIZE, %esp
	movl $start64, %ebp

/* In: EBP = 64-bit code to go to, ESP = its stack, EDI, ESI = its arguments. Paging off. */
	.globl enter_long
enter_long:
	lgdt gdt_pointer
	movl %cr4, %eax
	orl $0x20, %eax                 /* PAE */
	movl %eax, %cr4
	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx          /* EFER.LME */
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	andl $0x9fffffff, %eax          /* caches on: INIT leaves CD and NW set */
	orl $0x80010021, %eax           /* PG, WP, NE, PE */
	movl %eax, %cr0
	ljmp $SEL_CODE64, $1f

	.code64
1:	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl %esp, %esp
	movl %ebp, %eax
	xorl %ebp, %ebp
	jmp *%rax

start64:
	movl %edi, %edi
	movl %esi, %esi
	call guest_start
	ud2

	.section .data
	.balign 16
	.globl gdt
gdt:
	.quad 0
	.quad 0x00af9a000000ffff        /* SEL_CODE64 */
	.quad 0x00cf92000000ffff        /* SEL_DATA */
	.quad 0x00cf9a000000ffff        /* SEL_CODE32 */
	.quad 0x000f9a000000ffff        /* SEL_CODE16, base 0, 64 KiB */
	.quad 0x000f92000000ffff        /* SEL_DATA16, base 0, 64 KiB */
	.fill 2 * CPU_MAX, 8, 0         /* one TSS each, from SEL_TSS on */
gdt_end:
	.globl gdt_pointer
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	.section .bss, "aw", @nobits
	.balign CPU_AREA_SIZE
	.globl boot_cpu_area
boot_cpu_area:
	.skip CPU_AREA_SIZE
	.globl boot_pml4, boot_pd
boot_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pd:
	.skip 4 * 4096

	.section .note.GNU-stack, "", @progbits
