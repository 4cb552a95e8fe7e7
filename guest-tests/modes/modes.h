/* What the mode code works on and leaves behind. Low memory below LOW_RESERVED, see layout.h. */
#pragma once

#define MODES_SOURCE  0xc000 /* 4 KiB, filled by C */
#define MODES_COPY    0xd000 /* where real mode copies it */
#define MODES_SCRATCH 0xe000 /* written through aliases */
#define MODES_STACK16 0xb800
#define MODES_INT     0x60 /* software interrupt taken in real mode */

#define MODES_INT_ADDS  0x1234
#define MODES_CALL_XORS 0x5a5a
#define MODES_ALIAS     0x40000000 /* virtual: large page on physical 0 */
#define MODES_MAGIC_PSE 0x13579bdf
#define MODES_MAGIC_PAE 0x2468ace0

#ifndef __ASSEMBLER__
#include "guest-tests/lib/types.h"

struct modes_results {
	u32 real_sum;      /* 16 bits */
	u32 real_line;     /* UART line status, read in real mode */
	u32 real_leaf0;    /* CPUID leaf 0 EAX, in real mode */
	u32 flat_sum;      /* 32 bits, paging off */
	u32 flat_apic;     /* APIC ID register */
	u32 pse_large_sum; /* through a 4 MiB page */
	u32 pse_small_sum; /* through a 4 KiB page */
	u32 pse_apic;
	u32 pse_written; /* what an alias wrote */
	u32 pae_large_sum;
	u32 pae_small_sum;
	u32 pae_apic;
	u32 pae_written;
	u32 done;
};

extern struct modes_results modes_results;
extern u32 modes_pse_pd[1024], modes_pse_pt[1024];
extern u64 modes_pae_pdpt[4], modes_pae_pd[3][512], modes_pae_pt[512];
extern char modes_code[], modes_code_end[], modes_isr[];
extern u64 modes_saved_rsp; /* not 0: CPU 0 waits to come back */

/* CPU 0: down to real mode, through modes_code, and back. Loads nobody's IDT, TSS afterwards. */
void modes_down(void);
#endif
