#include "guest-tests/paging/oracle.h"

#include "guest-tests/lib/guest.h"

static const char *const names[OP_COUNT] = {
        "end",   "read",   "write", "xchg", "fetch", "store", "rmw",   "fill",
        "sweep", "invlpg", "cr3",   "cr0",  "cr4",   "post",  "await", "ipi",
};

void oracle_init(struct oracle *o, const struct world *world, u64 seed)
{
	memset(o, 0, sizeof(*o));
	o->world = world;
	o->seed = seed;
}

void oracle_flush(struct oracle *o)
{
	o->journal.count = 0;
	o->invlpg_count = 0;
}

void oracle_begin(struct oracle *o, const struct trip *trip, u64 step)
{
	o->state = (struct state){trip->cr0, trip->cr3, trip->cr4, trip->efer & EFER_NXE};
	o->script = trip->ops;
	o->step = step;
	oracle_flush(o);
}

static u64 in_memory(u64 at, unsigned bytes)
{
	__asm__("" : "+r"(at)); /* may be the first page */
	return bytes == 4 ? *(volatile u32 *)at : *(volatile u64 *)at;
}

static void print_op(const struct oracle *o, const struct op *op)
{
	console_printf("%3u %-6s %s%s at 0x%lx value 0x%lx mask 0x%lx: found 0x%lx",
	               (unsigned)(op - o->script), names[op->kind], op->flags & OP_USER ? "U" : "S",
	               op->flags & OP_AC ? "A" : "-", op->at, op->value, op->mask, op->found);
	if (op->vector)
		console_printf(" exception %u error 0x%x cr2 0x%lx", op->vector - 1, op->error,
		               op->cr2);
	console_printf("\n");
}

static void print_walk(void *arg, const struct walk *walk)
{
	const struct oracle *o = arg;

	console_printf("    until change %d -> 0x%lx%s:", (int)walk->until, walk->gpa,
	               walk->complete ? "" : " (none)");
	for (unsigned i = 0; i < walk->count; i++)
		console_printf(" 0x%lx", walk->entry[i]);
	console_printf("\n");
	for (unsigned i = 0; i < walk->count && walk->until == ~0u; i++)
		console_printf("    entry at 0x%lx is 0x%lx in the model, 0x%lx in memory\n",
		               walk->entry_at[i], walk->entry[i],
		               in_memory(walk->entry_at[i], o->world->mode->bytes));
}

/* The translation as it was, as far as that may still be cached, and as it is. */
static void print_walks(const struct oracle *o, u64 at)
{
	struct oracle *arg = (struct oracle *)o;
	struct walk walk;

	walk_variants(o->world, &o->state, &o->journal, 0, true, at, print_walk, arg);
	walk_run(o->world, &o->state, at, &walk);
	print_walk(arg, &walk);
}

/* The script, up to the operation if it is one, and the tables. */
static void report(const struct oracle *o, const struct op *op)
{
	for (const struct op *p = o->script; p->kind != OP_END && (!op || p <= op); p++)
		print_op(o, p);
	if (op && op->kind <= OP_FETCH)
		print_walks(o, op->at);
}

/* ... and where to find it again. */
#define FAIL(oracle, at, fmt, ...)                                                            \
	do {                                                                                  \
		const struct op *fail_at = (at);                                              \
                                                                                              \
		report(oracle, fail_at);                                                      \
		verdict_fail("mode=%s seed=%lu step=%lu op=%ld cr0=0x%lx cr3=0x%lx "          \
		             "cr4=0x%lx: " fmt,                                               \
		             (oracle)->world->mode->name, (oracle)->seed, (oracle)->step,     \
		             fail_at ? fail_at - (oracle)->script : -1l, (oracle)->state.cr0, \
		             (oracle)->state.cr3, (oracle)->state.cr4, __VA_ARGS__);          \
	} while (0)

/* --- what is not known for sure --- */

static void add_unsure(struct oracle *o, u64 at, u64 bits, bool alternative)
{
	for (unsigned i = 0; i < o->unsure_count && !alternative; i++)
		if (o->unsure[i].at == at && !o->unsure[i].alternative) {
			o->unsure[i].bits |= bits;
			return;
		}
	VERDICT_CHECK(o->unsure_count < UNSURE_MAX, "too much is unsure");
	o->unsure[o->unsure_count].at = at;
	o->unsure[o->unsure_count].bits = bits;
	o->unsure[o->unsure_count++].alternative = alternative;
}

