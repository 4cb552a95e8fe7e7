/* The auditor: checks I1-I6 over all frames, maps, lists, stores and SPTEs. */
#pragma once

#include "lib/types.h"

/*
 * All spaces at rest (no vCPU in a guest, no reclaimer at work). Logs a line for each of the first few
 * faults; returns how many it found. `frames_checked` may be NULL.
 */
u64 audit_all(u64 *frames_checked);
