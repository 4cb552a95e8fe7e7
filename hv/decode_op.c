/* What an opcode means: op and operands of the instructions that hv/ has to do with. */
#include "hv/decode_map.h"

static struct insn_operand operand_reg(const struct decode_state *d, unsigned reg, unsigned bytes)
{
	/* Without REX, byte registers 4 to 7 are AH, CH, DH, BH. */
	if (bytes == 1 && !d->has_rex && reg >= 4)
		return (struct insn_operand){OPERAND_HIGH, (u8)(reg - 4), 1};
	return (struct insn_operand){OPERAND_REG, (u8)reg, (u8)bytes};
}

/* The register that the reg field names. */
static struct insn_operand operand_g(const struct decode_state *d, unsigned bytes)
{
	return operand_reg(d, d->reg | (d->rex & REX_R ? 8u : 0), bytes);
}

/* The register or memory that mode and rm field name. */
static struct insn_operand operand_e(const struct decode_state *d, unsigned bytes)
{
	if (d->mod != 3)
		return (struct insn_operand){OPERAND_MEM, 0, (u8)bytes};
	return operand_reg(d, d->rm | (d->rex & REX_B ? 8u : 0), bytes);
}

static struct insn_operand operand_imm(unsigned bytes)
{
	return (struct insn_operand){OPERAND_IMM, 0, (u8)bytes};
}

static struct insn_operand operand_memory(unsigned bytes)
{
	return (struct insn_operand){OPERAND_MEM, 0, (u8)bytes};
}

static bool set(struct decode_state *d, enum insn_op op, struct insn_operand dst,
                struct insn_operand src)
{
	d->insn->op = (u8)op;
	d->insn->dst = dst;
	d->insn->src = src;
	return true;
}

static bool set_op(struct decode_state *d, enum insn_op op)
{
	d->insn->op = (u8)op;
	return true;
}

/* Most opcodes come in pairs: even for bytes, odd for the operand size. */
static unsigned size_of(const struct decode_state *d)
{
	return d->opcode & 1 ? d->insn->operand_bytes : 1;
}

/* LOCK with something that this opcode's reg field does not allow it with. */
static bool lock_ok(const struct decode_state *d, unsigned regs)
{
	return !d->insn->lock || BIT(d->reg) & regs;
}

/* 00 .. 3d: eight operations in six forms. */
static bool name_alu(struct decode_state *d)
{
	enum insn_op op = (enum insn_op)(INSN_ADD + (d->opcode >> 3));
	unsigned size = size_of(d);

	switch (d->opcode & 6) {
	case 0:
		return set(d, op, operand_e(d, size), operand_g(d, size));
	case 2:
		return set(d, op, operand_g(d, size), operand_e(d, size));
	default:
		return set(d, op, operand_reg(d, 0, size), operand_imm(size));
	}
}

/* F6, F7: only TEST has an immediate. */
static bool name_group3(struct decode_state *d)
{
	unsigned size = size_of(d);

	if (!lock_ok(d, BIT(2) | BIT(3)))
		return false;
	switch (d->reg) {
	case 0:
	case 1:
		d->attr = (u8)((d->attr & ~MAP_IMM) | (size == 1 ? IMM_B : IMM_Z));
		return set(d, INSN_TEST, operand_e(d, size), operand_imm(size));
	case 2:
	case 3:
		return set(d, d->reg == 2 ? INSN_NOT : INSN_NEG, operand_e(d, size),
		           (struct insn_operand){0});
	default:
		return true;
	}
}

/* FE, FF: INC, DEC; FF has calls, jumps and PUSH besides. */
static bool name_group4_5(struct decode_state *d)
{
	if (!lock_ok(d, BIT(0) | BIT(1)))
		return false;
	if (d->reg >= 2)
		return d->opcode == 0xff && d->reg != 7;
	return set(d, d->reg ? INSN_DEC : INSN_INC, operand_e(d, size_of(d)),
	           (struct insn_operand){0});
}

/* C6, C7: MOV; with all ones in the ModRM byte's upper five bits XABORT and XBEGIN. */
static bool name_group11(struct decode_state *d)
{
	unsigned size = size_of(d);

	if (d->reg)
		return d->reg == 7 && d->mod == 3 && d->rm == 0;
	return set(d, INSN_MOV, operand_e(d, size), operand_imm(size));
}

