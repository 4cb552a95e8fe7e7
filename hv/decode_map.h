/* Between the parts of the decoder: opcode attributes, and what is known when an opcode is named. */
#pragma once

#include "hv/decode.h"

/* Attributes of an opcode: what follows it, in bits 3:0 the immediate. */
enum decode_imm {
	IMM_NONE,
	IMM_B,     /* 1 byte */
	IMM_W,     /* 2 */
	IMM_D,     /* 4 */
	IMM_Z,     /* 2 or 4, by operand size */
	IMM_V,     /* 2, 4 or 8, by operand size */
	IMM_J,     /* as Z, but 4 in long mode: near branches */
	IMM_MOFFS, /* an address */
	IMM_FAR,   /* offset as Z, and selector */
	IMM_W_B,   /* 3 */
	IMM_B_B,   /* 2 single ones */
};
#define MAP_IMM     0x0fu
#define MAP_MODRM   0x10u
#define MAP_NO_64   0x20u /* #UD in long mode */
#define MAP_INVALID 0x40u
#define MAP_LOCK    0x80u /* LOCK is allowed with a destination in memory; of groups: with some */

extern const u8 decode_map_one[256], decode_map_0f[256];

enum decode_space {
	SPACE_ONE,
	SPACE_0F,
	SPACE_0F38,
	SPACE_0F3A,
	SPACE_VECTOR, /* VEX, EVEX, XOP: no names here */
};

#define REX_B 1u
#define REX_X 2u
#define REX_R 4u
#define REX_W 8u

struct decode_state {
	const u8 *bytes;
	unsigned n, pos;
	enum decode_result result; /* of the take that failed */
	enum decode_mode mode;
	struct insn *insn;
	bool opsize; /* 66 */
	bool has_rex;
	u8 rex;
	enum decode_space space;
	u8 opcode;
	u8 attr;
	bool has_modrm;
	u8 mod, reg, rm; /* as they stand, without REX */
};

/*
 * Gives the instruction its op and operands, once everything up to the immediate is known. May change
 * attr (groups whose members differ in the immediate). False: #UD.
 */
bool decode_name(struct decode_state *d) must_check;
