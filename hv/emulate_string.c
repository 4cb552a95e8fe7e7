#include "hv/emulate_string.h"

#define RAX     0u
#define RCX     1u
#define RSI     6u
#define RDI     7u
#define FLAG_DF BIT(10)

static u64 low_bits(unsigned bytes)
{
	return BITS(8 * bytes - 1, 0);
}

/* A 32-bit result clears the upper half of its register; smaller ones leave the rest alone. */
static void set_part(const struct emulate_ops *ops, void *ctx, unsigned reg, unsigned bytes, u64 v)
{
	u64 mask = low_bits(bytes);

	v &= mask;
	if (bytes < 4)
		v |= ops->get_reg(ctx, reg) & ~mask;
	ops->set_reg(ctx, reg, v);
}

static bool move(const struct insn *insn, gpa_t at, unsigned bytes, const struct emulate_ops *ops,
                 void *ctx)
{
	u64 value = ops->get_reg(ctx, RAX) & low_bits(bytes);

	if (insn->op == INSN_STOS)
		return ops->write(ctx, at, bytes, value);
	if (!ops->read(ctx, at, bytes, &value))
		return false;
	set_part(ops, ctx, RAX, bytes, value);
	return true;
}

enum emulate_result emulate_string(const struct insn *insn, u8 opcode, gpa_t at,
                                   const struct emulate_ops *ops, void *ctx, bool *again)
{
	unsigned bytes = opcode & 1 ? insn->operand_bytes : 1, width = insn->address_bytes;
	unsigned pointer = insn->op == INSN_STOS ? RDI : RSI;
	bool repeated = insn->rep || insn->repne;
	u64 count = ops->get_reg(ctx, RCX) & low_bits(width), moved;

	*again = false;
	if (insn->op != INSN_STOS && insn->op != INSN_LODS)
		return EMULATE_UNSUPPORTED;
	if (!move(insn, at, bytes, ops, ctx))
		return EMULATE_FAULT;
	moved = ops->get_flags(ctx) & FLAG_DF ? -(u64)bytes : bytes;
	set_part(ops, ctx, pointer, width, ops->get_reg(ctx, pointer) + moved);
	if (repeated) {
		set_part(ops, ctx, RCX, width, count - 1);
		*again = count > 1;
	}
	return EMULATE_DONE;
}
