/* INVPCID as far as it is a matter of its operands (Intel SDM vol. 2, INVPCID). Pure. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define INVPCID_ADDRESS      0u /* one address in one PCID */
#define INVPCID_PCID         1u /* one PCID */
#define INVPCID_ALL          2u
#define INVPCID_ALL_UNGLOBAL 3u /* all but what is global */

/* The operand in memory: bits 11:0 the PCID, bits 63:12 reserved; bits 127:64 the address. */
struct invpcid_desc {
	u64 pcid, address;
};
static_assert(sizeof(struct invpcid_desc) == 16, "SDM vol. 2, INVPCID");

/*
 * False: #GP(0). `type` is the whole register. `pcide`: CR4.PCIDE. That the CPL is not 0, or there is no such
 * instruction, comes before.
 */
bool invpcid_valid(u64 type, const struct invpcid_desc *desc, bool pcide) must_check;
