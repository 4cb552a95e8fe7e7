/*
 * Read the operands, compute, write the result: memory first, so that a device that refuses leaves the
 * registers as they were. Flags as Intel SDM vol. 2 describes them instruction by instruction; where a flag
 * is undefined it is left alone.
 */
#include "hv/emulate.h"

#define FLAG_CF BIT(0)
#define FLAG_PF BIT(2)
#define FLAG_AF BIT(4)
#define FLAG_ZF BIT(6)
#define FLAG_SF BIT(7)
#define FLAG_OF BIT(11)

struct emulation {
	const struct insn *insn;
	gpa_t at;
	const struct emulate_ops *ops;
	void *ctx;
	u64 flags;
	bool flags_changed;
};

static u64 mask_of(unsigned bytes)
{
	return BITS(8 * bytes - 1, 0);
}

static u64 sign_of(unsigned bytes)
{
	return BIT(8 * bytes - 1);
}

/* Zero-extended. */
static bool operand_read(const struct emulation *e, const struct insn_operand *o, u64 *out)
{
	switch ((enum insn_operand_kind)o->kind) {
	case OPERAND_MEM:
		return e->ops->read(e->ctx, e->at, o->bytes, out);
	case OPERAND_REG:
		*out = e->ops->get_reg(e->ctx, o->reg) & mask_of(o->bytes);
		return true;
	case OPERAND_HIGH:
		*out = e->ops->get_reg(e->ctx, o->reg) >> 8 & 0xff;
		return true;
	case OPERAND_IMM:
		*out = e->insn->imm & mask_of(o->bytes);
		return true;
	case OPERAND_NONE:
		break;
	}
	*out = 0;
	return true;
}

/* A 32-bit result clears the upper half of its register; smaller ones leave the rest alone. */
static bool operand_write(const struct emulation *e, const struct insn_operand *o, u64 value)
{
	u64 old, mask = mask_of(o->bytes);

	value &= mask;
	if (o->kind == OPERAND_MEM)
		return e->ops->write(e->ctx, e->at, o->bytes, value);
	if (o->kind == OPERAND_HIGH) {
		old = e->ops->get_reg(e->ctx, o->reg);
		e->ops->set_reg(e->ctx, o->reg, (old & ~0xff00ull) | value << 8);
		return true;
	}
	if (o->bytes < 4)
		value |= e->ops->get_reg(e->ctx, o->reg) & ~mask;
	e->ops->set_reg(e->ctx, o->reg, value);
	return true;
}

static void flag_put(struct emulation *e, u64 flag, bool on)
{
	e->flags = on ? e->flags | flag : e->flags & ~flag;
	e->flags_changed = true;
}

/* SF, ZF and PF of a result. */
static void flags_result(struct emulation *e, u64 r, unsigned bytes)
{
	flag_put(e, FLAG_SF, r & sign_of(bytes));
	flag_put(e, FLAG_ZF, !(r & mask_of(bytes)));
	flag_put(e, FLAG_PF, !(__builtin_popcountll(r & 0xff) & 1));
}

static u64 add(struct emulation *e, u64 a, u64 b, bool carry, unsigned bytes)
{
	u64 mask = mask_of(bytes), r = (a + b + carry) & mask;

	flags_result(e, r, bytes);
	flag_put(e, FLAG_CF, carry ? r <= a : r < a);
	flag_put(e, FLAG_AF, (a ^ b ^ r) & 0x10);
	flag_put(e, FLAG_OF, (a ^ r) & (b ^ r) & sign_of(bytes));
	return r;
}

static u64 subtract(struct emulation *e, u64 a, u64 b, bool borrow, unsigned bytes)
{
	u64 r = (a - b - borrow) & mask_of(bytes);

	flags_result(e, r, bytes);
	flag_put(e, FLAG_CF, borrow ? a <= b : a < b);
	flag_put(e, FLAG_AF, (a ^ b ^ r) & 0x10);
	flag_put(e, FLAG_OF, (a ^ b) & (a ^ r) & sign_of(bytes));
	return r;
}

