/*
 * STOS and LODS with a device behind them, one element at a time. Pure, like hv/emulate. MOVS and
 * CMPS would need a second address; nobody was seen to use them on a device.
 */
#pragma once

#include "hv/decode.h"
#include "hv/emulate.h"
#include "lib/types.h"
#include "lib/util.h"

/*
 * `opcode` is the last byte of the instruction. On EMULATE_DONE, *again says that REP is not through:
 * the caller leaves rip where it is, so that interrupts can be taken between two elements.
 */
enum emulate_result emulate_string(const struct insn *insn, u8 opcode, gpa_t at,
                                   const struct emulate_ops *ops, void *ctx,
                                   bool *again) must_check;
