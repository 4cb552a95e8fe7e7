#include "tests/host/draw.h"

#include "arch/hal.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vcpu_event.h"
#include "hv/experiment_call.h"
#include "hv/fetch.h"
#include "hv/mmu/guest_mem.h"
#include "hv/pv_call.h"
#include "hv/vm.h"
#include "tests/host/cpu_virt.h"
#include "tests/host/cpu_walker.h"
#include "tests/host/hyper.h"

static struct {
	const u8 *at, *end;
} input;

void draw_from(const u8 *data, size_t size)
{
	input.at = data;
	input.end = data + size;
}

bool draw_is_over(void)
{
	return input.at == input.end;
}

u64 draw(unsigned bytes)
{
	u64 value = 0;

	for (unsigned i = 0; i < bytes && input.at < input.end; i++)
		value |= (u64)*input.at++ << 8 * i;
	return value;
}

u64 draw_number(void)
{
	u8 kind = (u8)draw(1);

	switch (kind >> 6) {
	case 0:
		return kind & 63;
	case 1:
		return (1ull << (kind & 63)) - (kind & 1);
	case 2:
		return draw(2) << (kind & 31);
	default:
		return draw(8);
	}
}

u64 draw_place(void)
{
	u8 kind = (u8)draw(1);

	if (kind < 0x40)
		return draw(2);
	if (kind < 0xc0)
		return draw(3) % DRAW_LIMIT;
	if (kind < 0xe0)
		return VLAPIC_BASE + (draw(2) & 0xfff);
	return draw_number();
}

/* AMD APM vol. 2, appendix C; Intel SDM vol. 3, appendix C: exits with a meaning here. */
static const u16 svm_codes[] = {0x41, 0x4e, 0x51, 0x52, 0x60, 0x61, 0x64, 0x72, 0x74, 0x77,
                                0x78, 0x79, 0x7b, 0x7c, 0x80, 0x81, 0x89, 0x8d, 0xa2, 0x400};
static const u8 vmx_reasons[] = {0,  1,  7,  8,  10, 12, 13, 14, 18, 30, 31,
                                 32, 36, 40, 48, 52, 54, 55, 58, 62, 63};

#define REX_B 0x41

static const u32 msrs[] = {0x10,  0x1b,       0x3a,       0x3b,       0x174,      0x175,
                           0x176, 0x277,      0x6e0,      0xc0000080, 0xc0000081, 0xc0000082,
                           0x2ff, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102};
static const u16 ports[] = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x80, 0xf4, 0x5640, 0x5641};

/* Instructions that leave a guest, or meet a device. */
static const struct insn_case {
	u8 bytes[7], length;
	u16 svm;
	u8 vmx;
	u32 info; /* VMX: the qualification */
} cases[] = {
        {"\x0f\xa2", 2, 0x72, 10, 0},
        {"\xf4", 1, 0x78, 12, 0},
        {"\xf3\x90", 2, 0x77, 40, 0},
        {"\x0f\x09", 2, 0x89, 54, 0},
        {"\x0f\x32", 2, 0x7c, 31, 0},
        {"\x0f\x30", 2, 0x7c, 32, 1},
        {"\x0f\x01\xd1", 3, 0x8d, 55, 0},
        {"\x0f\x01\xd9", 3, 0x81, 18, 0},
        {"\x0f\x22\xc0", 3, 0x10, 28, 0},
        {"\x0f\x22\xd9", 3, 0x13, 28, 0x103},
        {"\x0f\x22\xe2", 3, 0x14, 28, 0x204},
        {"\x0f\x20\xc3", 3, 0x00, 28, 0x310},
        {"\x0f\x20\xdc", 3, 0x03, 28, 0x413},
        {"\x0f\x20\xe0", 3, 0x04, 28, 0x014},
        {"\x0f\x06", 2, 0x10, 28, 0x20},
        {"\x0f\x01\xf0", 3, 0x10, 28, 0x30},
        {"\x41\x0f\x01\xf3", 4, 0x10, 28, 0x30},
        {"\x0f\x01\xe1", 3, 0x00, 28, 0x30},
        {"\x0f\x01\x38", 3, 0x79, 14, 0},
        {"\x66\x0f\x38\x82\x0b", 5, 0xa2, 58, 0},
        {"\xcd\x10", 2, 0x4d, 0, 0},
        {"\x0f\x01\x16\x00\x10", 5, 0x4d, 0, 0},
        {"\x0f\x01\x1e\x00\x10", 5, 0x4d, 0, 0},
        {"\x89\x08", 2, 0x400, 48, 0},
        {"\x8b\x03", 2, 0x400, 48, 0},
        {"\xc7\x07\x05\x00\x00\x00", 6, 0x400, 48, 0},
        {"\xf3\xab", 2, 0x400, 48, 0},
        {"\xf0\x0f\xb1\x0e", 4, 0x400, 48, 0},
        {"\x87\x06", 2, 0x400, 48, 0},
};

