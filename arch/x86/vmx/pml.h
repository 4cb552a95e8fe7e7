/*
 * Page-modification logging (Intel SDM vol. 3, section 28.3.6): when a walk sets Dirty in an EPT entry, the CPU writes
 * the guest-physical address, rounded down to 4 KiB, into the next entry of the vCPU's log page, from the last one
 * downwards. When none is left the guest leaves before the access (VMX_EXIT_LOG_FULL), so nothing is lost.
 *
 * Each exit takes what was written: the log is empty whenever the VMCS is not in a guest.
 */
#pragma once

#include "arch/x86/vcpu.h"
#include "lib/types.h"
#include "lib/util.h"

struct vmx_vcpu;

#define VMX_LOG_ENTRIES   512u
#define VMX_EXIT_LOG_FULL 62u

/* So many entries stand at the end of the page when the index is `index`; it wraps when the page is full. */
static inline unsigned vmx_log_used(u16 index)
{
	return index < VMX_LOG_ENTRIES ? VMX_LOG_ENTRIES - 1 - index : VMX_LOG_ENTRIES;
}

/* The VMCS is current: writes are logged, or not, from the next entry on, as v->log_writes says. */
void vmx_pml_switch(struct arch_vcpu *v, struct vmx_vcpu *c);
/* After an exit with the log on: v->logged and v->nr_logged are what was written, valid until the next entry. */
void vmx_pml_drain(struct arch_vcpu *v, struct vmx_vcpu *c);
