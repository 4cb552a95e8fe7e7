/*
 * A trip: a script of operations that runs in the paging mode under test with interrupts off (or, in a
 * trip that takes shootdowns, on), outside of C. Each operation leaves what it found, or the exception that
 * stopped it, in its own record; the oracle reads them afterwards.
 *
 * The executor (trip64.S, trip32.S) works in tables that map all RAM to itself for the supervisor and the
 * page trip_user for the user, under whatever the test adds elsewhere.
 */
#pragma once

/* Operations. */
#define OP_END    0
#define OP_READ   1 /* found = word at `at` */
#define OP_WRITE  2 /* word at `at` = value */
#define OP_XCHG   3 /* the same, found = what was there */
#define OP_FETCH  4 /* jumps to `at`: code there leaves the number of its frame in found */
#define OP_STORE  5 /* table entry at physical `at` = value */
#define OP_RMW    6 /* table entry: found = it; it = found & mask | value, locked */
#define OP_FILL   7 /* mask entries from physical `at` on = value */
#define OP_SWEEP  8 /* reads a word of mask pages from `at` on; found = their sum; ends at a fault */
#define OP_INVLPG 9  /* of `at` */
#define OP_CR3    10 /* = value */
#define OP_CR0    11
#define OP_CR4    12
#define OP_POST   13 /* raises the counter at physical `at` by one */
#define OP_AWAIT  14 /* waits until the counter at physical `at` is value or more */
#define OP_IPI    15 /* shootdown to the CPU with APIC ID value */
#define OP_COUNT  16

/* Flags of an operation. */
#define OP_USER 1 /* READ, WRITE, XCHG, FETCH: at CPL 3 */
#define OP_AC   2 /* ... with RFLAGS.AC set */
#define OP_WIDE 4 /* in 32-bit code: the table entry has 8 bytes */

#define TRIP_DONE_VECTOR 0x81 /* the user's way back */
#define TRIP_SHOT_VECTOR 0x82 /* the shootdown */

/* Offsets for the assembly; checked below. */
#define OP_KIND_AT   0
#define OP_FLAGS_AT  4
#define OP_AT        8
#define OP_VALUE_AT  16
#define OP_MASK_AT   24
#define OP_FOUND_AT  32
#define OP_CR2_AT    40
#define OP_ERROR_AT  48
#define OP_VECTOR_AT 52
#define OP_SIZE      64

#define TRIP_STACK    0
#define TRIP_CR0      8
#define TRIP_CR3      16
#define TRIP_CR4      24
#define TRIP_EFER     32
#define TRIP_OPS      40
#define TRIP_OLD_RSP  48
#define TRIP_OLD_CR0  56
#define TRIP_OLD_CR3  64
#define TRIP_OLD_CR4  72
#define TRIP_OLD_EFER 80
#define TRIP_FLAGS    88
#define TRIP_SHOTS    96
#define TRIP_SHOT_OP  104
#define TRIP_GDTR     114
#define TRIP_IDTR     130

/* Selectors of the trip's own descriptor table. */
#define TRIP_CODE64 0x08
#define TRIP_DATA   0x10
#define TRIP_CODE32 0x18
#define TRIP_USER64 0x2b
#define TRIP_UDATA  0x33
#define TRIP_USER32 0x3b
#define TRIP_TSS64  0x40
#define TRIP_TSS32  0x50

#ifndef __ASSEMBLER__
#include "guest-tests/lib/types.h"

struct op {
	u32 kind, flags;
	u64 at, value, mask;
	/* results */
	u64 found, cr2;
	u32 error, vector; /* vector + 1 of the exception, 0: none */
	u64 reserved;
};

#define TRIP_OPS_MAX 128

struct trip {
	u64 stack; /* top of the stack of the executor */
	u64 cr0, cr3, cr4, efer;
	struct op *ops;
	u64 old_rsp, old_cr0, old_cr3, old_cr4, old_efer;
	u64 flags;       /* RFLAGS of the executor: 2, or with IF to take shootdowns */
	u64 shots;       /* shootdowns taken */
	struct op *shot; /* the operation that the last one interrupted or came before */
	u16 pad0;
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) gdtr;
	u16 pad1[3];
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr;
	u64 gdt[12];
	u32 tss64[26];
	u32 tss32[26];
};

_Static_assert(sizeof(struct op) == OP_SIZE && offsetof(struct op, vector) == OP_VECTOR_AT &&
                       offsetof(struct op, found) == OP_FOUND_AT &&
                       offsetof(struct op, cr2) == OP_CR2_AT &&
                       offsetof(struct op, mask) == OP_MASK_AT,
               "offsets of struct op");
_Static_assert(offsetof(struct trip, old_efer) == TRIP_OLD_EFER &&
                       offsetof(struct trip, flags) == TRIP_FLAGS &&
                       offsetof(struct trip, shot) == TRIP_SHOT_OP &&
                       offsetof(struct trip, gdtr) == TRIP_GDTR &&
                       offsetof(struct trip, idtr) == TRIP_IDTR,
               "offsets of struct trip");

/* Once, before the first trip of any CPU. */
void trip_init(void);
/* Once per CPU. */
void trip_init_cpu(struct trip *trip);
/* Runs the script, in long mode or, `long_mode` false, in 32-bit protected mode with or without paging as
 * trip->cr0 says. All of RAM below 4 GiB. On return interrupts are off and everything is as it was. */
void trip_run(struct trip *trip, bool long_mode);

extern char trip_user[]; /* the page of code that the tables must give to the user */
#endif
