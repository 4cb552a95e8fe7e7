#include "guest-tests/smp/forms.h"

#include "guest-tests/lib/apic.h"
#include "guest-tests/lib/trap.h"
#include "guest-tests/lib/verdict.h"

#define LVT (APIC_BASE + APIC_LVT_TIMER)

_Static_assert(LVT == 0xfee00320, "the 64-bit offsets below");

/* Masked, on a vector of its own. */
static u32 lvt(u32 vector)
{
	return APIC_LVT_MASKED | vector;
}

static void expect(const char *form, u32 want)
{
	u32 found = apic_read(APIC_LVT_TIMER);

	VERDICT_CHECK(found == want, "APIC by %s: 0x%x instead of 0x%x", form, found, want);
}

static void check_value(const char *form, u64 found, u64 want)
{
	VERDICT_CHECK(found == want, "APIC by %s: 0x%lx instead of 0x%lx", form, found, want);
}

static void stores(void)
{
	register u64 base __asm__("r13") = APIC_BASE;
	u64 index = APIC_LVT_TIMER / 4, wide = 0xffffffff00000000 | lvt(0x63);

	__asm__ volatile("movl %1, (%0)" : : "r"(LVT), "i"(APIC_LVT_MASKED | 0x61) : "memory");
	expect("MOV of an immediate", lvt(0x61));
	__asm__ volatile("movl %0, (%1,%2,4)" : : "r"(lvt(0x62)), "r"(base), "r"(index) : "memory");
	expect("MOV with base and index", lvt(0x62));
	__asm__ volatile("movl %k0, %c2(%1)"
	                 :
	                 : "r"(wide), "r"(base), "i"(APIC_LVT_TIMER)
	                 : "memory");
	expect("MOV with displacement", lvt(0x63));
	__asm__ volatile("movabsl %%eax, 0xfee00320" : : "a"(lvt(0x64)) : "memory");
	expect("MOV to a 64-bit offset", lvt(0x64));
	index = LVT;
	__asm__ volatile("stosl" : "+D"(index) : "a"(lvt(0x65)) : "memory");
	expect("STOS", lvt(0x65));
}

static void loads(void)
{
	register u64 high __asm__("r12") = LVT;
	u64 value = UINT64_MAX;

	apic_write(APIC_LVT_TIMER, lvt(0x66));
	__asm__ volatile("movl (%1), %k0" : "=r"(value) : "r"(high) : "memory");
	check_value("MOV through R12", value, lvt(0x66));
	value = UINT64_MAX;
	__asm__ volatile("movabsl 0xfee00320, %%eax" : "=a"(value) : : "memory");
	check_value("MOV from a 64-bit offset", (u32)value, lvt(0x66));
	__asm__ volatile("movslq (%1), %0" : "=r"(value) : "r"(high) : "memory");
	check_value("MOVSXD", value, lvt(0x66));
	value = 1;
	__asm__ volatile("addl (%1), %k0" : "+r"(value) : "r"(high) : "memory");
	check_value("ADD from memory", value, lvt(0x66) + 1);
}

static void changes(void)
{
	u64 value = lvt(0x68);
	u8 equal, set;

	apic_write(APIC_LVT_TIMER, lvt(0x60));
	__asm__ volatile("orl $7, (%0)" : : "r"(LVT) : "memory");
	expect("OR", lvt(0x67));
	__asm__ volatile("andl %k1, (%0)" : : "r"(LVT), "r"(~3ul) : "memory");
	expect("AND", lvt(0x64));
	__asm__ volatile("xorl $0x11, (%0)" : : "r"(LVT) : "memory");
	expect("XOR", lvt(0x75));
	__asm__ volatile("addl $2, (%0)" : : "r"(LVT) : "memory");
	expect("ADD", lvt(0x77));
	__asm__ volatile("subl $0x10, (%0)" : : "r"(LVT) : "memory");
	expect("SUB", lvt(0x67));
	__asm__ volatile("xchgl %k0, (%1)" : "+r"(value) : "r"(LVT) : "memory");
	expect("XCHG", lvt(0x68));
	check_value("XCHG", value, lvt(0x67));
	__asm__ volatile("cmpl %k2, (%1); sete %0"
	                 : "=q"(equal)
	                 : "r"(LVT), "r"(lvt(0x68))
	                 : "memory", "cc");
	check_value("CMP", equal, 1);
	__asm__ volatile("testl $0x10000, (%1); setnz %0" : "=q"(set) : "r"(LVT) : "memory", "cc");
	check_value("TEST", set, 1);
}

void forms_check(void)
{
	stores();
	loads();
	changes();
	apic_write(APIC_LVT_TIMER, lvt(TRAP_VECTOR_TIMER));
}
