/*
 * Prefixes, opcode, ModRM with what it calls for, immediate: in this order, one byte after the other, each
 * taken through take(), which knows both ends, that of the buffer and that of 15 bytes. What the opcode
 * means is decode_name()'s business (hv/decode_op.c).
 */
#include "hv/decode.h"

#include "hv/decode_map.h"

/* The next byte; false, with the reason in `result`, when there is none. */
static bool take(struct decode_state *d, u8 *out)
{
	if (d->pos == DECODE_MAX_BYTES || d->pos == d->n) {
		d->result = d->pos == DECODE_MAX_BYTES ? DECODE_TOO_LONG : DECODE_MORE;
		return false;
	}
	*out = d->bytes[d->pos++];
	return true;
}

/* Little-endian, sign-extended; `bytes` 0 .. 8. */
static bool take_value(struct decode_state *d, unsigned bytes, u64 *out)
{
	u64 v = 0;
	u8 byte = 0;

	for (unsigned i = 0; i < bytes; i++) {
		if (!take(d, &byte))
			return false;
		v |= (u64)byte << 8 * i;
	}
	if (bytes && bytes < 8 && byte & 0x80)
		v |= ~0ull << 8 * bytes;
	*out = v;
	return true;
}

/* A segment override. Long mode ignores those of ES, CS, SS and DS. */
static void prefix_segment(struct decode_state *d, u8 segment)
{
	if (d->mode != DECODE_64 || segment >= 4)
		d->insn->segment = segment;
}

/* Is it a legacy prefix? Of F2 and F3 the last one counts, of segments likewise. */
static bool prefix_legacy(struct decode_state *d, u8 byte)
{
	struct insn *i = d->insn;

	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		prefix_segment(d, byte >> 3 & 3);
		return true;
	case 0x64:
	case 0x65:
		prefix_segment(d, byte - 0x60);
		return true;
	case 0x66:
		d->opsize = true;
		return true;
	case 0x67:
		i->address_bytes = d->mode == DECODE_32 ? 2 : 4;
		return true;
	case 0xf0:
		i->lock = true;
		return true;
	case 0xf2:
	case 0xf3:
		i->repne = byte == 0xf2;
		i->rep = byte == 0xf3;
		return true;
	default:
		return false;
	}
}

/* All prefixes; *opcode is the byte behind them. A REX that does not stand last does not count. */
static bool take_prefixes(struct decode_state *d, u8 *opcode)
{
	while (take(d, opcode)) {
		if (prefix_legacy(d, *opcode)) {
			d->has_rex = false;
			d->rex = 0;
		} else if (d->mode == DECODE_64 && (*opcode & 0xf0) == 0x40) {
			d->has_rex = true;
			d->rex = *opcode & 0xf;
		} else {
			return true;
		}
	}
	return false;
}

static bool invalid(struct decode_state *d)
{
	d->result = DECODE_INVALID;
	return false;
}

/* No prefix may stand before VEX, EVEX and XOP but segment and address size. */
static bool vector_begin(struct decode_state *d)
{
	const struct insn *i = d->insn;

	d->space = SPACE_VECTOR;
	if (d->has_rex || d->opsize || i->lock || i->rep || i->repne)
		return invalid(d);
	return true;
}

/* What follows an opcode of the VEX and EVEX maps. */
static u8 vector_attr(unsigned map, u8 opcode)
{
	if (map == 3)
		return MAP_MODRM | IMM_B;
	if (map == 1 && opcode >= 0x70 && opcode <= 0x73)
		return MAP_MODRM | IMM_B;
	if (map == 1 && (opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6)))
		return MAP_MODRM | IMM_B;
	return MAP_MODRM;
}

/* Behind C5 or C4: payload, opcode. */
static bool take_vex(struct decode_state *d, unsigned payload)
{
	unsigned map = 1;
	u8 byte[2];

	if (!vector_begin(d))
		return false;
	for (unsigned i = 0; i < payload; i++)
		if (!take(d, &byte[i]))
			return false;
	if (payload == 2)
		map = byte[0] & 0x1f;
	if (map < 1 || map > 3)
		return invalid(d);
	if (!take(d, &d->opcode))
		return false;
	d->attr = vector_attr(map, d->opcode);
	if (map == 1 && d->opcode == 0x77) /* VZEROALL, VZEROUPPER */
		d->attr = 0;
	/* Only that older processor family of take_evex() has something there: jumps. */
	if (map == 1 && d->opcode >> 4 == 8)
		return invalid(d);
	return true;
}

