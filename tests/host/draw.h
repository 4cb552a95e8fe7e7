/*
 * A guest's doings from the bytes of a fuzzer: numbers, places, and exits (tests/host/exits.h). Bytes that are not there
 * count as 0.
 */
#pragma once

#include "lib/types.h"
#include "tests/host/exits.h"

void draw_from(const u8 *data, size_t size);
bool draw_is_over(void);
/* `bytes` of them, little-endian. */
u64 draw(unsigned bytes);
/* A number of a kind that finds borders: small, near a power of two, any. */
u64 draw_number(void);
/* A place below `limit`, mostly; the local APIC, or anywhere. */
u64 draw_place(void);
#define DRAW_LIMIT (2u << 20)

/* For a vCPU that is in its guest; on CPU 0. An exit code with what goes with it, whatever the guest was doing; */
void draw_raw(struct vcpu *v, struct exit_plan *p);
/* an instruction that leaves, with its bytes where the guest executes; an access to memory; */
void draw_insn(struct vcpu *v, struct exit_plan *p);
void draw_access(struct exit_plan *p);
/* an access to a register of the local APIC; a call of experiments or of a guest that knows it is one; */
void draw_apic(struct vcpu *v, struct exit_plan *p);
void draw_call(struct vcpu *v, struct exit_plan *p);
/* and what run() may return. */
void draw_neutral(struct vcpu *v, struct exit_plan *p);
