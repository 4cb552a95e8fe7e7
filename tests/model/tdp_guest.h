/*
 * What the explorers of the TDP have in common: vCPUs on hardware walkers, their flush handshake, the MMU lock, the
 * four formats. Part of a program that has its sources and `mutant` before this; it may say what is spoilt:
 *
 *   LOCK_SPOILT   a reader does not take the MMU lock
 *   WAIT_SPOILT   nobody waits for the TLBs
 *   ENTRY_SPOILT  a vCPU does not flush on its way in
 *
 * and says what a guest's access to a word means: guest.touch. guest.gate, if there is one, is called on a vCPU's way
 * through the gate to its guest and back.
 */
#pragma once

#include "hv/mmu/tdp.h"
#include "lib/lock.h"
#include "tests/host/explorer.h"
#include "tests/host/walker.h"

#ifndef LOCK_SPOILT
#define LOCK_SPOILT false
#endif
#ifndef WAIT_SPOILT
#define WAIT_SPOILT false
#endif
#ifndef ENTRY_SPOILT
#define ENTRY_SPOILT false
#endif

#define VCPUS 2u
#define FIRST 7u /* the contents at the start */

struct vcpu {
	struct walker walker;
	bool in_guest;
	unsigned honoured; /* flush generation */
	gpa_t at;          /* the word it reads and writes */
	u64 expect;        /* what it must read there */
};

/* Where a vCPU is: out already or still, as all others see it, or inside. */
enum gate { GATE_ENTERING, GATE_INSIDE, GATE_LEAVING, GATE_LEFT };

static struct {
	struct vcpu vcpu[VCPUS];
	struct tdp *tdp;
	void (*gate)(struct vcpu *v, enum gate at);
	void (*touch)(struct vcpu *v, u64 *word, bool write, u64 value);
	unsigned wanted; /* flush generation */
	unsigned readers;
	bool writer;
} guest;

static const struct {
	const struct spte_format *format;
	enum walker_kind kind;
} machines[] = {{&spte_ept_ad, WALKER_EPT_AD},
                {&spte_ept_track, WALKER_EPT},
                {&spte_npt_ad, WALKER_NPT},
                {&spte_npt_track, WALKER_NPT}};

/* The tables above level 1, one of each, and the vCPUs' walkers. The rest of both structures is zero. */
static void guest_start(struct tdp *tdp, struct space *s, a64 (*tables)[TABLE_PAGES],
                        const struct spte_format *format, enum walker_kind kind)
{
	tdp->format = format;
	tdp->root = pfn_hpa(hal_ptr_pfn(tables[3]));
	tdp->notifier.space = s;
	for (unsigned i = 3; i > 0; i--)
		tables[i][0].raw = spte_make_table(format, hal_ptr_pfn(tables[i - 1]));
	guest.tdp = tdp;
	for (unsigned i = 0; i < VCPUS; i++)
		walker_init(&guest.vcpu[i].walker, kind, tdp->root);
}

/* --- the MMU lock --- */

static bool no_writer(void *arg)
{
	(void)arg;
	return !guest.writer;
}
static bool nobody(void *arg)
{
	(void)arg;
	return !guest.writer && !guest.readers;
}
void read_lock(struct rwlock *lock)
{
	(void)lock;
	explorer_yield();
	if (LOCK_SPOILT)
		return;
	explorer_wait(no_writer, NULL);
	guest.readers++;
}
void read_unlock(struct rwlock *lock)
{
	(void)lock;
	explorer_yield();
	guest.readers -= !(LOCK_SPOILT);
}
void write_lock(struct rwlock *lock)
{
	(void)lock;
	explorer_yield();
	explorer_wait(nobody, NULL);
	guest.writer = true;
}
void write_unlock(struct rwlock *lock)
{
	(void)lock;
	explorer_yield();
	guest.writer = false;
}

/* --- vCPUs --- */

static bool all_out_or_honoured(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < VCPUS; i++)
		if (guest.vcpu[i].in_guest && guest.vcpu[i].honoured != guest.wanted)
			return false;
	return true;
}

static void shootdown(void)
{
	explorer_yield();
	guest.wanted++;
	if (!(WAIT_SPOILT))
		explorer_wait(all_out_or_honoured, NULL);
}

static void pass_gate(struct vcpu *v, enum gate at)
{
	if (guest.gate)
		guest.gate(v, at);
}

static void enter_guest(struct vcpu *v)
{
	pass_gate(v, GATE_ENTERING);
	explorer_yield();
	v->in_guest = true;
	explorer_yield();
	if (v->honoured != guest.wanted && !(ENTRY_SPOILT)) {
		walker_flush(&v->walker);
		v->honoured = guest.wanted;
	}
	pass_gate(v, GATE_INSIDE);
}

static void leave_guest(struct vcpu *v)
{
	pass_gate(v, GATE_LEAVING);
	explorer_yield();
	v->in_guest = false;
	pass_gate(v, GATE_LEFT);
}

/* Of its word, until it succeeds. */
static void guest_access(unsigned cpu, bool write, u64 value)
{
	struct vcpu *v = &guest.vcpu[cpu];
	struct tdp_access a = {.gpa = v->at, .write = write};
	enum walker_result r;
	hpa_t where;

	do {
		enter_guest(v);
		r = walker_translate(&v->walker, a.gpa, write, false, &where);
		if (r == WALKER_MISCONFIG)
			explorer_panic("misconfigured entry");
		if (r == WALKER_OK)
			guest.touch(v, (u64 *)(uintptr_t)where.v, write, value);
		leave_guest(v);
		if (r == WALKER_FAULT && tdp_fault(guest.tdp, &a) > FAULT_RETRY)
			explorer_panic("fault fails");
	} while (r != WALKER_OK);
}

static void guest_check_read(const struct vcpu *v, u64 word)
{
	if (word != v->expect)
		explorer_panic("guest reads %#llx, wrote %#llx", (unsigned long long)word,
		               (unsigned long long)v->expect);
}

static void run_vcpu(void)
{
	guest_access(0, false, 0);
	guest_access(0, true, FIRST + 1);
	guest_access(0, false, 0);
}

static void run_vcpu2(void)
{
	guest_access(1, true, FIRST + 2);
}
