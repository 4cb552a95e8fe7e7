/* Asking the hypervisor by registers: a read of a port, with the command and two arguments. */
#pragma once

#include "guest-tests/lib/types.h"

struct port_regs {
	u64 rbx, rcx, rsi, rdi, r8, r9, r10, r11;
};

/* One call: its status; the results in *out. */
u32 port_call(u16 port, u32 command, u64 arg0, u64 arg1, struct port_regs *out);
