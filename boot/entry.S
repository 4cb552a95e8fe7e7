/*
 * From the boot loader's 32-bit protected mode, and from the trampoline of another CPU, to 64-bit C.
 *
 * The boot CPU runs on early tables that map the first 4 GiB; paging_init() replaces them. The other
 * CPUs load the final tables at once: their 32-bit code lies in .text, which those map executable, so
 * that no page below 1 MiB ever has to be.
 */
#include "boot/mailbox.h"

	.set	CR0_VALUE, 0x80010033		/* PG WP NE ET MP PE */
	.set	CR4_VALUE, 0x00000620		/* OSXMMEXCPT OSFXSR PAE */
	.set	EFER_BITS, 0x00000900		/* NXE LME */
	.set	MSR_EFER, 0xc0000080
	.set	MSR_FS_BASE, 0xc0000100
	.set	COM1, 0x3f8
	.set	EARLY_GIB, 4
	.set	BOOT_STACK_BYTES, 28672

	.section .text.boot, "ax"
	.code32
	.globl	_start
	.type	_start, @function
_start:
	cli
	cld
	movl	$boot_stack_top, %esp
	pushl	$0
	popfl
	movl	%eax, boot_magic
	movl	%ebx, boot_info_addr
	call	check_cpu
	call	early_tables
	movl	$early_pml4, %eax
	call	long_mode
	lgdt	boot_gdtr
	ljmp	$0x08, $start64

/* Ends with a line on COM1 unless the CPU has CPUID, long mode and no-execute. */
check_cpu:
	pushfl
	popl	%eax
	movl	%eax, %ecx
	xorl	$(1 << 21), %eax		/* EFLAGS.ID can be changed if there is CPUID */
	pushl	%eax
	popfl
	pushfl
	popl	%eax
	cmpl	%eax, %ecx
	je	no_long_mode
	movl	$0x80000000, %eax
	cpuid
	cmpl	$0x80000001, %eax
	jb	no_long_mode
	movl	$0x80000001, %eax
	cpuid
	testl	$(1 << 29), %edx
	jz	no_long_mode
	testl	$(1 << 20), %edx
	jz	no_nx
	ret
no_long_mode:
	movl	$text_no_long_mode, %esi
	jmp	die
no_nx:
	movl	$text_no_nx, %esi
	jmp	die

/* Prints the text at esi and ends the machine. */
die:
	movl	$die_uart, %ebx
1:	movzwl	(%ebx), %edx			/* pairs of port and value, ended by port 0 */
	testl	%edx, %edx
	jz	2f
	movb	2(%ebx), %al
	outb	%al, %dx
	addl	$3, %ebx
	jmp	1b
2:	lodsb
	testb	%al, %al
	jz	5f
	movb	%al, %bl
	movl	$100000, %ecx			/* bounded: there may be no UART */
	movl	$(COM1 + 5), %edx
3:	inb	%dx, %al
	testb	$0x20, %al
	jnz	4f
	loop	3b
4:	movb	%bl, %al
	movl	$COM1, %edx
	outb	%al, %dx
	jmp	2b
5:	movl	$100000, %ecx
	movl	$(COM1 + 5), %edx
6:	inb	%dx, %al
	testb	$0x40, %al
	jnz	7f
	loop	6b
7:	movl	$1, %eax			/* QEMU: FAIL */
	movl	$0xf4, %edx
	outl	%eax, %dx
	movl	$text_shutdown, %esi		/* Bochs */
	movl	$8, %ecx
	movl	$0x8900, %edx
	rep outsb
8:	hlt
	jmp	8b

/* Identity map of the first 4 GiB with 2 MiB pages. The tables are zero. */
early_tables:
	movl	$(early_pdpt + 3), early_pml4
	movl	$(early_pd + 3), %eax
	xorl	%ecx, %ecx
1:	movl	%eax, early_pdpt(, %ecx, 8)
	addl	$4096, %eax
	incl	%ecx
	cmpl	$EARLY_GIB, %ecx
	jne	1b
	movl	$0x83, %eax			/* present, writable, large */
	xorl	%ecx, %ecx
2:	movl	%eax, early_pd(, %ecx, 8)
	addl	$0x200000, %eax
	incl	%ecx
	cmpl	$(EARLY_GIB * 512), %ecx
	jne	2b
	ret

/* Enables paging in long mode (compatibility mode until the far jump). eax: top table. */
long_mode:
	movl	%eax, %cr3
	movl	$CR4_VALUE, %eax
	movl	%eax, %cr4
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_BITS, %eax
	wrmsr
	movl	$CR0_VALUE, %eax
	movl	%eax, %cr0
	ret

	.code64
