/*
 * The interface between a guest that experiments with its own memory and the hypervisor. Numbers only: the
 * guests' side includes it too (guest-tests/lib/experiment.h).
 *
 * A 32-bit IN from EXPERIMENT_PORT, if the VM's scenario says `experiments = yes`; if not, and for any other
 * access to the port, nobody is there and it reads as all ones, as EXPERIMENT_HELLO finds out.
 *
 *   in    EAX      command
 *         RBX RCX  its arguments
 *   out   EAX      EXPERIMENT_OK or why nothing was done
 *         RBX RCX RSI RDI R8 R9 R10 R11   results 0 .. 7; unchanged unless OK; what a command does not name is 0
 *
 * "Range" means: argument 0 a guest frame number, argument 1 a number of pages, 1 to EXPERIMENT_PAGES_MAX. No
 * argument is an address: a call touches no page of the guest. It returns when all of it is done.
 */
#pragma once

#define EXPERIMENT_PORT      0x5640
#define EXPERIMENT_VERSION   1
#define EXPERIMENT_PAGES_MAX 4096

/* Where a guest may add and remove slots: by frame number, from 16 GiB on, and pages. */
#define EXPERIMENT_WINDOW_FIRST 0x400000
#define EXPERIMENT_WINDOW_PAGES 4096

/* Commands. */
#define EXPERIMENT_HELLO 0 /* result 0: EXPERIMENT_VERSION */
/*
 * An aging pass over the VM that begins after the call does and has ended when it returns. Argument 0: 1 walks
 * all tables, whatever filters say. Results: youngest generation now, ns that the pass took, entries read,
 * pages found young, tables harvested, tables passed over by upper Accessed bits, by the filter.
 * EXPERIMENT_REFUSED if the policy has no generations.
 */
#define EXPERIMENT_AGE 1
/*
 * Ages of a range. Results 0 .. 3: pages in the generation that is so many younger than the youngest; 4: resident
 * and in none (an evictor has them); 5: packed away; 6: never touched, or no memory; 7: the youngest generation.
 */
#define EXPERIMENT_AGES 2
/* Removes the translations of a range. Result 0: pages that had one. */
#define EXPERIMENT_ZAP 3
/*
 * Write-protects a range instead of the one before; an instruction that then writes there is stepped over and
 * counted. With 0 pages: nothing is protected any more. The hypervisor's own writes (devices; Accessed and Dirty in the
 * guest's tables, where shadow tables translate) go through. REFUSED with 2 MiB translations, and where an MMU does not
 * know of it.
 */
#define EXPERIMENT_PROTECT 4
/* Gives the pages of a range back: they read as zero afterwards. */
#define EXPERIMENT_UNMAP 5
/*
 * A slot of the window comes, with all pages zero, or goes: a range; for REMOVE its first page will do. REFUSED
 * with 2 MiB translations, and where an MMU has to know all slots from the beginning.
 */
#define EXPERIMENT_SLOT_ADD    6
#define EXPERIMENT_SLOT_REMOVE 7
/* Evicts argument 0 pages of the VM, 1 to EXPERIMENT_PAGES_MAX, oldest first. Result 0: how many it were. */
#define EXPERIMENT_RECLAIM 8
/* Result 0: counter number argument 0. */
#define EXPERIMENT_COUNTER 9
/*
 * What the region sampler's last report says of the page argument 0. Results: first page and pages of its region,
 * samples found touched, of how many, reports since that changed, reports made, regions. REFUSED if there is no
 * report, or no region has the page.
 */
#define EXPERIMENT_HEAT 10
/*
 * The dirty log: argument 0 switches it on, in one of the ways of enum dirty_log_mode (mm/dirty_log.h), or off, 0.
 * REFUSED if it is on already, or this VM has no such log.
 */
#define EXPERIMENT_DIRTY 11
/*
 * Reads it: a range of 512 pages at most. Results 0 .. 7: a bit for each page, set if it was written since it was last
 * asked for. REFUSED if the log is off.
 */
#define EXPERIMENT_DIRTY_READ 12

/*
 * The hypervisor's own ager ages this VM all the time from now on, for a share of the machine's last CPU: argument 0
 * in percent, 1 to 100; argument 1: 1 only burns that time, to compare with. Argument 0 = 0 ends it; results then: ns in passes,
 * ns since it began, passes. RANGE beyond that; REFUSED if the policy has no generations.
 */
#define EXPERIMENT_DUTY 13
/*
 * Times of second-level faults of the VM since it began, or since this was last asked with argument 0 = 1, which
 * begins anew. Results: how many, then ns: median, p99, p99.9, longest, all together; then of the MMU lock, since the VM
 * began: ns waited for it, by all; how often.
 */
#define EXPERIMENT_FAULT_TIMES 14

/* Counters; all but the first only grow. */
#define EXPERIMENT_RESIDENT        0 /* pages */
#define EXPERIMENT_FAULTS          1
#define EXPERIMENT_FIRST_TOUCHES   2
#define EXPERIMENT_EVICTIONS       3
#define EXPERIMENT_REFAULTS        4
#define EXPERIMENT_REFAULTS_RECENT 5
#define EXPERIMENT_RESCUES         6 /* a fault was faster than the evictor */
#define EXPERIMENT_REJECTED        7 /* chosen by the evictor, found young */
#define EXPERIMENT_PASSES          8
#define EXPERIMENT_AGING_NS        9
#define EXPERIMENT_VISITED         10 /* second-level entries read by passes */
#define EXPERIMENT_YOUNG           11
#define EXPERIMENT_PROMOTED        12
#define EXPERIMENT_TABLES          13 /* harvested by passes, ... */
#define EXPERIMENT_SKIPPED_NONLEAF 14
#define EXPERIMENT_SKIPPED_BLOOM   15
#define EXPERIMENT_WALKS_GIVEN_UP  16
#define EXPERIMENT_LOOKAROUNDS     17
#define EXPERIMENT_LOOKED_UP       18 /* pages promoted by them */
#define EXPERIMENT_CAUGHT          19 /* writes to protected pages */
#define EXPERIMENT_DIRECT_RECLAIMS 20
#define EXPERIMENT_WRITTEN_DOWN    21 /* pages that the CPU logged as written */
#define EXPERIMENT_COUNTERS        22

/* What EAX says. */
#define EXPERIMENT_OK      0
#define EXPERIMENT_UNKNOWN 1 /* no such command or counter */
#define EXPERIMENT_RANGE   2 /* an argument out of bounds */
#define EXPERIMENT_REFUSED 3 /* not in this VM, or not now: see the command */
