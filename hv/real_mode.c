#include "hv/real_mode.h"

struct real_entry real_enter(u16 flags, u16 cs, u16 ip, u64 ss_base, u64 sp)
{
	struct real_entry e = {.word = {flags, cs, ip}};
	u16 at = (u16)sp;

	for (unsigned i = 0; i < ARRAY_SIZE(e.word); i++) {
		at = (u16)(at - 2);
		e.at[i] = (u32)(ss_base + at);
	}
	e.sp = (sp & ~0xffffull) | at;
	return e;
}

void real_table(const u8 bytes[6], unsigned operand_bytes, u64 *base, u32 *limit)
{
	u32 b = bytes[2] | (u32)bytes[3] << 8 | (u32)bytes[4] << 16;

	if (operand_bytes > 2)
		b |= (u32)bytes[5] << 24;
	*base = b;
	*limit = bytes[0] | (u32)bytes[1] << 8;
}
