#include "tests/host/guest_modes.h"

#include "arch/hal.h"
#include "arch/x86/regs.h"
#include "hv/mmu/guest_mem.h"
#include "hv/vm.h"

#define PML4 0x2000u
#define PDPT 0x3000u
#define PD   0x4000u
#define PAE4 0x6000u
#define PD32 0x7000u
#define PT32 0x8000u
#define ALL  7u /* present, writable, for everybody */

#define FLAG_FIXED BIT(1)
#define FLAG_VM    BIT(17)
#define FLAG_IOPL  BITS(13, 12)

static bool put(struct vcpu *v, u64 at, const void *from, u64 bytes)
{
	return guest_write(&v->vm->mem, gpa(at), from, bytes) == bytes;
}

bool guest_tables_write(struct vcpu *v)
{
	u64 pml4 = PDPT | ALL, pdpt = PD | ALL, pd = GUEST_PT | ALL, pae = PD | 1, pt[TABLE_PAGES];
	u32 pd32 = PT32 | ALL, pt32[2 * TABLE_PAGES];

	for (u32 i = 0; i < TABLE_PAGES; i++)
		pt[i] = (u64)i << PAGE_SHIFT | ALL;
	for (u32 i = 0; i < 2 * TABLE_PAGES; i++)
		pt32[i] = i << PAGE_SHIFT | ALL;
	return put(v, PML4, &pml4, 8) && put(v, PDPT, &pdpt, 8) && put(v, PD, &pd, 8) &&
	       put(v, GUEST_PT, pt, sizeof(pt)) && put(v, PAE4, &pae, 8) &&
	       put(v, PD32, &pd32, 4) && put(v, PT32, pt32, sizeof(pt32));
}

static void set_segments(struct vcpu *v, enum guest_mode mode, bool user, u32 base)
{
	bool tiny = mode == GUEST_REAL || mode == GUEST_VM86;
	bool flat = !tiny && mode != GUEST_PROTECTED_16;
	u32 dpl = mode == GUEST_VM86 || user ? 3u << 5 : 0, rpl = user && !tiny ? 3 : 0;
	u32 big = flat ? 0xc000 : 0, code = mode == GUEST_LONG ? 0xa000 : big;
	struct seg_state cs = {.base = tiny || mode == GUEST_PROTECTED_16 ? base & 0xffff0 : 0,
	                       .limit = flat ? ~0u : 0xffff,
	                       .selector = tiny ? (u16)(base >> 4) : (u16)(8 | rpl),
	                       .access = (mode == GUEST_VM86 ? 0x93 : 0x9b) | dpl | code};
	struct seg_state data = {.limit = cs.limit,
	                         .selector = (u16)(tiny ? 0 : 0x10 | rpl),
	                         .access = 0x93 | dpl | big};

	vendor->set_seg(&v->arch, SEG_CS, &cs);
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
		if (seg != SEG_CS)
			vendor->set_seg(&v->arch, seg, &data);
}

void guest_mode_set(struct vcpu *v, enum guest_mode mode, bool user, u32 base)
{
	static const u64 cr3[GUEST_MODES] = {0, 0, 0, PD32, PAE4, PML4, PML4, PD32};
	bool is_long = mode == GUEST_LONG || mode == GUEST_COMPATIBLE;
	u64 cr4 = CR4_OSFXSR | (v->vm->cpuid.config.xcr0 ? CR4_OSXSAVE : 0);
	u64 cr0 = CR0_ET | CR0_NE | (mode ? CR0_PE : 0) | (cr3[mode] ? CR0_PG | CR0_WP : 0);

	vendor->set(&v->arch, VREG_CR0, CR0_PE | CR0_ET | CR0_NE);
	vendor->set(&v->arch, VREG_EFER, is_long ? EFER_LME | EFER_SCE | EFER_NXE : 0);
	vendor->set(&v->arch, VREG_CR4, cr4 | (is_long || mode == GUEST_PAE ? CR4_PAE : 0));
	vendor->set(&v->arch, VREG_CR3, cr3[mode]);
	v->arch.rflags = FLAG_FIXED | (mode == GUEST_VM86 ? FLAG_VM | FLAG_IOPL : 0);
	vendor->set(&v->arch, VREG_CR0, cr0);
	set_segments(v, mode, user && mode != GUEST_REAL, base);
	v->arch.rip = 0;
	vcpu_paging_changed(v);
}
