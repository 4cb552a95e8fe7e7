/*
 * What a CPU checks before it runs a guest, from the manuals and not from arch/x86: whether the state that the
 * hypervisor has prepared could be entered, and whether the event that it injects is one that the guest can get.
 */
#pragma once

#include "arch/x86/vcpu.h"

/* On the CPU of a vCPU that is about to enter: NULL, or what the CPU would refuse, in a word or two. */
const char *entry_check(struct arch_vcpu *v);
