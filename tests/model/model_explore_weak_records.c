/*
 * What one CPU writes down and others read without its help (mm/trace.c, lib/profile.c, lib/hist.c, the scratch of
 * mm/store.c), under the weak memory of tests/host/weak.h: a record is whole or it is left out.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "arch/hal.h"
#include "lib/hist.h"
#include "lib/profile.h"
#include "mm/trace.h"

static u64 record_now; /* number of the record that is being written */
static u8 pages[2][1 << 16] aligned_to(64);
static unsigned pages_used;

/* CPU 1 finds no memory, and takes what CPU 0 has. */
static void *chunk_alloc(u64 n)
{
	void *chunk = pages[pages_used];

	if (n > sizeof(pages[0]) >> 12)
		explorer_panic("the scene needs more memory");
	if (explorer_self() == 1)
		return NULL;
	pages_used++;
	memset(chunk, 0, sizeof(pages[0]));
	weak_write(chunk);
	return chunk;
}

#define hal_time_ns()        (100 + record_now)
#define hal_pages_alloc(n)   chunk_alloc(n)
#define hal_pages_free(p, n) ((void)(p), (void)(n))

/* Short rings and trees: every word of them is explored. */
#undef TRACE_RECORDS
#define TRACE_RECORDS   2u
#define hal_cpu_id()    0u
#define hal_cpu_count() 1u
#include "mm/trace.c"

#undef PROFILE_NODES
#define PROFILE_NODES 3u
#include "lib/profile.c"
#undef hal_cpu_id

#include "lib/hist.c"

#define hal_cpu_id() explorer_self()
#undef WORDS
#define copy store_copy
#include "mm/store.c"
#undef copy

/* --- the trace: records 0 and 1 fill the ring, 2 and 3 take their places --- */

static struct ring *ring;

static void fill_slot(u64 n)
{
	a64 *slot = ring->word[n % TRACE_RECORDS];

	slot[0].raw = 100 + n;
	slot[1].raw = TRACE_EVICT | n << 24;
	slot[2].raw = slot[3].raw = n;
}

static void setup_none(void)
{
	weak_reset(2);
	pages_used = 0;
	rings[0].raw = NULL;
	memset(&store.scratch, 0, sizeof(store.scratch));
}

static void setup_ring(void)
{
	setup_none();
	if (!trace_switch(true))
		explorer_panic("no ring");
	ring = rings[0].raw;
	fill_slot(0);
	fill_slot(1);
	ring->head.raw = 2;
	ring->tail = 1;
}

static void run_recorder(void)
{
	for (record_now = 2; record_now < 4; record_now++)
		trace_write(TRACE_EVICT, 0, gfn(record_now), record_now, record_now);
}

static void must_be_whole(const struct trace_record *r, u64 n)
{
	if (r->time_ns != 100 + n || r->what != (TRACE_EVICT | n << 24) || r->a != n || r->b != n)
		explorer_panic("record %llu: time %llu, page %llu, %llu, %llu",
		               (unsigned long long)n, (unsigned long long)r->time_ns,
		               (unsigned long long)(r->what >> 24), (unsigned long long)r->a,
		               (unsigned long long)r->b);
}

static void sink(void *arg, unsigned cpu, u64 lost, const struct trace_record *record, unsigned n)
{
	(void)arg;
	(void)cpu;
	(void)lost;
	for (u64 i = 0; i < n; i++)
		must_be_whole(&record[i], ring->tail + i);
}

static void run_drain(void)
{
	for (int i = 0; i < 2; i++)
		(void)trace_drain(sink, NULL, 1);
}

static void run_last(void)
{
	struct trace_record r;

	if (!trace_last(&r, 1))
		return;
	must_be_whole(&r, r.time_ns - 100);
	if (r.a < 1)
		explorer_panic("a record that was written over long ago");
}

static void run_page(void)
{
	struct trace_record r;

	for (u64 page = 1; page < 4; page++)
		if (trace_page(0, gfn(page), &r, 1))
			must_be_whole(&r, page);
}

static void run_switch_on(void)
{
	if (!trace_switch(true))
		explorer_panic("no ring");
}

static void run_find_ring(void)
{
	const struct ring *r = ring_of(0);

	if (r)
		weak_read(r);
}

/* --- the profile: session 1 had an eviction of 1000 ns, session 2 ages and looks at lists --- */

static struct cpu_profile *const tree_of_cpu = &cpus[0];

static void setup_profile(void)
{
	weak_reset(2);
	memset(tree_of_cpu, 0, sizeof(*tree_of_cpu));
	record_now = 0;
	last_session = 0;
	profile_switch(true);
	profile_enter(PROFILE_EVICT);
	record_now = 1000;
	profile_leave(PROFILE_EVICT);
	profile_switch(true);
}

static void run_spans(void)
{
	profile_enter(PROFILE_AGE);
	profile_enter(PROFILE_LISTS);
	record_now++;
	profile_leave(PROFILE_LISTS);
	profile_leave(PROFILE_AGE);
}

static void run_collect(void)
{
	struct profile_tree t = {.nr = 1};

	tree_add(&t, tree_of_cpu);
	for (u32 i = 1; i < t.nr; i++) {
		static const u8 kind[] = {PROFILE_NONE, PROFILE_AGE, PROFILE_LISTS};

		if (t.node[i].kind != kind[i] || t.node[i].parent != i - 1)
			explorer_panic("node %u is of kind %u below %u", i, t.node[i].kind,
			               t.node[i].parent);
		if (t.node[i].ns > 1 || t.node[i].spans > 1)
			explorer_panic("counted before the session began");
	}
}

/* --- the largest value of a histogram --- */

static struct hist hist;

static void setup_hist(void)
{
	weak_reset(2);
	memset(&hist, 0, sizeof(hist));
}

static void run_add_small(void)
{
	hist_add(&hist, 5);
}

static void run_add_large(void)
{
	hist_add(&hist, 9);
}

static void check_hist(void)
{
	if (hist.max.raw != 9)
		explorer_panic("the largest is %llu", (unsigned long long)hist.max.raw);
}

/* --- the scratch of a CPU, borrowed by another --- */

static void run_own(void)
{
	if (!scratch_own())
		explorer_panic("no scratch");
}

static void run_borrow(void)
{
	struct scratch *s;

	/* Who finds none waits for one; a schedule has to end. */
	if (!a64_load((a64 *)&store.scratch[0]))
		return;
	s = scratch_take();
	weak_write(s);
	scratch_put(s);
}

static const struct explorer_scene scenes[] = {
        {.name = "record written, drained",
         .setup = setup_ring,
         .actor = {{"writer", run_recorder}, {"drain", run_drain}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "record written, the last asked for",
         .setup = setup_ring,
         .actor = {{"writer", run_recorder}, {"last", run_last}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "record written, those of a page asked for",
         .setup = setup_ring,
         .actor = {{"writer", run_recorder}, {"page", run_page}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "ring made, ring found",
         .setup = setup_none,
         .actor = {{"switch", run_switch_on}, {"writer", run_find_ring}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "tree begun anew, tree collected",
         .setup = setup_profile,
         .actor = {{"spans", run_spans}, {"collect", run_collect}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "two values",
         .setup = setup_hist,
         .check = check_hist,
         .actor = {{"small", run_add_small}, {"large", run_add_large}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "scratch made, scratch borrowed",
         .setup = setup_none,
         .actor = {{"own", run_own}, {"borrow", run_borrow}},
         .nr_actors = 2,
         .max_preemptions = 3},
};

int main(void)
{
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
