/*
 * hv/emulate: decoded instructions against a device that is eight bytes of memory. The oracle for results
 * and flags is this machine itself, which runs the same operation on registers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/emulate.h"
#include "tests/host/hal.h"

#define AT    0xfee00300ull
#define ARITH 0x8d5ull /* OF SF ZF AF PF CF */
#define CF    1ull

static struct {
	u64 reg[16], flags, device;
	unsigned reads, writes, bytes;
	bool refuse_read, refuse_write;
} m;

static bool device_read(void *ctx, gpa_t at, unsigned bytes, u64 *value)
{
	assert_ptr_equal(ctx, &m);
	assert_int_equal(at.v, AT);
	m.reads++;
	m.bytes = bytes;
	*value = 0;
	memcpy(value, &m.device, bytes);
	return !m.refuse_read;
}

static bool device_write(void *ctx, gpa_t at, unsigned bytes, u64 value)
{
	assert_ptr_equal(ctx, &m);
	assert_int_equal(at.v, AT);
	assert_true(bytes == 8 || !(value >> 8 * bytes));
	m.writes++;
	m.bytes = bytes;
	if (!m.refuse_write)
		memcpy(&m.device, &value, bytes);
	return !m.refuse_write;
}

static u64 get_reg(void *ctx, unsigned reg)
{
	(void)ctx;
	assert_true(reg < 16);
	return m.reg[reg];
}

static void set_reg(void *ctx, unsigned reg, u64 value)
{
	(void)ctx;
	assert_true(reg < 16);
	m.reg[reg] = value;
}

static u64 get_flags(void *ctx)
{
	(void)ctx;
	return m.flags;
}

static void set_flags(void *ctx, u64 value)
{
	(void)ctx;
	m.flags = value;
}

static const struct emulate_ops ops = {
        .read = device_read,
        .write = device_write,
        .get_reg = get_reg,
        .set_reg = set_reg,
        .get_flags = get_flags,
        .set_flags = set_flags,
};

static enum emulate_result run_mode(enum decode_mode mode, const char *bytes, unsigned n)
{
	struct insn insn;

	assert_int_equal(decode((const u8 *)bytes, n, mode, &insn), DECODE_OK);
	assert_int_equal(insn.length, n);
	m.reads = m.writes = m.bytes = 0;
	return emulate(&insn, gpa(AT), &ops, &m);
}

#define RUN(mode, bytes) run_mode(mode, bytes, sizeof(bytes) - 1)
#define RUN64(bytes)     assert_int_equal(RUN(DECODE_64, bytes), EMULATE_DONE)

static void reset(void)
{
	memset(&m, 0, sizeof(m));
	m.device = 0x8877665544332211ull;
	for (unsigned i = 0; i < 16; i++)
		m.reg[i] = 0x0101010101010101ull * (0x10 + i);
	m.flags = 0x202;
}

static void test_emulate_mov_stores_its_size(void **state)
{
	(void)state;
	reset();
	RUN64("\x88\x0b"); /* mov %cl,(%rbx) */
	assert_int_equal(m.device, 0x8877665544332211ull);
	assert_int_equal(m.bytes, 1);
	assert_int_equal(m.reads, 0);
	RUN64("\x66\x89\x13"); /* mov %dx,(%rbx) */
	assert_int_equal(m.device, 0x8877665544331212ull);
	RUN64("\x44\x89\x03"); /* mov %r8d,(%rbx) */
	assert_int_equal(m.device, 0x8877665518181818ull);
	RUN64("\x4c\x89\x3b"); /* mov %r15,(%rbx) */
	assert_int_equal(m.device, 0x1f1f1f1f1f1f1f1full);
	RUN64("\x88\x2b"); /* mov %ch,(%rbx) */
	assert_int_equal(m.bytes, 1);
	RUN64("\x40\x88\x2b"); /* mov %bpl,(%rbx) */
	assert_int_equal(m.device & 0xff, 0x15);
	RUN64("\x48\xc7\x03\xfe\xff\xff\xff"); /* movq $-2,(%rbx) */
	assert_int_equal(m.device, -2ll);
	RUN64("\xc6\x03\x55"); /* movb $0x55,(%rbx) */
	assert_int_equal(m.device & 0xffff, 0xff55);
	RUN64("\xa3\x00\x03\xe0\xfe\x00\x00\x00\x00"); /* movabs %eax,0xfee00300 */
	assert_int_equal(m.device & 0xffffffff, 0x10101010);
	assert_int_equal(m.flags, 0x202);
}

