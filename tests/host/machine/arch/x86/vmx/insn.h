/* arch/x86/vmx/insn.h for the build machine: tests/host/cpu_vmx.c executes them. */
#pragma once

#include "arch/hal.h"
#include "arch/x86/vmx/control.h"

enum { INVEPT_SINGLE = 1, INVEPT_ALL = 2 };
enum { INVVPID_SINGLE = 1, INVVPID_ALL = 2 };

u64 vmread(u32 field);
void vmwrite(u32 field, u64 value);
static inline u32 vmread32(u32 field)
{
	return (u32)vmread(field);
}
bool vmclear(u64 pa) must_check;
bool vmptrld(u64 pa) must_check;
void invept(u64 type, u64 eptp);
void invvpid(u64 type, u16 vpid);
