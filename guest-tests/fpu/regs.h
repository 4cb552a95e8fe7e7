/* Moves whole register files. The library and its handlers use no FPU, so values stay put. */
#pragma once

#include "guest-tests/lib/types.h"

struct fpu_regs {
	u64 x87[8];     /* as integers, ST0 first */
	u64 ymm[16][4]; /* without AVX only the lower two words of each */
	u32 mxcsr;
	u16 control, reserved;
};

void fpu_load(const struct fpu_regs *regs, bool avx);
void fpu_store(struct fpu_regs *regs, bool avx);
