/*
 * The emulator against the processor it runs on: an instruction with a memory operand is decoded and emulated, and
 * executed natively with the same registers, flags and memory. Registers, memory and every flag that the manual
 * defines (SDM vol. 2) must agree afterwards. Long mode only, for that is what the native side is in.
 *
 * The input: a seed for registers and memory, then what the instruction is built from. Opcodes come from a
 * list, so that most inputs are instructions that are emulated; prefixes, ModRM, SIB, displacement and immediates are
 * the input's own.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/decode.h"
#include "hv/emulate.h"
#include "tests/host/hal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define FLAG_CF BIT(0)
#define FLAG_PF BIT(2)
#define FLAG_AF BIT(4)
#define FLAG_ZF BIT(6)
#define FLAG_SF BIT(7)
#define FLAG_OF BIT(11)
#define FLAGS   (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)
#define WINDOW  64u           /* bytes of memory that are compared, the operand in their middle */
#define LOW     0x20000000ull /* where they are: below 4 GiB, for 32-bit addresses */

struct machine {
	u64 reg[16];
	u64 flags;
	u8 memory[WINDOW];
};

/* --- natively -------------------------------------------------------------------------------------- */

/* In the order of the encoding. Used by the assembly below. */
u64 native_reg[16], native_flags, native_host_rsp, native_code;
void native_run(void);
extern const u8 native_back[];

__asm__("	.text\n"
        "	.globl native_run, native_back\n"
        "native_run:\n"
        "	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	"
        "push %r15\n"
        "	pushfq\n"
        "	mov %rsp, native_host_rsp(%rip)\n"
        "	push native_flags(%rip)\n"
        "	popfq\n"
        "	mov native_reg+0(%rip), %rax\n	mov native_reg+8(%rip), %rcx\n"
        "	mov native_reg+16(%rip), %rdx\n	mov native_reg+24(%rip), %rbx\n"
        "	mov native_reg+32(%rip), %rsp\n	mov native_reg+40(%rip), %rbp\n"
        "	mov native_reg+48(%rip), %rsi\n	mov native_reg+56(%rip), %rdi\n"
        "	mov native_reg+64(%rip), %r8\n	mov native_reg+72(%rip), %r9\n"
        "	mov native_reg+80(%rip), %r10\n	mov native_reg+88(%rip), %r11\n"
        "	mov native_reg+96(%rip), %r12\n	mov native_reg+104(%rip), %r13\n"
        "	mov native_reg+112(%rip), %r14\n	mov native_reg+120(%rip), %r15\n"
        "	jmp *native_code(%rip)\n"
        "native_back:\n"
        "	mov %rax, native_reg+0(%rip)\n	mov %rcx, native_reg+8(%rip)\n"
        "	mov %rdx, native_reg+16(%rip)\n	mov %rbx, native_reg+24(%rip)\n"
        "	mov %rsp, native_reg+32(%rip)\n	mov %rbp, native_reg+40(%rip)\n"
        "	mov %rsi, native_reg+48(%rip)\n	mov %rdi, native_reg+56(%rip)\n"
        "	mov %r8, native_reg+64(%rip)\n	mov %r9, native_reg+72(%rip)\n"
        "	mov %r10, native_reg+80(%rip)\n	mov %r11, native_reg+88(%rip)\n"
        "	mov %r12, native_reg+96(%rip)\n	mov %r13, native_reg+104(%rip)\n"
        "	mov %r14, native_reg+112(%rip)\n	mov %r15, native_reg+120(%rip)\n"
        "	mov native_host_rsp(%rip), %rsp\n"
        "	pushfq\n"
        "	pop native_flags(%rip)\n"
        "	popfq\n"
        "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	"
        "pop %rbx\n"
        "	ret\n");

static u8 *code, *low;
static sigjmp_buf refused;

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void on_signal(int number)
{
	(void)number;
	siglongjmp(refused, 1);
}

