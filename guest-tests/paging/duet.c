#include "guest-tests/paging/duet.h"

#include "guest-tests/lib/guest.h"
#include "guest-tests/paging/script.h"

#define BEFORE 16 /* accesses at the same time as the change, and behind it */
#define AFTER  12
#define REUSED 4 /* words that the changer writes */

/* Counters by which the CPUs wait for each other. */
struct meeting {
	u32 begun, half, changed;
};

static struct {
	struct trip trip[2];
	struct script script[2];
	struct meeting meeting;
	const struct world *world;
	unsigned user;
} duet;

void duet_init(const struct world *world)
{
	duet.world = world;
	trip_init_cpu(&duet.trip[0]);
	trip_init_cpu(&duet.trip[1]);
}

static void write_user(struct script *s)
{
	struct meeting *m = &duet.meeting;

	script_add(s, OP_POST, (u64)&m->begun, 0);
	script_accesses(s, BEFORE);
	script_add(s, OP_POST, (u64)&m->half, 0);
	script_add(s, OP_AWAIT, (u64)&m->changed, 1);
	script_accesses(s, AFTER);
	script_end(s);
}

static void write_changer(struct script *s, u64 shots)
{
	const struct world *w = duet.world;
	struct meeting *m = &duet.meeting;

	script_add(s, OP_AWAIT, (u64)&m->begun, 1);
	script_change(s);
	script_add(s, OP_IPI, 0, duet.user);
	script_add(s, OP_AWAIT, (u64)&duet.trip[duet.user].shots, shots + 1);
	script_add(s, OP_AWAIT, (u64)&m->half, 1);
	for (unsigned i = 0; i < REUSED; i++) {
		u64 frame = w->data[rng_below(&s->rng, w->data_count)];

		script_add(s, OP_WRITE, frame + rng_below(&s->rng, 2) * w->mode->bytes,
		           (u32)rng_next(&s->rng));
	}
	script_add(s, OP_POST, (u64)&m->changed, 0);
	script_end(s);
}

static void prepare(unsigned cpu, u64 seed, u64 step)
{
	struct trip *trip = &duet.trip[cpu];
	struct script *s = &duet.script[cpu];

	script_begin(s, duet.world, seed + cpu + 1, step);
	trip->cr0 = s->cr0;
	trip->cr3 = s->cr3;
	trip->cr4 = s->cr4;
	trip->efer = script_efer(s);
	trip->ops = s->ops;
	trip->flags = cpu == duet.user ? 0x202 : 2;
	trip->shot = NULL;
}

static void play(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	if (id < 2)
		trip_run(&duet.trip[id], duet.world->mode->long_mode);
	cpu_sti();
}

static const struct op *apply_until(struct oracle *o, const struct op *op, const struct op *end)
{
	for (; op != end && op->kind != OP_END; op++)
		oracle_apply(o, op);
	return op;
}

static const struct op *find(const struct op *op, unsigned kind, unsigned skip)
{
	for (; op->kind != OP_END; op++)
		if (op->kind == kind && !skip--)
			return op;
	return op;
}

/* In the order in which it must have happened. */
static void judge(struct oracle *o, u64 step)
{
	const struct trip *user = &duet.trip[duet.user], *changer = &duet.trip[!duet.user];
	const struct op *half = find(user->ops, OP_AWAIT, 0), *op;

	oracle_begin(o, user, step);
	oracle_race(o, changer->ops + 1);
	VERDICT_CHECK(user->shot, "step %lu: no shootdown came", step);
	op = apply_until(o, user->ops, user->shot < half ? user->shot + 1 : half);
	o->racing = false;
	oracle_flush(o);
	op = apply_until(o, op, half);
	oracle_begin(o, changer, step);
	apply_until(o, find(changer->ops, OP_WRITE, 0), NULL);
	oracle_begin(o, user, step);
	apply_until(o, op, NULL);
}

void duet_run(struct oracle *o, u64 seed, u64 step)
{
	duet.user = (unsigned)step % 2;
	prepare(0, seed, step);
	prepare(1, seed, step);
	memset(&duet.meeting, 0, sizeof(duet.meeting));
	write_user(&duet.script[duet.user]);
	write_changer(&duet.script[!duet.user], duet.trip[duet.user].shots);
	smp_run(play, NULL);
	judge(o, step);
}
