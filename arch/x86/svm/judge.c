#include "arch/x86/svm/judge.h"

#include "lib/util.h"

#define VM_CR_LOCK     BIT(3)
#define VM_CR_SVMDIS   BIT(4)
#define SVM_NPT        BIT(0)
#define SVM_NRIP       BIT(3)
#define SVM_CLEAN      BIT(5)
#define SVM_FLUSH_ASID BIT(6)
#define SVM_DECODE     BIT(7)
#define SVM_PAUSE_FILT BIT(10)
#define SVM_VGIF       BIT(16)

u64 svm_vm_cr_enabled(u64 vm_cr)
{
	return vm_cr & ~VM_CR_SVMDIS;
}

static void judge_features(const struct svm_raw *raw, struct svm_caps *c)
{
	*c = (struct svm_caps){
	        .nr_asids = raw->nr_asids,
	        .nrip = raw->features & SVM_NRIP,
	        .flush_asid = raw->features & SVM_FLUSH_ASID,
	        .clean_bits = raw->features & SVM_CLEAN,
	        .pause_filter = raw->features & SVM_PAUSE_FILT,
	        .decode = raw->features & SVM_DECODE,
	        .tcg = raw->tcg,
	        .unlock = (raw->vm_cr & VM_CR_SVMDIS) && !(raw->vm_cr & VM_CR_LOCK),
	};
}

static void judge_report(const struct svm_raw *raw, const struct svm_caps *c,
                         struct vendor_caps *caps)
{
	bool gib = raw->gib_pages;

	caps->second_level = raw->features & SVM_NPT;
	caps->ad = caps->second_level;
	caps->page_2m = true;
	caps->page_1g = gib;
	caps->unrestricted = true;
	caps->decode_len = c->nrip;
	caps->nr_tags = c->nr_asids;
	vendor_cap_add(caps, "npt", caps->second_level, "shadow paging");
	vendor_cap_add(caps, "ad-bits", caps->ad, NULL);
	vendor_cap_add(caps, "asids", c->nr_asids > 1, NULL);
	vendor_cap_add(caps, "flush-by-asid", c->flush_asid, "flushes drop every ASID");
	vendor_cap_add(caps, "unrestricted", true, NULL);
	vendor_cap_add(caps, "preemption-timer", false, "the local APIC's timer ends time slices");
	vendor_cap_add(caps, "nrip-save", c->nrip, "instruction lengths are decoded");
	vendor_cap_add(caps, "decode-assists", c->decode, "instructions are fetched");
	vendor_cap_add(caps, "pages-2m", true, NULL);
	vendor_cap_add(caps, "pages-1g", gib, "2 MiB pages");
	vendor_cap_add(caps, "msr-bitmap", true, NULL);
	vendor_cap_add(caps, "io-bitmap", true, NULL);
	vendor_cap_add(caps, "xsave", raw->xsave, "FXSAVE");
	vendor_cap_add(caps, "vgif", raw->features & SVM_VGIF, "not needed without nesting");
	vendor_cap_add(caps, "clean-bits", c->clean_bits, "the whole VMCB is loaded");
	vendor_cap_add(caps, "exec-only", false, "executable pages are readable");
	vendor_cap_add(caps, "pml", false, "Dirty bits are harvested from the tables");
	vendor_cap_add(caps, "pause-filter", c->pause_filter, "time slices end spinning");
}

/* What there is no fallback for. */
static const char *judge_lacks(const struct svm_raw *raw)
{
	/* Number 0 is the host's, and VMRUN refuses it (APM vol. 2, section 15.5.1). */
	if (raw->nr_asids < 2)
		return "SVM without an address space identifier for guests: use another CPU";
	return NULL;
}

enum vendor_state svm_judge(const struct svm_raw *raw, struct svm_caps *own,
                            struct vendor_caps *caps)
{
	if (!raw->svm || raw->max_ext_leaf < SVM_LEAF)
		return VENDOR_ABSENT;
	judge_features(raw, own);
	judge_report(raw, own, caps);
	if ((raw->vm_cr & VM_CR_SVMDIS) && !own->unlock) {
		caps->why = "the firmware has locked SVM off (VM_CR.SVMDIS): enable SVM or "
		            "virtualization in the firmware setup";
		return VENDOR_LOCKED;
	}
	caps->why = judge_lacks(raw);
	return caps->why ? VENDOR_LACKS : VENDOR_OK;
}
