/*
 * Instruction decoder: a pure function from bytes to one instruction. It knows the length of everything
 * (legacy maps, VEX, EVEX, XOP), the operands of what hv/emulate executes, and by name what a guest
 * leaves with and has to be stepped over.
 *
 * It is lenient where only the length matters: an SSE or AVX opcode that no CPU has may be given a
 * length. What it names (op other than INSN_OTHER) does exist in this form.
 *
 * Sources: Intel SDM vol. 2, chapter 2 and appendix A; AMD APM vol. 3, chapter 1 and appendix A.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define DECODE_MAX_BYTES 15u

/* Default operand size of the code segment: 16-bit (and real mode), 32-bit, long mode. */
enum decode_mode { DECODE_16, DECODE_32, DECODE_64 };

enum decode_result {
	DECODE_OK,
	DECODE_MORE,     /* right so far, but the instruction does not end within n bytes */
	DECODE_INVALID,  /* #UD */
	DECODE_TOO_LONG, /* more than 15 bytes: #GP */
};

enum insn_op {
	INSN_OTHER, /* only length, prefixes and addressing are known */

	/* What hv/emulate can execute if an operand is in memory. */
	INSN_MOV,
	INSN_MOVZX,
	INSN_MOVSX, /* MOVSXD too */
	INSN_ADD,   /* these eight in encoding order */
	INSN_OR,
	INSN_ADC,
	INSN_SBB,
	INSN_AND,
	INSN_SUB,
	INSN_XOR,
	INSN_CMP,
	INSN_TEST,
	INSN_XCHG,
	INSN_INC,
	INSN_DEC,
	INSN_NOT,
	INSN_NEG,
	INSN_BT, /* these four in encoding order */
	INSN_BTS,
	INSN_BTR,
	INSN_BTC,

	/* String instructions: implicit operands, REP. */
	INSN_MOVS,
	INSN_CMPS,
	INSN_STOS,
	INSN_LODS,
	INSN_SCAS,
	INSN_INS,
	INSN_OUTS,

	/* What is stepped over. */
	INSN_IN,
	INSN_OUT,
	INSN_CPUID,
	INSN_HLT,
	INSN_RDMSR,
	INSN_WRMSR,
	INSN_RDTSC,
	INSN_RDTSCP,
	INSN_RDPMC,
	INSN_XGETBV,
	INSN_XSETBV,
	INSN_WBINVD, /* WBNOINVD too */
	INSN_INVD,
	INSN_INVLPG,
	INSN_INVPCID,
	INSN_CLTS,
	INSN_LMSW,
	INSN_SMSW,
	INSN_MOV_FROM_CR, /* dst: the general register, `system` the control register */
	INSN_MOV_TO_CR,   /* src likewise */
	INSN_MOV_FROM_DR,
	INSN_MOV_TO_DR,
	INSN_PAUSE,
	INSN_MONITOR,
	INSN_MWAIT,
	INSN_VMCALL,
	INSN_VMMCALL,
	INSN_LGDT,
	INSN_LIDT,
	INSN_INT, /* imm: the vector */
};

enum insn_operand_kind {
	OPERAND_NONE,
	OPERAND_REG,  /* `reg` in encoding order, 0 = rAX .. 15 */
	OPERAND_HIGH, /* bits 15:8 of `reg` 0 .. 3: AH, CH, DH, BH */
	OPERAND_MEM,  /* the address in struct insn */
	OPERAND_IMM,
};

struct insn_operand {
	u8 kind; /* enum insn_operand_kind */
	u8 reg;
	u8 bytes; /* 1, 2, 4, 8 */
};

#define INSN_NO_REG     0xffu
#define INSN_RIP        0xfeu /* base: the address of the next instruction */
#define INSN_NO_SEGMENT 0xffu

struct insn {
	u8 length;
	u8 op; /* enum insn_op */
	/* Of the emulated ops, MOV CR/DR, INVPCID (dst: the register with the type); else OPERAND_NONE. */
	struct insn_operand dst, src;
	u64 imm; /* sign-extended to 64 bits; of INSN_IN, INSN_OUT: the port if OPERAND_IMM */

	bool lock, rep, repne;
	u8 segment;       /* override: 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS */
	u8 operand_bytes; /* effective operand size of non-byte forms: 2, 4, 8 */
	u8 address_bytes; /* 2, 4, 8 */
	u8 system;        /* number of the control or debug register */

	/* The memory operand, if there is one (has_mem). */
	bool has_mem;
	u8 base, index, scale; /* registers or INSN_NO_REG, INSN_RIP; scale 1, 2, 4, 8 */
	u64 disp;              /* sign-extended; moffs: the whole address */
};

/*
 * Decodes the instruction at the beginning of `bytes`. On anything but DECODE_OK *out is unspecified. More
 * than 15 bytes are never looked at.
 */
enum decode_result decode(const u8 *bytes, unsigned n, enum decode_mode mode,
                          struct insn *out) must_check;
