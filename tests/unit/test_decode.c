/* hv/decode: encodings with their lengths and operands, at every length and in every mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/decode.h"

#define D16 1u
#define D32 2u
#define D64 4u
#define ALL 7u

/* Everything the bytes hold is one instruction in the modes named, #UD in the others. */
struct encoding {
	const char *bytes;
	u8 n;
	u8 modes;
	u8 op;
};
#define E(modes, op, bytes)                         \
	{                                           \
		bytes, sizeof(bytes) - 1, modes, op \
	}

static const struct encoding system_encodings[] = {
        E(ALL, INSN_CPUID, "\x0f\xa2"),
        E(ALL, INSN_HLT, "\xf4"),
        E(ALL, INSN_RDMSR, "\x0f\x32"),
        E(ALL, INSN_WRMSR, "\x0f\x30"),
        E(ALL, INSN_RDTSC, "\x0f\x31"),
        E(ALL, INSN_RDPMC, "\x0f\x33"),
        E(ALL, INSN_RDTSCP, "\x0f\x01\xf9"),
        E(ALL, INSN_XGETBV, "\x0f\x01\xd0"),
        E(ALL, INSN_XSETBV, "\x0f\x01\xd1"),
        E(ALL, INSN_VMCALL, "\x0f\x01\xc1"),
        E(ALL, INSN_VMMCALL, "\x0f\x01\xd9"),
        E(ALL, INSN_MONITOR, "\x0f\x01\xc8"),
        E(ALL, INSN_MWAIT, "\x0f\x01\xc9"),
        E(ALL, INSN_WBINVD, "\x0f\x09"),
        E(ALL, INSN_WBINVD, "\xf3\x0f\x09"),
        E(ALL, INSN_INVD, "\x0f\x08"),
        E(ALL, INSN_CLTS, "\x0f\x06"),
        E(ALL, INSN_PAUSE, "\xf3\x90"),
        E(D64, INSN_OTHER, "\xf3\x41\x90"), /* xchg %eax,%r8d */
        E(ALL, INSN_OTHER, "\x90"),
        E(ALL, INSN_LMSW, "\x0f\x01\xf0"),
        E(ALL, INSN_SMSW, "\x0f\x01\xe0"),
        E(D64, INSN_INVLPG, "\x0f\x01\x3c\x24"),
        E(ALL, INSN_INT, "\xcd\x60"),
        E(D64, INSN_LGDT, "\x0f\x01\x14\x24"),
        E(D16, INSN_LGDT, "\x66\x0f\x01\x16\x34\x12"),
        E(D64, INSN_LIDT, "\x0f\x01\x18"),
        E(ALL, INSN_OTHER, "\x0f\x01\x00"), /* SGDT */
        E(D64, INSN_INVPCID, "\x66\x0f\x38\x82\x08"),
        E(ALL, INSN_MOV_FROM_CR, "\x0f\x20\xc0"),
        E(ALL, INSN_MOV_TO_CR, "\x0f\x22\xd8"),
        E(ALL, INSN_MOV_TO_CR, "\x0f\x22\x1d"),     /* the mode field does not count */
        E(D64, INSN_MOV_TO_CR, "\x44\x0f\x22\xc0"), /* CR8 */
        E(0, 0, "\x0f\x20\xc8"),                    /* CR1 */
        E(0, 0, "\x0f\x22\xe8"),                    /* CR5 */
        E(ALL, INSN_MOV_FROM_DR, "\x0f\x21\xf8"),
        E(ALL, INSN_MOV_TO_DR, "\x0f\x23\xf8"),
        E(0, 0, "\x44\x0f\x23\xf8"), /* DR15 */
        E(ALL, INSN_IN, "\xe4\x60"),
        E(ALL, INSN_IN, "\xe5\x60"),
        E(ALL, INSN_IN, "\xec"),
        E(ALL, INSN_IN, "\xed"),
        E(ALL, INSN_OUT, "\xe6\x80"),
        E(ALL, INSN_OUT, "\xef"),
        E(ALL, INSN_OUT, "\x66\xef"),
        E(ALL, INSN_INS, "\xf3\x6c"),
        E(ALL, INSN_OUTS, "\xf3\x6f"),
        E(ALL, INSN_MOVS, "\xf3\xa4"),
        E(ALL, INSN_STOS, "\xf3\xab"),
        E(ALL, INSN_LODS, "\xac"),
        E(ALL, INSN_SCAS, "\xae"),
        E(ALL, INSN_CMPS, "\xa7"),
};

