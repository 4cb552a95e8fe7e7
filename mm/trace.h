/*
 * The trace: what happened to which page, in a ring for each CPU that keeps the newest records.
 *
 * Off it costs a load and a branch where an event could be. On, a writer takes no lock and waits for
 * nobody: a ring has one writer, its CPU, because the hypervisor is not preemptible and NMI handlers do
 * not trace. The oldest records are written over; whoever drains is told how many it missed.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

/* Of the records, in every line that carries them: goes up with each change of layout or meaning. */
#define TRACE_VERSION 1

/*
 * Events and what their two arguments mean; bits high:low. Decoders know these numbers: an event keeps
 * its number for ever. `gfn` is that of the page where nothing else is said.
 */
enum trace_event_type {
	/* gfn: first asked. a  15:0 pages, 23:16 NOTIFIER_* asked, 31:24 NOTIFIER_* result
	                     b  31:0 young pages, 63:32 entries read */
	TRACE_AGE = 1,
	/* a  19:0 as in the gfn word that it left (mm/gfnmap.h), but 4: its copy was still valid
	   b  frame */
	TRACE_EVICT = 2,
	/* chosen by the evictor, found young. a  NOTIFIER_* result, 0: harvested before    b  frame */
	TRACE_REJECT = 3,
	/* first touch. a  0 write, 1 of all 512 pages from gfn on    b  frame */
	TRACE_FAULT = 4,
	/* a  19:0 as in the gfn word that was found, but 4: recent    20 write
	   63:32 distance: generations made since, modulo 4096    b  frame */
	TRACE_REFAULT = 5,
	/* touched while evicting. b  frame */
	TRACE_RESCUE = 6,
	/* gfn: first of the 2 MiB. a  0 young    b  frame */
	TRACE_SPLIT = 7,
	/* gfn: first of the 2 MiB. a  so many were young at least    b  frame */
	TRACE_COLLAPSE = 8,
	/* gfn: the page found young. a  pages swept    b  promoted */
	TRACE_LOOKAROUND = 9,
	/* no gfn: a new youngest generation. a  its seq    b  31:0 young pages, 63:32 entries read */
	TRACE_PASS = 10,
	/* no gfn. a  flush generation that all vCPUs have honoured */
	TRACE_FLUSH = 11,
	/* no gfn, maybe no space: the monitor was told something. a  0 from a timeline */
	TRACE_COMMAND = 12,
	/* gfn: first of a region of the sampler's. a  pages
	   b  31:0 samples found touched, of SAMPLER_SAMPLES; 63:32 reports since that changed */
	TRACE_REGION = 13,
};

/* Shifts. */
#define TRACE_AGE_FLAGS    16
#define TRACE_AGE_RESULT   24
#define TRACE_AGE_VISITED  32
#define TRACE_PASS_VISITED 32
#define TRACE_REGION_AGE   32

#define TRACE_FAULT_HUGE       BIT(1)
#define TRACE_EVICT_REUSED     BIT(4)
#define TRACE_REFAULT_RECENT   BIT(4)
#define TRACE_REFAULT_WRITE    BIT(20)
#define TRACE_REFAULT_DISTANCE 32 /* shift */

struct trace_record {
	u64 time_ns; /* hal_time_ns() */
	u64 what;    /* 7:0 enum trace_event_type, 15:8 CPU, 23:16 space id (0: none), 63:24 gfn */
	u64 a, b;
};
static_assert(sizeof(struct trace_record) == 32, "the layout is TRACE_VERSION's");

/* Not to be used: what trace_event() looks at, and where it goes. */
extern a32 trace_is_on;
void trace_write(enum trace_event_type event, u16 space_id, gfn_t g, u64 a, u64 b)
        __attribute__((cold, noinline));

/* To be asked first where the arguments cost something. */
static inline bool trace_on(void)
{
	return unlikely(a32_load(&trace_is_on) != 0);
}

/* Any context but an NMI handler. */
static inline void trace_event(enum trace_event_type event, u16 space_id, gfn_t g, u64 a, u64 b)
{
	if (trace_on())
		trace_write(event, space_id, g, a, b);
}

/*
 * Switches it on or off. The first time on takes the rings, TRACE_RECORDS for each CPU, which then stay.
 * False: no memory, and still off. One caller at a time (the monitor), no lock held.
 */
#define TRACE_RECORDS 4096u
bool trace_switch(bool on) must_check;

/*
 * Hands out what was recorded and not handed out before, in the order of each CPU, `n` <= TRACE_BATCH
 * records a call; `lost` is how many older ones of this CPU were written over since the call before it.
 * At most `max` records; returns how many. Writers go on meanwhile. One caller at a time; on or off.
 */
#define TRACE_BATCH 24u
typedef void (*trace_sink)(void *arg, unsigned cpu, u64 lost, const struct trace_record *record,
                           unsigned n);
u64 trace_drain(trace_sink sink, void *arg, u64 max);

/*
 * What the rings still have of one page, drained or not, oldest first: its faults, evictions, rejections,
 * refaults, rescues and look-arounds, and the splits and collapses of its 2 MiB. The newest `max` of them; returns
 * how many. Any context but an NMI handler; writers go on meanwhile.
 */
unsigned trace_page(u16 space_id, gfn_t g, struct trace_record *out, unsigned max);

/*
 * The newest `max` records of all CPUs, oldest first; returns how many. Any context, a panic as well: takes
 * nothing and waits for nobody. What is being written just then may be left out.
 */
unsigned trace_last(struct trace_record *out, unsigned max);

#ifdef VARVE_HOST
/* Undoes all: each test starts from none. */
void trace_exit(void);
#endif
