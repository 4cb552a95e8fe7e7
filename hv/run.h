/* The run loop of a vCPU, and the shootdown that makes vCPUs leave their guest. */
#pragma once

#include "lib/types.h"

struct vcpu;
struct space;
struct space_ops;

extern const struct space_ops run_space_ops;

/* Body of a vCPU's thread: runs the guest until the VM ends. */
void run_vcpu(struct vcpu *v);
