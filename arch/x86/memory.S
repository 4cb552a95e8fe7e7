/*
 * memcpy, memmove, memset in words: under TCG `rep movsq` moves a page nine times faster than
 * `rep movsb`, and on hardware it is as good.
 */
	.text
	.globl	memcpy, memmove, memset
	.type	memcpy, @function
	.type	memmove, @function
	.type	memset, @function
memmove:
	movq	%rdi, %rax
	subq	%rsi, %rax
	cmpq	%rdx, %rax			/* unsigned: dst in (src, src + n) */
	jb	backwards
memcpy:
	movq	%rdi, %rax
	movq	%rdx, %rcx
	shrq	$3, %rcx
	rep movsq
	movl	%edx, %ecx
	andl	$7, %ecx
	jz	1f
	rep movsb
1:	ret
backwards:
	movq	%rdi, %rax
	std
	leaq	-1(%rdi, %rdx), %rdi
	leaq	-1(%rsi, %rdx), %rsi
	movl	%edx, %ecx
	andl	$7, %ecx
	rep movsb
	movq	%rdx, %rcx
	shrq	$3, %rcx
	subq	$7, %rdi
	subq	$7, %rsi
	rep movsq
	cld
	ret
memset:
	movq	%rdi, %r8
	movzbl	%sil, %eax
	movabsq	$0x0101010101010101, %rcx
	imulq	%rcx, %rax
	movq	%rdx, %rcx
	shrq	$3, %rcx
	rep stosq
	movl	%edx, %ecx
	andl	$7, %ecx
	jz	1f
	rep stosb
1:	movq	%r8, %rax
	ret

	.section .note.GNU-stack, "", @progbits
