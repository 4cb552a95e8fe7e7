#include "mm/controller.h"

#include "arch/hal.h"
#include "mm/balloon.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/limits.h"
#include "mm/reclaim.h"
#include "mm/space.h"

#define KIND_SHIFT   60
#define VALUE_MASK   BITS(KIND_SHIFT - 1, 0)
#define MILLION      1000000ll
#define MS           1000000u
#define MINUTE_MS    60000u
#define DEBT_MINUTES 10
#define GROWTH_PART  512u /* of what is resident: the step grows by it */
#define LARGEST_PART 16u  /* ... and is never larger than that */

static a64 host_target;

/* --- targets --------------------------------------------------------------------------------------- */

static struct controller_target unpack(u64 word)
{
	return (struct controller_target){(enum controller_kind)(word >> KIND_SHIFT),
	                                  word & VALUE_MASK};
}

void controller_set(struct space *s, struct controller_target target)
{
	a64_store(s ? &s->target : &host_target,
	          (u64)target.kind << KIND_SHIFT | min_of(target.value, (u64)VALUE_MASK));
}

struct controller_target controller_get(const struct space *s)
{
	struct controller_target target = {CONTROLLER_INHERIT, 0};

	if (s)
		target = unpack(a64_load(&s->target));
	if (target.kind == CONTROLLER_INHERIT)
		target = unpack(a64_load(&host_target));
	if (target.kind == CONTROLLER_INHERIT)
		target.kind = CONTROLLER_OFF;
	return target;
}

/* --- the law --------------------------------------------------------------------------------------- */

/*
 * Pays in what `elapsed_ns` allow and debits the refaults; returns whether they were more than that. The
 * account holds at most the worth of a minute, and owes that of ten at most: a change of the guest's habits
 * costs a pause, not all that is left of its life.
 */
static bool book(struct controller *c, u64 ppm, u64 resident, u64 elapsed_ns, u64 refaults)
{
	s64 minute = max_of((s64)(resident * ppm), MILLION);
	u64 elapsed_ms = min_of(elapsed_ns / MS, (u64)MINUTE_MS);
	s64 allowed = (s64)(resident * ppm * elapsed_ms / MINUTE_MS);
	s64 spent = (s64)min_of(refaults, (u64)(2 * DEBT_MINUTES * minute / MILLION)) * MILLION;

	c->credit = min_of(c->credit + allowed, minute) - spent;
	c->credit = max_of(c->credit, -DEBT_MINUTES * minute);
	return spent > allowed;
}

static u64 step_refaults(struct controller *c, u64 ppm, const struct controller_input *in)
{
	u64 elapsed = in->now_ns - c->at_ns, refaults = in->refaults - c->refaults;
	bool first = !c->at_ns, more;
	u64 chunks;

	c->at_ns = in->now_ns;
	c->refaults = in->refaults;
	if (first)
		return 0;
	more = book(c, min_of(ppm, (u64)CONTROLLER_MAX_PPM), in->resident, elapsed, refaults);
	if (more && c->credit < 0) {
		c->step /= 2;
		c->due = 0;
	}
	if (c->credit < 0)
		return 0;
	c->step = min_of(c->step + in->resident / GROWTH_PART + 1, in->resident / LARGEST_PART + 1);
	c->due += c->step;
	chunks = align_down(c->due, (u64)GEN_BATCH);
	c->due -= chunks;
	return chunks;
}

u64 controller_step(struct controller *c, struct controller_target target,
                    const struct controller_input *in)
{
	switch (target.kind) {
	case CONTROLLER_REFAULTS:
		return step_refaults(c, target.value, in);
	case CONTROLLER_FREE:
		return target.value > in->free_frames ? target.value - in->free_frames : 0;
	case CONTROLLER_INHERIT:
	case CONTROLLER_OFF:
		break;
	}
	*c = (struct controller){.step = 0};
	return 0;
}

/* --- what follows ---------------------------------------------------------------------------------- */

/* One chunk of the space's old generations, if that leaves what it is promised. Frames freed. */
static u64 give_chunk(u16 id)
{
	struct evict_request request = evict_any(1);
	struct space *s = space_get_id(id);
	struct controller_target target;
	u64 freed = 0, floor;

	if (!s)
		return 0;
	target = controller_get(s);
	floor = limits_floor(s, false);
	/* Others may have given by now what was wanted. */
	if ((target.kind != CONTROLLER_FREE || frame_free_count() < target.value) &&
	    (!floor || a64_load(&s->resident) >= floor + GEN_BATCH) &&
	    limits_last_seq(s, hal_time_ns(), &request.last_seq))
		freed = evict_space(s, request).freed;
	a64_count(&s->stats.given_total, freed);
	space_put(s);
	return freed;
}

/*
 * What guests have free costs nobody a refault: a target of free frames is met from there first, and evicted is what
 * they do not lend. *lent: what guests were asked for in this period, one target for all.
 */
static u64 less_lent(struct space *s, u64 wanted, u64 now_ns, u64 *lent)
{
	if (controller_get(s).kind != CONTROLLER_FREE)
		return wanted;
	wanted -= min_of(wanted, *lent);
	if (wanted) {
		u64 more = balloon_ask(s, wanted, now_ns);

		*lent += more;
		wanted -= more;
	}
	return wanted;
}

static u64 step_of(u16 id, u64 now_ns, u64 *lent)
{
	struct space *s = space_get_id(id);
	struct controller_input in;
	u64 wanted;

	if (!s)
		return 0;
	in = (struct controller_input){.free_frames = frame_free_count(),
	                               .resident = a64_load(&s->resident),
	                               .refaults = a64_load(&s->stats.refaults_total),
	                               .now_ns = now_ns};
	wanted = controller_step(&s->controller, controller_get(s), &in);
	wanted = less_lent(s, wanted, now_ns, lent);
	space_put(s);
	return wanted;
}

/* Frames that nobody wants: balloons may shrink by a part of them. */
static void relax(u64 now_ns)
{
	struct controller_target host = controller_get(NULL);
	u64 free = frame_free_count(), wanted = 2 * frame_marks.high;

	if (host.kind == CONTROLLER_FREE)
		wanted = max_of(wanted, host.value + frame_marks.high);
	if (free > wanted)
		balloon_relax((free - wanted) / 2 + 1, now_ns);
}

/* Space by space a chunk, so that a target of free frames that many share is met by all of them. */
void controller_run(u64 now_ns)
{
	u64 wanted[SPACE_MAX + 1], lent = 0;
	bool more = true;

	relax(now_ns);
	for (u16 id = 1; id <= SPACE_MAX; id++)
		wanted[id] = step_of(id, now_ns, &lent);
	while (more) {
		more = false;
		for (u16 id = 1; id <= SPACE_MAX; id++) {
			u64 freed = wanted[id] ? give_chunk(id) : 0;

			wanted[id] = freed ? wanted[id] - min_of(freed, wanted[id]) : 0;
			more |= wanted[id] != 0;
			if (!freed)
				continue;
			epoch_poll();
			reclaim_yield();
		}
	}
}