/* An event that the CPU was delivering: the one that was offered, INT n, or an exception of the guest's own. */
static u32 take_vectoring(const struct arch_vcpu *v)
{
	u8 what = (u8)draw(1);

	if (what < 0xa0)
		return 0;
	if (what < 0xc0)
		return v->event;
	if (what < 0xe0)
		return EVENT_VALID | 4u << 8 | (u32)draw(1);
	what &= 31;
	return EVENT_VALID | 3u << 8 | (what == 2 ? 8u : what);
}

/* Sizes that IN and OUT have. */
static u64 io_qualification(u64 info)
{
	return (info & 7) == 0 || (info & 7) == 1 || (info & 7) == 3 ? info : (info & ~7ull) | 3;
}

void draw_raw(struct vcpu *v, struct exit_plan *p)
{
	u8 which = (u8)draw(1);

	p->how = EXIT_BY_RAW;
	p->info1 = draw_number();
	p->info2 = draw_place();
	p->error = (u32)draw(1);
	p->length = (u8)(which % 15 + 1);
	p->vectoring = take_vectoring(&v->arch);
	if (!cpu_virt_is_vmx()) {
		p->code = which < 250 ? svm_codes[which % ARRAY_SIZE(svm_codes)] : (u32)draw(2);
		if (p->code == 0x7b)
			p->info2 = v->arch.rip + p->length;
		return;
	}
	p->code = which < 250 ? vmx_reasons[which % ARRAY_SIZE(vmx_reasons)] : (u32)draw(2);
	if (p->code == 30)
		p->info1 = io_qualification(p->info1);
	p->interruption = EVENT_VALID | ((p->error & 1) ? 2u << 8 | 2 : 3u << 8 | (which & 31));
}

/* The bytes where the guest executes, as far as they can be written; no paging but our own tables is looked at. */
static void write_code(struct vcpu *v, const u8 *bytes, u64 n)
{
	struct seg_state cs;

	hyper_visit(v->index);
	vendor->get_seg(&v->arch, SEG_CS, &cs);
	hyper_visit(HYPER_VCPUS);
	(void)guest_write(&v->vm->mem, gpa(cs.base + v->arch.rip), bytes, n);
}

/* For MOV to a control register: what it has with a bit or two changed, which is where borders are. */
static void plan_cr(struct vcpu *v, u32 info)
{
	static const enum vreg which[] = {[0] = VREG_CR0, [3] = VREG_CR3, [4] = VREG_CR4};
	u64 value;

	if (info & 0x30) /* not a MOV to one */
		return;
	hyper_visit(v->index);
	value = vendor->get(&v->arch, which[info & 15]);
	hyper_visit(HYPER_VCPUS);
	value ^= 1ull << (draw(1) & 63);
	value ^= (draw(1) & 0x21) << 16;
	v->arch.gpr[info >> 8 & 15] = value;
}

/* In 64-bit code, where REX prefixes are some. */
static bool is_long(struct vcpu *v)
{
	bool yes;

	hyper_visit(v->index);
	yes = fetch_long_code(v);
	hyper_visit(HYPER_VCPUS);
	return yes;
}

