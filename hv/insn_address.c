#include "hv/insn_address.h"

#define REG_SP     4u
#define REG_BP     5u
#define SEGMENT_SS 2u
#define SEGMENT_DS 3u

u64 insn_offset(const struct insn *insn, const u64 gpr[16], u64 next)
{
	u64 at = insn->disp;

	if (insn->base == INSN_RIP)
		at += next;
	else if (insn->base != INSN_NO_REG)
		at += gpr[insn->base];
	if (insn->index != INSN_NO_REG)
		at += gpr[insn->index] * insn->scale;
	return at & BITS(8 * insn->address_bytes - 1, 0);
}

unsigned insn_segment(const struct insn *insn)
{
	if (insn->segment != INSN_NO_SEGMENT)
		return insn->segment;
	return insn->base == REG_SP || insn->base == REG_BP ? SEGMENT_SS : SEGMENT_DS;
}
