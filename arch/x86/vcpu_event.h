/*
 * The event that the next entry delivers, and what becomes of one whose delivery an exit cut short.
 * Both vendors describe events with the same 32 bits (AMD APM vol. 2, section 15.20; Intel SDM
 * vol. 3, section 25.8.3), so this is written once.
 */
#pragma once

#include "arch/x86/vcpu.h"
#include "arch/x86/vendor.h"
#include "lib/types.h"
#include "lib/util.h"

#define EVENT_VECTOR    0xffu
#define EVENT_TYPE      (7u << 8)
#define EVENT_TYPE_NMI  (2u << 8)
#define EVENT_TYPE_EXC  (3u << 8)
#define EVENT_HAS_ERROR (1u << 11)
#define EVENT_VALID     (1u << 31)

#define VECTOR_DF 8u
#define VECTOR_PF 14u

/* inject() of both vendors: replaces what waits; an NMI is remembered beside it. vCPU loaded. */
void vcpu_event_inject(struct arch_vcpu *v, const struct vevent *event);
/*
 * After an exit: `info` is what hardware says about the event it was delivering (EXITINTINFO,
 * IDT-vectoring information). Keeps what we injected and was not delivered for the next entry.
 */
void vcpu_event_interrupted(struct arch_vcpu *v, u32 info);
/* What a page fault leads to. */
enum vcpu_event_next { VCPU_EVENT_PAGE_FAULT, VCPU_EVENT_DOUBLE, VCPU_EVENT_TRIPLE };
/*
 * The last exit is a page fault that the guest has to get: queues it, or the double fault that it
 * becomes while another is being delivered. TRIPLE: nothing is queued, the machine shuts down.
 * Whoever calls sets CR2.
 */
enum vcpu_event_next vcpu_event_page_fault(struct arch_vcpu *v, u32 error);
/* Queues hardware exception `vector`, as inject() does. */
void vcpu_event_exception(struct arch_vcpu *v, u8 vector, bool has_error, u32 error);
/*
 * What to inject, at CR0. In real mode no exception has an error code: VMX refuses to enter with one
 * (Intel SDM vol. 3, section 27.2.1.3), SVM would push it (AMD APM vol. 2, section 15.20).
 */
static inline u32 vcpu_event_info(const struct arch_vcpu *v, u64 cr0)
{
	return cr0 & 1 ? v->event : v->event & ~EVENT_HAS_ERROR;
}
