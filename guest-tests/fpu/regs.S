/* fpu_load(regs, avx), fpu_store(regs, avx): layout of struct fpu_regs, regs.h. */
#define YMM     64
#define MXCSR   (YMM + 16 * 32)
#define CONTROL (MXCSR + 4)

	.section .text, "ax"
	.code64

	.globl fpu_load
fpu_load:
	fninit
	fldcw CONTROL(%rdi)
	ldmxcsr MXCSR(%rdi)
	.irp i, 7, 6, 5, 4, 3, 2, 1, 0
	fildll 8*\i(%rdi)
	.endr
	testl %esi, %esi
	jnz 1f
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu YMM+32*\i(%rdi), %xmm\i
	.endr
	ret
1:
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu YMM+32*\i(%rdi), %ymm\i
	.endr
	ret

	.globl fpu_store
fpu_store:
	fnstcw CONTROL(%rdi)
	stmxcsr MXCSR(%rdi)
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7
	fistpll 8*\i(%rdi)
	.endr
	testl %esi, %esi
	jnz 1f
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu %xmm\i, YMM+32*\i(%rdi)
	.endr
	ret
1:
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu %ymm\i, YMM+32*\i(%rdi)
	.endr
	ret

	.section .note.GNU-stack, "", @progbits