/* rsi: struct percpu of this CPU. Changes rax, rcx, rdx. */
load_percpu:
	movl	$MSR_FS_BASE, %ecx
	movq	%rsi, %rax
	movq	%rsi, %rdx
	shrq	$32, %rdx
	wrmsr
	ret

load_segments:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	ret

start64:
	movq	$boot_stack_top, %rsp
	call	load_segments
	movq	$percpu_boot, %rsi
	call	load_percpu
	movq	%rsi, %fs:0
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	movabsq	$0x9e3779b97f4a7c15, %rcx
	imulq	%rcx, %rax
	xorb	%al, %al			/* a string that runs over ends here */
	movq	%rax, %fs:0x28
	movl	boot_magic, %edi
	movl	boot_info_addr, %esi
	xorl	%ebp, %ebp			/* the backtrace ends here */
	call	boot_main
1:	hlt
	jmp	1b

/*
 * Another CPU, from the trampoline: 32-bit protected mode, no paging, no stack. It may be one that
 * was given up and comes late: only the CPU the mailbox waits for goes on, and only once.
 */
	.code32
	.globl	ap_entry32
ap_entry32:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	cpuid
	cmpl	$0xb, %eax
	jb	1f
	movl	$0xb, %eax
	xorl	%ecx, %ecx
	cpuid
	testl	%ebx, %ebx			/* 0: the leaf is there but empty */
	jnz	2f
1:	movl	$1, %eax
	cpuid
	movl	%ebx, %edx
	shrl	$24, %edx
2:	cmpl	%edx, ap_mailbox + MAILBOX_APIC_ID
	jne	ap_park
	movl	$MAILBOX_OPEN, %eax
	movl	$MAILBOX_CLAIMED, %ecx
	lock cmpxchgl %ecx, ap_mailbox + MAILBOX_STATE
	jne	ap_park
	movl	$ap_entry_stack_top, %esp	/* one CPU at a time */
	movl	ap_mailbox + MAILBOX_CR3, %eax
	call	long_mode
	lgdt	boot_gdtr
	ljmp	$0x08, $ap_start64
ap_park:
	cli
	hlt
	jmp	ap_park

	.code64
ap_start64:
	movq	ap_mailbox + MAILBOX_STACK, %rsp
	call	load_segments
	movq	ap_mailbox + MAILBOX_PERCPU, %rsi
	call	load_percpu
	movq	%rsi, %rdi
	xorl	%ebp, %ebp
	call	ap_main
1:	hlt
	jmp	1b

	.section .rodata.boot, "a"
	.balign	8
	.globl	boot_gdt
boot_gdt:
	.quad	0
	.quad	0x00af9b000000ffff		/* 0x08 64-bit code, already accessed */
	.quad	0x00cf93000000ffff		/* 0x10 data */
	.quad	0x00cf9b000000ffff		/* 0x18 32-bit code */
	.if	. - boot_gdt - BOOT_GDT_BYTES
	.error	"BOOT_GDT_BYTES"
	.endif
boot_gdtr:
	.word	BOOT_GDT_BYTES - 1
	.quad	boot_gdt
die_uart:					/* 115200 8N1 */
	.macro	uart_reg offset, value
	.word	COM1 + \offset
	.byte	\value
	.endm
	uart_reg 1, 0
	uart_reg 3, 0x80
	uart_reg 0, 1
	uart_reg 1, 0
	uart_reg 3, 3
	uart_reg 2, 7
	uart_reg 4, 3
	.word	0
text_no_long_mode:
	.asciz	"VARVE: FAIL this CPU has no 64-bit mode: use an x86-64 machine\r\n"
text_no_nx:
	.ascii	"VARVE: FAIL this CPU has no no-execute pages: "
	.asciz	"switch NX / XD on in the firmware setup\r\n"
text_shutdown:
	.ascii	"Shutdown"

	.section .bss.boot, "aw", @nobits
	.balign	4096
early_pml4:
	.skip	4096
early_pdpt:
	.skip	4096
early_pd:
	.skip	4096 * EARLY_GIB
	/* The lowest page becomes the guard page. */
	.globl	boot_stack_guard, boot_stack_low, boot_stack_top
boot_stack_guard:
	.skip	4096
boot_stack_low:
	.skip	BOOT_STACK_BYTES
boot_stack_top:
	.skip	64
ap_entry_stack_top:
	.balign	4
boot_magic:
	.skip	4
boot_info_addr:
	.skip	4

	.section .note.GNU-stack, "", @progbits
