/* What a guest's exits lead to. */
#pragma once

#include "hv/decode.h"
#include "lib/types.h"
#include "lib/util.h"

struct vcpu;
struct vexit_fault;
struct vexit_io;
struct vexit_page_fault;

/* Deals with v->exit, on the vCPU's thread, after its mode is OUTSIDE. May give up the CPU. */
void exit_handle(struct vcpu *v);
/* exit_fault.c: second-level faults, and accesses to what is no RAM. */
void exit_fault(struct vcpu *v, const struct vexit_fault *fault);
/* exit_io.c: I/O ports. */
void exit_io(struct vcpu *v, const struct vexit_io *io);
/* Acts on v->exit, which may be one that another exit was found to stand for. */
void exit_dispatch(struct vcpu *v);
/* exit_cr.c: accesses to CR0, CR3 and CR4. */
void exit_cr(struct vcpu *v);
/* exit_msr.c */
void exit_rdmsr(struct vcpu *v);
void exit_wrmsr(struct vcpu *v);
void exit_xsetbv(struct vcpu *v);
/* exit_paging.c: vCPUs on shadow tables. */
void exit_page_fault(struct vcpu *v, const struct vexit_page_fault *fault);
void exit_invlpg(struct vcpu *v);
void exit_invpcid(struct vcpu *v);
/* Sets v->arch.root for an entry. False: not now; others ran meanwhile. */
bool exit_paging_root(struct vcpu *v) must_check;
/* exit_real.c: real mode in virtual-8086 mode. */
void exit_real_gp(struct vcpu *v);
void exit_real_event(struct vcpu *v);
void exit_real_unfit(struct vcpu *v);
/* exit_fault.c: an access to what is no RAM. */
void exit_no_memory(struct vcpu *v, gpa_t at, bool fetch);
/*
 * A write to a page that an experiment protects does not happen: the instruction is stepped over, whatever else
 * it does, and counted.
 */
void exit_write_caught(struct vcpu *v);
/*
 * Steps over the instruction that left the guest: its length is that of v->exit, or is found by
 * fetching and decoding it. False: not now (the guest executes it again), or not at all (the VM was
 * stopped with a line). So nothing of the instruction may have been carried out before.
 */
bool exit_step(struct vcpu *v) must_check;
/* The length that exit_step() would step by; 0: as false there. */
unsigned exit_length(struct vcpu *v) must_check;
/* Lets others run (memory is short, the guest spins); the world may stop meanwhile. */
void exit_yield(struct vcpu *v);
/* The same because memory is short: the vCPU waits, and that is counted (mm/stall.h). */
void exit_wait_memory(struct vcpu *v);
/* Stops the VM over an instruction, whose bytes are named. */
void exit_stop_insn(struct vcpu *v, const char *what, const u8 *bytes, unsigned n);
/*
 * The instruction at rip, with its bytes for messages. False: there is none yet, others were let run and the guest
 * executes it once more; or it cannot be decoded, and the VM is stopped with `what`. On the vCPU's thread.
 */
bool exit_fetch(struct vcpu *v, u8 bytes[DECODE_MAX_BYTES], unsigned *n, struct insn *insn,
                const char *what) must_check;
