/*
 * bool vmx_enter(struct arch_vcpu *v, u64 *host_rsp, bool launched)
 *
 * HOST_RSP is written only when the stack is another one than last time. The exit restores CR3, FS
 * base, GDT and the rest from the VMCS's host area before our first instruction.
 */
#define G(n)	 ((n) * 8)(%rdi)
#define HOST_RSP 0x6c14

	.text
	.globl vmx_enter, vmx_exit_landing
	.type vmx_enter, @function
vmx_enter:
	pushq %rbp
	movq %rsp, %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rdi
	cmpq %rsp, (%rsi)
	je 1f
	movl $HOST_RSP, %eax
	vmwrite %rsp, %rax
	jbe vmx_refused
	movq %rsp, (%rsi)
1:	testb %dl, %dl	/* moves leave the flags alone */
	movq G(0), %rax
	movq G(1), %rcx
	movq G(2), %rdx
	movq G(3), %rbx
	movq G(5), %rbp
	movq G(6), %rsi
	movq G(8), %r8
	movq G(9), %r9
	movq G(10), %r10
	movq G(11), %r11
	movq G(12), %r12
	movq G(13), %r13
	movq G(14), %r14
	movq G(15), %r15
	movq G(7), %rdi
	jz 2f
	vmresume
	jmp vmx_refused
2:	vmlaunch
vmx_refused:
	popq %rdi
	xorl %eax, %eax
	jmp vmx_return

vmx_exit_landing:
	pushq %rdi
	movq 8(%rsp), %rdi
	movq %rax, G(0)
	movq %rcx, G(1)
	movq %rdx, G(2)
	movq %rbx, G(3)
	movq %rbp, G(5)
	movq %rsi, G(6)
	movq %r8, G(8)
	movq %r9, G(9)
	movq %r10, G(10)
	movq %r11, G(11)
	movq %r12, G(12)
	movq %r13, G(13)
	movq %r14, G(14)
	movq %r15, G(15)
	popq %rcx
	movq %rcx, G(7)
	addq $8, %rsp
	movl $1, %eax
vmx_return:
	/* No guest value is left in a register. */
	xorl %edx, %edx
	xorl %ecx, %ecx
	xorl %esi, %esi
	xorl %r8d, %r8d
	xorl %r9d, %r9d
	xorl %r10d, %r10d
	xorl %r11d, %r11d
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
	.size vmx_enter, . - vmx_enter

	.section .note.GNU-stack, "", @progbits