/* The value at `at` is known: memory has been read, or written. */
static void settle(struct oracle *o, u64 at)
{
	for (unsigned i = 0; i < o->unsure_count;)
		if (o->unsure[i].at == at)
			o->unsure[i] = o->unsure[--o->unsure_count];
		else
			i++;
}

/* Takes what was found for the truth if it is possible. */
static bool matches(struct oracle *o, u64 at, u64 found, unsigned bytes)
{
	u64 expected = world_load(o->world, at, bytes), free_bits = 0;
	bool other = false;

	for (unsigned i = 0; i < o->unsure_count; i++)
		if (o->unsure[i].at == at && o->unsure[i].alternative)
			other |= o->unsure[i].bits == found;
		else if (o->unsure[i].at == at)
			free_bits |= o->unsure[i].bits;
	return !((expected ^ found) & ~free_bits) || other;
}

static void observe(struct oracle *o, u64 at, u64 found, unsigned bytes)
{
	world_store(o->world, at, found, bytes);
	settle(o, at);
}

/* --- changes --- */

/* A word is written by software. Of a table the old value is kept: it may be cached. Words of 4 bytes in
 * entries of 8 are their lower halves. */
static void put(struct oracle *o, u64 at, u64 value, unsigned bytes)
{
	const struct world *w = o->world;
	int f = world_frame(w, at);

	if (f >= 0 && w->frames[f].level) {
		struct journal *j = &o->journal;

		VERDICT_CHECK(j->count < JOURNAL_MAX, "too many changes without a flush");
		j->change[j->count].at = at;
		j->change[j->count++].old = world_load(w, at, w->mode->bytes);
	}
	world_store(w, at, value, bytes);
	settle(o, at);
}

/* Sets A or D. */
static void mark(struct oracle *o, u64 at, u64 bits, bool sure)
{
	unsigned bytes = o->world->mode->bytes;
	u64 missing = bits & ~world_load(o->world, at, bytes);

	if (!missing)
		return;
	if (!sure) {
		add_unsure(o, at, missing, false);
		return;
	}
	world_store(o->world, at, world_load(o->world, at, bytes) | missing, bytes);
	for (unsigned i = 0; i < o->unsure_count; i++)
		if (o->unsure[i].at == at && !o->unsure[i].alternative)
			o->unsure[i].bits &= ~missing;
}

/* --- accesses --- */

struct outcome {
	struct walk walk;
	u32 error; /* WALK_FAULT | code, or 0 */
};

static unsigned access_bytes(const struct oracle *o)
{
	return o->world->mode->long_mode ? 8 : 4;
}

/* QEMU with one thread for all CPUs reads the word of an XCHG before it writes: if that may not be read the fault
 * is that of a read, and otherwise Accessed is set before the write faults. Among stale translations the two
 * halves may even use different ones. */
static bool reads_first(const struct oracle *o, const struct op *op, const struct outcome *out)
{
	struct access a = {.user = op->flags & OP_USER, .ac = op->flags & OP_AC};

	return op->kind == OP_XCHG && !walk_check(o->world, &o->state, &out->walk, &a);
}

/* QEMU 7.2 leaves P out where it reports a reserved bit. */
static bool fits_fault(const struct oracle *o, const struct op *op, const struct outcome *out)
{
	u32 error = out->error & ~(u32)WALK_FAULT;

	if (op->vector != TRAP_PF + 1 || op->cr2 != op->at)
		return false;
	if (op->kind == OP_XCHG && !(op->error & ERROR_W) && !reads_first(o, op, out))
		error &= ~ERROR_W;
	return op->error == error || (out->walk.reserved && op->error == (error & ~ERROR_P));
}

/* Is what the operation found what follows from this translation? */
static bool fits(struct oracle *o, const struct op *op, const struct outcome *out)
{
	int f;

	if (out->error)
		return fits_fault(o, op, out);
	if (op->vector)
		return false;
	if (op->kind == OP_WRITE)
		return true;
	f = world_frame(o->world, out->walk.gpa);
	if (op->kind == OP_FETCH)
		return f >= 0 && op->found == (u64)f;
	return f >= 0 && matches(o, out->walk.gpa, op->found, access_bytes(o));
}

