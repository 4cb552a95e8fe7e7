/*
 * void svm_enter(struct arch_vcpu *v, hpa_t vmcb, hpa_t host_vmcb)
 *
 * Between the two VMLOADs FS base is the guest's: nothing that looks at the per-CPU block may run,
 * and nothing does, since the caller has cleared GIF: NMIs and interrupts wait. IF is set for VMRUN so
 * that a physical interrupt leaves the guest (V_INTR_MASKING: the host's IF counts), but set early:
 * QEMU would hand the shadow of a STI right before VMRUN on to the guest. STGI with IF clear again
 * lets NMIs in and leaves interrupts pending for the caller.
 */
#define G(n) ((n) * 8)(%rdi)

	.text
	.globl svm_enter
	.type svm_enter, @function
svm_enter:
	pushq %rbp
	movq %rsp, %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rdx
	pushq %rdi
	movq %rsi, %rax
	sti
	vmload %rax
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
	vmrun %rax
	cli
	vmsave %rax
	pushq %rdi
	movq 8(%rsp), %rdi
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
	popq %rax
	vmload %rax
	stgi
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
	.size svm_enter, . - svm_enter

/* What svm_xsetbv_exits() lets a guest do. */
	.globl svm_xsetbv_guest
	.type svm_xsetbv_guest, @function
svm_xsetbv_guest:
	xsetbv
	vmmcall
1:	jmp 1b
	.size svm_xsetbv_guest, . - svm_xsetbv_guest

	.section .note.GNU-stack, "", @progbits