/* Behind 62. Bit 10 of the payload is clear in the encoding of an older processor family only. */
static bool take_evex(struct decode_state *d)
{
	u8 byte[3];
	unsigned map;

	if (!vector_begin(d))
		return false;
	for (unsigned i = 0; i < 3; i++)
		if (!take(d, &byte[i]))
			return false;
	map = byte[0] & 7;
	if (byte[0] & 8 || !(byte[1] & 4) || map == 0 || map == 4 || map == 7)
		return invalid(d);
	if (!take(d, &d->opcode))
		return false;
	d->attr = vector_attr(map, d->opcode);
	return true;
}

/* Behind 8F, if it is no POP: maps 8, 9 and 10. */
static bool take_xop(struct decode_state *d)
{
	static const u8 attr[] = {MAP_MODRM | IMM_B, MAP_MODRM, MAP_MODRM | IMM_D};
	u8 byte[2];

	if (!vector_begin(d))
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (!take(d, &byte[i]))
			return false;
	if ((byte[0] & 0x1f) > 10)
		return invalid(d);
	d->attr = attr[(byte[0] & 0x1f) - 8];
	return take(d, &d->opcode);
}

static bool take_0f(struct decode_state *d)
{
	if (!take(d, &d->opcode))
		return false;
	d->space = SPACE_0F;
	d->attr = decode_map_0f[d->opcode];
	if (d->opcode != 0x38 && d->opcode != 0x3a)
		return true;
	d->space = d->opcode == 0x38 ? SPACE_0F38 : SPACE_0F3A;
	d->attr = d->opcode == 0x38 ? MAP_MODRM : MAP_MODRM | IMM_B;
	return take(d, &d->opcode);
}

/*
 * C4, C5 and 62 are LES, LDS and BOUND outside long mode unless what would be their ModRM byte names a
 * register; 8F is POP unless the low five bits behind it are 8 or more.
 */
static bool take_opcode(struct decode_state *d, u8 first)
{
	bool vector = d->mode == DECODE_64;

	d->opcode = first;
	d->space = SPACE_ONE;
	d->attr = decode_map_one[first];
	if (first == 0x0f)
		return take_0f(d);
	if (first != 0xc4 && first != 0xc5 && first != 0x62 && first != 0x8f)
		return true;
	if (d->pos < d->n && d->pos < DECODE_MAX_BYTES) {
		u8 next = d->bytes[d->pos];

		vector = first == 0x8f ? (next & 0x1f) >= 8 : vector || next >= 0xc0;
	} else if (first == 0x8f) {
		vector = false; /* the ModRM byte will be missed */
	}
	if (!vector)
		return true;
	if (first == 0x62)
		return take_evex(d);
	return first == 0x8f ? take_xop(d) : take_vex(d, first == 0xc4 ? 2 : 1);
}

static u8 reg_or_none(bool have, unsigned reg)
{
	return have ? (u8)reg : INSN_NO_REG;
}

/* Intel SDM vol. 2, table 2-1. */
static bool take_address_16(struct decode_state *d)
{
	static const u8 base[] = {3, 3, 5, 5, 6, 7, 5, 3};
	static const u8 index[] = {6, 7, 6, 7, INSN_NO_REG, INSN_NO_REG, INSN_NO_REG, INSN_NO_REG};
	struct insn *i = d->insn;
	bool direct = d->mod == 0 && d->rm == 6;

	i->base = reg_or_none(!direct, base[d->rm]);
	i->index = index[d->rm];
	return take_value(d, d->mod == 2 || direct ? 2 : d->mod, &i->disp);
}