static const struct encoding lengths[] = {
        /* forms that exist in some modes only */
        E(D16 | D32, INSN_OTHER, "\x60"),
        E(D16 | D32, INSN_OTHER, "\x06"),
        E(D16 | D32, INSN_OTHER, "\xd4\x0a"),
        E(D16 | D32, INSN_OTHER, "\xc4\x00"),       /* LES */
        E(D16 | D32, INSN_OTHER, "\x62\x00"),       /* BOUND */
        E(D16, INSN_OTHER, "\x9a\x01\x02\x03\x04"), /* CALL far */
        E(D32, INSN_OTHER, "\x9a\x01\x02\x03\x04\x05\x06"),
        E(D16 | D32, INSN_ADD, "\x82\x00\x01"),
        E(ALL, INSN_OTHER, "\x8f\x00"),
        E(ALL, INSN_OTHER, "\xc8\x10\x00\x01"), /* ENTER */
        E(ALL, INSN_OTHER, "\xc2\x08\x00"),
        E(0, 0, "\x0f\x0a"),
        E(0, 0, "\x0f\x04"),
        E(0, 0, "\x0f\x24\xc0"),
        E(0, 0, "\xfe\xd0"),
        E(0, 0, "\xff\xf8"),
        E(0, 0, "\x8f\xe0"),
        E(ALL, INSN_OTHER, "\x0f\x0b"),
        /* immediates by operand size */
        E(D16, INSN_ADD, "\x05\x01\x02"),
        E(D32 | D64, INSN_ADD, "\x05\x01\x02\x03\x04"),
        E(D16, INSN_ADD, "\x66\x05\x01\x02\x03\x04"),
        E(D32 | D64, INSN_ADD, "\x66\x05\x01\x02"),
        E(D64, INSN_ADD, "\x48\x05\x01\x02\x03\x04"),
        E(D64, INSN_MOV, "\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08"),
        E(D16, INSN_OTHER, "\xe8\x01\x02"),
        E(D32 | D64, INSN_OTHER, "\xe8\x01\x02\x03\x04"),
        E(D64, INSN_OTHER, "\x66\xe8\x01\x02\x03\x04"),
        E(D32, INSN_OTHER, "\x66\xe8\x01\x02"),
        E(ALL, INSN_TEST, "\xf6\xc0\x01"),
        E(ALL, INSN_NOT, "\xf6\xd0"),
        E(ALL, INSN_OTHER, "\xf6\xe0"), /* MUL */
        E(D32 | D64, INSN_TEST, "\xf7\xc8\x01\x02\x03\x04"),
        /* addresses */
        E(D16, INSN_MOV, "\x8b\x06\x01\x02"),
        E(D16, INSN_MOV, "\x8b\x04"),
        E(D32 | D64, INSN_MOV, "\x8b\x05\x01\x02\x03\x04"),
        E(D32 | D64, INSN_MOV, "\x8b\x04\x25\x01\x02\x03\x04"),
        E(D32 | D64, INSN_MOV, "\x8b\x44\x24\x08"),
        E(D32 | D64, INSN_MOV, "\x8b\x84\x24\x01\x02\x03\x04"),
        E(D32, INSN_MOV, "\x67\x8b\x06\x01\x02"),
        E(D64, INSN_MOV, "\x67\x8b\x05\x01\x02\x03\x04"),
        E(D16, INSN_MOV, "\xa1\x01\x02"),
        E(D32, INSN_MOV, "\xa1\x01\x02\x03\x04"),
        E(D64, INSN_MOV, "\xa1\x01\x02\x03\x04\x05\x06\x07\x08"),
        E(D64, INSN_MOV, "\x67\xa1\x01\x02\x03\x04"),
        /* SSE, VEX, EVEX, XOP, 3DNow */
        E(ALL, INSN_OTHER, "\x0f\x77"),
        E(ALL, INSN_OTHER, "\x66\x0f\x70\xc1\x05"),
        E(ALL, INSN_OTHER, "\xf3\x0f\xc2\xc1\x05"),
        E(ALL, INSN_OTHER, "\x66\x0f\x3a\x0f\xc1\x05"),
        E(ALL, INSN_OTHER, "\x66\x0f\x38\x00\xc1"),
        E(ALL, INSN_OTHER, "\x0f\x0f\xc1\x9e"),
        E(ALL, INSN_OTHER, "\x66\x0f\x78\xc1\x05\x06"), /* EXTRQ */
        E(ALL, INSN_OTHER, "\xc5\xf8\x77"),
        E(ALL, INSN_OTHER, "\xc5\xf9\x70\xc1\x05"),
        E(ALL, INSN_OTHER, "\xc4\xe3\x79\x0f\xc1\x05"),
        E(ALL, INSN_OTHER, "\xc4\xe2\x79\x00\xc1"),
        E(ALL, INSN_OTHER, "\x62\xf1\x7c\x48\x10\xc1"),
        E(ALL, INSN_OTHER, "\x62\xf3\x7d\x48\x03\xc1\x05"),
        E(ALL, INSN_OTHER, "\x8f\xe8\x78\xc0\xc1\x05"),
        E(ALL, INSN_OTHER, "\x8f\xea\x78\x10\xc1\x01\x02\x03\x04"),
        E(0, 0, "\x66\xc5\xf8\x77"),
        E(0, 0, "\xf0\xc5\xf8\x77"),
        E(0, 0, "\xc4\xe0\x79\x00\xc1"),
        /* LOCK: only with a destination in memory, and not with everything */
        E(D32 | D64, INSN_ADD, "\xf0\x01\x08"),
        E(0, 0, "\xf0\x01\xc8"),
        E(0, 0, "\xf0\x03\x08"),
        E(0, 0, "\xf0\x39\x08"),
        E(0, 0, "\xf0\x83\x38\x01"),
        E(0, 0, "\xf0\x89\x08"),
        E(0, 0, "\xf0\xf6\x00\x01"),
        E(0, 0, "\xf0\x0f\xa2"),
        E(ALL, INSN_XCHG, "\xf0\x87\x08"),
        E(ALL, INSN_OTHER, "\xf0\x0f\xb1\x08"),
        E(ALL, INSN_OTHER, "\xf0\x0f\xc7\x08"),
        /* prefixes in any number and order */
        E(ALL, INSN_MOV, "\x2e\x65\x2e\x89\x00"),
        E(ALL, INSN_STOS, "\xf2\xf3\xaa"),
};

