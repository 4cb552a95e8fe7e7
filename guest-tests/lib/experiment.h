/*
 * Asking the hypervisor about one's own memory (hv/experiment_call.h). Only on Varve, and only if the scenario
 * says `experiments = yes`: experiment_init() FAILs the guest else. What is refused FAILs it, too.
 */
#pragma once

#include "guest-tests/lib/port_call.h"
#include "guest-tests/lib/types.h"
#include "hv/experiment_call.h"

/* One call; EXPERIMENT_OK or why not. */
u32 experiment_call(u32 command, u64 arg0, u64 arg1, struct port_regs *out);

void experiment_init(void);

struct experiment_pass {
	u64 youngest, ns, visited, young, tables, skipped_nonleaf, skipped_bloom;
};
/* A pass over this guest that begins now; `force`: all tables. */
struct experiment_pass experiment_age(bool force);

#define EXPERIMENT_GENS 4
/* Pages of a range by age: gen[0] is the youngest generation. */
struct experiment_ages {
	u64 gen[EXPERIMENT_GENS];
	u64 unlisted, away, none;
	u64 youngest;
};
/* Of any number of pages from `first` on (an address); adds to *sum. */
void experiment_ages_add(const void *first, u64 pages, struct experiment_ages *sum);
struct experiment_ages experiment_ages_of(const void *first, u64 pages);
/* What the region sampler says of a page; false if it says nothing (yet). */
struct experiment_heat {
	u64 first, pages, accesses, samples, age, reports, regions;
};
bool experiment_heat_of(const void *page, struct experiment_heat *heat);
/* All pages of the guest that have one, image and tables included. */
void experiment_zap_all(void);
/* At most EXPERIMENT_PAGES_MAX pages, instead of those before; false if this VM's MMU cannot. */
bool experiment_protect(const void *first, u64 pages);
void experiment_protect_nothing(void);
void experiment_unmap(const void *first, u64 pages);
/* In the window, by page; false if it was refused. */
bool experiment_slot_add(u64 page, u64 pages);
bool experiment_slot_remove(u64 page);
/* Address of a page of the window, mapped by experiment_init(). */
u64 *experiment_window(u64 page);
/* The hypervisor's own ager, for a share of the last CPU; `burn`: only the time. 1 .. 100 percent. */
void experiment_duty(unsigned percent, bool burn);
struct experiment_duty {
	u64 busy_ns, whole_ns, passes;
};
struct experiment_duty experiment_duty_end(void);
/* Of faults since it was last asked with `anew`; waits for the MMU lock since the VM began. */
struct experiment_faults {
	u64 faults, p50_ns, p99_ns, p999_ns, max_ns, total_ns, lock_wait_ns, lock_waits;
};
struct experiment_faults experiment_fault_times(bool anew);
/*
 * One measurement beside an ager: begin, what is measured, end, which writes
 *   bench NAME_beside run=N work=none|burn|passes asked=N had_permille=N passes=N pass_ns=N faults=N mean_ns=N p50_ns=N p99_ns=N
 *         p999_ns=N max_ns=N lock_wait_ns=N lock_waits=N
 */
enum experiment_ager { EXPERIMENT_ALONE, EXPERIMENT_BURN, EXPERIMENT_AGER };
void experiment_beside_begin(enum experiment_ager ager, unsigned duty);
/* Returns the mean time of a fault. */
u64 experiment_beside_end(const char *name, u64 run);
u64 experiment_reclaim(u64 pages);
u64 experiment_counter(u32 which);
/* The dirty log, in one of the ways of enum dirty_log_mode (mm/dirty_log.h); 0: off. False if it was refused. */
bool experiment_dirty(u32 mode);
/* Reads the log of n <= 512 pages from `first` on (an address): a bit for each page. */
#define EXPERIMENT_BITMAP_WORDS 8
void experiment_dirty_read(const void *first, u64 pages, u64 bitmap[EXPERIMENT_BITMAP_WORDS]);
