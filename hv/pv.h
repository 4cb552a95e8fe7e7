/* What a guest that knows it is one asks for: hv/pv_call.h. */
#pragma once

#include "hv/pv_call.h"
#include "lib/types.h"

#define PV_ARGS    2u
#define PV_RESULTS 8u

struct pv_call {
	u32 command;
	u64 arg[PV_ARGS];
	u64 result[PV_RESULTS]; /* all 0 from the beginning on */
};

struct space;
/*
 * Carries a call out in the caller's space, for which balloon_enable() was called, whatever the guest wrote into it;
 * returns PV_OK or why not. May take as long as PV_PAGES_MAX pages take to be unmapped and flushed. On the thread
 * of a vCPU of the space, no lock held, not in an epoch section.
 */
u32 pv_run(struct space *s, struct pv_call *call);
