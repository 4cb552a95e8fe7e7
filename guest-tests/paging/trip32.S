/*
 * The executor in 32-bit protected mode, paging off, 32-bit or PAE. EBX: struct trip, EBP: the operation; see
 * trip64.S.
 */
#include "guest-tests/paging/trip.h"

	.section .text, "ax"
	.code64
	.globl trip_run32
trip_run32:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rdi, %rbx
	movq %rsp, TRIP_OLD_RSP(%rbx)
	movq %cr0, %rax
	movq %rax, TRIP_OLD_CR0(%rbx)
	movq %cr3, %rax
	movq %rax, TRIP_OLD_CR3(%rbx)
	movq %cr4, %rax
	movq %rax, TRIP_OLD_CR4(%rbx)
	movl $0xc0000080, %ecx
	rdmsr
	movl %eax, TRIP_OLD_EFER(%rbx)
	lgdt TRIP_GDTR(%rbx)
	pushq $TRIP_CODE32
	pushq $down
	lretq

	.code32
down:                                   /* compatibility mode; PG first, then LME, see SDM vol. 3, 9.8.5.4 */
	movl $TRIP_UDATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl $TRIP_DATA, %eax
	movl %eax, %ss
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	movl $0xc0000080, %ecx
	movl TRIP_EFER(%ebx), %eax
	xorl %edx, %edx
	wrmsr
	movl TRIP_CR4(%ebx), %eax
	movl %eax, %cr4
	movl TRIP_CR3(%ebx), %eax
	movl %eax, %cr3
	movl TRIP_CR0(%ebx), %eax
	movl %eax, %cr0
	lidtl TRIP_IDTR(%ebx)
	movl $TRIP_TSS32, %eax
	ltr %ax
	movl TRIP_STACK(%ebx), %esp
	movl TRIP_OPS(%ebx), %ebp
	pushl TRIP_FLAGS(%ebx)
	popfl
loop:
	movl OP_KIND_AT(%ebp), %ecx
	movl OP_AT(%ebp), %edi
	movl OP_VALUE_AT(%ebp), %esi
	jmp *kinds(, %ecx, 4)

	.balign 4
kinds:
	.long end, access, access, access, access, store, rmw, fill, sweep, invlpg, set_cr3, set_cr0, set_cr4
	.long post, await, ipi
as_kernel:
	.long 0, kernel_read, kernel_write, kernel_xchg, kernel_fetch
as_user:
	.long 0, trip_user32_read, trip_user32_write, trip_user32_xchg, trip_user32_fetch

access:
	testl $OP_USER, OP_FLAGS_AT(%ebp)
	jnz to_user
	testl $OP_AC, OP_FLAGS_AT(%ebp)
	jz 1f
	pushl TRIP_FLAGS(%ebx)
	orl $0x40000, (%esp)
	popfl
1:	jmp *as_kernel(, %ecx, 4)
kernel_read:
	movl (%edi), %eax
	jmp done
kernel_write:
	movl %esi, (%edi)
	jmp done
kernel_xchg:
	movl %esi, %eax
	xchgl %eax, (%edi)
	jmp done
kernel_fetch:
	movl $done, %edx
	jmp *%edi

to_user:
	movl TRIP_FLAGS(%ebx), %edx
	testl $OP_AC, OP_FLAGS_AT(%ebp)
	jz 1f
	orl $0x40000, %edx
1:	pushl $TRIP_UDATA
	pushl $0
	pushl %edx
	pushl $TRIP_USER32
	pushl as_user(, %ecx, 4)
	iretl

/* In: EAX = what was found. */
	.globl trip_done32
trip_done32:
done:
	movl %eax, OP_FOUND_AT(%ebp)
next:
	movl TRIP_STACK(%ebx), %esp
	pushl TRIP_FLAGS(%ebx)
	popfl
	addl $OP_SIZE, %ebp
	jmp loop

