/*
 * The tour: real mode, 32-bit without paging, 32-bit PSE paging, PAE paging, 64-bit. Other CPUs enter
 * it at modes_code by SIPI, CPU 0 by modes_down() out of long mode.
 */
#include "guest-tests/lib/layout.h"
#include "guest-tests/modes/modes.h"

#define LOW(sym)      ((sym) - modes_code)
#define LOW_ADDR(sym) ((sym) - modes_code + MODES_CODE)
#define PSE_PAGE      (MODES_ALIAS + 0x400000 + (1023 - MODES_COPY / 4096) * 4096)
#define PAE_PAGE      (MODES_ALIAS + 0x200000 + (511 - MODES_COPY / 4096) * 4096)

	.section .text, "ax"
	.code16
	.globl modes_code, modes_code_end, modes_isr
modes_code:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	lidtl LOW(real_idt)
	xorw %ax, %ax
	movw %ax, %ss
	movw $MODES_STACK16, %sp

	movw $MODES_SOURCE >> 4, %ax    /* copy with two segments */
	movw %ax, %ds
	movw $MODES_COPY >> 4, %ax
	movw %ax, %es
	xorw %si, %si
	xorw %di, %di
	movw $2048, %cx
	rep movsw

	xorw %bx, %bx                   /* 16-bit sum of the copy */
	xorw %si, %si
	movw $2048, %cx
1:	rolw $1, %bx
	addw %es:(%si), %bx
	addw $2, %si
	loop 1b

	int $MODES_INT
	lcallw $MODES_CODE >> 4, $LOW(far_function)

	pushw %bx
	xorl %eax, %eax
	xorl %ecx, %ecx
	cpuid
	movl %eax, %esi
	movw $0x3fd, %dx
	xorl %eax, %eax
	inb %dx, %al
	popw %bx
	movl %eax, %edi                 /* EBX, ESI, EDI live on into protected mode */
	movzwl %bx, %ebx

	movw %cs, %ax
	movw %ax, %ds
	lgdtl LOW(low_gdt)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $flat32

modes_isr:
	addw $MODES_INT_ADDS, %bx
	iretw

far_function:
	xorw $MODES_CALL_XORS, %bx
	lretw

down16:                                 /* protected mode, 16 bits: the last step to real mode */
	movl %cr0, %eax
	andl $0xfffffffe, %eax
	movl %eax, %cr0
	ljmpw $MODES_CODE >> 4, $0

	.balign 4
real_idt:
	.word 0x3ff
	.long 0
low_gdt:
	.word 0x37
	.long gdt
modes_code_end:

/* In: ESI = 4 KiB. Out: EAX = their sum. Changes ECX, ESI. */
	.code32
sum32:
	xorl %eax, %eax
	movl $1024, %ecx
1:	roll $1, %eax
	addl (%esi), %eax
	addl $4, %esi
	decl %ecx
	jnz 1b
	ret

paging_off:
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	xorl %eax, %eax
	movl %eax, %cr3
	movl %eax, %cr4
	ret

paging_on:                              /* EDX = CR4, EAX = CR3 */
	movl %edx, %cr4
	movl %eax, %cr3
	movl %cr0, %eax
	orl $0x80010000, %eax           /* PG, WP */
	movl %eax, %cr0
	ret

flat32:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $modes_stack_top, %esp
	movl %ebx, modes_results + 0
	movl %edi, modes_results + 4
	movl %esi, modes_results + 8
	movl $MODES_COPY, %esi
	call sum32
	movl %eax, modes_results + 12
	movl 0xfee00020, %eax
	movl %eax, modes_results + 16

	movl $0x10, %edx                /* PSE */
	movl $modes_pse_pd, %eax
	call paging_on
	movl $MODES_ALIAS + MODES_COPY, %esi
	call sum32
	movl %eax, modes_results + 20
	movl $PSE_PAGE, %esi
	call sum32
	movl %eax, modes_results + 24
	movl 0xfee00020, %eax
	movl %eax, modes_results + 28
	movl $MODES_MAGIC_PSE, PSE_PAGE - 4096 /* reversed: the next page down is one page up */
	movl MODES_SCRATCH, %eax
	movl %eax, modes_results + 32
	call paging_off

	movl $0x20, %edx                /* PAE */
	movl $modes_pae_pdpt, %eax
	call paging_on
	movl $MODES_ALIAS + MODES_COPY, %esi
	call sum32
	movl %eax, modes_results + 36
	movl $PAE_PAGE, %esi
	call sum32
	movl %eax, modes_results + 40
	movl 0xfee00020, %eax
	movl %eax, modes_results + 44
	movl $MODES_MAGIC_PAE, PAE_PAGE - 4096
	movl MODES_SCRATCH, %eax
	movl %eax, modes_results + 48
	call paging_off

	movl $modes_stack_top, %esp
	movl $modes64, %ebp
	jmp enter_long

	.code64
modes64:
	movq modes_saved_rsp, %rax
	testq %rax, %rax
	jz 1f
	movq %rax, %rsp
	popq %rbp
	popq %rbx
	popq %r12
	popq %r13
	popq %r14
	popq %r15
	movl $1, modes_results + 52
	ret
1:	movl $1, modes_results + 52
2:	cli
	hlt
	jmp 2b

	.globl modes_down
modes_down:
	pushq %r15
	pushq %r14
	pushq %r13
	pushq %r12
	pushq %rbx
	pushq %rbp
	movq %rsp, modes_saved_rsp
	cli
	pushq $SEL_CODE32
	pushq $down32
	lretq

	.code32
down32:
	movl $modes_stack_top, %esp
	movl $SEL_DATA, %eax
	movl %eax, %ss
	call paging_off_from_long
	movl $SEL_DATA16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	ljmp $SEL_CODE16, $LOW_ADDR(down16)

/* PG first: that leaves long mode; LME and PAE may go only then (SDM vol. 3, 9.8.5.4). */
paging_off_from_long:
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	movl $0xc0000080, %ecx
	rdmsr
	andl $0xfffffeff, %eax
	wrmsr
	jmp paging_off

	.section .bss, "aw", @nobits
	.balign 4096
	.globl modes_pse_pd, modes_pse_pt, modes_pae_pd, modes_pae_pt, modes_pae_pdpt
modes_pse_pd:
	.skip 4096
modes_pse_pt:
	.skip 4096
modes_pae_pd:
	.skip 3 * 4096
modes_pae_pt:
	.skip 4096
modes_pae_pdpt:
	.skip 32
	.balign 16
	.skip 4096
modes_stack_top:

	.section .note.GNU-stack, "", @progbits
