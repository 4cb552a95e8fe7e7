/*
 * The shootdown handshake of hv/run.c, in the memory model of x86: stores wait in a buffer while later
 * loads go ahead. A vCPU enters its guest twice; somebody unmaps a page, requests a flush, waits, and
 * gives the frame away. No access may reach the frame after that.
 *
 * The handshake is written out here (mode, flush.wanted, flushed_gen), so that it can be spoilt step by step and
 * read on one page. hv/run.c itself, with mm/notifier.c, is in model_explore_weak_run.
 */
#include <stdio.h>
#include <string.h>

#include "tests/host/explorer.h"

enum mutant {
	NONE,
	NO_FENCE,     /* mode is a plain store: the load of `wanted` may go ahead of it */
	READ_EARLY,   /* `wanted` is read before mode is stored */
	NO_WAIT,      /* the vCPU that is in its guest is not waited for */
	REQUEST_LATE, /* the flush is requested before the entry is gone */
	MUTANTS,
};
static const char *const mutant_name[] = {
        "as it is", "mode stored without a fence", "wanted read before mode is stored",
        "no wait for a vCPU in its guest", "flush requested before the entry is gone"};
static enum mutant mutant;

#define ENTRY 1u

static struct {
	u64 spte;
	u64 wanted;  /* flush.wanted */
	u64 mode;    /* 1: in the guest */
	u64 flushed; /* flushed_gen */
	u64 tlb;     /* the vCPU's: what hardware has cached */
	bool freed;
} w;

static u64 locked_add(u64 *where, u64 n)
{
	explorer_fence();
	*where += n;
	return *where;
}

static void flush_if_behind(u64 wanted)
{
	if (explorer_load(&w.flushed) == wanted)
		return;
	w.tlb = 0;
	explorer_store(&w.flushed, wanted);
}

static void guest_access(void)
{
	if (!w.tlb)
		w.tlb = explorer_load(&w.spte);
	explorer_yield();
	if (w.tlb && w.freed)
		explorer_panic("the guest reaches a frame that was given away");
}

static void enter_once(void)
{
	u64 wanted = 0;

	if (mutant == READ_EARLY)
		wanted = explorer_load(&w.wanted);
	explorer_store(&w.mode, 1);
	if (mutant != NO_FENCE)
		explorer_fence();
	if (mutant != READ_EARLY)
		wanted = explorer_load(&w.wanted);
	flush_if_behind(wanted);
	guest_access();
	guest_access();
	explorer_store(&w.mode, 0);
}

static void run_vcpu(void)
{
	enter_once();
	enter_once();
}

static void run_unmapper(void)
{
	u64 gen;

	if (mutant != REQUEST_LATE) {
		explorer_fence();
		w.spte = 0;
	}
	gen = locked_add(&w.wanted, 1);
	if (mutant == REQUEST_LATE) {
		explorer_fence();
		w.spte = 0;
	}
	while (mutant != NO_WAIT && explorer_load(&w.mode) && explorer_load(&w.flushed) < gen)
		explorer_pause();
	w.freed = true;
}

static void setup(void)
{
	memset(&w, 0, sizeof(w));
	w.spte = ENTRY;
}

static void explore(unsigned bound, struct explorer_result *r)
{
	static const struct explorer_scene scene = {
	        .name = "flush",
	        .setup = setup,
	        .actor = {{"vcpu", run_vcpu}, {"unmapper", run_unmapper}},
	        .nr_actors = 2,
	};
	struct explorer_scene bounded = scene;

	bounded.max_preemptions = bound;
	explorer_run(&bounded, r);
}

int main(void)
{
	struct explorer_result r;
	bool good;

	explore(4, &r);
	good = r.exhausted && !r.failed;
	printf("%s: %llu schedules, all with up to 4 preemptions: %s\n", mutant_name[NONE],
	       (unsigned long long)r.schedules, good ? "none bad" : r.why);
	for (mutant = NONE + 1; mutant < MUTANTS; mutant++) {
		explore(4, &r);
		printf("%s: %s after %llu schedules (%s)\n", mutant_name[mutant],
		       r.failed ? "found" : "NOT found", (unsigned long long)r.schedules, r.trace);
		good &= r.failed;
	}
	return good ? 0 : 1;
}
