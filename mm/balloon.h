/*
 * The balloon: pages that the guest lends to the host. The guest says which (hv/pv_call.h); their frames and copies
 * go at once, unpacked, and they are empty until the guest takes them back or touches them, whereupon they are zero.
 * How many it is to lend, the host says by its target: what a person set, or what the host's own need asks for, the
 * larger. The guest comes and looks; nothing forces it, so nothing here relies on it.
 *
 * A page that is reported free goes the same way, but is in no balloon: the guest may use it at any time.
 *
 *   in the balloon  <=>  its bit is set  =>  its gfn word is none (audit; but for who is at work on it)
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct page_set;
struct space;

/* A guest that has not looked for so long does not count as one that follows. */
#define BALLOON_LISTENS_NS 10000000000ull
/*
 * Asked for more than it has lent, a guest may look so often before its pages are evicted, or a VM is stopped, instead.
 * Each loan begins the count anew.
 */
#define BALLOON_LOOKS 10u
/* So long after a VM was about to be stopped that is still so. */
#define BALLOON_NEED_NS 1000000000ull
/* A guest that says so much of a thousand is waiting for memory itself: it is not asked ahead of need, and is first to get back. */
#define BALLOON_STALLED 100u
/* So long after the last need nothing is given back. */
#define BALLOON_CALM_NS 10000000000ull

/* What a space has of it. Pages; read and changed without order, but for the set. */
struct balloon {
	struct page_set *pages; /* constant after balloon_enable(); NULL: the guest has none */
	a64 inside;             /* members of it */
	a64 target;             /* set by a person */
	a64 asked;              /* by the host's need */
	a64 looks,
	        asked_looks; /* of the guest; when more than it had lent was asked for, or it lent some */
	a64 looked_ns;       /* when the guest last looked; 0: never */
	a64 guest_free;  /* what it said it has free */
	a64 guest_stall; /* what it said of its own pressure: permille of its time */
};

/* Before the first fault, the slots are there. False: no memory. */
bool balloon_enable(struct space *s) must_check;
/* For a space that nobody uses any more. */
void balloon_free(struct space *s);

/*
 * Puts pages in, or takes them out; counts those that were not, or were, inside. False: not all of them are the
 * guest's memory, and nothing was done. Those that come in have neither frame nor copy when it returns. Waits for
 * who has one of them in hand, as space_drop_range(). No lock held, not in an epoch section.
 */
bool balloon_give(struct space *s, gfn_t first, u64 npages, u64 *count) must_check;
bool balloon_return(struct space *s, gfn_t first, u64 npages, u64 *count) must_check;
/* Drops pages that the guest does not need: counts those that had a frame or a copy. Else as balloon_give(). */
bool balloon_report_free(struct space *s, gfn_t first, u64 npages, u64 *count) must_check;
/* A first touch of the page, its gfn word BUSY: it leaves the balloon if it is inside. Any context. */
void balloon_touched(struct space *s, gfn_t g);
/* Is any of these inside? Racy. */
bool balloon_any(const struct space *s, gfn_t first, u64 npages);

/* How many are to be inside now; *urgent: else somebody is stopped. */
u64 balloon_target(const struct space *s, bool *urgent);
/* The guest looked, and would follow. */
void balloon_look(struct space *s);
/* What the guest says of itself. */
void balloon_told(struct space *s, u64 free_pages, u64 stall_permille);
/* A person's target. */
void balloon_set_target(struct space *s, u64 pages);

/*
 * The host wants `want` frames: of those, how many the guest has said to be free and is asked to lend; 0 if it does not
 * follow. Of the controller's period.
 */
u64 balloon_ask(struct space *s, u64 want, u64 now_ns);
/*
 * So many frames are more than anybody wants: what was asked for is given up, space by space; but not soon after a VM
 * was about to be stopped for want of memory, or guests would take it back that moment. The same.
 */
void balloon_relax(u64 frames, u64 now_ns);
/*
 * While that is waited for, the last frames are for those that were asked, who need some to come as far as lending:
 * FIRST takes them without reclaiming before, LAST leaves them alone. Any
 * context.
 */
enum balloon_turn { BALLOON_ANY, BALLOON_FIRST, BALLOON_LAST };
enum balloon_turn balloon_turn(const struct space *s);
/* Nothing more can be packed: asks all that listen. True: wait, for it may help. Any thread, no lock held. */
bool balloon_before_kill(void);
