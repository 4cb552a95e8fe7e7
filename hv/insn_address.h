/* Where an instruction's memory operand is: pure, from the decoded instruction and registers. */
#pragma once

#include "hv/decode.h"
#include "lib/types.h"

/* Offset within its segment. `gpr` in encoding order; `next`: the address of the next instruction. */
u64 insn_offset(const struct insn *insn, const u64 gpr[16], u64 next);
/* Number of the segment register that it goes through, as insn.segment counts them. */
unsigned insn_segment(const struct insn *insn);
