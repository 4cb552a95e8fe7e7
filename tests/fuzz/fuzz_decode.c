/*
 * The instruction decoder against Zydis. Whatever Zydis takes for an instruction, we do, with the same
 * length, prefixes and address; what we give a name to, Zydis calls by the same name with the same operands.
 * Opcodes without a name may be taken although no CPU has them (see hv/decode.h).
 *
 * VARVE_EXHAUSTIVE=1: no fuzzing, but every opcode of one and two bytes, with every ModRM byte, behind a list of
 * prefixes, in every mode.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/decode.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static const struct {
	u8 op;
	ZydisMnemonic mnemonic[4];
} names[] = {
        {INSN_MOV, {ZYDIS_MNEMONIC_MOV}},
        {INSN_MOVZX, {ZYDIS_MNEMONIC_MOVZX}},
        {INSN_MOVSX, {ZYDIS_MNEMONIC_MOVSX, ZYDIS_MNEMONIC_MOVSXD}},
        {INSN_ADD, {ZYDIS_MNEMONIC_ADD}},
        {INSN_OR, {ZYDIS_MNEMONIC_OR}},
        {INSN_ADC, {ZYDIS_MNEMONIC_ADC}},
        {INSN_SBB, {ZYDIS_MNEMONIC_SBB}},
        {INSN_AND, {ZYDIS_MNEMONIC_AND}},
        {INSN_SUB, {ZYDIS_MNEMONIC_SUB}},
        {INSN_XOR, {ZYDIS_MNEMONIC_XOR}},
        {INSN_CMP, {ZYDIS_MNEMONIC_CMP}},
        {INSN_TEST, {ZYDIS_MNEMONIC_TEST}},
        {INSN_XCHG, {ZYDIS_MNEMONIC_XCHG}},
        {INSN_INC, {ZYDIS_MNEMONIC_INC}},
        {INSN_DEC, {ZYDIS_MNEMONIC_DEC}},
        {INSN_NOT, {ZYDIS_MNEMONIC_NOT}},
        {INSN_NEG, {ZYDIS_MNEMONIC_NEG}},
        {INSN_BT, {ZYDIS_MNEMONIC_BT}},
        {INSN_BTS, {ZYDIS_MNEMONIC_BTS}},
        {INSN_BTR, {ZYDIS_MNEMONIC_BTR}},
        {INSN_BTC, {ZYDIS_MNEMONIC_BTC}},
        {INSN_MOVS,
         {ZYDIS_MNEMONIC_MOVSB, ZYDIS_MNEMONIC_MOVSW, ZYDIS_MNEMONIC_MOVSD, ZYDIS_MNEMONIC_MOVSQ}},
        {INSN_CMPS,
         {ZYDIS_MNEMONIC_CMPSB, ZYDIS_MNEMONIC_CMPSW, ZYDIS_MNEMONIC_CMPSD, ZYDIS_MNEMONIC_CMPSQ}},
        {INSN_STOS,
         {ZYDIS_MNEMONIC_STOSB, ZYDIS_MNEMONIC_STOSW, ZYDIS_MNEMONIC_STOSD, ZYDIS_MNEMONIC_STOSQ}},
        {INSN_LODS,
         {ZYDIS_MNEMONIC_LODSB, ZYDIS_MNEMONIC_LODSW, ZYDIS_MNEMONIC_LODSD, ZYDIS_MNEMONIC_LODSQ}},
        {INSN_SCAS,
         {ZYDIS_MNEMONIC_SCASB, ZYDIS_MNEMONIC_SCASW, ZYDIS_MNEMONIC_SCASD, ZYDIS_MNEMONIC_SCASQ}},
        {INSN_INS, {ZYDIS_MNEMONIC_INSB, ZYDIS_MNEMONIC_INSW, ZYDIS_MNEMONIC_INSD}},
        {INSN_OUTS, {ZYDIS_MNEMONIC_OUTSB, ZYDIS_MNEMONIC_OUTSW, ZYDIS_MNEMONIC_OUTSD}},
        {INSN_IN, {ZYDIS_MNEMONIC_IN}},
        {INSN_OUT, {ZYDIS_MNEMONIC_OUT}},
        {INSN_CPUID, {ZYDIS_MNEMONIC_CPUID}},
        {INSN_HLT, {ZYDIS_MNEMONIC_HLT}},
        {INSN_RDMSR, {ZYDIS_MNEMONIC_RDMSR}},
        {INSN_WRMSR, {ZYDIS_MNEMONIC_WRMSR}},
        {INSN_RDTSC, {ZYDIS_MNEMONIC_RDTSC}},
        {INSN_RDTSCP, {ZYDIS_MNEMONIC_RDTSCP}},
        {INSN_RDPMC, {ZYDIS_MNEMONIC_RDPMC}},
        {INSN_XGETBV, {ZYDIS_MNEMONIC_XGETBV}},
        {INSN_XSETBV, {ZYDIS_MNEMONIC_XSETBV}},
        {INSN_WBINVD, {ZYDIS_MNEMONIC_WBINVD}},
        {INSN_INVD, {ZYDIS_MNEMONIC_INVD}},
        {INSN_INVLPG, {ZYDIS_MNEMONIC_INVLPG}},
        {INSN_INVPCID, {ZYDIS_MNEMONIC_INVPCID}},
        {INSN_CLTS, {ZYDIS_MNEMONIC_CLTS}},
        {INSN_LMSW, {ZYDIS_MNEMONIC_LMSW}},
        {INSN_SMSW, {ZYDIS_MNEMONIC_SMSW}},
        {INSN_MOV_FROM_CR, {ZYDIS_MNEMONIC_MOV}},
        {INSN_MOV_TO_CR, {ZYDIS_MNEMONIC_MOV}},
        {INSN_MOV_FROM_DR, {ZYDIS_MNEMONIC_MOV}},
        {INSN_MOV_TO_DR, {ZYDIS_MNEMONIC_MOV}},
        {INSN_PAUSE, {ZYDIS_MNEMONIC_PAUSE}},
        {INSN_MONITOR, {ZYDIS_MNEMONIC_MONITOR}},
        {INSN_MWAIT, {ZYDIS_MNEMONIC_MWAIT}},
        {INSN_VMCALL, {ZYDIS_MNEMONIC_VMCALL}},
        {INSN_VMMCALL, {ZYDIS_MNEMONIC_VMMCALL}},
        {INSN_LGDT, {ZYDIS_MNEMONIC_LGDT}},
        {INSN_LIDT, {ZYDIS_MNEMONIC_LIDT}},
        {INSN_INT, {ZYDIS_MNEMONIC_INT}},
};

/* What Zydis said, whole, so that a difference can be shown. */
static struct {
	const u8 *bytes;
	unsigned n;
	ZydisMachineMode mode;
	ZyanStatus status;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
} z;