static const enum decode_mode modes[] = {DECODE_16, DECODE_32, DECODE_64};

static void show(const struct encoding *e, unsigned mode)
{
	print_message("mode %u, bytes", mode);
	for (unsigned i = 0; i < e->n; i++)
		print_message(" %02x", (u8)e->bytes[i]);
	print_message("\n");
}

/* In a mode of E: exactly these bytes, whatever follows; every beginning of them wants more. */
static void check_encoding(const struct encoding *e, unsigned mode)
{
	u8 bytes[32];
	struct insn insn;

	memset(bytes, 0xcc, sizeof(bytes));
	memcpy(bytes, e->bytes, e->n);
	if (decode(bytes, sizeof(bytes), modes[mode], &insn) != DECODE_OK || insn.length != e->n ||
	    insn.op != e->op) {
		show(e, mode);
		fail_msg("length %u op %u", insn.length, insn.op);
	}
	assert_int_equal(decode(bytes, e->n, modes[mode], &insn), DECODE_OK);
	for (unsigned n = 0; n < e->n; n++)
		if (decode(bytes, n, modes[mode], &insn) != DECODE_MORE) {
			show(e, mode);
			fail_msg("%u bytes are enough", n);
		}
}

static void check_refused(const struct encoding *e, unsigned mode)
{
	struct insn insn;

	if (decode((const u8 *)e->bytes, e->n, modes[mode], &insn) != DECODE_INVALID) {
		show(e, mode);
		fail_msg("not refused");
	}
}

static void test_decode_system_instructions(void **state)
{
	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(system_encodings); k++)
		for (unsigned mode = 0; mode < 3; mode++)
			if (system_encodings[k].modes >> mode & 1)
				check_encoding(&system_encodings[k], mode);
}

static void test_decode_lengths(void **state)
{
	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(lengths); k++)
		for (unsigned mode = 0; mode < 3; mode++)
			if (lengths[k].modes >> mode & 1)
				check_encoding(&lengths[k], mode);
}

