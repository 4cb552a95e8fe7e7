/*
 * A ring and its two ends.
 *
 *   writer (the CPU of the ring)                 reader (any CPU)
 *   1 record n into slot n % N  (release)        a h = head                       (acquire, pairs with 2)
 *   2 head = n + 1              (release)        b copy slots max(tail, h - N) .. (acquire, pairs with 1)
 *                                                c look at head again
 *
 * What is copied in b and was complete when head was h may be written over meanwhile: record n + N goes to
 * the slot of record n. If b saw any word of record n + N, then, the words being stored with release and
 * loaded with acquire, c sees what the writer stored before: head = n + N at least. So record n is whole if
 * c finds head < n + N; the others of the batch count as lost. One record less than fits the ring can be
 * had, for head stands at n + N all the time while record n + N is being written.
 *
 * On x86 all of this is plain loads and stores in the order of the program.
 */
#include "mm/trace.h"

#include "arch/hal.h"

#define WORDS (sizeof(struct trace_record) / sizeof(u64))

struct ring {
	a64 head; /* records written, ever */
	/* Of the reader, on a cache line of its own. */
	u64 tail aligned_to(64); /* the first not handed out */
	a64 word[TRACE_RECORDS][WORDS] aligned_to(64);
};
#define RING_PAGES ((sizeof(struct ring) + PAGE_SIZE - 1) / PAGE_SIZE)

a32 trace_is_on;
static aptr rings[HAL_MAX_CPUS];

static struct ring *ring_of(unsigned cpu)
{
	return aptr_load_acquire(&rings[cpu]); /* ord TR3: pairs with the release in rings_make() */
}

void trace_write(enum trace_event_type event, u16 space_id, gfn_t g, u64 a, u64 b)
{
	unsigned cpu = hal_cpu_id();
	struct ring *r = ring_of(cpu);
	u64 n, what = event | (u64)cpu << 8 | (u64)space_id << 16 | g.v << 24;
	a64 *slot;

	if (!r) /* a CPU that came up after the rings were made */
		return;
	n = a64_load(&r->head);
	slot = r->word[n % TRACE_RECORDS];
	/* ord TR2: a reader that sees one of these sees the head before; pairs with copy() */
	a64_store_release(&slot[0], hal_time_ns());
	a64_store_release(&slot[1], what); /* ord TR2 */
	a64_store_release(&slot[2], a);    /* ord TR2 */
	a64_store_release(&slot[3], b);    /* ord TR2 */
	/* ord TR1: the record before its number; pairs with drain_ring() */
	a64_store_release(&r->head, n + 1);
}

static bool rings_make(void)
{
	for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
		struct ring *r;

		if (ring_of(cpu))
			continue;
		r = hal_pages_alloc(RING_PAGES);
		if (!r)
			return false;
		aptr_store_release(&rings[cpu], r); /* ord TR3 */
	}
	return true;
}

bool trace_switch(bool on)
{
	if (on && !rings_make())
		return false;
	a32_store(&trace_is_on, on);
	return true;
}

static void copy(const struct ring *r, u64 n, struct trace_record *out)
{
	const a64 *slot = r->word[n % TRACE_RECORDS];

	/* ord TR2: pairs with trace_write(); the head that is read next is no older than what this saw */
	out->time_ns = a64_load_acquire(&slot[0]);
	out->what = a64_load_acquire(&slot[1]); /* ord TR2 */
	out->a = a64_load_acquire(&slot[2]);    /* ord TR2 */
	out->b = a64_load_acquire(&slot[3]);    /* ord TR2 */
}

/* The first record that can still be had whole when head is `head`. */
static u64 oldest(u64 head)
{
	return head < TRACE_RECORDS ? 0 : head - TRACE_RECORDS + 1;
}

