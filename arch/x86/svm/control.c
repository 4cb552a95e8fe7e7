#include "arch/x86/svm/control.h"
#include "arch/x86/regs.h"
#include "lib/string.h"

#define IOPM_BYTES  (3u * PAGE_SIZE)
#define MSRPM_BYTES (2u * PAGE_SIZE)

/* One set for all vCPUs: nobody may touch a port; MSRs that VMLOAD and VMSAVE switch pass. */
static u8 iopm[IOPM_BYTES] aligned_to(4096);
static u8 msrpm[MSRPM_BYTES] aligned_to(4096);

/* Two bits (1 read, 2 write) for each MSR, three ranges of 0x2000 (APM vol. 2, section 15.11). */
static void msrpm_pass(u32 msr, u32 what)
{
	u32 bit = (msr & 0x1fff) * 2 + (msr >= 0xc0010000u   ? 2u * 0x4000u
	                                : msr >= 0xc0000000u ? 0x4000u
	                                                     : 0);

	msrpm[bit / 8] &= (u8) ~(what << bit % 8);
}

/*
 * Entry points leave the guest when they are written, which is rare: QEMU does not refuse addresses
 * that are not canonical, and the policy in hv/msr.c does.
 */
void svm_control_maps_init(void)
{
	static const u32 pass[] = {MSR_SYSENTER_CS, MSR_STAR,    MSR_FMASK,
	                           MSR_FS_BASE,     MSR_GS_BASE, MSR_KERNEL_GS_BASE};
	static const u32 read[] = {MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_LSTAR, MSR_CSTAR};

	memset(iopm, 0xff, sizeof(iopm));
	memset(msrpm, 0xff, sizeof(msrpm));
	for (size_t i = 0; i < ARRAY_SIZE(pass); i++)
		msrpm_pass(pass[i], 3);
	for (size_t i = 0; i < ARRAY_SIZE(read); i++)
		msrpm_pass(read[i], 1);
}

/*
 * #AC and #DB leave the guest because a guest can make the CPU raise them without end while it
 * delivers them. Writes of CR0 and CR4 leave it because QEMU takes any value, and because bits of
 * CR4 that CPUID hides stay off that way.
 */
void svm_control_init(struct vmcb *vmcb)
{
	struct vmcb_control *c = &vmcb->control;

	c->cr_writes = BIT(0) | BIT(4);
	c->exceptions = BIT(1) | BIT(17) | BIT(18);
	c->intercept1 = SVM_INTR | SVM_NMI | SVM_RDPMC | SVM_CPUID | SVM_RSM | SVM_INVD | SVM_HLT |
	                SVM_INVLPGA | SVM_IOIO | SVM_MSR | SVM_TASK | SVM_SHUTDOWN;
	c->intercept2 = SVM_VMRUN | SVM_VMMCALL | SVM_VMLOAD | SVM_VMSAVE | SVM_STGI | SVM_CLGI |
	                SVM_SKINIT | SVM_RDTSCP | SVM_WBINVD | SVM_MONITOR | SVM_MWAIT |
	                SVM_MWAIT_C | SVM_XSETBV | SVM_RDPRU;
	if (svm_caps.pause_filter) {
		c->intercept1 |= SVM_PAUSE;
		c->pause_count = 3000;
	}
	c->iopm = (u64)iopm;
	c->msrpm = (u64)msrpm;
	c->int_control = SVM_V_MASKING;
	c->nested_control = 1;
}

/*
 * Reads of control registers leave as well, since the real values differ. INVPCID is hidden, so where
 * the CPU has it, it leaves to be refused; CPUs without it ignore the bit.
 */
void svm_control_shadow(struct vmcb *vmcb)
{
	struct vmcb_control *c = &vmcb->control;

	c->cr_reads |= BIT(0) | BIT(3) | BIT(4);
	c->cr_writes |= BIT(3);
	c->exceptions |= BIT(14);
	c->intercept1 |= SVM_INVLPG;
	c->intercept3 |= SVM_INVPCID;
	c->nested_control = 0;
}