static void test_decode_invalid(void **state)
{
	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(lengths); k++)
		for (unsigned mode = 0; mode < 3; mode++)
			if (!lengths[k].modes)
				check_refused(&lengths[k], mode);
	for (unsigned k = 0; k < ARRAY_SIZE(system_encodings); k++)
		if (!system_encodings[k].modes)
			check_refused(&system_encodings[k], 2);
	check_refused(&(struct encoding)E(0, 0, "\x06"), 2);
	check_refused(&(struct encoding)E(0, 0, "\x9a\x00"), 2);
	check_refused(&(struct encoding)E(0, 0, "\x82\xc0\x00"), 2);
	check_refused(&(struct encoding)E(0, 0, "\x48\xc5\xf8\x77"), 2);
}

static void test_decode_fifteen_bytes(void **state)
{
	u8 bytes[32];
	struct insn insn;

	(void)state;
	memset(bytes, 0x66, sizeof(bytes));
	bytes[14] = 0x90;
	assert_int_equal(decode(bytes, sizeof(bytes), DECODE_32, &insn), DECODE_OK);
	assert_int_equal(insn.length, 15);
	bytes[14] = 0x66;
	bytes[15] = 0x90;
	assert_int_equal(decode(bytes, sizeof(bytes), DECODE_32, &insn), DECODE_TOO_LONG);
	assert_int_equal(decode(bytes, 15, DECODE_32, &insn), DECODE_TOO_LONG);
	assert_int_equal(decode(bytes, 14, DECODE_32, &insn), DECODE_MORE);
	bytes[13] = 0xc7; /* movw $imm16,(%eax) ends behind the limit */
	bytes[14] = 0x00;
	assert_int_equal(decode(bytes, sizeof(bytes), DECODE_32, &insn), DECODE_TOO_LONG);
}

static struct insn decoded(enum decode_mode mode, const char *bytes, unsigned n)
{
	struct insn insn;

	assert_int_equal(decode((const u8 *)bytes, n, mode, &insn), DECODE_OK);
	assert_int_equal(insn.length, n);
	return insn;
}
#define DECODED(mode, bytes) decoded(mode, bytes, sizeof(bytes) - 1)

static void assert_operand(const struct insn_operand *o, u8 kind, u8 reg, u8 bytes)
{
	assert_int_equal(o->kind, kind);
	assert_int_equal(o->bytes, bytes);
	if (kind == OPERAND_REG || kind == OPERAND_HIGH)
		assert_int_equal(o->reg, reg);
}

static void assert_address(const struct insn *i, u8 base, u8 index, u8 scale, u64 disp)
{
	assert_true(i->has_mem);
	assert_int_equal(i->base, base);
	assert_int_equal(i->index, index);
	assert_int_equal(i->scale, scale);
	assert_int_equal(i->disp, disp);
}

