/*
 * A guest in one of the modes of a CPU, as it would be after the instructions that lead there, with flat segments and
 * page tables in its first pages that map its memory onto itself.
 */
#pragma once

#include "hv/vcpu.h"
#include "lib/types.h"

enum guest_mode {
	GUEST_REAL,
	GUEST_PROTECTED,    /* 32 bits, no paging */
	GUEST_PROTECTED_16, /* 16 bits, no paging */
	GUEST_PAGING,       /* tables of 4-byte entries */
	GUEST_PAE,
	GUEST_LONG,
	GUEST_COMPATIBLE, /* 32-bit code in long mode */
	GUEST_VM86,       /* under GUEST_PAGING */
	GUEST_MODES,
};

/* The tables, below GUEST_TABLES_END; where the first page table of the paging modes with 8-byte entries is. */
#define GUEST_TABLES     0x2000u
#define GUEST_TABLES_END 0x9000u
#define GUEST_PT         0x5000u

/* Writes the page tables of all modes. On CPU 0; false: there was no memory. */
bool guest_tables_write(struct vcpu *v);
/* On the vCPU's CPU, while it is in its guest: registers as the mode has them, rip 0 in a code segment at `base`. */
void guest_mode_set(struct vcpu *v, enum guest_mode mode, bool user, u32 base);
