#include "guest-tests/workload/touches.h"

#include "guest-tests/lib/cmdline.h"
#include "guest-tests/lib/layout.h"
#include "guest-tests/lib/string.h"

static const char *const names[WORKS] = {"dense", "stride", "zipf", "scan", "phase"};

const char *touches_name(const struct touches *t)
{
	return names[t->work];
}

static const char *read_work(struct touches *t)
{
	const char *name = cmdline_text("work");

	t->work = WORK_DENSE;
	while (name && t->work < WORKS && !string_equal(name, names[t->work]))
		t->work++;
	return t->work < WORKS ? NULL : "argument work= is dense, stride, zipf, scan or phase";
}

const char *touches_read(struct touches *t, u64 pages, u64 cpus)
{
	const char *wrong = read_work(t);

	if (wrong)
		return wrong;
	t->cpus = cpus;
	t->pages = cmdline_u64("first", pages);
	t->ops = cmdline_u64("ops", 200000);
	t->warm = cmdline_u64("warm", 0);
	t->seed = cmdline_u64("seed", 1);
	t->step = cmdline_u64("step", 64);
	t->every = cmdline_u64("every", 4);
	t->phases = t->work == WORK_PHASE ? cmdline_u64("phases", 4) : 1;
	t->write_every = cmdline_u64("touch", 2);
	if (!t->step || !t->every || !t->phases || !t->write_every || t->ops < t->phases)
		return "step=, every=, phases=, touch= or ops= is 0";
	if (!t->pages || t->pages > pages)
		return "argument first= is more than there are, or 0";
	t->hot = t->pages * cmdline_u64("hot", 0) / 100;
	if (t->hot > t->pages)
		return "argument hot= is a percentage";
	zipf_init(&t->zipf, t->pages, cmdline_micro("zipf", 1200000));
	return NULL;
}

struct touches_phase touches_warm_up(struct touches *t)
{
	u64 order = t->work == WORK_PHASE ? t->seed + t->phases : t->seed;

	perm_init(&t->order, ORDER_RANDOM, t->pages, 1, order);
	return (struct touches_phase){.number = t->phases, .ops = t->warm};
}

struct touches_phase touches_phase(struct touches *t, u64 number)
{
	u64 each = t->ops / t->phases;

	perm_init(&t->order, ORDER_RANDOM, t->pages, 1, t->seed + number);
	return (struct touches_phase){
	        .number = number, .from = t->warm + number * each, .ops = each};
}

struct rng touches_rng(const struct touches *t, const struct touches_phase *p, u64 cpu)
{
	return (struct rng){rng_mix(t->seed * CPU_MAX + cpu + p->number * 1000)};
}

u64 touches_page(const struct touches *t, u64 op, u64 cpu, struct rng *rng)
{
	/* CPUs begin at different places. */
	u64 start = t->pages * cpu / t->cpus;

	switch (t->work) {
	case WORK_DENSE:
		return (op + start) % t->pages;
	case WORK_STRIDE:
		return (op + start) * t->step % t->pages / t->step * t->step;
	case WORK_SCAN:
		if (op % t->every == 0)
			return (op / t->every + start) % t->pages;
		break;
	default:
		break;
	}
	return perm_at(&t->order, t->hot ? rng_below(rng, t->hot) : zipf_next(&t->zipf, rng));
}

bool touches_write(const struct touches *t, u64 op)
{
	return op % t->write_every == 0;
}