/* The stack pointer is the instruction's: what goes wrong is told on another stack. */
static void signals_catch(void)
{
	static u8 stack[65536];
	static const int numbers[] = {SIGILL, SIGSEGV, SIGBUS, SIGTRAP, SIGFPE};
	const stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_flags = SA_ONSTACK | SA_NODEFER};

	check(!sigaltstack(&other, NULL));
	action.sa_handler = on_signal;
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		check(!sigaction(numbers[i], &action, NULL));
}

static void *map(u64 at, int protection)
{
	void *p = mmap((void *)(uintptr_t)at, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE | protection,
	               MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	check(p != MAP_FAILED);
	return p;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	code = map(0, PROT_EXEC);
	low = map(LOW, 0);
	native_code = (uintptr_t)code;
	signals_catch();
	return 0;
}

/* The instruction, then a jump back that touches neither registers nor flags. */
static bool native(const u8 *bytes, unsigned n, struct machine *m)
{
	static const u8 jump[] = {0xff, 0x25, 0, 0, 0, 0};
	const u64 back = (uintptr_t)native_back;

	memcpy(code, bytes, n);
	memcpy(code + n, jump, sizeof(jump));
	memcpy(code + n + sizeof(jump), &back, 8);
	memcpy(low, m->memory, WINDOW);
	memcpy(native_reg, m->reg, sizeof(native_reg));
	native_flags = m->flags | BIT(1);
	if (sigsetjmp(refused, 1))
		return false;
	native_run();
	memcpy(m->memory, low, WINDOW);
	memcpy(m->reg, native_reg, sizeof(native_reg));
	m->flags = native_flags & FLAGS;
	return true;
}

/* --- emulated -------------------------------------------------------------------------------------- */

static bool device_read(void *ctx, gpa_t at, unsigned bytes, u64 *value)
{
	const struct machine *m = ctx;

	check(at.v + bytes <= WINDOW);
	*value = 0;
	memcpy(value, m->memory + at.v, bytes);
	return true;
}

static bool device_write(void *ctx, gpa_t at, unsigned bytes, u64 value)
{
	struct machine *m = ctx;

	check(at.v + bytes <= WINDOW);
	memcpy(m->memory + at.v, &value, bytes);
	return true;
}

static u64 get_reg(void *ctx, unsigned reg)
{
	return ((struct machine *)ctx)->reg[reg];
}

static void set_reg(void *ctx, unsigned reg, u64 value)
{
	((struct machine *)ctx)->reg[reg] = value;
}

static u64 get_flags(void *ctx)
{
	return ((struct machine *)ctx)->flags;
}

static void set_flags(void *ctx, u64 value)
{
	((struct machine *)ctx)->flags = value;
}

static const struct emulate_ops ops = {
        .read = device_read,
        .write = device_write,
        .get_reg = get_reg,
        .set_reg = set_reg,
        .get_flags = get_flags,
        .set_flags = set_flags,
};

/* --- the two side by side -------------------------------------------------------------------------- */

static const u8 opcodes[] = {
        0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x18,
        0x19, 0x1a, 0x1b, 0x20, 0x21, 0x22, 0x23, 0x28, 0x29, 0x2a, 0x2b, 0x30, 0x31,
        0x32, 0x33, 0x38, 0x39, 0x3a, 0x3b, 0x63, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86,
        0x87, 0x88, 0x89, 0x8a, 0x8b, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff,
};
static const u8 opcodes_0f[] = {0xa3, 0xab, 0xb3, 0xbb, 0xba, 0xb6, 0xb7, 0xbe, 0xbf};

struct input {
	u32 seed;
	u8 prefixes, rex, opcode, modrm, sib;
	u8 rest[8]; /* displacement and immediate */
};

static unsigned build(const struct input *in, u8 *bytes)
{
	static const u8 prefix[] = {0x66, 0x67, 0xf0, 0x3e, 0x26, 0xf2, 0xf3};
	unsigned n = 0, at = in->opcode % (sizeof(opcodes) + sizeof(opcodes_0f));

	for (unsigned i = 0; i < sizeof(prefix); i++)
		/* LOCK and the repeats are rare: most of what they stand before is refused. */
		if ((in->prefixes & BIT(i)) && (i < 2 || (in->prefixes & 0x80)))
			bytes[n++] = prefix[i];
	if (in->rex & 0x80)
		bytes[n++] = 0x40 | (in->rex & 15);
	if (at >= sizeof(opcodes))
		bytes[n++] = 0x0f;
	bytes[n++] = at < sizeof(opcodes) ? opcodes[at] : opcodes_0f[at - sizeof(opcodes)];
	bytes[n++] = in->modrm;
	bytes[n++] = in->sib; /* or the first byte of what follows */
	memcpy(bytes + n, in->rest, sizeof(in->rest));
	return min_of(n + (unsigned)sizeof(in->rest), DECODE_MAX_BYTES);
}

static bool is_bit_test(const struct insn *i)
{
	return i->op >= INSN_BT && i->op <= INSN_BTC;
}

/* Sets the registers so that the address is the middle of the window; false: not this way. */
static bool aim(const struct insn *i, struct machine *m)
{
	u64 target = LOW + WINDOW / 2, index = 0;
	bool mix = i->index != INSN_NO_REG && i->index == i->base;

	/* FS and GS are not the test's to load. */
	if (!i->has_mem || i->base >= 16 || mix ||
	    (i->segment >= 4 && i->segment != INSN_NO_SEGMENT))
		return false;
	if (is_bit_test(i) && i->src.kind == OPERAND_REG) {
		/* A register beyond the operand goes to another word; the fault says which one. */
		if (i->src.reg == i->base || i->src.reg == i->index)
			return false;
		m->reg[i->src.reg] &= 8u * i->dst.bytes - 1;
	}
	if (i->index != INSN_NO_REG)
		index = m->reg[i->index] * i->scale;
	m->reg[i->base] = target - i->disp - index;
	if (i->address_bytes == 4) /* the upper half does not count */
		m->reg[i->base] = (u32)m->reg[i->base] | m->reg[15 - i->base] << 32;
	return true;
}

/* Flags that mean something after it. */
static u64 defined(const struct insn *i)
{
	switch ((enum insn_op)i->op) {
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR:
	case INSN_TEST:
		return FLAGS & ~FLAG_AF;
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return FLAG_CF | FLAG_ZF;
	default:
		return FLAGS;
	}
}

static void draw_machine(struct machine *m, u64 seed)
{
	for (unsigned i = 0; i < 16; i++) {
		u64 kind = host_random(&seed) >> 60, value = host_random(&seed);

		m->reg[i] = kind < 4 ? value >> 56 : kind < 6 ? ~0ull << (value % 64) : value;
	}
	m->flags = host_random(&seed) & FLAGS;
	for (unsigned i = 0; i < WINDOW; i++)
		m->memory[i] = (u8)(seed & 3 ? host_random(&seed) >> 32 : 0x80 * (i & 1));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct machine emulated, real;
	u8 bytes[32] = {0};
	struct input in;
	struct insn insn;
	u64 mask;

	if (size < sizeof(in))
		return 0;
	memcpy(&in, data, sizeof(in));
	if (decode(bytes, build(&in, bytes), DECODE_64, &insn) != DECODE_OK)
		return 0;
	memset(&emulated, 0, sizeof(emulated));
	draw_machine(&emulated, in.seed + 1ull);
	if (!aim(&insn, &emulated))
		return 0;
	real = emulated;
	if (emulate(&insn, gpa(WINDOW / 2), &ops, &emulated) != EMULATE_DONE)
		return 0;
	check(native(bytes, insn.length, &real));
	mask = defined(&insn);
	check((emulated.flags & mask) == (real.flags & mask));
	check(!memcmp(emulated.reg, real.reg, sizeof(real.reg)));
	check(!memcmp(emulated.memory, real.memory, WINDOW));
	return 0;
}
