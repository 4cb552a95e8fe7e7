/*
 * Why it is right.
 *
 * There is one global epoch g. A reader publishes the g it saw, then reads what it wants (E1). g goes to
 * g + 1 only when every CPU that is inside published g itself (E2). So while a reader that published g
 * is inside, the epoch reaches g + 1 at most: a scan that missed the reader can have made one step, but
 * the next scan starts after that step was visible, hence after the reader's full barrier, and finds g
 * where it wants g + 1.
 *
 * Who unlinks something reads the epoch after it (E4). A reader that still found it had published before
 * the unlinking, when the epoch was at most the e that is read now, and blocks the epoch at e + 1. So
 * what was deferred in epoch e may go in epoch e + 2.
 *
 * A reader that publishes a value which is stale by then only holds the epoch up.
 *
 * Deferred nodes wait on their CPU in three buckets by epoch modulo 3: e, e - 1, and e - 2 which is due.
 * Nothing else is shared but the global epoch and the published words, one cache line each.
 */
#include "mm/epoch.h"

#include "arch/hal.h"
#include "lib/lock.h"

#define BUCKETS      3u
#define GRACE_EPOCHS 2u

struct chain {
	struct epoch_node *head;
	struct epoch_node *tail;
};

struct bucket {
	struct chain chain;
	u64 epoch; /* in which its nodes were deferred */
};

/* Only `active` and `pending` are read by other CPUs. */
struct reader {
	a64 active; /* epoch << 1 | 1 inside, 0 outside */
	a64 pending;
	u32 nesting;
	bool in_callback;
	struct bucket bucket[BUCKETS];
	struct chain due;
} aligned_to(64);

static struct {
	a64 epoch;
} aligned_to(64) global = {{GRACE_EPOCHS}};
static struct reader readers[HAL_MAX_CPUS];

static struct reader *reader_here(void)
{
	return &readers[hal_cpu_id()];
}

static void chain_append(struct chain *to, struct chain *from)
{
	if (!from->head)
		return;
	if (to->head)
		to->tail->next = from->head;
	else
		to->head = from->head;
	to->tail = from->tail;
	*from = (struct chain){NULL, NULL};
}

void epoch_enter(void)
{
	struct reader *r = reader_here();

	if (r->nesting++)
		return;
	/* ord E1: published before anything is read; pairs with ord E2 and ord E4 */
	a64_store_full(&r->active, a64_load(&global.epoch) << 1 | 1);
}

void epoch_exit(void)
{
	struct reader *r = reader_here();

	DEBUG_ASSERT(r->nesting);
	if (--r->nesting)
		return;
	/* ord E3: all that was read comes before; pairs with ord E2 */
	a64_store_release(&r->active, 0);
}

bool epoch_active(void)
{
	return reader_here()->nesting != 0;
}

bool epoch_in_callback(void)
{
	return reader_here()->in_callback;
}

void epoch_defer(struct epoch_node *node, void (*fn)(struct epoch_node *node))
{
	struct reader *r = reader_here();
	struct chain one = {node, node};
	struct bucket *b;
	u64 e;

	node->next = NULL;
	node->fn = fn;
	/* ord E4: the unlinking comes before the epoch is read; pairs with ord E1 */
	a64_fetch_add(&r->pending, 1);
	e = a64_load(&global.epoch);
	b = &r->bucket[e % BUCKETS];
	if (b->epoch != e) {
		/* What is in it is three epochs old or more. */
		chain_append(&r->due, &b->chain);
		b->epoch = e;
	}
	chain_append(&b->chain, &one);
}

/* One step, if every reader has seen the present epoch. */
static bool epoch_advance(void)
{
	/* ord E5: scans come after the step that made this epoch; pairs with the exchange below */
	u64 e = a64_load_acquire(&global.epoch);

	for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
		/* ord E2: pairs with ord E1 (who is inside is seen) and ord E3 (who left has read all) */
		u64 active = a64_load_acquire(&readers[cpu].active);

		if (active && active >> 1 != e)
			return false;
	}
	/* ord E5: failure means that another CPU made the step, which is as good */
	a64_cas(&global.epoch, &e, e + 1);
	return true;
}

/* Moves what is due to r->due; whether something is left that is not. */
static bool epoch_collect(struct reader *r)
{
	u64 e = a64_load_acquire(&global.epoch); /* ord E5 */
	bool left = false;

	for (unsigned i = 0; i < BUCKETS; i++) {
		struct bucket *b = &r->bucket[i];

		if (b->epoch + GRACE_EPOCHS <= e)
			chain_append(&r->due, &b->chain);
		left |= b->chain.head != NULL;
	}
	return left;
}

static void epoch_run_due(struct reader *r)
{
	struct epoch_node *node = r->due.head;

	r->due = (struct chain){NULL, NULL};
	r->in_callback = true;
	while (node) {
		struct epoch_node *next = node->next;

		node->fn(node);
		a64_count(&r->pending, -1ull);
		node = next;
	}
	r->in_callback = false;
}

void epoch_poll(void)
{
	struct reader *r = reader_here();

	DEBUG_ASSERT(!r->nesting && !r->in_callback);
	if (!a64_load(&r->pending))
		return;
	lock_assert_none();
	for (unsigned i = 0; i < GRACE_EPOCHS && epoch_collect(r); i++)
		if (!epoch_advance())
			break;
	epoch_collect(r);
	epoch_run_due(r);
}

void epoch_barrier(void)
{
	struct reader *r = reader_here();

	/* Readers wait for nobody, so this ends; what callbacks defer in turn is waited for as well. */
	for (epoch_poll(); a64_load(&r->pending); epoch_poll())
		hal_pause();
}

u64 epoch_pending(void)
{
	u64 n = 0;

	for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++)
		n += a64_load(&readers[cpu].pending);
	return n;
}