static void test_emulate_mov_loads_its_size(void **state)
{
	(void)state;
	reset();
	RUN64("\x8a\x0b"); /* mov (%rbx),%cl */
	assert_int_equal(m.reg[1], 0x1111111111111111ull);
	RUN64("\x8a\x23"); /* mov (%rbx),%ah */
	assert_int_equal(m.reg[0], 0x1010101010101110ull);
	RUN64("\x66\x8b\x13"); /* mov (%rbx),%dx */
	assert_int_equal(m.reg[2], 0x1212121212122211ull);
	RUN64("\x44\x8b\x03"); /* mov (%rbx),%r8d */
	assert_int_equal(m.reg[8], 0x44332211);
	RUN64("\x4c\x8b\x3b"); /* mov (%rbx),%r15 */
	assert_int_equal(m.reg[15], 0x8877665544332211ull);
	assert_int_equal(RUN(DECODE_32, "\xa1\x00\x03\xe0\xfe"),
	                 EMULATE_DONE); /* mov 0xfee00300,%eax */
	assert_int_equal(m.reg[0], 0x44332211);
	assert_int_equal(RUN(DECODE_16, "\x8b\x07"), EMULATE_DONE); /* mov (%bx),%ax */
	assert_int_equal(m.bytes, 2);
}

static void test_emulate_movzx_movsx(void **state)
{
	(void)state;
	reset();
	m.device = 0xf1f2f3f4ull;
	RUN64("\x0f\xb6\x0b"); /* movzbl */
	assert_int_equal(m.reg[1], 0xf4);
	RUN64("\x66\x0f\xb6\x0b"); /* movzbw */
	RUN64("\x0f\xb7\x13");     /* movzwl */
	assert_int_equal(m.reg[2], 0xf3f4);
	RUN64("\x0f\xbe\x0b"); /* movsbl */
	assert_int_equal(m.reg[1], 0xfffffff4);
	RUN64("\x48\x0f\xbe\x0b"); /* movsbq */
	assert_int_equal(m.reg[1], -12ll);
	RUN64("\x66\x0f\xbe\x13"); /* movsbw */
	assert_int_equal(m.reg[2], 0xfff4);
	RUN64("\x48\x0f\xbf\x0b"); /* movswq */
	assert_int_equal(m.reg[1], (s64)(s16)0xf3f4);
	RUN64("\x48\x63\x0b"); /* movslq */
	assert_int_equal(m.reg[1], (s64)(s32)0xf1f2f3f4);
	assert_int_equal(m.bytes, 4);
}

/* One operation on registers of this machine, as it stands in the encoding tables. */
#define FLAGS_OUT "lahf\n\tseto %%al\n\t"
#define NATIVE(name, insn)                                                      \
	static void name(u64 *a, u64 b, u64 *flags)                             \
	{                                                                       \
		u64 ax = 0, x = *a;                                             \
		__asm__("bt $0, %[cf]\n\t" insn "\n\t" FLAGS_OUT                \
		        : "=&a"(ax), [a] "+&b"(x)                               \
		        : [b] "c"(b), [cf] "d"(*flags)                          \
		        : "cc");                                                \
		*a = x;                                                         \
		*flags = (*flags & ~ARITH) | (ax >> 8 & 0xd5) | (ax & 1) << 11; \
	}