store:                                  /* never present with half an address */
	testl $OP_WIDE, OP_FLAGS_AT(%ebp)
	jz 1f
	movl $0, (%edi)
	movl OP_VALUE_AT + 4(%ebp), %eax
	movl %eax, 4(%edi)
1:	movl %esi, (%edi)
	jmp next
rmw:
	testl $OP_WIDE, OP_FLAGS_AT(%ebp)
	jnz 2f
	movl (%edi), %eax
1:	movl %eax, %edx
	andl OP_MASK_AT(%ebp), %edx
	orl %esi, %edx
	lock cmpxchgl %edx, (%edi)
	jnz 1b
	jmp done
2:	pushl %ebx
	movl (%edi), %eax
	movl 4(%edi), %edx
3:	movl %eax, %ebx
	movl %edx, %ecx
	andl OP_MASK_AT(%ebp), %ebx
	andl OP_MASK_AT + 4(%ebp), %ecx
	orl %esi, %ebx
	orl OP_VALUE_AT + 4(%ebp), %ecx
	lock cmpxchg8b (%edi)
	jnz 3b
	popl %ebx
	movl %edx, OP_FOUND_AT + 4(%ebp)
	jmp done
fill:
	movl OP_MASK_AT(%ebp), %ecx
1:	movl %esi, (%edi)
	addl $4, %edi
	testl $OP_WIDE, OP_FLAGS_AT(%ebp)
	jz 2f
	movl OP_VALUE_AT + 4(%ebp), %eax
	movl %eax, (%edi)
	addl $4, %edi
2:	decl %ecx
	jnz 1b
	jmp next
sweep:
	movl OP_MASK_AT(%ebp), %ecx
	xorl %eax, %eax
1:	addl (%edi), %eax
	addl $4096, %edi
	decl %ecx
	jnz 1b
	jmp done
invlpg:
	invlpg (%edi)
	jmp next
set_cr3:
	movl %esi, %cr3
	jmp next
set_cr0:
	movl %esi, %cr0
	jmp next
set_cr4:
	movl %esi, %cr4
	jmp next
post:
	lock incl (%edi)
	jmp next
await:
	pause
	cmpl %esi, (%edi)
	jb await
	jmp next
ipi:
	shll $24, %esi
	movl %esi, 0xfee00310
	movl $0x4000 | TRIP_SHOT_VECTOR, 0xfee00300
1:	pause
	testl $0x1000, 0xfee00300
	jnz 1b
	jmp next

end:
	cli
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	movl TRIP_OLD_CR4(%ebx), %eax
	movl %eax, %cr4
	movl TRIP_OLD_CR3(%ebx), %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	movl TRIP_OLD_EFER(%ebx), %eax
	andl $0xfffffbff, %eax          /* LMA is the CPU's */
	xorl %edx, %edx
	wrmsr
	movl TRIP_OLD_CR0(%ebx), %eax
	movl %eax, %cr0
	ljmp $TRIP_CODE64, $up

	.code64
up:
	movl $TRIP_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %ebx, %ebx
	movq TRIP_OLD_RSP(%rbx), %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.code32
	.balign 16
	.globl trip_faults32
trip_faults32:
	.set vector, 0
	.rept 32
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushl $0
	.endif
	pushl $vector
	jmp fault
	.set vector, vector + 1
	.endr

fault:
	popl %eax
	popl %ecx
	incl %eax
	movl %eax, OP_VECTOR_AT(%ebp)
	movl %ecx, OP_ERROR_AT(%ebp)
	movl %cr2, %eax
	movl %eax, OP_CR2_AT(%ebp)
	jmp next

	.globl trip_shot32
trip_shot32:
	pushl %eax
	movl %cr3, %eax
	movl %eax, %cr3
	movl %ebp, TRIP_SHOT_OP(%ebx)
	lock incl TRIP_SHOTS(%ebx)
	movl $0, 0xfee000b0
	popl %eax
	iretl

	.globl trip_ignore32
trip_ignore32:
	movl $0, 0xfee000b0
	iretl

	.section .note.GNU-stack, "", @progbits