/* Up to `max` of one ring; `lost` counts up to the first record handed out. */
static u64 drain_ring(unsigned cpu, struct ring *r, trace_sink sink, void *arg, u64 max)
{
	struct trace_record batch[TRACE_BATCH];
	u64 done = 0, lost = 0;

	while (done < max) {
		u64 head = a64_load_acquire(&r->head); /* ord TR1: pairs with trace_write() */
		u64 first = max_of(r->tail, oldest(head)), valid;
		u64 n = min_of(max - done, (u64)TRACE_BATCH);

		n = min_of(n, head - first);
		lost += first - r->tail;
		r->tail = first;
		if (!n)
			break;
		for (u64 i = 0; i < n; i++)
			copy(r, first + i, &batch[i]);
		valid = max_of(first, oldest(a64_load(&r->head)));
		r->tail = min_of(valid, first + n);
		lost += r->tail - first;
		if (r->tail == first + n) /* all of them written over meanwhile */
			continue;
		n -= r->tail - first;
		sink(arg, cpu, lost, &batch[r->tail - first], (unsigned)n);
		r->tail += n;
		done += n;
		lost = 0;
	}
	return done;
}

u64 trace_drain(trace_sink sink, void *arg, u64 max)
{
	u64 done = 0;

	for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
		struct ring *r = ring_of(cpu);

		if (r)
			done += drain_ring(cpu, r, sink, arg, max - done);
	}
	return done;
}

static bool is_of_page(const struct trace_record *r, u16 space_id, gfn_t g)
{
	u64 gfn = r->what >> 24;

	if ((u16)(r->what >> 16 & 0xff) != space_id)
		return false;
	switch (r->what & 0xff) {
	case TRACE_EVICT:
	case TRACE_REJECT:
	case TRACE_REFAULT:
	case TRACE_RESCUE:
	case TRACE_LOOKAROUND:
		return gfn == g.v;
	case TRACE_FAULT:
		return g.v >= gfn && g.v - gfn < (r->a & TRACE_FAULT_HUGE ? TABLE_PAGES : 1);
	case TRACE_SPLIT:
	case TRACE_COLLAPSE:
		return g.v >= gfn && g.v - gfn < TABLE_PAGES;
	default:
		return false;
	}
}

/* Into its place by time; of more than `max` the oldest goes. Returns how many there are now. */
static unsigned insert(struct trace_record *out, unsigned n, unsigned max,
                       const struct trace_record *r)
{
	unsigned at = n;

	while (at && out[at - 1].time_ns > r->time_ns)
		at--;
	if (n < max) {
		for (unsigned i = n; i > at; i--)
			out[i] = out[i - 1];
		out[at] = *r;
		return n + 1;
	}
	if (!at)
		return n;
	for (unsigned i = 1; i < at; i++)
		out[i - 1] = out[i];
	out[at - 1] = *r;
	return n;
}

unsigned trace_page(u16 space_id, gfn_t g, struct trace_record *out, unsigned max)
{
	struct trace_record r;
	unsigned n = 0;

	for (unsigned cpu = 0; cpu < hal_cpu_count() && max; cpu++) {
		struct ring *ring = ring_of(cpu);
		u64 head = ring ? a64_load_acquire(&ring->head) : 0; /* ord TR1 */

		for (u64 i = oldest(head); i < head; i++) {
			copy(ring, i, &r);
			if (is_of_page(&r, space_id, g) && oldest(a64_load(&ring->head)) <= i)
				n = insert(out, n, max, &r);
		}
	}
	return n;
}

unsigned trace_last(struct trace_record *out, unsigned max)
{
	struct trace_record r;
	unsigned n = 0;

	for (unsigned cpu = 0; cpu < hal_cpu_count() && max; cpu++) {
		struct ring *ring = ring_of(cpu);
		u64 head = ring ? a64_load_acquire(&ring->head) : 0; /* ord TR1 */
		u64 first = max_of(oldest(head), head > max ? head - max : 0);

		for (u64 i = first; i < head; i++) {
			copy(ring, i, &r);
			if (oldest(a64_load(&ring->head)) <= i)
				n = insert(out, n, max, &r);
		}
	}
	return n;
}

#ifdef VARVE_HOST
void trace_exit(void)
{
	a32_store(&trace_is_on, 0);
	for (unsigned cpu = 0; cpu < HAL_MAX_CPUS; cpu++) {
		struct ring *r = ring_of(cpu);

		aptr_store_release(&rings[cpu], NULL); /* ord TR3 */
		if (r)
			hal_pages_free(r, RING_PAGES);
	}
}
#endif
