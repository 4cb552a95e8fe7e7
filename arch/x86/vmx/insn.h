/*
 * VMX instructions as functions. Those on the current VMCS cannot fail but by a bug of ours: a
 * field this CPU lacks, or no current VMCS.
 */
#pragma once

#include "arch/hal.h"
#include "arch/x86/vmx/control.h"

static inline u64 vmread(u32 field)
{
	u64 value;
	bool fail;

	__asm__ volatile("vmread %2, %1" : "=@ccbe"(fail), "=r"(value) : "r"((u64)field));
	if (unlikely(fail))
		hal_panic("vmx: VMREAD of field 0x%x failed", field);
	return value;
}

static inline void vmwrite(u32 field, u64 value)
{
	bool fail;

	__asm__ volatile("vmwrite %1, %2" : "=@ccbe"(fail) : "r"(value), "r"((u64)field));
	if (unlikely(fail))
		hal_panic("vmx: VMWRITE of field 0x%x failed", field);
}

static inline u32 vmread32(u32 field)
{
	return (u32)vmread(field);
}

/* False: the CPU does not take this region. */
static inline must_check bool vmclear(u64 pa)
{
	bool fail;

	__asm__ volatile("vmclear %1" : "=@ccbe"(fail) : "m"(pa) : "memory");
	return !fail;
}

static inline must_check bool vmptrld(u64 pa)
{
	bool fail;

	__asm__ volatile("vmptrld %1" : "=@ccbe"(fail) : "m"(pa) : "memory");
	return !fail;
}

enum { INVEPT_SINGLE = 1, INVEPT_ALL = 2 };
enum { INVVPID_SINGLE = 1, INVVPID_ALL = 2 };

static inline void invept(u64 type, u64 eptp)
{
	struct {
		u64 eptp, zero;
	} desc = {eptp, 0};
	bool fail;

	__asm__ volatile("invept %1, %2" : "=@ccbe"(fail) : "m"(desc), "r"(type) : "memory");
	if (unlikely(fail))
		hal_panic("vmx: INVEPT type %d failed", (int)type);
}

static inline void invvpid(u64 type, u16 vpid)
{
	struct {
		u64 vpid, linear;
	} desc = {vpid, 0};
	bool fail;

	__asm__ volatile("invvpid %1, %2" : "=@ccbe"(fail) : "m"(desc), "r"(type) : "memory");
	if (unlikely(fail))
		hal_panic("vmx: INVVPID type %d failed", (int)type);
}