/* How many changes had been made when the page was last told by INVLPG. That ends a large page as a whole. */
static unsigned invalidated(const struct oracle *o, u64 at, u64 page_bytes)
{
	unsigned since = 0;

	for (unsigned i = 0; i < o->invlpg_count; i++)
		if (o->invlpg[i].version > since && !((o->invlpg[i].at ^ at) & ~(page_bytes - 1)))
			since = o->invlpg[i].version;
	return since;
}

/* Accessed of the page that a fault forbids: QEMU sets it in an XCHG, and of 1 GiB pages. */
static bool marked_early(const struct oracle *o, const struct op *op, const struct outcome *out)
{
	return out->walk.complete && (reads_first(o, op, out) || out->walk.page_bytes == BIT(30));
}

/*
 * A and D of the path. A walk that ends in a fault may or may not have marked the tables it came through (QEMU
 * does on the way down, Bochs at the end). The last entry is not marked then.
 */
static void mark_path(struct oracle *o, const struct op *op, const struct outcome *out,
                      const struct access *a, bool sure)
{
	const struct mode *m = o->world->mode;

	for (unsigned i = 0; i < out->walk.count; i++) {
		bool last = i + 1 == out->walk.count;
		u64 bits = ENTRY_A | (last && a->write ? ENTRY_D : 0);

		if (mode_is_pdpte(m, m->levels - i))
			continue;
		if (out->error && last && !marked_early(o, op, out))
			continue;
		if (out->error)
			bits = ENTRY_A;
		mark(o, out->walk.entry_at[i], bits, sure && !out->error);
	}
}

/* The fault told the processor to forget its translation of the page: it may not come a second time. */
static void forget(struct oracle *o, u64 at)
{
	if (o->invlpg_count == SHOTS_MAX) {
		memmove(&o->invlpg[0], &o->invlpg[1], sizeof(o->invlpg[0]) * (SHOTS_MAX - 1));
		o->invlpg_count--;
	}
	o->invlpg[o->invlpg_count].at = at;
	o->invlpg[o->invlpg_count++].version = o->journal.count;
}

static void describe(const struct oracle *o, const struct op *op, const struct outcome *now)
{
	if (now->error)
		FAIL(o, op, "%s at 0x%lx: expected #PF 0x%x", names[op->kind], op->at,
		     now->error & ~(u32)WALK_FAULT);
	FAIL(o, op, "%s at 0x%lx: expected 0x%lx from 0x%lx, found 0x%lx", names[op->kind], op->at,
	     op->kind == OP_FETCH ? (u64)world_frame(o->world, now->walk.gpa)
	                          : world_load(o->world, now->walk.gpa, access_bytes(o)),
	     now->walk.gpa, op->found);
}

/* What an access may have done, gathered over the translations that it may have used. */
struct guess {
	bool fit;       /* one of them explains what was found */
	bool spurious;  /* ... but not the current one, and it was a fault */
	bool sources;   /* there are several of: */
	u64 source;     /* where a READ or XCHG that fits took its value */
	u64 target[16]; /* where a WRITE or XCHG may have left its value */
	unsigned targets;
};

static void add_target(struct guess *g, u64 gpa)
{
	for (unsigned i = 0; i < g->targets; i++)
		if (g->target[i] == gpa)
			return;
	VERDICT_CHECK(g->targets < ARRAY_SIZE(g->target), "too many translations");
	g->target[g->targets++] = gpa;
}

/* XCHG in halves: the read may have used one translation, the write another. */
static bool fits_read(struct oracle *o, const struct op *op, const struct outcome *out)
{
	return out->walk.complete && reads_first(o, op, out) &&
	       matches(o, out->walk.gpa, op->found, access_bytes(o));
}

static void consider(struct oracle *o, const struct op *op, const struct outcome *out, bool now,
                     struct guess *g)
{
	bool fit = op->kind == OP_XCHG && !op->vector ? fits_read(o, op, out) : fits(o, op, out);

