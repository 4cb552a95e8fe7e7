/*
 * Epoch-based reclamation: lets walkers read slot arrays and page tables without a lock.
 *
 * A reader is any code between epoch_enter() and epoch_exit() on one CPU. All else is quiescent, so
 * guest mode and idle are, without a word from them. Hardware walkers are no readers: the TLB
 * shootdown that precedes epoch_defer() covers them.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

struct epoch_node {
	struct epoch_node *next;
	void (*fn)(struct epoch_node *node);
};

/* Nestable; no waiting for other CPUs inside, no allocation, no scheduling. */
void epoch_enter(void);
void epoch_exit(void);
/* Is this CPU inside? */
bool epoch_active(void);
/* Does this CPU run a deferred fn? Then what fn was deferred for has had its grace period. */
bool epoch_in_callback(void);

/*
 * Runs fn(node) after every reader that could have seen what the caller just unlinked is gone. The
 * node stays the epoch's until then. Any context; fn runs later on this CPU, outside any reader,
 * possibly under no lock of the caller's class.
 */
void epoch_defer(struct epoch_node *node, void (*fn)(struct epoch_node *node));
/*
 * Runs what is due on this CPU, after trying to advance the epoch as far as that takes; it takes nothing
 * but that no other CPU is inside. Not inside a reader, no lock held. What was deferred on a CPU waits for
 * this call on the same CPU: whoever schedules it calls this now and then.
 */
void epoch_poll(void);
/* Returns when everything deferred on this CPU before the call has run. Not inside a reader. */
void epoch_barrier(void);
/* Deferred and not yet run, all CPUs: for the audit and the statistics. */
u64 epoch_pending(void);
