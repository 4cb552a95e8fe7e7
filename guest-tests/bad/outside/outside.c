/*
 * outside: reads and writes where there is no memory. Varve answers reads with all ones, drops writes and
 * goes on. Needs Varve.
 *
 *   forms=mov     plain MOV, MOVZX and MOVSX in all sizes (default)
 *   forms=all     also read-modify-write, XCHG, CMP, PUSH from memory and string instructions
 *   cross         also words half in memory and half outside
 */
#include "guest-tests/lib/guest.h"

/* Reads one `type` by an instruction and compares. */
#define READ(type, suffix, at)                                                                 \
	do {                                                                                   \
		type found = 0;                                                                \
		__asm__ volatile("mov" suffix " (%1), %0" : "=r"(found) : "r"(at) : "memory"); \
		expect("MOV" suffix, at, found == (type)-1, found);                            \
	} while (0)

static u64 accesses;

static void expect(const char *what, u64 at, bool right, u64 found)
{
	VERDICT_CHECK(right, "%s at 0x%lx: found 0x%lx instead of all ones", what, at, found);
	accesses++;
}

static void read_all(u64 at)
{
	u64 wide = 0;

	READ(u8, "b", at);
	READ(u16, "w", at);
	READ(u32, "l", at);
	READ(u64, "q", at);
	__asm__ volatile("movzbl (%1), %k0" : "=r"(wide) : "r"(at) : "memory");
	expect("MOVZX", at, wide == 0xff, wide);
	__asm__ volatile("movzwl (%1), %k0" : "=r"(wide) : "r"(at) : "memory");
	expect("MOVZX", at, wide == 0xffff, wide);
	__asm__ volatile("movsbq (%1), %0" : "=r"(wide) : "r"(at) : "memory");
	expect("MOVSX", at, wide == UINT64_MAX, wide);
	__asm__ volatile("movslq 8(%1,%2,4), %0" : "=r"(wide) : "r"(at), "r"(4ul) : "memory");
	expect("MOVSXD", at, wide == UINT64_MAX, wide);
}

static void write_all(u64 at)
{
	u64 value = 0x123456789abcdef0;

	__asm__ volatile("movb %b0, (%1)" : : "q"(value), "r"(at) : "memory");
	__asm__ volatile("movw %w0, (%1)" : : "r"(value), "r"(at) : "memory");
	__asm__ volatile("movl %k0, (%1)" : : "r"(value), "r"(at) : "memory");
	__asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(at) : "memory");
	__asm__ volatile("movb $1, (%0)" : : "r"(at) : "memory");
	__asm__ volatile("movw $2, (%0)" : : "r"(at) : "memory");
	__asm__ volatile("movl $3, 4(%0)" : : "r"(at) : "memory");
	__asm__ volatile("movq $4, 8(%0)" : : "r"(at) : "memory");
	accesses += 8;
	read_all(at); /* nothing has stayed */
}

static void other_forms(u64 at)
{
	u64 value = 5, flags_equal = 0;
	u64 buffer[8] = {0};
	const void *from = (const void *)at;
	void *to = buffer;
	u64 n = 8;

	__asm__ volatile("addl $7, (%0)" : : "r"(at) : "memory");
	__asm__ volatile("orq %1, (%0)" : : "r"(at), "r"(value) : "memory");
	__asm__ volatile("andb $0, (%0)" : : "r"(at) : "memory");
	__asm__ volatile("lock incl (%0)" : : "r"(at) : "memory");
	__asm__ volatile("xchgq %0, (%1)" : "+r"(value) : "r"(at) : "memory");
	expect("XCHG", at, value == UINT64_MAX, value);
	__asm__ volatile("cmpl $-1, (%1); sete %b0" : "+q"(flags_equal) : "r"(at) : "memory");
	expect("CMP", at, flags_equal == 1, flags_equal);
	__asm__ volatile("pushq (%1); popq %0" : "=r"(value) : "r"(at) : "memory");
	expect("PUSH", at, value == UINT64_MAX, value);
	__asm__ volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	for (unsigned i = 0; i < 8; i++)
		expect("MOVS", at, buffer[i] == UINT64_MAX, buffer[i]);
	to = (void *)at;
	n = 8;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(0) : "memory");
	accesses += 5;
	read_all(at);
}

/* The last four bytes of memory and the first four behind it. */
static void cross(void)
{
	u64 at = mem_top() - 4, found;

	*(volatile u32 *)at = 0x01020304;
	__asm__ volatile("movq (%1), %0" : "=r"(found) : "r"(at) : "memory");
	VERDICT_CHECK(found == 0xffffffff01020304, "MOV across the end of memory: found 0x%lx",
	              found);
	__asm__ volatile("movq %0, (%1)" : : "r"(0x1111111122222222), "r"(at) : "memory");
	VERDICT_CHECK(*(volatile u32 *)at == 0x22222222,
	              "half a write at the end of memory is lost");
	accesses += 2;
}

static u64 highest(void)
{
	u64 bits = cpuid(0x80000008, 0).eax & 0xff;

	return (1ull << (bits < 39 ? bits : 39)) - LARGE_SIZE; /* what one PML4 entry reaches */
}

void guest_main(void)
{
	const char *forms = cmdline_text("forms");
	bool all = forms && string_equal(forms, "all");
	u64 places[] = {
	        0xa0000,    0xf0000,    mem_top(),  mem_top() + 0x123450, 0xc0000000, 0xe0000000,
	        0xfec00000, 0xfee01000, 0xffff0000, 4ull << 30,           highest(),
	};

	VERDICT_CHECK(time_is_varve(), "this guest needs Varve");
	VERDICT_CHECK(!forms || all || string_equal(forms, "mov"), "argument forms= is mov or all");
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		if (mem_is_ram(places[i]))
			continue;
		mem_map_device(places[i]);
		read_all(places[i]);
		write_all(places[i]);
		if (all)
			other_forms(places[i]);
	}
	if (cmdline_flag("cross"))
		cross();
	console_printf("outside: %lu accesses\n", accesses);
}