/* Table 2-2 and, with a SIB byte, 2-3. REX.B does not count where "no base" is recognised. */
static bool take_address(struct decode_state *d)
{
	u8 high_b = d->rex & REX_B ? 8 : 0, high_x = d->rex & REX_X ? 8 : 0, sib;
	struct insn *i = d->insn;
	bool direct = d->mod == 0 && d->rm == 5;

	if (d->rm == 4) {
		if (!take(d, &sib))
			return false;
		direct = d->mod == 0 && (sib & 7) == 5;
		i->base = reg_or_none(!direct, (sib & 7) | high_b);
		i->index = (u8)((sib >> 3 & 7) | high_x);
		i->index = reg_or_none(i->index != 4, i->index);
		i->scale = (u8)(1u << (sib >> 6));
	} else if (direct) {
		i->base = d->mode == DECODE_64 ? INSN_RIP : INSN_NO_REG;
	} else {
		i->base = d->rm | high_b;
	}
	return take_value(d, d->mod == 2 || direct ? 4 : d->mod, &i->disp);
}

/* MOV to and from control and debug registers: always registers, whatever the mode field says. */
static bool is_mov_system(const struct decode_state *d)
{
	return d->space == SPACE_0F && d->opcode >= 0x20 && d->opcode <= 0x23;
}

static bool take_modrm(struct decode_state *d)
{
	u8 byte;

	if (!(d->attr & MAP_MODRM))
		return true;
	if (!take(d, &byte))
		return false;
	d->has_modrm = true;
	d->mod = is_mov_system(d) ? 3 : byte >> 6;
	d->reg = byte >> 3 & 7;
	d->rm = byte & 7;
	if (d->mod == 3)
		return true;
	d->insn->has_mem = true;
	return d->insn->address_bytes == 2 ? take_address_16(d) : take_address(d);
}

/* The address of MOV between accumulator and memory. */
static bool take_moffs(struct decode_state *d)
{
	struct insn *i = d->insn;

	i->has_mem = true;
	if (!take_value(d, i->address_bytes, &i->disp))
		return false;
	if (i->address_bytes < 8)
		i->disp &= BITS(8 * i->address_bytes - 1, 0);
	return true;
}

static bool take_immediate(struct decode_state *d)
{
	struct insn *i = d->insn;
	unsigned z = i->operand_bytes == 2 ? 2 : 4;
	u64 second;

	switch ((enum decode_imm)(d->attr & MAP_IMM)) {
	case IMM_NONE:
		return true;
	case IMM_B:
		return take_value(d, 1, &i->imm);
	case IMM_W:
		return take_value(d, 2, &i->imm);
	case IMM_D:
		return take_value(d, 4, &i->imm);
	case IMM_Z:
		return take_value(d, z, &i->imm);
	case IMM_V:
		return take_value(d, i->operand_bytes, &i->imm);
	case IMM_J:
		return take_value(d, d->mode == DECODE_64 ? 4 : z, &i->imm);
	case IMM_MOFFS:
		return take_moffs(d);
	case IMM_FAR:
		return take_value(d, z, &i->imm) && take_value(d, 2, &second);
	case IMM_W_B:
		return take_value(d, 2, &i->imm) && take_value(d, 1, &second);
	case IMM_B_B:
		return take_value(d, 1, &i->imm) && take_value(d, 1, &second);
	}
	return true;
}

static u8 operand_bytes(const struct decode_state *d)
{
	if (d->rex & REX_W)
		return 8;
	return (d->mode == DECODE_16) != d->opsize ? 2 : 4;
}

static bool take_insn(struct decode_state *d)
{
	u8 first;

	if (!take_prefixes(d, &first))
		return false;
	d->insn->operand_bytes = operand_bytes(d);
	if (!take_opcode(d, first))
		return false;
	if (d->attr & MAP_INVALID || (d->attr & MAP_NO_64 && d->mode == DECODE_64))
		return invalid(d);
	if (!take_modrm(d))
		return false;
	if (!decode_name(d))
		return invalid(d);
	return take_immediate(d);
}

enum decode_result decode(const u8 *bytes, unsigned n, enum decode_mode mode, struct insn *out)
{
	struct decode_state d = {.bytes = bytes, .n = n, .mode = mode, .insn = out};

	*out = (struct insn){
	        .segment = INSN_NO_SEGMENT,
	        .base = INSN_NO_REG,
	        .index = INSN_NO_REG,
	        .scale = 1,
	        .address_bytes = mode == DECODE_16   ? 2
	                         : mode == DECODE_32 ? 4
	                                             : 8,
	};
	if (!take_insn(&d))
		return d.result;
	out->length = (u8)d.pos;
	return DECODE_OK;
}