static void check(bool ok, const char *what, const struct insn *i)
{
	if (ok)
		return;
	fprintf(stderr, "%s: mode %d, bytes", what, (int)z.mode);
	for (unsigned k = 0; k < z.n; k++)
		fprintf(stderr, " %02x", z.bytes[k]);
	fprintf(stderr, "\nours: op %u length %u; Zydis: %08x %s length %u\n", i->op, i->length,
	        (unsigned)z.status,
	        ZYAN_SUCCESS(z.status) ? ZydisMnemonicGetString(z.insn.mnemonic) : "",
	        z.insn.length);
	abort();
}

static bool name_is(u8 op, ZydisMnemonic mnemonic)
{
	for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
		for (unsigned m = 0; names[k].op == op && m < 4; m++)
			if (names[k].mnemonic[m] == mnemonic)
				return true;
	return false;
}

/* Encoding number of a general register; `high` for AH .. BH. */
static unsigned reg_number(ZydisRegister reg, bool *high)
{
	*high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
	if (*high)
		return (unsigned)(reg - ZYDIS_REGISTER_AH);
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
		return (unsigned)(reg - ZYDIS_REGISTER_SPL) + 4;
	return (unsigned)ZydisRegisterGetId(reg);
}

static void check_register(u8 ours, ZydisRegister theirs, const struct insn *i)
{
	bool high;

	if (theirs == ZYDIS_REGISTER_NONE)
		check(ours == INSN_NO_REG, "no register", i);
	else if (theirs == ZYDIS_REGISTER_RIP || theirs == ZYDIS_REGISTER_EIP)
		check(ours == INSN_RIP, "rip", i);
	else
		check(ours == reg_number(theirs, &high), "register", i);
}

static void check_memory(const struct insn *i, const ZydisDecodedOperandMem *mem)
{
	u64 mask = i->address_bytes == 8 ? ~0ull : BITS(8 * i->address_bytes - 1, 0);
	ZydisRegister segment = i->segment == INSN_NO_SEGMENT
	                                ? ZYDIS_REGISTER_NONE
	                                : (ZydisRegister)(ZYDIS_REGISTER_ES + i->segment);

	check(i->has_mem, "memory", i);
	check(8 * i->address_bytes == z.insn.address_width, "address size", i);
	/*
	 * A SIB byte with base 5 and mode 0 has no base, whatever REX.B says (Intel SDM vol. 2, table 2-5).
	 * Zydis 4.0 sees R13D there when addresses have 32 bits.
	 */
	if (mem->base != ZYDIS_REGISTER_R13D || z.insn.raw.modrm.mod != 0) {
		check_register(i->base, mem->base, i);
		check((i->disp & mask) == ((u64)mem->disp.value & mask), "displacement", i);
	}
	check_register(i->index, mem->index, i);
	check(mem->index == ZYDIS_REGISTER_NONE || i->scale == (mem->scale ? mem->scale : 1),
	      "scale", i);
	if (i->segment != INSN_NO_SEGMENT)
		check(mem->segment == segment, "segment", i);
}

