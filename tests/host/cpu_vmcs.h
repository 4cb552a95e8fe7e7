/* The VMCS that is current on this simulated CPU, for who plays the guest. */
#pragma once

#include "lib/types.h"

/* Whatever the hypervisor may do: what exits tell is written here, and a field that this CPU lacks reads as 0. */
void cpu_vmcs_set(u32 field, u64 value);
u64 cpu_vmcs_get(u32 field);
