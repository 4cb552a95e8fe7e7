#include "arch/x86/vcpu_state.h"

#include "arch/x86/insn.h"
#include "arch/x86/vcpu.h"
#include "arch/x86/regs.h"
#include "lib/string.h"

#define DR6_INIT 0xffff0ff0u
#define DR7_INIT 0x400u

static void reset_segs(const struct vendor_ops *ops, struct arch_vcpu *v,
                       const struct seg_state *code, const struct seg_state *data)
{
	static const struct seg_state table = {.limit = 0xffff};
	static const struct seg_state ldtr = {.limit = 0xffff, .access = SEG_UNUSABLE | 0x82};
	static const struct seg_state tr = {.limit = 0xffff, .access = 0x8b};

	ops->set_seg(v, SEG_CS, code);
	ops->set_seg(v, SEG_SS, data);
	ops->set_seg(v, SEG_DS, data);
	ops->set_seg(v, SEG_ES, data);
	ops->set_seg(v, SEG_FS, data);
	ops->set_seg(v, SEG_GS, data);
	ops->set_seg(v, SEG_LDTR, &ldtr);
	ops->set_seg(v, SEG_TR, &tr);
	ops->set_seg(v, SEG_GDTR, &table);
	ops->set_seg(v, SEG_IDTR, &table);
}

/* What a multiboot loader promises: flat 4 GiB segments, paging off, interrupts off. */
static void reset_flat32(const struct vendor_ops *ops, struct arch_vcpu *v,
                         const struct vreset *how)
{
	static const struct seg_state code = {.limit = ~0u, .selector = 0x08, .access = 0xc09b};
	static const struct seg_state data = {.limit = ~0u, .selector = 0x10, .access = 0xc093};

	reset_segs(ops, v, &code, &data);
	ops->set(v, VREG_CR0, CR0_PE | CR0_ET);
	v->gpr[GPR_RAX] = how->eax;
	v->gpr[GPR_RBX] = how->ebx;
	v->rip = how->rip;
}

/*
 * Real mode at vector:0000 (Intel SDM vol. 3, table 10-1). INIT leaves CR0.CD and NW as they were;
 * the firmware that a guest does not have would have cleared them.
 */
static void reset_sipi(const struct vendor_ops *ops, struct arch_vcpu *v, const struct vreset *how)
{
	static const struct seg_state data = {.limit = 0xffff, .access = 0x93};
	struct seg_state code = {
	        .base = (u64)how->sipi_vector << 12,
	        .limit = 0xffff,
	        .selector = (u16)(how->sipi_vector << 8),
	        .access = 0x9b,
	};

	reset_segs(ops, v, &code, &data);
	ops->set(v, VREG_CR0, CR0_ET);
	v->gpr[GPR_RDX] = 0x600;
	v->rip = 0;
}

void vcpu_state_reset(const struct vendor_ops *ops, struct arch_vcpu *v, const struct vreset *how)
{
	static const enum vreg zero[] = {
	        VREG_CR2,         VREG_CR3,          VREG_CR4,          VREG_STAR,
	        VREG_LSTAR,       VREG_CSTAR,        VREG_SFMASK,       VREG_KERNEL_GS_BASE,
	        VREG_SYSENTER_CS, VREG_SYSENTER_ESP, VREG_SYSENTER_EIP,
	};

	memset(v->gpr, 0, sizeof(v->gpr));
	memset(v->dr, 0, sizeof(v->dr));
	v->dr6 = DR6_INIT;
	vcpu_debug_load(v);
	v->rflags = 2;
	v->cr8 = 0;
	v->event = 0;
	v->nmi_wanted = false;
	ops->set(v, VREG_CR0, CR0_ET);
	ops->set(v, VREG_EFER, 0);
	for (size_t i = 0; i < ARRAY_SIZE(zero); i++)
		ops->set(v, zero[i], 0);
	ops->set(v, VREG_DR7, DR7_INIT);
	ops->set(v, VREG_PAT, PAT_DEFAULT);
	if (how->mode == VRESET_FLAT32)
		reset_flat32(ops, v, how);
	else
		reset_sipi(ops, v, how);
	ops->flush(v);
}

void vcpu_debug_load(const struct arch_vcpu *v)
{
	dr0_write(v->dr[0]);
	dr1_write(v->dr[1]);
	dr2_write(v->dr[2]);
	dr3_write(v->dr[3]);
	dr6_write(v->dr6);
}

void vcpu_debug_save(struct arch_vcpu *v)
{
	v->dr[0] = dr0_read();
	v->dr[1] = dr1_read();
	v->dr[2] = dr2_read();
	v->dr[3] = dr3_read();
	v->dr6 = dr6_read();
}