static void check_operand(const struct insn *i, const struct insn_operand *ours,
                          const ZydisDecodedOperand *theirs)
{
	u64 mask = ours->bytes == 8 ? ~0ull : BITS(8 * ours->bytes - 1, 0);
	bool high;

	switch (ours->kind) {
	case OPERAND_REG:
	case OPERAND_HIGH:
		check(theirs->type == ZYDIS_OPERAND_TYPE_REGISTER, "register operand", i);
		check(ours->reg == reg_number(theirs->reg.value, &high), "operand register", i);
		check(high == (ours->kind == OPERAND_HIGH), "high byte", i);
		check(theirs->size == 8u * ours->bytes, "register size", i);
		break;
	case OPERAND_MEM:
		check(theirs->type == ZYDIS_OPERAND_TYPE_MEMORY, "memory operand", i);
		check(theirs->size == 8u * ours->bytes, "memory size", i);
		check_memory(i, &theirs->mem);
		break;
	case OPERAND_IMM:
		check(theirs->type == ZYDIS_OPERAND_TYPE_IMMEDIATE, "immediate operand", i);
		check((i->imm & mask) == (theirs->imm.value.u & mask), "immediate", i);
		break;
	default:
		check(false, "kind", i);
	}
}

static void check_system(const struct insn *i)
{
	bool to = i->op == INSN_MOV_TO_CR || i->op == INSN_MOV_TO_DR, high;
	const ZydisDecodedOperand *system = &z.op[to ? 0 : 1];

	check_operand(i, to ? &i->src : &i->dst, &z.op[to ? 1 : 0]);
	check(i->system == reg_number(system->reg.value, &high), "system register", i);
	check(ZydisRegisterGetClass(system->reg.value) ==
	              (i->op == INSN_MOV_TO_CR || i->op == INSN_MOV_FROM_CR ? ZYDIS_REGCLASS_CONTROL
	                                                                    : ZYDIS_REGCLASS_DEBUG),
	      "class of system register", i);
}

static void check_named(const struct insn *i)
{
	unsigned k = 0;

	check(ZYAN_SUCCESS(z.status), "named, but Zydis refuses it", i);
	check(name_is(i->op, z.insn.mnemonic), "name", i);
	if (i->op >= INSN_MOV_FROM_CR && i->op <= INSN_MOV_TO_DR) {
		check_system(i);
		return;
	}
	if (i->dst.kind != OPERAND_NONE)
		check_operand(i, &i->dst, &z.op[k++]);
	if (i->src.kind != OPERAND_NONE)
		check_operand(i, &i->src, &z.op[k++]);
	if (i->op == INSN_INVLPG || i->op == INSN_LGDT || i->op == INSN_LIDT)
		check_memory(i, &z.op[0].mem);
}

/* The other way: what Zydis gives one of our names must have ours, if an operand may be in memory. */
static void check_not_missed(const struct insn *i)
{
	if (i->op != INSN_OTHER)
		return;
	for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
		for (unsigned m = 0; m < 4 && names[k].mnemonic[m]; m++)
			if (names[k].mnemonic[m] == z.insn.mnemonic)
				check(z.insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
				              (z.insn.opcode >= 0x40 && z.insn.opcode < 0x50) ||
				              (z.insn.opcode >= 0x90 && z.insn.opcode < 0x98) ||
				              z.insn.opcode == 0x8c || z.insn.opcode == 0x8e ||
				              z.insn.opcode == 0x10 || z.insn.opcode == 0x11 ||
				              z.insn.opcode == 0xc2 ||
				              (z.insn.opcode == 0x63 && i->operand_bytes == 2),
				      "missed", i);
}

