/*
 * A guest that leaves in every way that hardware can tell of (tests/host/hyper.h calls it): an exit as the control block
 * has it, one that an access to memory leads to, or a neutral one. At each entry it looks at what the hypervisor has
 * prepared, and wherever a translation leads; what must not be ends the program.
 */
#pragma once

#include "hv/vcpu.h"
#include "lib/types.h"
#include "lib/util.h"

/* What the next exit of a vCPU is; all zero: an interrupt of the machine's. */
struct exit_plan {
	enum { EXIT_BY_INTERRUPT, EXIT_BY_RAW, EXIT_BY_NEUTRAL, EXIT_BY_ACCESS } how;
	u32 code; /* RAW: exit code or reason */
	u64 info1, info2;
	u32 interruption, error, vectoring;
	u8 length, shadow;
	struct vexit exit; /* NEUTRAL */
	gva_t at;          /* ACCESS */
	u8 access;         /* CPU_* */
};

/* The plan of vCPU `i`: used up by its next exit. */
struct exit_plan *exits_plan(unsigned i);
/* For hyper_create(). */
bool exits_guest(struct arch_vcpu *v);
/* In place of the vendor's run(): only EXIT_BY_NEUTRAL, or a kick. */
void exits_neutral_run(struct arch_vcpu *v, struct vexit *exit);
/* Has hardware been asked for such an exit at all, on a vCPU with or without a second level? */
bool exits_possible(const struct arch_vcpu *v, const struct exit_plan *p);