#define NATIVE_SIZES(op)                    \
	NATIVE(op##_1, #op " %%cl, %%bl")   \
	NATIVE(op##_2, #op " %%cx, %%bx")   \
	NATIVE(op##_4, #op " %%ecx, %%ebx") \
	NATIVE(op##_8, #op " %%rcx, %%rbx")
#define NATIVE_ONE(op)               \
	NATIVE(op##_1, #op " %%bl")  \
	NATIVE(op##_2, #op " %%bx")  \
	NATIVE(op##_4, #op " %%ebx") \
	NATIVE(op##_8, #op " %%rbx")
#define NATIVE_BIT(op)                      \
	NATIVE(op##_2, #op " %%cx, %%bx")   \
	NATIVE(op##_4, #op " %%ecx, %%ebx") \
	NATIVE(op##_8, #op " %%rcx, %%rbx")
NATIVE_SIZES(add)
NATIVE_SIZES(or)
NATIVE_SIZES(adc)
NATIVE_SIZES(sbb)
NATIVE_SIZES(and)
NATIVE_SIZES(sub)
NATIVE_SIZES(xor)
NATIVE_SIZES(cmp)
NATIVE_SIZES(test)
NATIVE_ONE(inc)
NATIVE_ONE(dec)
NATIVE_ONE(not )
NATIVE_ONE(neg)
NATIVE_BIT(bt)
NATIVE_BIT(bts)
NATIVE_BIT(btr)
NATIVE_BIT(btc)

typedef void (*native_fn)(u64 *a, u64 b, u64 *flags);
#define SIZES(op)                              \
	{                                      \
		op##_1, op##_2, op##_4, op##_8 \
	}
#define BITS_OF(op)                          \
	{                                    \
		NULL, op##_2, op##_4, op##_8 \
	}
#define NO_AF   0x10ull
#define ONLY_CF (ARITH & ~CF)

/* Opcode of the byte form with the operand in memory; the others are one higher. */
static const struct operation {
	const char *name;
	u8 opcode[2];
	u8 opcodes, reg; /* reg: of a group, else 0 */
	native_fn native[4];
	u64 undefined; /* flags that the machine may set at will, or leaves alone: we do the latter */
	bool reverse; /* there is a form register <- memory two higher */
} operations[] = {
        {"add", {0x00}, 1, 0, SIZES(add), 0, true},
        {"or", {0x08}, 1, 0, SIZES(or), NO_AF, true},
        {"adc", {0x10}, 1, 0, SIZES(adc), 0, true},
        {"sbb", {0x18}, 1, 0, SIZES(sbb), 0, true},
        {"and", {0x20}, 1, 0, SIZES(and), NO_AF, true},
        {"sub", {0x28}, 1, 0, SIZES(sub), 0, true},
        {"xor", {0x30}, 1, 0, SIZES(xor), NO_AF, true},
        {"cmp", {0x38}, 1, 0, SIZES(cmp), 0, true},
        {"test", {0x84}, 1, 0, SIZES(test), NO_AF, false},
        {"inc", {0xfe}, 1, 0, SIZES(inc), 0, false},
        {"dec", {0xfe}, 1, 1, SIZES(dec), 0, false},
        {"not", {0xf6}, 1, 2, SIZES(not ), ONLY_CF, false},
        {"neg", {0xf6}, 1, 3, SIZES(neg), 0, false},
        {"bt", {0x0f, 0xa2}, 2, 0, BITS_OF(bt), ONLY_CF, false},
        {"bts", {0x0f, 0xaa}, 2, 0, BITS_OF(bts), ONLY_CF, false},
        {"btr", {0x0f, 0xb2}, 2, 0, BITS_OF(btr), ONLY_CF, false},
        {"btc", {0x0f, 0xba}, 2, 0, BITS_OF(btc), ONLY_CF, false},
};

/* op %rcx,(%rdx) in the form for `size`, or (%rdx) -> %rcx. Returns its length. */
static unsigned assemble(const struct operation *o, unsigned log_size, bool reverse, char *out)
{
	unsigned n = 0;

	if (log_size == 1)
		out[n++] = 0x66;
	if (log_size == 3)
		out[n++] = 0x48;
	for (unsigned i = 0; i + 1 < o->opcodes; i++)
		out[n++] = (char)o->opcode[i];
	out[n++] = (char)(o->opcode[o->opcodes - 1] + (log_size ? 1 : 0) + (reverse ? 2 : 0));
	out[n++] = (char)(o->reg << 3 | (o->reg || o->opcode[0] == 0xfe ? 2 : 0x0a));
	return n;
}

static u64 interesting(u64 *seed)
{
	static const u64 edge[] = {0,          1,      ~0ull,      0x80,       0x7f,
	                           0x8000,     0x7fff, 0x80000000, 0x7fffffff, 1ull << 63,
	                           ~0ull >> 1, 0xf,    0x10};
	u64 r = host_random(seed);

	return r % 3 ? edge[r / 3 % ARRAY_SIZE(edge)] : host_random(seed);
}

static void compare(const struct operation *o, unsigned log_size, bool reverse, u64 *seed)
{
	u64 mem = interesting(seed), reg = interesting(seed), before, flags, a, mask;
	char code[8];
	unsigned n = assemble(o, log_size, reverse, code);

	reset();
	m.device = mem;
	m.reg[1] = reg;
	m.flags = (host_random(seed) & ARITH) | 0x202;
	before = flags = m.flags;
	mask = log_size == 3 ? ~0ull : BIT(8u << log_size) - 1;
	a = reverse ? reg : mem;
	o->native[log_size](&a, reverse ? mem : reg, &flags);
	assert_int_equal(run_mode(DECODE_64, code, n), EMULATE_DONE);
	assert_int_equal(m.reads, 1);
	assert_int_equal(m.bytes, 1u << log_size);
	assert_int_equal((m.flags ^ before) & o->undefined, 0);
	if ((m.flags ^ flags) & ~o->undefined)
		fail_msg("%s size %u: flags %llx, machine %llx, of %llx %llx", o->name,
		         1u << log_size, (unsigned long long)m.flags, (unsigned long long)flags,
		         (unsigned long long)mem, (unsigned long long)reg);
	if (reverse) {
		/* A 32-bit result clears the upper half; CMP has none. */
		assert_int_equal(m.reg[1], log_size == 2 && o->native[0] != cmp_1 ? a & mask : a);
		assert_int_equal(m.device, mem);
	} else {
		assert_int_equal(m.reg[1], reg);
		assert_int_equal(m.device, (mem & ~mask) | (a & mask));
	}
}

static void test_emulate_arithmetic_is_the_machines(void **state)
{
	u64 seed = 99;

	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(operations); k++)
		for (unsigned log_size = 0; log_size < 4; log_size++)
			for (unsigned i = 0; operations[k].native[log_size] && i < 2000; i++) {
				compare(&operations[k], log_size, false, &seed);
				if (operations[k].reverse)
					compare(&operations[k], log_size, true, &seed);
			}
}

static void test_emulate_immediates(void **state)
{
	(void)state;
	reset();
	RUN64("\x83\x0b\xf0"); /* orl $-16,(%rbx) */
	assert_int_equal(m.device, 0x88776655fffffff1ull);
	RUN64("\x66\x81\x23\x0f\x00"); /* andw $15,(%rbx) */
	assert_int_equal(m.device, 0x88776655ffff0001ull);
	RUN64("\xf6\x03\x01"); /* testb $1,(%rbx) */
	assert_int_equal(m.writes, 0);
	assert_int_equal(m.flags & 0x40, 0);
	RUN64("\xf7\x03\x02\x00\x00\x00"); /* testl $2,(%rbx) */
	assert_int_equal(m.flags & 0x40, 0x40);
	RUN64("\x0f\xba\x2b\x21"); /* btsl $33,(%rbx): bit 1 */
	assert_int_equal(m.device, 0x88776655ffff0003ull);
	assert_int_equal(m.flags & CF, 0);
	RUN64("\xf0\x0f\xba\x33\x01"); /* lock btrl $1,(%rbx) */
	assert_int_equal(m.device, 0x88776655ffff0001ull);
	assert_int_equal(m.flags & CF, CF);
	RUN64("\x48\x83\x2b\x01"); /* subq $1,(%rbx) */
	assert_int_equal(m.device, 0x88776655ffff0000ull);
}

static void test_emulate_xchg(void **state)
{
	(void)state;
	reset();
	RUN64("\x87\x0b"); /* xchg %ecx,(%rbx) */
	assert_int_equal(m.reg[1], 0x44332211);
	assert_int_equal(m.device, 0x8877665511111111ull);
	RUN64("\x86\x2b"); /* xchg %ch,(%rbx) */
	assert_int_equal(m.reg[1], 0x44331111);
	assert_int_equal(m.device, 0x8877665511111122ull);
}

static void test_emulate_refusal_changes_nothing(void **state)
{
	static const char *const code[] = {
	        "\x8b\x0b", "\x89\x0b", "\x01\x0b", "\x03\x0b", "\x87\x0b", "\xff\x03", "\xf7\x1b",
	};
	u64 before[16];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(code); i++)
		for (unsigned which = 0; which < 2; which++) {
			reset();
			memcpy(before, m.reg, sizeof(before));
			m.refuse_read = which == 0;
			m.refuse_write = which == 1;
			if (run_mode(DECODE_64, code[i], 2) == EMULATE_DONE) {
				assert_true(which ? !m.writes : !m.reads);
				continue;
			}
			assert_true(which ? m.writes == 1 : m.reads == 1);
			assert_memory_equal(m.reg, before, sizeof(before));
			assert_int_equal(m.flags, 0x202);
			assert_int_equal(m.device, 0x8877665544332211ull);
		}
}

static void test_emulate_unsupported(void **state)
{
	(void)state;
	reset();
	assert_int_equal(RUN(DECODE_64, "\xf3\xa4"), EMULATE_UNSUPPORTED);     /* rep movsb */
	assert_int_equal(RUN(DECODE_64, "\xab"), EMULATE_UNSUPPORTED);         /* stosl */
	assert_int_equal(RUN(DECODE_64, "\x89\xc8"), EMULATE_UNSUPPORTED);     /* registers only */
	assert_int_equal(RUN(DECODE_64, "\xff\x33"), EMULATE_UNSUPPORTED);     /* push (%rbx) */
	assert_int_equal(RUN(DECODE_64, "\x0f\xb1\x0b"), EMULATE_UNSUPPORTED); /* cmpxchg */
	assert_int_equal(RUN(DECODE_64, "\x0f\x11\x03"), EMULATE_UNSUPPORTED); /* movups */
	assert_int_equal(RUN(DECODE_64, "\x0f\xa2"), EMULATE_UNSUPPORTED);     /* cpuid */
	assert_int_equal(m.reads + m.writes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_emulate_mov_stores_its_size),
	        cmocka_unit_test(test_emulate_mov_loads_its_size),
	        cmocka_unit_test(test_emulate_movzx_movsx),
	        cmocka_unit_test(test_emulate_arithmetic_is_the_machines),
	        cmocka_unit_test(test_emulate_immediates),
	        cmocka_unit_test(test_emulate_xchg),
	        cmocka_unit_test(test_emulate_refusal_changes_nothing),
	        cmocka_unit_test(test_emulate_unsupported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
