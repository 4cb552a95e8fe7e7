#include "hv/fetch.h"

#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/gwalk.h"
#include "hv/insn_address.h"
#include "hv/mmu/guest_mem.h"
#include "hv/vcpu.h"
#include "hv/vm.h"
#include "mm/epoch.h"
#include "mm/gfnmap.h"

#define SEG_ACCESS_DPL  BITS(6, 5)
#define SEG_ACCESS_LONG BIT(13)
#define SEG_ACCESS_BIG  BIT(14)
#define RFLAGS_AC       BIT(18)
#define RFLAGS_VM       BIT(17)
#define LEAF1_EDX_1G    BIT(26)

struct walk {
	struct vcpu *v;
	bool short_of_memory; /* there is memory, but it could not be read now */
};

/* RAM, or what an experiment has added to it. */
static bool has_memory(struct vcpu *v, gfn_t g)
{
	const struct slot *slot;
	bool has;

	epoch_enter();
	slot = gfnmap_slot(v->vm->space, g);
	has = slot && !slot->closed;
	epoch_exit();
	return has;
}

/* Within a page. */
static bool read_guest(struct walk *w, gpa_t at, void *to, u64 bytes)
{
	if (guest_read(&w->v->vm->mem, at, to, bytes) == bytes)
		return true;
	w->short_of_memory |= has_memory(w->v, gpa_gfn(at));
	return false;
}

static bool read_entry(void *ctx, gpa_t at, unsigned bytes, u64 *entry)
{
	*entry = 0;
	return read_guest(ctx, at, entry, bytes);
}

static void walk_state(struct vcpu *v, struct gwalk_state *out)
{
	*out = (struct gwalk_state){
	        .cr0 = vendor->get(&v->arch, VREG_CR0),
	        .cr3 = vendor->get(&v->arch, VREG_CR3),
	        .cr4 = vendor->get(&v->arch, VREG_CR4),
	        .efer = vendor->get(&v->arch, VREG_EFER),
	        .phys_bits = (u8)v->vm->cpuid.ext[8].eax,
	        .page_1g = v->vm->cpuid.ext[1].edx & LEAF1_EDX_1G,
	        .ac = v->arch.rflags & RFLAGS_AC,
	};
}

static unsigned fetch_access(struct vcpu *v)
{
	struct seg_state ss;

	vendor->get_seg(&v->arch, SEG_SS, &ss);
	return GWALK_FETCH | ((ss.access & SEG_ACCESS_DPL) == SEG_ACCESS_DPL ? GWALK_USER : 0);
}

bool fetch_long_code(struct vcpu *v)
{
	struct seg_state cs;

	vendor->get_seg(&v->arch, SEG_CS, &cs);
	return (cs.access & SEG_ACCESS_LONG) && (vendor->get(&v->arch, VREG_EFER) & EFER_LMA);
}

/* In 64-bit code only FS and GS have a base; elsewhere addresses wrap at 4 GiB. */
gva_t fetch_operand(struct vcpu *v, const struct insn *insn)
{
	u64 at = insn_offset(insn, v->arch.gpr, v->arch.rip + insn->length);
	unsigned segment = insn_segment(insn);
	bool is_long = fetch_long_code(v);
	struct seg_state seg;

	if (is_long && segment < SEG_FS)
		return gva(at);
	vendor->get_seg(&v->arch, (enum seg)segment, &seg);
	at += seg.base;
	return gva(is_long ? at : (u32)at);
}

static enum decode_mode code_mode(struct vcpu *v, const struct seg_state *cs)
{
	if ((cs->access & SEG_ACCESS_LONG) && (vendor->get(&v->arch, VREG_EFER) & EFER_LMA))
		return DECODE_64;
	if (!(vendor->get(&v->arch, VREG_CR0) & CR0_PE) || (v->arch.rflags & RFLAGS_VM))
		return DECODE_16;
	return cs->access & SEG_ACCESS_BIG ? DECODE_32 : DECODE_16;
}

static enum fetch_result fetch_piece(struct walk *w, const struct gwalk_state *state, u64 at,
                                     unsigned access, u8 *to, unsigned bytes)
{
	struct gwalk_out out;

	switch (gwalk(state, gva(at), access, read_entry, w, &out)) {
	case GWALK_OK:
		break;
	case GWALK_FAULT: /* it was there when it was executed; the guest gets its #PF by itself */
	case GWALK_NONCANONICAL:
		return FETCH_AGAIN;
	case GWALK_UNREADABLE:
		return w->short_of_memory ? FETCH_AGAIN : FETCH_OUTSIDE;
	}
	if (!read_guest(w, out.gpa, to, bytes))
		return w->short_of_memory ? FETCH_AGAIN : FETCH_OUTSIDE;
	return FETCH_OK;
}

static enum fetch_result fetch_at(struct vcpu *v, const struct seg_state *cs, enum decode_mode mode,
                                  u8 *bytes, unsigned *n)
{
	u64 at = mode == DECODE_64 ? v->arch.rip : (u32)(cs->base + v->arch.rip);
	unsigned first = (unsigned)min_of((u64)DECODE_MAX_BYTES, PAGE_SIZE - at % PAGE_SIZE);
	unsigned access = fetch_access(v);
	struct walk w = {.v = v};
	struct gwalk_state state;
	enum fetch_result result;

	*n = 0;
	walk_state(v, &state);
	result = fetch_piece(&w, &state, at, access, bytes, first);
	if (result != FETCH_OK)
		return result;
	*n = first;
	/* The next page only counts if the instruction really reaches into it. */
	if (first < DECODE_MAX_BYTES && fetch_piece(&w, &state, at + first, access, bytes + first,
	                                            DECODE_MAX_BYTES - first) == FETCH_OK)
		*n = DECODE_MAX_BYTES;
	return FETCH_OK;
}

enum fetch_result fetch_bytes(struct vcpu *v, u8 bytes[DECODE_MAX_BYTES], unsigned *n)
{
	struct seg_state cs;

	vendor->get_seg(&v->arch, SEG_CS, &cs);
	return fetch_at(v, &cs, code_mode(v, &cs), bytes, n);
}

enum fetch_result fetch_insn(struct vcpu *v, u8 bytes[DECODE_MAX_BYTES], unsigned *n,
                             struct insn *out)
{
	struct seg_state cs;
	enum fetch_result result;
	enum decode_mode mode;

	vendor->get_seg(&v->arch, SEG_CS, &cs);
	mode = code_mode(v, &cs);
	result = fetch_at(v, &cs, mode, bytes, n);
	if (result != FETCH_OK)
		return result;
	switch (decode(bytes, *n, mode, out)) {
	case DECODE_OK:
		return FETCH_OK;
	case DECODE_MORE: /* its second page could not be read just now */
		return FETCH_AGAIN;
	default:
		return FETCH_INVALID;
	}
}
