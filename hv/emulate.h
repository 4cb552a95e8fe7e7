/*
 * Executes one instruction whose memory operand is a device. A pure function over a table of callbacks: it
 * knows no virtual CPU. The address of the access is already known (the fault said it), so no address is
 * computed and no page table is walked.
 *
 * Read-modify-write instructions read and write the device once each and are not atomic.
 */
#pragma once

#include "hv/decode.h"
#include "lib/types.h"
#include "lib/util.h"

enum emulate_result {
	EMULATE_DONE,        /* all effects are in; the caller steps over the instruction */
	EMULATE_UNSUPPORTED, /* not an instruction that is emulated; nothing happened */
	EMULATE_FAULT,       /* the device refused; no register or flag changed */
};

struct emulate_ops {
	/* `bytes` is 1, 2, 4 or 8; *value is zero-extended. False: the device refuses. */
	bool (*read)(void *ctx, gpa_t at, unsigned bytes, u64 *value);
	bool (*write)(void *ctx, gpa_t at, unsigned bytes, u64 value);
	/* General registers 0 .. 15 in encoding order, whole; RFLAGS. */
	u64 (*get_reg)(void *ctx, unsigned reg);
	void (*set_reg)(void *ctx, unsigned reg, u64 value);
	u64 (*get_flags)(void *ctx);
	void (*set_flags)(void *ctx, u64 value);
};

enum emulate_result emulate(const struct insn *insn, gpa_t at, const struct emulate_ops *ops,
                            void *ctx) must_check;