/* 8x but C6 and C7. */
static bool name_8x(struct decode_state *d)
{
	unsigned size = size_of(d);

	switch (d->opcode) {
	case 0x80 ... 0x83:
		return lock_ok(d, BITS(6, 0)) && set(d, (enum insn_op)(INSN_ADD + d->reg),
		                                     operand_e(d, size), operand_imm(size));
	case 0x84 ... 0x87:
		return set(d, d->opcode < 0x86 ? INSN_TEST : INSN_XCHG, operand_e(d, size),
		           operand_g(d, size));
	case 0x88 ... 0x89:
		return set(d, INSN_MOV, operand_e(d, size), operand_g(d, size));
	case 0x8a ... 0x8b:
		return set(d, INSN_MOV, operand_g(d, size), operand_e(d, size));
	case 0x8f:
		return d->reg == 0;
	default:
		return true;
	}
}

/* A0 .. AF: accumulator and an address, strings, TEST. */
static bool name_ax(struct decode_state *d)
{
	static const u8 string[] = {INSN_MOVS, INSN_CMPS, INSN_TEST,
	                            INSN_STOS, INSN_LODS, INSN_SCAS};
	unsigned size = size_of(d), which = (d->opcode - 0xa4u) / 2;

	if (d->opcode < 0xa2)
		return set(d, INSN_MOV, operand_reg(d, 0, size), operand_memory(size));
	if (d->opcode < 0xa4)
		return set(d, INSN_MOV, operand_memory(size), operand_reg(d, 0, size));
	if (string[which] == INSN_TEST)
		return set(d, INSN_TEST, operand_reg(d, 0, size), operand_imm(size));
	return set_op(d, (enum insn_op)string[which]);
}

/* E4 .. E7, EC .. EF: a byte or at most four, by immediate or DX. */
static bool name_port(struct decode_state *d)
{
	unsigned size = size_of(d) > 4 ? 4 : size_of(d);
	struct insn_operand data = operand_reg(d, 0, size);
	struct insn_operand port = d->opcode & 8 ? operand_reg(d, 2, 2) : operand_imm(1);

	if (d->opcode & 2)
		return set(d, INSN_OUT, port, data);
	return set(d, INSN_IN, data, port);
}

/*
 * Long mode only; elsewhere it is ARPL. With a 16-bit destination the vendors disagree on the size of the
 * source, so that form has no name.
 */
static bool name_movsxd(struct decode_state *d)
{
	unsigned size = d->insn->operand_bytes;

	if (d->mode != DECODE_64 || size == 2)
		return true;
	return set(d, INSN_MOVSX, operand_g(d, size), operand_e(d, 4));
}

static bool name_one(struct decode_state *d)
{
	unsigned size = d->insn->operand_bytes;

	switch (d->opcode) {
	case 0x00 ... 0x3f:
		return (d->opcode & 7) < 6 ? name_alu(d) : true;
	case 0x63:
		return name_movsxd(d);
	case 0x6c ... 0x6f:
		return set_op(d, d->opcode < 0x6e ? INSN_INS : INSN_OUTS);
	case 0x80 ... 0x8f:
		return name_8x(d);
	case 0x90:
		return d->insn->rep && !(d->rex & REX_B) ? set_op(d, INSN_PAUSE) : true;
	case 0xa0 ... 0xaf:
		return name_ax(d);
	case 0xb0 ... 0xbf:
		size = d->opcode < 0xb8 ? 1 : size;
		return set(d, INSN_MOV,
		           operand_reg(d, (d->opcode & 7) | (d->rex & REX_B ? 8u : 0), size),
		           operand_imm(size));
	case 0xc6 ... 0xc7:
		return name_group11(d);
	case 0xcd:
		return set_op(d, INSN_INT);
	case 0xe4 ... 0xe7:
	case 0xec ... 0xef:
		return name_port(d);
	case 0xf4:
		return set_op(d, INSN_HLT);
	case 0xf6 ... 0xf7:
		return name_group3(d);
	case 0xfe ... 0xff:
		return name_group4_5(d);
	default:
		return true;
	}
}

/*
 * 0F 01 with a register: the ModRM byte is part of the opcode. Behind 66, F2 or F3 some of them are
 * something else.
 */
static bool name_0f01_reg(struct decode_state *d)
{
	static const struct {
		u8 modrm, op;
		bool any_prefix;
	} known[] = {
	        {0xc1, INSN_VMCALL, false}, {0xc8, INSN_MONITOR, false}, {0xc9, INSN_MWAIT, false},
	        {0xd0, INSN_XGETBV, false}, {0xd1, INSN_XSETBV, false},  {0xd9, INSN_VMMCALL, true},
	        {0xf9, INSN_RDTSCP, true},
	};
	bool prefix = d->opsize || d->insn->rep || d->insn->repne;
	u8 modrm = (u8)(0xc0 | d->reg << 3 | d->rm);

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].modrm == modrm && (known[i].any_prefix || !prefix))
			return set_op(d, (enum insn_op)known[i].op);
	return true;
}

