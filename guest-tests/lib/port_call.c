#include "guest-tests/lib/port_call.h"

u32 port_call(u16 port, u32 command, u64 arg0, u64 arg1, struct port_regs *out)
{
	register u64 r8 __asm__("r8");
	register u64 r9 __asm__("r9");
	register u64 r10 __asm__("r10");
	register u64 r11 __asm__("r11");
	u64 rax = command, rbx = arg0, rcx = arg1, rsi, rdi;

	__asm__ volatile("inl %%dx, %%eax"
	                 : "+a"(rax), "+b"(rbx), "+c"(rcx), "=S"(rsi), "=D"(rdi), "=r"(r8),
	                   "=r"(r9), "=r"(r10), "=r"(r11)
	                 : "d"(port)
	                 : "memory");
	*out = (struct port_regs){rbx, rcx, rsi, rdi, r8, r9, r10, r11};
	return (u32)rax;
}