	if (fit && g->fit && out->walk.gpa != g->source)
		g->sources = true;
	if (fit && !g->fit) {
		g->fit = true;
		g->source = out->walk.gpa;
		g->spurious = op->vector && !now;
	}
	if (!out->error && !op->vector && (op->kind == OP_WRITE || op->kind == OP_XCHG))
		add_target(g, out->walk.gpa);
}

/* Changes the model as memory was. A store with several possible targets leaves both values possible in each. */
static void effect(struct oracle *o, const struct op *op, const struct guess *g)
{
	unsigned bytes = access_bytes(o);

	if (op->vector) {
		o->faults++;
		return;
	}
	if ((op->kind == OP_READ || op->kind == OP_XCHG) && !g->sources)
		observe(o, g->source, op->found, bytes);
	if (g->targets == 1)
		put(o, g->target[0], op->value, bytes);
	else
		for (unsigned i = 0; i < g->targets; i++)
			add_unsure(o, g->target[i], op->value, true);
}

static struct access access_of(const struct op *op)
{
	return (struct access){.write = op->kind == OP_WRITE || op->kind == OP_XCHG,
	                       .user = op->flags & OP_USER,
	                       .fetch = op->kind == OP_FETCH,
	                       .ac = op->flags & OP_AC};
}

/* One access while its translations are gone through. */
struct attempt {
	struct oracle *o;
	const struct op *op;
	struct access access;
	struct outcome now;
	bool stale; /* another translation than the present one may have been used */
	struct guess guess;
};

/* QEMU remembers of some pages of a large one what code it jumped to, beyond INVLPG of another of its pages. */
static void try_old(void *arg, const struct walk *walk)
{
	struct attempt *t = arg;
	struct outcome old = {.walk = *walk};
	u64 reach = t->access.fetch ? PAGE_SIZE : walk->page_bytes;

	if (!t->o->racing && walk->until < invalidated(t->o, t->op->at, reach))
		return;
	old.error = walk_check(t->o->world, &t->o->state, walk, &t->access);
	if (t->o->racing)
		mark_path(t->o, t->op, &old, &t->access, false);
	consider(t->o, t->op, &old, false, &t->guess);
}

static void note_old(void *arg, const struct walk *walk)
{
	(void)walk;
	*(bool *)arg = true;
}

/* Marking the path changes what the older paths look like: first it must be known whether there are any. */
static bool has_old(const struct oracle *o, unsigned since, u64 at)
{
	bool found = false;

	walk_variants(o->world, &o->state, &o->journal, since, o->racing, at, note_old, &found);
	return found;
}

static void apply_access(struct oracle *o, const struct op *op)
{
	struct attempt t = {.o = o, .op = op, .access = access_of(op)};
	unsigned since = o->racing ? 0 : invalidated(o, op->at, PAGE_SIZE);

	walk_run(o->world, &o->state, op->at, &t.now.walk);
	t.now.error = walk_check(o->world, &o->state, &t.now.walk, &t.access);
	t.stale = has_old(o, since, op->at);
	mark_path(o, op, &t.now, &t.access, !t.stale);
	consider(o, op, &t.now, true, &t.guess);
	if (t.stale)
		walk_variants(o->world, &o->state, &o->journal, since, o->racing, op->at, try_old,
		              &t);
	o->accesses++;
	o->stale += t.stale;
	if (!t.guess.fit || (!op->vector && t.access.write && !t.guess.targets))
		describe(o, op, &t.now);
	if (t.guess.spurious && !o->racing) {
		o->spurious++;
		forget(o, op->at);
	}
	effect(o, op, &t.guess);
}

/* --- the other operations --- */

static void apply_rmw(struct oracle *o, const struct op *op)
{
	unsigned bytes = o->world->mode->bytes;

	if (!matches(o, op->at, op->found, bytes))
		FAIL(o, op, "entry at 0x%lx: expected 0x%lx found 0x%lx", op->at,
		     world_load(o->world, op->at, bytes), op->found);
	observe(o, op->at, op->found, bytes);
	put(o, op->at, (op->found & op->mask) | op->value, bytes);
}

/* 32-bit code writes 8 bytes in halves, and not present meanwhile. The accesses at the same time may or may not
 * have marked the entry before a RMW. */