static u64 logic(struct emulation *e, u64 r, unsigned bytes)
{
	flags_result(e, r, bytes);
	flag_put(e, FLAG_CF, false);
	flag_put(e, FLAG_OF, false);
	return r;
}

/* INC and DEC leave CF alone. */
static u64 step(struct emulation *e, u64 a, bool up, unsigned bytes)
{
	u64 carry = e->flags & FLAG_CF;
	u64 r = up ? add(e, a, 1, false, bytes) : subtract(e, a, 1, false, bytes);

	flag_put(e, FLAG_CF, carry);
	return r;
}

/* The bit's place within the operand: the access went to the right word already. */
static u64 bit(struct emulation *e, u64 a, u64 b, unsigned bytes)
{
	u64 one = BIT(b & (8 * bytes - 1));

	flag_put(e, FLAG_CF, a & one);
	switch (e->insn->op) {
	case INSN_BTS:
		return a | one;
	case INSN_BTR:
		return a & ~one;
	case INSN_BTC:
		return a ^ one;
	default:
		return a;
	}
}

static u64 extend(u64 v, unsigned bytes)
{
	return v & sign_of(bytes) ? v | ~mask_of(bytes) : v;
}

/* The result of everything that has one; `a` is the old destination, `b` the source. */
static u64 compute(struct emulation *e, u64 a, u64 b)
{
	const struct insn *i = e->insn;
	unsigned n = i->dst.bytes;
	bool carry = e->flags & FLAG_CF;

	switch ((enum insn_op)i->op) {
	case INSN_MOVSX:
		return extend(b, i->src.bytes);
	case INSN_ADD:
	case INSN_ADC:
		return add(e, a, b, i->op == INSN_ADC && carry, n);
	case INSN_SUB:
	case INSN_CMP:
	case INSN_SBB:
		return subtract(e, a, b, i->op == INSN_SBB && carry, n);
	case INSN_NEG:
		return subtract(e, 0, a, false, n);
	case INSN_OR:
		return logic(e, a | b, n);
	case INSN_AND:
	case INSN_TEST:
		return logic(e, a & b, n);
	case INSN_XOR:
		return logic(e, a ^ b, n);
	case INSN_NOT:
		return ~a;
	case INSN_INC:
	case INSN_DEC:
		return step(e, a, i->op == INSN_INC, n);
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return bit(e, a, b, n);
	default: /* MOV, MOVZX */
		return b;
	}
}

static bool is_move(u8 op)
{
	return op == INSN_MOV || op == INSN_MOVZX || op == INSN_MOVSX;
}

static bool is_test(u8 op)
{
	return op == INSN_CMP || op == INSN_TEST || op == INSN_BT;
}

/* Both ways; the device's half first. */
static bool exchange(const struct emulation *e)
{
	u64 mem, reg;

	return operand_read(e, &e->insn->dst, &mem) && operand_read(e, &e->insn->src, &reg) &&
	       operand_write(e, &e->insn->dst, reg) && operand_write(e, &e->insn->src, mem);
}

static bool execute(struct emulation *e)
{
	const struct insn *i = e->insn;
	u64 a = 0, b, r;

	if (i->op == INSN_XCHG)
		return exchange(e);
	if (!is_move(i->op) && !operand_read(e, &i->dst, &a))
		return false;
	if (!operand_read(e, &i->src, &b))
		return false;
	r = compute(e, a, b);
	return is_test(i->op) || operand_write(e, &i->dst, r);
}

static bool supported(const struct insn *i)
{
	return i->op >= INSN_MOV && i->op <= INSN_BTC &&
	       (i->dst.kind == OPERAND_MEM || i->src.kind == OPERAND_MEM);
}

enum emulate_result emulate(const struct insn *insn, gpa_t at, const struct emulate_ops *ops,
                            void *ctx)
{
	struct emulation e = {.insn = insn, .at = at, .ops = ops, .ctx = ctx};

	if (!supported(insn))
		return EMULATE_UNSUPPORTED;
	e.flags = ops->get_flags(ctx);
	if (!execute(&e))
		return EMULATE_FAULT;
	if (e.flags_changed)
		ops->set_flags(ctx, e.flags);
	return EMULATE_DONE;
}
