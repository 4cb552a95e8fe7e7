/* Reading the guest's code, where hardware does not say what it was doing. */
#pragma once

#include "hv/decode.h"
#include "lib/types.h"
#include "lib/util.h"

struct vcpu;

enum fetch_result {
	FETCH_OK,
	FETCH_AGAIN,   /* memory is short, or the guest's tables just changed: enter again */
	FETCH_OUTSIDE, /* there is no memory where the code should be */
	FETCH_INVALID, /* no instruction */
};

/* Up to 15 bytes at the guest's rip; *n says how many could be had. On the vCPU's thread. */
enum fetch_result fetch_bytes(struct vcpu *v, u8 bytes[DECODE_MAX_BYTES], unsigned *n) must_check;
/* Is the vCPU in 64-bit code? */
bool fetch_long_code(struct vcpu *v);
/* Linear address of the memory operand of the instruction at rip. */
gva_t fetch_operand(struct vcpu *v, const struct insn *insn);
/* fetch_bytes() and decode(). The bytes are for messages. */
enum fetch_result fetch_insn(struct vcpu *v, u8 bytes[DECODE_MAX_BYTES], unsigned *n,
                             struct insn *out) must_check;
