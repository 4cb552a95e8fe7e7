#include "hv/pv.h"

#include "arch/hal.h"
#include "lib/util.h"
#include "mm/balloon.h"
#include "mm/epoch.h"
#include "mm/gen_view.h"
#include "mm/hint.h"
#include "mm/space.h"

#define MS_NS 1000000ull

static u32 run_hello(struct space *s, struct pv_call *c)
{
	c->result[0] = PV_VERSION;
	c->result[1] = PV_PAGES_MAX;
	c->result[2] = s->pages;
	return PV_OK;
}

static u32 run_balloon(struct space *s, struct pv_call *c)
{
	bool urgent;

	balloon_look(s);
	c->result[0] = balloon_target(s, &urgent);
	c->result[1] = a64_load(&s->balloon.inside);
	c->result[2] = urgent;
	return PV_OK;
}

static u32 run_give(struct space *s, struct pv_call *c)
{
	return balloon_give(s, gfn(c->arg[0]), c->arg[1], &c->result[0]) ? PV_OK : PV_RANGE;
}

static u32 run_return(struct space *s, struct pv_call *c)
{
	return balloon_return(s, gfn(c->arg[0]), c->arg[1], &c->result[0]) ? PV_OK : PV_RANGE;
}

static u32 run_report_free(struct space *s, struct pv_call *c)
{
	return balloon_report_free(s, gfn(c->arg[0]), c->arg[1], &c->result[0]) ? PV_OK : PV_RANGE;
}

static u32 run_state(struct space *s, struct pv_call *c)
{
	if (c->arg[0] > s->pages || c->arg[1] > 1000)
		return PV_RANGE;
	balloon_told(s, c->arg[0], c->arg[1]);
	return PV_OK;
}

static u32 run_working_set(struct space *s, struct pv_call *c)
{
	struct gen_view gen[GEN_MAX];
	unsigned n = gen_snapshot(&s->lru, gen);
	u64 kept = 0;

	_Static_assert(GEN_MAX == 4, "as many results");
	for (unsigned i = 0; i < n; i++) {
		c->result[i] = gen[n - 1 - i].frames[GEN_CLEAN] + gen[n - 1 - i].frames[GEN_DIRTY];
		kept += c->result[i];
	}
	c->result[4] = a64_load(&s->zero) + a64_load(&s->filled) + a64_load(&s->pooled);
	kept += c->result[4];
	c->result[5] = s->pages - min_of(s->pages, kept);
	c->result[6] = gen[n - 2].age_ns / MS_NS; /* there are two at least */
	c->result[7] = gen[0].age_ns / MS_NS;
	return PV_OK;
}

static u32 run_together(struct space *s, struct pv_call *c)
{
	switch (hint_together(s, gfn(c->arg[0]), gfn(c->arg[1]))) {
	case HINT_OK:
		return PV_OK;
	case HINT_RANGE:
		return PV_RANGE;
	default:
		return PV_FULL;
	}
}

static u32 run_forget(struct space *s, struct pv_call *c)
{
	(void)c;
	hint_forget(s);
	return PV_OK;
}

static const struct {
	u32 (*run)(struct space *s, struct pv_call *c);
	bool range;
} commands[] = {
        [PV_HELLO] = {.run = run_hello},
        [PV_BALLOON] = {.run = run_balloon},
        [PV_GIVE] = {.run = run_give, .range = true},
        [PV_RETURN] = {.run = run_return, .range = true},
        [PV_REPORT_FREE] = {.run = run_report_free, .range = true},
        [PV_STATE] = {.run = run_state},
        [PV_WORKING_SET] = {.run = run_working_set},
        [PV_TOGETHER] = {.run = run_together},
        [PV_FORGET] = {.run = run_forget},
};

u32 pv_run(struct space *s, struct pv_call *c)
{
	DEBUG_ASSERT(!epoch_active() && s->balloon.pages);
	if (c->command >= ARRAY_SIZE(commands))
		return PV_UNKNOWN;
	if (commands[c->command].range && (!c->arg[1] || c->arg[1] > PV_PAGES_MAX))
		return PV_RANGE;
	return commands[c->command].run(s, c);
}
