#include "arch/x86/vendor.h"
#include "arch/hal.h"

const struct vendor_ops *vendor;
struct vendor_caps vendor_caps;

void vendor_cap_add(struct vendor_caps *caps, const char *name, bool have, const char *fallback)
{
	ASSERT(caps->nr_caps < VENDOR_MAX_CAPS);
	caps->cap[caps->nr_caps++] = (struct vendor_cap){name, have, fallback};
}

void vendor_nmi(void)
{
	if (vendor && vendor->nmi)
		vendor->nmi();
}

enum vendor_state vendor_init(const char **why)
{
	static const struct vendor_ops *const all[] = {&svm_ops, &vmx_ops};
	enum vendor_state state, worst = VENDOR_ABSENT;

	*why = "this CPU offers neither VMX nor SVM: use a machine (or a virtual machine with "
	       "nested "
	       "virtualization) that has one of them";
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		vendor_caps = (struct vendor_caps){0};
		state = all[i]->probe(&vendor_caps);
		if (state == VENDOR_OK) {
			vendor = all[i];
			*why = NULL;
			return state;
		}
		if (state != VENDOR_ABSENT) {
			worst = state;
			*why = vendor_caps.why;
		}
	}
	return worst;
}
