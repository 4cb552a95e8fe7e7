/* Traces times capacities times policies. */
#pragma once

#include "tools/lab/lab.h"

#define LAB_FROM_TRACE ~0ull

struct lab_matrix {
	const char *policies;   /* names with commas, NULL: all */
	const char *capacities; /* percent of the pages, with commas, NULL: 10,25,50,75 */
	const char *frames;     /* instead of those: pages, with commas */
	u64 interval;           /* accesses between harvests in percent of the capacity, 0: 100 */
	u64 from; /* first access whose refaults count as such, LAB_FROM_TRACE: what the trace says */
	u64 jobs, seed;
};

/* A file, or a synthetic trace or a guest's by name; ends the program if it is none of them. */
void lab_trace_get(const char *name, u64 seed, struct lab_trace *t);

/* Prints CSV with a headline; exit status. Traces are shared among `jobs` processes, results come in order. */
int lab_matrix_run(const struct lab_matrix *m, char **traces, int n);
