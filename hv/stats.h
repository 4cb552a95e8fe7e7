/*
 * What the run looks like from outside: a table for people on the console, and the same as one JSON
 * object per line on the statistics channel (COM2). Monitor thread, but for stats_bench().
 */
#pragma once

#include "lib/types.h"
#include "mm/gen.h"
#include "mm/store.h"

struct scenario;
struct vm;

/* One VM at one moment. */
struct stats_vm {
	const struct vm *vm;
	u64 t_ns;
	struct gen_view gen[GEN_MAX];
	unsigned nr_gens;
	u64 none, resident, zero, pooled; /* pages; zero: also same-filled */
	u64 evictions, refaults, rescues, passes, visited, aging_ns, faults;
	u64 fault_p50_ns, fault_p99_ns, fault_max_ns;
	u64 huge, huge_faults, splits; /* large leaves: now, made by first touches, split */
};
void stats_take(struct vm *vm, u64 now_ns, struct stats_vm *out);

void stats_boot(const struct scenario *scenario);
void stats_vm(const struct stats_vm *s);
void stats_host(u64 now_ns);
/* What the trace recorded since the last call, in lines of up to TRACE_BATCH records of one CPU. */
void stats_trace(void);
/* A line of a guest that begins with "bench ". Any thread. */
void stats_bench(const struct vm *vm, const char *line);
void stats_result(const struct vm *vm, bool pass, const char *why);
struct stats_end {
	bool pass;
	const char *why;
	u64 saved_bytes, pool_ratio_pct, worst_fault_ns;
};
void stats_verdict(const struct stats_end *end);

/* The table: its header comes by itself every 20 rows. */
void table_row(const struct stats_vm *s);
