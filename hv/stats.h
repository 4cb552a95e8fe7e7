/*
 * What the run looks like from outside: a table for people on the console, and the same as one JSON
 * object per line on the statistics channel (COM2). Monitor thread, but for stats_bench().
 */
#pragma once

#include "lib/types.h"
#include "mm/gen.h"
#include "mm/store.h"

/* Where a line goes: stats_write(), or the console. */
typedef void (*stats_sink)(const char *text, size_t len);

struct scenario;
struct vm;

/* One VM at one moment. */
struct stats_vm {
	const struct vm *vm;
	u64 t_ns;
	struct gen_view gen[GEN_MAX];
	unsigned nr_gens;
	u64 none, resident, zero, pooled; /* pages; zero: also same-filled */
	u64 evictions, refaults, passes, visited, aging_ns, faults;
	u64 fault_p50_ns, fault_p99_ns, fault_max_ns;
	u64 huge; /* large leaves */
};
void stats_take(struct vm *vm, u64 now_ns, struct stats_vm *out);

void stats_boot(const struct scenario *scenario);
void stats_vm(const struct stats_vm *s, stats_sink sink);
void stats_host(u64 now_ns, stats_sink sink);
/* Both, of all VMs, now. */
void stats_all(u64 now_ns, stats_sink sink);
/* The same figures in Prometheus' text format. */
void stats_prom(stats_sink sink);
/*
 * The age of every page of a VM that has its memory, in lines of up to STATS_AGES pages: "gfn" is the first,
 * "ages" a character for each: '0' .. '3' how many generations are younger than the page's ("max_seq" is the
 * youngest), 'e' resident but in no generation (in an evictor's hands, or just coming), 'z' away, '.' never
 * touched. Taken line by line while the VM runs.
 */
#define STATS_AGES 1024u
void stats_ages(const struct vm *vm);
/* A command of the monitor, before it is carried out. */
void stats_command(const char *text, bool typed);
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