void oracle_race(struct oracle *o, const struct op *op)
{
	unsigned bytes = o->world->mode->bytes;

	o->racing = true;
	if (op->kind == OP_RMW) {
		add_unsure(o, op->at, ENTRY_A | ENTRY_D, false);
		apply_rmw(o, op);
		return;
	}
	if (op->flags & OP_WIDE && !o->world->mode->long_mode)
		put(o, op->at, 0, bytes);
	put(o, op->at, op->value, bytes);
}

/* A flush follows a FILL in every script. */
static void apply_fill(struct oracle *o, const struct op *op)
{
	unsigned bytes = o->world->mode->bytes;

	for (u64 i = 0; i < op->mask; i++) {
		settle(o, op->at + i * bytes);
		world_store(o->world, op->at + i * bytes, op->value, bytes);
	}
}

/* A SWEEP comes right behind a flush: one translation per page. */
static void apply_sweep(struct oracle *o, const struct op *op)
{
	struct access a = {0};
	struct outcome out;
	u64 sum = 0, at = op->at, end = at + op->mask * PAGE_SIZE;

	VERDICT_CHECK(!o->journal.count, "a sweep without a flush before it");
	for (; at != end; at += PAGE_SIZE) {
		walk_run(o->world, &o->state, at, &out.walk);
		out.error = walk_check(o->world, &o->state, &out.walk, &a);
		o->accesses++;
		mark_path(o, op, &out, &a, true);
		if (out.error)
			break;
		sum += world_load(o->world, out.walk.gpa, access_bytes(o));
	}
	if (!o->world->mode->long_mode)
		sum = (u32)sum;
	if (at != end) {
		if (op->vector != TRAP_PF + 1 || op->cr2 != at ||
		    op->error != (out.error & ~(u32)WALK_FAULT))
			FAIL(o, op, "sweep: expected #PF 0x%x at 0x%lx",
			     out.error & ~(u32)WALK_FAULT, at);
	} else if (op->vector || op->found != sum) {
		FAIL(o, op, "sweep: expected 0x%lx found 0x%lx", sum, op->found);
	}
}

void oracle_apply(struct oracle *o, const struct op *op)
{
	o->checked++;
	if (op->kind > OP_FETCH && op->kind != OP_SWEEP && op->vector)
		FAIL(o, op, "%s: exception %u", names[op->kind], op->vector - 1);
	switch (op->kind) {
	case OP_STORE:
		put(o, op->at, op->value, o->world->mode->bytes);
		break;
	case OP_RMW:
		apply_rmw(o, op);
		break;
	case OP_FILL:
		apply_fill(o, op);
		break;
	case OP_SWEEP:
		apply_sweep(o, op);
		break;
	case OP_INVLPG:
		forget(o, op->at);
		break;
	case OP_CR3:
		o->state.cr3 = op->value;
		oracle_flush(o);
		break;
	case OP_CR0:
		o->state.cr0 = op->value;
		break;
	case OP_CR4:
		o->state.cr4 = op->value;
		break;
	case OP_READ:
	case OP_WRITE:
	case OP_XCHG:
	case OP_FETCH:
		apply_access(o, op);
		break;
	default:
		break;
	}
}

/* --- memory --- */

/* QEMU sets Accessed in the PDPTEs of PAE when it walks under nested paging. */
static u64 ignored(const struct mode *m, const struct frame *f)
{
	return mode_is_pdpte(m, f->level) ? ENTRY_A : 0;
}

void oracle_compare(struct oracle *o)
{
	const struct world *w = o->world;

	for (unsigned f = 0; f < w->frame_count; f++) {
		const struct frame *frame = &w->frames[f];
		unsigned bytes = frame->level ? w->mode->bytes : access_bytes(o);

		for (u64 at = frame->at; at < frame->at + PAGE_SIZE; at += bytes) {
			u64 found = in_memory(at, bytes);
			u64 expected = world_load(w, at, bytes);

			if (!((found ^ expected) & ~ignored(w->mode, frame)))
				continue;
			if (!matches(o, at, found, bytes))
				FAIL(o, NULL, "%s at 0x%lx: expected 0x%lx found 0x%lx",
				     frame->level ? "entry" : "word", at, expected, found);
			observe(o, at, found, bytes);
		}
	}
	o->unsure_count = 0; /* all has been looked at */
}