static void test_decode_operands(void **state)
{
	struct insn i;

	(void)state;
	i = DECODED(DECODE_64, "\x4c\x89\x64\xcb\xf0"); /* mov %r12,-16(%rbx,%rcx,8) */
	assert_operand(&i.dst, OPERAND_MEM, 0, 8);
	assert_operand(&i.src, OPERAND_REG, 12, 8);
	assert_address(&i, 3, 1, 8, -16ull);
	i = DECODED(DECODE_64, "\x43\x8a\x24\x2c"); /* mov (%r12,%r13),%spl */
	assert_operand(&i.dst, OPERAND_REG, 4, 1);
	assert_address(&i, 12, 13, 1, 0);
	i = DECODED(DECODE_64, "\x8a\x24\x24"); /* mov (%rsp),%ah */
	assert_operand(&i.dst, OPERAND_HIGH, 0, 1);
	assert_address(&i, 4, INSN_NO_REG, 1, 0);
	i = DECODED(DECODE_64, "\x48\x8b\x05\xfc\xff\xff\xff"); /* mov -4(%rip),%rax */
	assert_address(&i, INSN_RIP, INSN_NO_REG, 1, -4ull);
	i = DECODED(DECODE_64, "\x43\x8b\x04\x25\x00\x10\x00\x00"); /* mov 0x1000(,%r12),%eax */
	assert_address(&i, INSN_NO_REG, 12, 1, 0x1000);
	i = DECODED(DECODE_32, "\x64\x66\xc7\x05\x00\x03\xe0\xfe\x34\x12");
	assert_operand(&i.dst, OPERAND_MEM, 0, 2);
	assert_operand(&i.src, OPERAND_IMM, 0, 2);
	assert_address(&i, INSN_NO_REG, INSN_NO_REG, 1, (u64)(s32)0xfee00300);
	assert_int_equal(i.segment, 4);
	assert_int_equal(i.imm, 0x1234);
	i = DECODED(DECODE_16, "\x8b\x42\x80"); /* mov -128(%bp,%si),%ax */
	assert_operand(&i.dst, OPERAND_REG, 0, 2);
	assert_address(&i, 5, 6, 1, -128ull);
	i = DECODED(DECODE_64, "\x48\x83\x0d\x00\x00\x00\x00\xff"); /* orq $-1,0(%rip) */
	assert_int_equal(i.op, INSN_OR);
	assert_int_equal(i.imm, -1ull);
	i = DECODED(DECODE_64, "\x66\x0f\xbe\x03");
	assert_operand(&i.dst, OPERAND_REG, 0, 2);
	assert_operand(&i.src, OPERAND_MEM, 0, 1);
	i = DECODED(DECODE_64, "\xa2\x00\x03\xe0\xfe\x00\x00\x00\x80");
	assert_operand(&i.dst, OPERAND_MEM, 0, 1);
	assert_address(&i, INSN_NO_REG, INSN_NO_REG, 1, 0x80000000fee00300ull);
	i = DECODED(DECODE_32, "\xa1\x00\x03\xe0\xfe");
	assert_address(&i, INSN_NO_REG, INSN_NO_REG, 1, 0xfee00300);
}

static void test_decode_system_operands(void **state)
{
	struct insn i;

	(void)state;
	i = DECODED(DECODE_64, "\x41\x0f\x22\xd8"); /* mov %r8,%cr3 */
	assert_int_equal(i.system, 3);
	assert_operand(&i.src, OPERAND_REG, 8, 8);
	i = DECODED(DECODE_64, "\x44\x0f\x20\xc1"); /* mov %cr8,%rcx */
	assert_int_equal(i.system, 8);
	assert_operand(&i.dst, OPERAND_REG, 1, 8);
	i = DECODED(DECODE_32, "\x0f\x23\xfe"); /* mov %esi,%db7 */
	assert_int_equal(i.system, 7);
	assert_operand(&i.src, OPERAND_REG, 6, 4);
	i = DECODED(DECODE_32, "\xe6\x80"); /* out %al,$0x80 */
	assert_operand(&i.dst, OPERAND_IMM, 0, 1);
	assert_int_equal(i.imm & 0xff, 0x80);
	assert_operand(&i.src, OPERAND_REG, 0, 1);
	i = DECODED(DECODE_64, "\x48\xed"); /* in (%dx),%eax: never 8 bytes */
	assert_operand(&i.dst, OPERAND_REG, 0, 4);
	i = DECODED(DECODE_32, "\x0f\x01\x33"); /* lmsw (%ebx) */
	assert_operand(&i.src, OPERAND_MEM, 0, 2);
}

static void test_decode_prefixes(void **state)
{
	struct insn i;

	(void)state;
	i = DECODED(DECODE_64, "\x48\x66\x89\x00"); /* a REX before a prefix does not count */
	assert_int_equal(i.operand_bytes, 2);
	i = DECODED(DECODE_64, "\x66\x48\x89\x00");
	assert_int_equal(i.operand_bytes, 8);
	i = DECODED(DECODE_64, "\x64\x2e\x89\x00"); /* long mode ignores CS, not FS */
	assert_int_equal(i.segment, 4);
	i = DECODED(DECODE_32, "\x64\x2e\x89\x00");
	assert_int_equal(i.segment, 1);
	i = DECODED(DECODE_32, "\xf3\xf2\xa4");
	assert_true(i.repne && !i.rep);
	i = DECODED(DECODE_32, "\xf0\x01\x00");
	assert_true(i.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_decode_system_instructions),
	        cmocka_unit_test(test_decode_lengths),
	        cmocka_unit_test(test_decode_invalid),
	        cmocka_unit_test(test_decode_fifteen_bytes),
	        cmocka_unit_test(test_decode_operands),
	        cmocka_unit_test(test_decode_system_operands),
	        cmocka_unit_test(test_decode_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
