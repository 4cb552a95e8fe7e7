/* nmi_stub: calls nmi_handler() with all registers kept. The gate leads here directly. */
	.section .text, "ax"
	.code64

	.globl nmi_stub
nmi_stub:
	.irp r, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11, rbp
	pushq %\r
	.endr
	movq %rsp, %rbp
	andq $-16, %rsp
	cld
	call nmi_handler
	movq %rbp, %rsp
	.irp r, rbp, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
	popq %\r
	.endr
	iretq
