#include "tools/lab/matrix.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/lab/file.h"
#include "tools/lab/synth.h"

#define JOBS_MAX   16u
#define TRACES_MAX 256
#define LISTED_MAX 32u
#define CAPACITIES "10,25,50,75"
#define INTERVAL   100u

void lab_trace_get(const char *name, u64 seed, struct lab_trace *t)
{
	if (!lab_synth_make(name, seed, t) && !lab_guest_make(name, seed, t))
		lab_file_read(name, t);
}

/* The items of a list with commas, in `copy`, which is cut up. */
static unsigned split(char *copy, char **item)
{
	unsigned n = 0;
	char *rest = copy;

	while (n < LISTED_MAX && (item[n] = strsep(&rest, ",")))
		n++;
	return n;
}

static void print_row(FILE *out, const struct lab_trace *t, const struct lab_policy *p,
                      const struct lab_setup *s, u64 percent, const struct lab_result *r)
{
	fprintf(out, "%s,%s,%lu,%u,%s,%s,%u,%lu,%lu,%lu,%lu,%lu,%lu,%.3f,%lu\n", t->name,
	        t->real ? "real" : "made", percent, s->capacity, p->name,
	        s->bits ? "bits" : "order", s->interval, r->accesses, r->first, r->refaults,
	        r->evictions, r->scanned, r->harvested, r->seconds, r->before);
}

/* Both modes, but what the future knows needs no bits, and ours knows nothing else. */
static void run_policy(FILE *out, const struct lab_matrix *m, const struct lab_trace *t,
                       const struct lab_policy *p, u64 percent, u64 of)
{
	u64 interval = of * (m->interval ? m->interval : INTERVAL) / 100;

	for (unsigned bits = 0; bits < 2; bits++) {
		struct lab_setup s = {.capacity = (u32)max_of(of, 2ull),
		                      .interval = (u32)max_of(interval, 1ull),
		                      .from = m->from == LAB_FROM_TRACE ? t->from : (u32)m->from,
		                      .bits = bits};
		struct lab_result r;

		if (bits ? p->future : p->bits_only)
			continue;
		r = lab_replay(p, t, &s);
		print_row(out, t, p, &s, percent, &r);
	}
}

static void run_capacity(FILE *out, const struct lab_matrix *m, const struct lab_trace *t,
                         u64 percent, u64 frames)
{
	char *policies = strdup(m->policies ? m->policies : ""), *policy[LISTED_MAX];
	unsigned np = m->policies ? split(policies, policy) : 0;

	for (unsigned i = 0; i < np; i++) {
		const struct lab_policy *p = lab_policy_find(policy[i]);

		if (!p)
			lab_die("there is no policy %s", policy[i]);
		run_policy(out, m, t, p, percent, frames);
	}
	for (unsigned i = 0; !np && lab_policy(i); i++)
		run_policy(out, m, t, lab_policy(i), percent, frames);
	free(policies);
}

static void run_trace(FILE *out, const struct lab_matrix *m, const char *name)
{
	char *list = strdup(m->frames ? m->frames : m->capacities ? m->capacities : CAPACITIES);
	char *item[LISTED_MAX];
	unsigned n = split(list, item);
	struct lab_trace t;

	lab_trace_get(name, m->seed, &t);
	for (unsigned i = 0; i < n; i++) {
		u64 v = strtoull(item[i], NULL, 10);

		if (m->frames ? v < 2 || v > t.pages : v > 100)
			lab_die("%s has %u pages: %s is no capacity", name, t.pages, item[i]);
		if (m->frames)
			run_capacity(out, m, &t, v * 100 / t.pages, v);
		else
			run_capacity(out, m, &t, v, t.pages * v / 100);
	}
	free(t.access);
	free(list);
}

/* Every jobs-th trace, each into a temporary file of its own. */
static int run_share(const struct lab_matrix *m, const char **trace, int n, FILE **out,
                     unsigned job)
{
	for (int i = (int)job; i < n; i += (int)m->jobs) {
		run_trace(out[i], m, trace[i]);
		fflush(out[i]);
	}
	return 0;
}

static void copy_out(FILE *from)
{
	char line[512];

	rewind(from);
	while (fgets(line, sizeof(line), from))
		fputs(line, stdout);
	fclose(from);
}

/* The traces asked for, "synthetic" for all that are made; returns how many. */
static int expand(char **trace, int n, const char **all)
{
	int nr = 0;

	for (int i = 0; i < n || (!n && !i); i++) {
		bool made = !n || !strcmp(trace[i], "synthetic");

		if (nr + (made ? (int)lab_nr_synths : 1) > TRACES_MAX)
			lab_die("more than %d traces", TRACES_MAX);
		for (unsigned k = 0; made && k < lab_nr_synths; k++)
			all[nr++] = lab_synths[k].name;
		if (!made)
			all[nr++] = trace[i];
	}
	return nr;
}

int lab_matrix_run(const struct lab_matrix *m, char **traces, int n)
{
	const char *trace[TRACES_MAX];
	FILE *out[TRACES_MAX];
	int status = 0;

	n = expand(traces, n, trace);
	if (!m->jobs || m->jobs > JOBS_MAX)
		lab_die("--jobs is 1 to %u", JOBS_MAX);
	for (int i = 0; i < n; i++)
		if (!(out[i] = tmpfile()))
			lab_die("no temporary file");
	fflush(stdout);
	for (unsigned job = 0; job < m->jobs; job++)
		if (!fork())
			_exit(run_share(m, trace, n, out, job));
	for (unsigned job = 0; job < m->jobs; job++) {
		int one;

		status |= wait(&one) < 0 || one != 0;
	}
	puts("trace,kind,percent,frames,policy,mode,interval,accesses,first,refaults,evictions,"
	     "scanned,harvested,seconds,before");
	for (int i = 0; i < n; i++)
		copy_out(out[i]);
	return status;
}