static void check_accepted(const struct insn *i)
{
	check(i->length == z.insn.length, "length", i);
	check(i->lock == !!(z.insn.attributes & ZYDIS_ATTRIB_HAS_LOCK), "lock", i);
	if (z.insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return;
	check_not_missed(i);
}

/* Of a family of coprocessors that reused encodings; no CPU that runs us has them. */
static bool is_foreign(void)
{
	return z.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
	       (z.insn.meta.isa_set >= ZYDIS_ISA_SET_KNCE &&
	        z.insn.meta.isa_set <= ZYDIS_ISA_SET_KNC_PF_HINT);
}

static void one(const u8 *bytes, unsigned n, enum decode_mode mode)
{
	static const ZydisMachineMode modes[] = {ZYDIS_MACHINE_MODE_LEGACY_16,
	                                         ZYDIS_MACHINE_MODE_LEGACY_32,
	                                         ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth widths[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
	                                         ZYDIS_STACK_WIDTH_64};
	enum decode_result r;
	ZydisDecoder dec;
	struct insn i;

	z.bytes = bytes;
	z.n = n;
	z.mode = modes[mode];
	ZydisDecoderInit(&dec, z.mode, widths[mode]);
	memset(&z.insn, 0, sizeof(z.insn));
	z.status = ZydisDecoderDecodeFull(&dec, bytes, n, &z.insn, z.op);
	r = decode(bytes, n, mode, &i);
	if (ZYAN_SUCCESS(z.status) && !is_foreign()) {
		check(r == DECODE_OK, "refused", &i);
		check_accepted(&i);
	}
	if (z.status == ZYDIS_STATUS_NO_MORE_DATA || z.status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		check(r != DECODE_OK, "ended early", &i);
	if (r == DECODE_OK)
		check(i.length >= 1 && i.length <= n && i.length <= DECODE_MAX_BYTES, "bounds", &i);
	if (r == DECODE_OK && i.op != INSN_OTHER)
		check_named(&i);
}

/* --- everything ------------------------------------------------------------------------------------ */

struct prefixes {
	u8 n, byte[3];
	bool rex; /* long mode only */
};

static const struct prefixes prefixes[] = {
        {0, {0}, false},          {1, {0x66}, false},
        {1, {0x67}, false},       {2, {0x66, 0x67}, false},
        {1, {0xf0}, false},       {1, {0xf2}, false},
        {1, {0xf3}, false},       {2, {0x66, 0xf2}, false},
        {2, {0xf3, 0x66}, false}, {1, {0x2e}, false},
        {1, {0x64}, false},       {1, {0x40}, true},
        {1, {0x41}, true},        {1, {0x42}, true},
        {1, {0x44}, true},        {1, {0x48}, true},
        {1, {0x4f}, true},        {2, {0x66, 0x48}, true},
        {2, {0xf3, 0x48}, true},  {3, {0x66, 0x67, 0x4d}, true},
};

static u64 tried;

/* What stands behind the opcode: ModRM, SIB, and bytes that are all different. */
static void opcode_all(u8 *bytes, unsigned n, enum decode_mode mode)
{
	for (unsigned modrm = 0; modrm < 256; modrm++)
		for (unsigned sib = 0; sib < (modrm % 8 == 4 ? 3u : 1u); sib++) {
			static const u8 sibs[] = {0x11, 0x25, 0x65};

			bytes[n] = (u8)modrm;
			bytes[n + 1] = sibs[sib];
			for (unsigned i = n + 2; i < DECODE_MAX_BYTES; i++)
				bytes[i] = (u8)(0x70 + 13 * i);
			one(bytes, DECODE_MAX_BYTES, mode);
			tried++;
		}
}

static void prefixes_all(const struct prefixes *p, enum decode_mode mode)
{
	u8 bytes[DECODE_MAX_BYTES];

	memcpy(bytes, p->byte, p->n);
	for (unsigned opcode = 0; opcode < 512; opcode++) {
		unsigned n = p->n;

		if (opcode > 0xff)
			bytes[n++] = 0x0f;
		bytes[n++] = (u8)opcode;
		opcode_all(bytes, n, mode);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (!getenv("VARVE_EXHAUSTIVE"))
		return 0;
	for (unsigned mode = DECODE_16; mode <= DECODE_64; mode++)
		for (unsigned i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
			if (!prefixes[i].rex || mode == DECODE_64)
				prefixes_all(&prefixes[i], (enum decode_mode)mode);
	printf("%llu instructions, no difference\n", (unsigned long long)tried);
	exit(0);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	unsigned n = size > 20 ? 20 : (unsigned)size;
	u8 *copy;

	if (!size)
		return 0;
	/* Exactly as long as it may be read. */
	copy = malloc(n);
	if (!copy)
		abort();
	memcpy(copy, data, n);
	for (unsigned mode = DECODE_16; mode <= DECODE_64; mode++)
		one(copy, n, (enum decode_mode)mode);
	free(copy);
	return 0;
}