static void plan_io(struct vcpu *v, struct exit_plan *p)
{
	u8 how = (u8)draw(1);
	unsigned size = how & 3 ? 1u << (how & 1) : 4;
	u16 port = how < 0xe0 ? ports[(how >> 2) % ARRAY_SIZE(ports)] : (u16)draw(2);
	bool in = how & 2;
	u64 flags = draw(1) < 8 ? 3 : 0;

	p->code = cpu_virt_is_vmx() ? 30 : 0x7b;
	p->info1 = (u64)port << 16;
	if (cpu_virt_is_vmx())
		p->info1 |= (size - 1u) | (in ? 8u : 0) | flags << 4;
	else
		p->info1 |= (in ? 1u : 0) | flags << 2 | (u64)size << 4;
	p->length = 1;
	p->info2 = v->arch.rip + 1;
	v->arch.gpr[GPR_RDX] = port;
}

/* Any value, or one that the register may have. */
static void plan_msr(struct vcpu *v)
{
	static const u64 values[] = {0x0007040600070406, 0xd01, 0x500, 0x1, 0xfee00900};
	u8 which = (u8)draw(1);
	u64 value = which & 0x80 ? draw_number() : values[which % ARRAY_SIZE(values)];

	v->arch.gpr[GPR_RCX] = msrs[which % ARRAY_SIZE(msrs)];
	v->arch.gpr[GPR_RAX] = (u32)value;
	v->arch.gpr[GPR_RDX] = value >> 32;
}

static void plan_xcr0(struct vcpu *v)
{
	u8 value = (u8)draw(1);

	v->arch.gpr[GPR_RAX] = value & 7;
	v->arch.gpr[GPR_RCX] = value >> 6 == 1;
	v->arch.gpr[GPR_RDX] = value >> 6 == 2;
}

/* Of an access: CPU_*, and in bits 4:3 whether it was no walk of the guest's. Code and tables are in memory, mostly. */
static u8 draw_kind(gva_t at)
{
	u8 kind = (u8)draw(1);
	bool ram = at.v < 0xa0000 || (at.v >= 0x100000 && at.v < DRAW_LIMIT);

	return ram || kind >= 0xf0 ? kind : (u8)((kind & ~CPU_FETCH) | 0x18);
}

void draw_apic(struct vcpu *v, struct exit_plan *p)
{
	static const u16 registers[] = {0x20,  0x80,  0xb0,  0xd0,  0xe0,  0xf0,  0xf0,  0x300,
	                                0x300, 0x310, 0x320, 0x350, 0x370, 0x380, 0x380, 0x3e0};
	static const u32 values[] = {0x1ff,   0x40,    0x80,    0x20040, 0x4500, 0xc4500,
	                             0x84650, 0x84400, 0x10040, 1000,    0xb,    0x01000000};
	u8 which = (u8)draw(1), what = (u8)draw(1);

	v->arch.gpr[GPR_RAX] = VLAPIC_BASE + registers[which % ARRAY_SIZE(registers)];
	v->arch.gpr[GPR_RCX] = what < 0xc0 ? values[what % ARRAY_SIZE(values)] : draw_number();
	write_code(v, (const u8 *)(which & 0x80 ? "\x8b\x08" : "\x89\x08"), 2);
	p->how = EXIT_BY_ACCESS;
	p->at = gva(v->arch.gpr[GPR_RAX]);
	p->access = which & 0x80 ? 0x18 : 0x18 | CPU_WRITE;
}

void draw_call(struct vcpu *v, struct exit_plan *p)
{
	u8 which = (u8)draw(1);
	u64 port = which & 0x80 ? PV_PORT : EXPERIMENT_PORT;

	v->arch.gpr[GPR_RAX] = which & 15;
	v->arch.gpr[GPR_RBX] = which & 0x40 ? draw_place() >> PAGE_SHIFT : draw_number();
	v->arch.gpr[GPR_RCX] = draw_number();
	v->arch.gpr[GPR_RDX] = port;
	p->how = EXIT_BY_RAW;
	p->length = 1;
	p->code = cpu_virt_is_vmx() ? 30 : 0x7b;
	p->info1 = port << 16 | (cpu_virt_is_vmx() ? 0xb : 0x41);
	p->info2 = v->arch.rip + 1;
}