static bool name_0f01(struct decode_state *d)
{
	if (d->reg == 4)
		return set(d, INSN_SMSW, operand_e(d, d->mod == 3 ? d->insn->operand_bytes : 2),
		           (struct insn_operand){0});
	if (d->reg == 6)
		return set(d, INSN_LMSW, (struct insn_operand){0}, operand_e(d, 2));
	if (d->mod == 3)
		return name_0f01_reg(d);
	switch (d->reg) {
	case 2:
		return set_op(d, INSN_LGDT);
	case 3:
		return set_op(d, INSN_LIDT);
	case 7:
		return set_op(d, INSN_INVLPG);
	default:
		return true;
	}
}

/* 0F 20 .. 23. Which registers there are: Intel SDM vol. 2, "MOV - Move to/from control registers". */
static bool name_system(struct decode_state *d)
{
	unsigned number = d->reg | (d->rex & REX_R ? 8u : 0), valid;
	struct insn_operand reg = operand_e(d, d->mode == DECODE_64 ? 8 : 4);
	bool to = d->opcode & 2, debug = d->opcode & 1;

	valid = debug ? BITS(7, 0) : BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8);
	if (!(valid >> number & 1))
		return false;
	d->insn->system = (u8)number;
	if (to)
		return set(d, debug ? INSN_MOV_TO_DR : INSN_MOV_TO_CR, (struct insn_operand){0},
		           reg);
	return set(d, debug ? INSN_MOV_FROM_DR : INSN_MOV_FROM_CR, reg, (struct insn_operand){0});
}

/* 0F A3, AB, B3, BB and the group BA. */
static bool name_bit(struct decode_state *d)
{
	unsigned size = d->insn->operand_bytes;

	if (d->opcode != 0xba)
		return set(d, (enum insn_op)(INSN_BT + (d->opcode >> 3 & 3)), operand_e(d, size),
		           operand_g(d, size));
	return d->reg >= 4 && lock_ok(d, BITS(7, 5)) &&
	       set(d, (enum insn_op)(INSN_BT + (d->reg & 3)), operand_e(d, size), operand_imm(1));
}

/* 66 0F 78 and F2 0F 78, 79 (AMD): two immediates behind 78. */
static bool name_0f78(struct decode_state *d)
{
	if (d->opsize || d->insn->repne)
		d->attr = MAP_MODRM | IMM_B_B;
	return true;
}

static bool name_0f_system(struct decode_state *d)
{
	switch (d->opcode) {
	case 0x01:
		return name_0f01(d);
	case 0x06:
		return set_op(d, INSN_CLTS);
	case 0x08:
		return set_op(d, INSN_INVD);
	case 0x09:
		return set_op(d, INSN_WBINVD);
	case 0x20 ... 0x23:
		return name_system(d);
	case 0x30:
		return set_op(d, INSN_WRMSR);
	case 0x31:
		return set_op(d, INSN_RDTSC);
	case 0x32:
		return set_op(d, INSN_RDMSR);
	case 0x33:
		return set_op(d, INSN_RDPMC);
	default:
		return true;
	}
}

static bool name_0f(struct decode_state *d)
{
	unsigned size = d->insn->operand_bytes;

	switch (d->opcode) {
	case 0x78:
		return name_0f78(d);
	case 0xa2:
		return set_op(d, INSN_CPUID);
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xba:
	case 0xbb:
		return name_bit(d);
	case 0xb6 ... 0xb7:
		return set(d, INSN_MOVZX, operand_g(d, size), operand_e(d, d->opcode & 1 ? 2 : 1));
	case 0xbe ... 0xbf:
		return set(d, INSN_MOVSX, operand_g(d, size), operand_e(d, d->opcode & 1 ? 2 : 1));
	case 0xc7:
		return lock_ok(d, BIT(1));
	default:
		return name_0f_system(d);
	}
}

/* INVPCID, in memory only; its type is in a register of the mode's size. */
static bool name_0f38(struct decode_state *d)
{
	const struct insn *i = d->insn;

	if (d->opcode == 0x82 && d->opsize && !i->rep && !i->repne && d->mod != 3)
		return set(d, INSN_INVPCID, operand_g(d, d->mode == DECODE_64 ? 8 : 4),
		           (struct insn_operand){OPERAND_NONE, 0, 0});
	return true;
}

bool decode_name(struct decode_state *d)
{
	if (d->insn->lock && !(d->attr & MAP_LOCK && d->has_modrm && d->mod != 3))
		return false;
	switch (d->space) {
	case SPACE_ONE:
		return name_one(d);
	case SPACE_0F:
		return name_0f(d);
	case SPACE_0F38:
		return name_0f38(d);
	case SPACE_0F3A:
	case SPACE_VECTOR:
		break;
	}
	return true;
}
