/* What a guest that may experiment asks for: hv/experiment_call.h. */
#pragma once

#include "hv/experiment_call.h"
#include "lib/types.h"

#define EXPERIMENT_ARGS    2u
#define EXPERIMENT_RESULTS 8u

struct experiment {
	u32 command;
	u64 arg[EXPERIMENT_ARGS];
	u64 result[EXPERIMENT_RESULTS]; /* all 0 from the beginning on */
};

struct space;
/*
 * Carries a command out in the caller's space, whatever the guest wrote into it; returns EXPERIMENT_OK or why
 * not. May take as long as EXPERIMENT_PAGES_MAX pages take, or a pass. On the thread of a vCPU of the space, no
 * lock held, not in an epoch section.
 */
u32 experiment_run(struct space *s, struct experiment *e);