void draw_insn(struct vcpu *v, struct exit_plan *p)
{
	static const u8 strict[] = {4, 5, 5, 8, 9, 10};
	u8 which = (u8)draw(1);
	const struct insn_case *c = &cases[which % ARRAY_SIZE(cases)];
	unsigned skip;

	if (which >= 176) /* RDMSR, WRMSR, MOV to control registers: the ones with most to refuse */
		c = &cases[strict[which % ARRAY_SIZE(strict)]];
	p->how = EXIT_BY_RAW;
	if (which >= 224) {
		plan_io(v, p);
		return;
	}
	skip = c->bytes[0] == REX_B && !is_long(v);
	write_code(v, c->bytes + skip, c->length - skip);
	p->code = cpu_virt_is_vmx() ? c->vmx : c->svm;
	p->length = (u8)(c->length - skip);
	p->info1 = c->info;
	p->info2 = draw_place();
	p->interruption = EVENT_VALID | BIT(11) | 3u << 8 | 13;
	p->vectoring = take_vectoring(&v->arch);
	p->shadow = (u8)draw(1) & 3;
	if (c->svm == 0x7c)
		plan_msr(v);
	else if (c->svm == 0x8d)
		plan_xcr0(v);
	else if (c->vmx == 48) {
		p->how = EXIT_BY_ACCESS;
		p->at = gva(p->info2);
		p->access = draw_kind(p->at);
	} else if (c->vmx == 28 && draw(1) & 3) {
		plan_cr(v, c->info);
	}
	if (!cpu_virt_is_vmx() && svm_caps.decode && c->vmx == 28 && !(c->info & 0x20))
		p->info1 = (c->info & 0xf00) >> 8 | BIT(63);
}

void draw_access(struct exit_plan *p)
{
	p->how = EXIT_BY_ACCESS;
	p->at = gva(draw_place());
	p->access = draw_kind(p->at);
	p->shadow = p->access >> 6;
}

void draw_neutral(struct vcpu *v, struct exit_plan *p)
{
	struct vexit *x = &p->exit;
	u8 flags;

	p->how = EXIT_BY_NEUTRAL;
	x->kind = (enum vexit_kind)(draw(1) % (VEXIT_UNKNOWN + 1));
	x->length = (u8)(draw(1) & 15);
	x->code = draw(1);
	flags = (u8)draw(1);
	switch (x->kind) {
	case VEXIT_IO:
		x->io = (struct vexit_io){.port = ports[draw(1) % ARRAY_SIZE(ports)],
		                          .size = (u8)(1u << flags % 3),
		                          .in = flags & 4,
		                          .string = flags & 8,
		                          .rep = flags & 16};
		break;
	case VEXIT_FAULT:
		x->fault = (struct vexit_fault){.gpa = gpa(draw_place()),
		                                .gva_valid = flags & 1,
		                                .write = flags & 2,
		                                .fetch = flags & 4,
		                                .present = flags & 8,
		                                .walk = flags & 16,
		                                .misconfig = flags > 0xf0};
		break;
	case VEXIT_CR:
		x->cr.what = flags % 3;
		x->cr.number = flags >> 2 & 15;
		x->cr.gpr = (u8)draw(1) & 15;
		break;
	case VEXIT_PAGE_FAULT:
		x->page_fault = (struct vexit_page_fault){gva(draw_place()), flags & 0x1f};
		break;
	case VEXIT_INVLPG:
		x->invlpg.known = flags & 1;
		x->invlpg.gva = gva(draw_number());
		break;
	default:
		x->vector = flags;
	}
	if (!v->arch.shadow && x->kind >= VEXIT_PAGE_FAULT && x->kind <= VEXIT_REAL_UNFIT)
		x->kind = VEXIT_HANDLED; /* exits that only shadow guests have */
}
