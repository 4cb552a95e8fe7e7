/*
 * The executor in 64-bit mode. RBX: struct trip, R12: the operation; both survive the user's code. At the
 * top of the loop RSP is trip->stack and nothing is on it, so that every way back just resets it.
 */
#include "guest-tests/paging/trip.h"

	.section .text, "ax"
	.code64
	.globl trip_run64
trip_run64:
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
	lidt TRIP_IDTR(%rbx)
	movl $TRIP_TSS64, %eax
	ltr %ax
	movl TRIP_EFER(%rbx), %eax
	xorl %edx, %edx
	wrmsr
	movq TRIP_CR4(%rbx), %rax
	movq %rax, %cr4
	movq TRIP_CR3(%rbx), %rax
	movq %rax, %cr3
	movq TRIP_CR0(%rbx), %rax
	movq %rax, %cr0
	movq TRIP_STACK(%rbx), %rsp
	movq TRIP_OPS(%rbx), %r12
	pushq TRIP_FLAGS(%rbx)
	popfq
loop:
	movl OP_KIND_AT(%r12), %ecx
	movq OP_AT(%r12), %rdi
	movq OP_VALUE_AT(%r12), %rsi
	jmp *kinds(, %rcx, 8)

	.balign 8
kinds:
	.quad end, access, access, access, access, store, rmw, fill, sweep, invlpg, set_cr3, set_cr0, set_cr4
	.quad post, await, ipi
as_kernel:
	.quad 0, kernel_read, kernel_write, kernel_xchg, kernel_fetch
as_user:
	.quad 0, user64_read, user64_write, user64_xchg, user64_fetch

access:
	testl $OP_USER, OP_FLAGS_AT(%r12)
	jnz to_user
	testl $OP_AC, OP_FLAGS_AT(%r12)
	jz 1f
	pushq TRIP_FLAGS(%rbx)
	orl $0x40000, (%rsp)
	popfq
1:	jmp *as_kernel(, %rcx, 8)
kernel_read:
	movq (%rdi), %rax
	jmp done
kernel_write:
	movq %rsi, (%rdi)
	jmp done
kernel_xchg:
	movq %rsi, %rax
	xchgq %rax, (%rdi)
	jmp done
kernel_fetch:
	movl $done, %edx
	jmp *%rdi

to_user:
	movq TRIP_FLAGS(%rbx), %rdx
	testl $OP_AC, OP_FLAGS_AT(%r12)
	jz 1f
	orl $0x40000, %edx
1:	pushq $TRIP_UDATA
	pushq $0
	pushq %rdx
	pushq $TRIP_USER64
	pushq as_user(, %rcx, 8)
	iretq

/* In: RAX = what was found. */
	.globl trip_done64
trip_done64:
done:
	movq %rax, OP_FOUND_AT(%r12)
next:
	movq TRIP_STACK(%rbx), %rsp
	pushq TRIP_FLAGS(%rbx)
	popfq
	addq $OP_SIZE, %r12
	jmp loop

store:
	movq %rsi, (%rdi)
	jmp next
rmw:
	movq (%rdi), %rax
1:	movq %rax, %rdx
	andq OP_MASK_AT(%r12), %rdx
	orq %rsi, %rdx
	lock cmpxchgq %rdx, (%rdi)
	jnz 1b
	jmp done
fill:
	movq OP_MASK_AT(%r12), %rcx
	movq %rsi, %rax
	rep stosq
	jmp next
sweep:
	movq OP_MASK_AT(%r12), %rcx
	xorl %eax, %eax
1:	addq (%rdi), %rax
	addq $4096, %rdi
	decq %rcx
	jnz 1b
	jmp done
invlpg:
	invlpg (%rdi)
	jmp next
set_cr3:
	movq %rsi, %cr3
	jmp next
set_cr0:
	movq %rsi, %cr0
	jmp next
set_cr4:
	movq %rsi, %cr4
	jmp next
post:
	lock incl (%rdi)
	jmp next
await:
	pause
	cmpl %esi, (%rdi)
	jb await
	jmp next
ipi:
	shll $24, %esi
	movl $0xfee00300, %edx
	movl %esi, 0x10(%rdx)
	movl $0x4000 | TRIP_SHOT_VECTOR, (%rdx)
1:	pause
	testl $0x1000, (%rdx)
	jnz 1b
	jmp next

end:
	cli
	movq TRIP_OLD_CR0(%rbx), %rax
	movq %rax, %cr0
	movq TRIP_OLD_CR4(%rbx), %rax
	movq %rax, %cr4
	movq TRIP_OLD_CR3(%rbx), %rax
	movq %rax, %cr3
	movl TRIP_OLD_EFER(%rbx), %eax
	xorl %edx, %edx
	movl $0xc0000080, %ecx
	wrmsr
	movl $TRIP_DATA, %eax           /* null since the last way back from the user */
	movl %eax, %ss
	movq TRIP_OLD_RSP(%rbx), %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.balign 16
	.globl trip_faults64
trip_faults64:
	.set vector, 0
	.rept 32
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushq $0
	.endif
	pushq $vector
	jmp fault
	.set vector, vector + 1
	.endr

fault:
	popq %rax
	popq %rcx
	incl %eax
	movl %eax, OP_VECTOR_AT(%r12)
	movl %ecx, OP_ERROR_AT(%r12)
	movq %cr2, %rax
	movq %rax, OP_CR2_AT(%r12)
	jmp next

/* Another CPU has changed the tables: forget all translations. */
	.globl trip_shot64
trip_shot64:
	pushq %rax
	movq %cr3, %rax
	movq %rax, %cr3
	movq %r12, TRIP_SHOT_OP(%rbx)
	lock incl TRIP_SHOTS(%rbx)
	movl $0xfee000b0, %eax
	movl $0, (%rax)
	popq %rax
	iretq

	.globl trip_ignore64
trip_ignore64:
	pushq %rax
	movl $0xfee000b0, %eax
	movl $0, (%rax)
	popq %rax
	iretq

/* The user's code, 64-bit and 32-bit: a page of its own. */
	.balign 4096
	.globl trip_user, trip_user32_read, trip_user32_write, trip_user32_xchg, trip_user32_fetch
trip_user:
user64_read:
	movq (%rdi), %rax
	int $TRIP_DONE_VECTOR
user64_write:
	movq %rsi, (%rdi)
	int $TRIP_DONE_VECTOR
user64_xchg:
	movq %rsi, %rax
	xchgq %rax, (%rdi)
	int $TRIP_DONE_VECTOR
user64_fetch:
	movl $user_done, %edx
	jmp *%rdi
user_done:
	int $TRIP_DONE_VECTOR
	.code32
trip_user32_read:
	movl (%edi), %eax
	int $TRIP_DONE_VECTOR
trip_user32_write:
	movl %esi, (%edi)
	int $TRIP_DONE_VECTOR
trip_user32_xchg:
	movl %esi, %eax
	xchgl %eax, (%edi)
	int $TRIP_DONE_VECTOR
trip_user32_fetch:
	movl $user_done, %edx
	jmp *%edi
	.balign 4096

	.section .note.GNU-stack, "", @progbits
