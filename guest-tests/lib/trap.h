/*
 * Exceptions and interrupts. An exception that nobody expects prints the registers and FAILs.
 *
 * An instruction may be allowed to fault: TRAP_FIXUP(from, to) in inline assembly says that a fault
 * at label `from` continues at label `to`, leaving vector + 1 in cpu_self()->trap_caught. See
 * trap_rdmsr() for the pattern.
 */
#pragma once

#include "guest-tests/lib/types.h"

#define TRAP_DE 0
#define TRAP_BP 3
#define TRAP_UD 6
#define TRAP_NM 7
#define TRAP_DF 8
#define TRAP_GP 13
#define TRAP_PF 14

/* Vectors of the library; guests take theirs from TRAP_VECTOR_FREE up. */
#define TRAP_VECTOR_TIMER    0x40
#define TRAP_VECTOR_WAKE     0x41
#define TRAP_VECTOR_FREE     0x50
#define TRAP_VECTOR_SPURIOUS 0xff

struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

#define TRAP_FIXUP(from, to) \
	".pushsection .fixups, \"a\"\n\t.quad " from ", " to "\n\t.popsection\n"

typedef void (*trap_handler_t)(struct trap_frame *frame);

/* Builds the IDT (CPU 0, once) and loads IDT and TSS (every CPU). */
void trap_init(void);
void trap_init_cpu(void);

/* The function for an interrupt vector >= 32; runs with interrupts off, EOI follows it. */
void trap_set(u8 vector, trap_handler_t handler);

/* Vector of the exception that struck, or -1. */
int trap_rdmsr(u32 msr, u64 *value);
int trap_wrmsr(u32 msr, u64 value);
/* Runs function with the fault `allowed`: -1 if it returned, the vector if the exception struck
 * anywhere below it. The function must not hold locks when it faults. */
int trap_try(void (*function)(void *arg), void *arg);
