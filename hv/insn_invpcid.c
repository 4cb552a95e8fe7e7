#include "hv/insn_invpcid.h"

#define PCID BITS(11, 0)

/* Of four-level paging: bits 63:47 are all the same. There is no other here (cpuid.h). */
static bool is_canonical(u64 address)
{
	s64 top = (s64)address >> 47;

	return top == 0 || top == -1;
}

bool invpcid_valid(u64 type, const struct invpcid_desc *desc, bool pcide)
{
	if (type > INVPCID_ALL_UNGLOBAL || desc->pcid & ~PCID)
		return false;
	if (type <= INVPCID_PCID && desc->pcid && !pcide)
		return false;
	return type != INVPCID_ADDRESS || is_canonical(desc->address);
}
