/* Real mode in software: how an interrupt is entered, and what LGDT and LIDT read. Pure. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* IF, TF, AC and RF (Intel SDM vol. 3, section 20.1.4). */
#define REAL_ENTRY_CLEARS (BIT(8) | BIT(9) | BIT(16) | BIT(18))

/* The three words that are pushed, in this order, the linear addresses they go to, and RSP behind. */
struct real_entry {
	u16 word[3]; /* flags, CS, IP */
	u32 at[3];
	u64 sp;
};

struct real_entry real_enter(u16 flags, u16 cs, u16 ip, u64 ss_base, u64 sp);
/* `bytes`: six, as they are in memory. With 16-bit operands a base has 24 bits. */
void real_table(const u8 bytes[6], unsigned operand_bytes, u64 *base, u32 *limit);
