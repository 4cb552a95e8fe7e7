/* rdi: where to leave the old stack pointer; rsi: the new one. context.c knows the frame. */
	.text
	.globl	context_switch_stacks, context_first
	.type	context_switch_stacks, @function
	.type	context_first, @function
context_switch_stacks:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret

/* A thread begins: r12(r13), which does not return. */
context_first:
	xorl	%ebp, %ebp
	movq	%r13, %rdi
	andq	$-16, %rsp
	call	*%r12
	ud2

	.section .note.GNU-stack, "", @progbits
