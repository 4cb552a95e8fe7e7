#include "hv/monitor_command.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "hv/chaos.h"
#include "hv/monitor.h"
#include "hv/monitor_dirty.h"
#include "hv/monitor_say.h"
#include "hv/monitor_view.h"
#include "hv/profile_view.h"
#include "hv/reclaimer.h"
#include "hv/sampler_thread.h"
#include "hv/stats.h"
#include "hv/vm.h"
#include "hv/world.h"
#include "lib/profile.h"
#include "lib/string.h"
#include "mm/controller.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/policy_switch.h"
#include "mm/proactive.h"
#include "mm/space.h"
#include "mm/trace.h"
#include "mm/twolist.h"

#define MS_NS 1000000ull

typedef unsigned long long ull;

static const char *const no_yes[] = {"no", "yes"};

/* --- which VM --------------------------------------------------------------------------------- */

static struct vm *vm_named(const char *name)
{
	for (unsigned i = 0; i < vm_count; i++)
		if (!strcmp(vms[i].name, name))
			return &vms[i];
	say("there is no VM %s; vms lists them", name);
	return NULL;
}

/* The VM's space, or NULL with a word about why there is none. */
static struct space *space_named(const char *name)
{
	struct vm *vm = vm_named(name);

	if (vm && !vm->space)
		say("vm %s is %s: its memory has been given back", name, vm_state_name(vm));
	return vm ? vm->space : NULL;
}

/* fn for the VM that was named, or for all that have memory. */
static void each_space(const struct command *c, void (*fn)(struct vm *vm))
{
	if (c->vm[0]) {
		struct space *s = space_named(c->vm);

		if (s)
			fn(s->priv);
		return;
	}
	for (unsigned i = 0; i < vm_count; i++)
		if (vms[i].space)
			fn(&vms[i]);
}

/* --- aging and eviction on request ------------------------------------------------------------ */

static u32 swappiness_of(const struct command *c)
{
	return c->swappiness == COMMAND_SWAPPINESS_RULE ? a32_load(&policy.swappiness)
	                                                : c->swappiness;
}

static void age(const struct command *c, struct space *s)
{
	u64 youngest = a64_load(&s->lru.max_seq);
	u64 seq = c->value == COMMAND_SEQ_MAX ? youngest : c->value;

	switch (proactive_age(s, seq, swappiness_of(c), c->force)) {
	case PROACTIVE_DONE:
		say("+ %s %llu: generation %llu is the youngest now", s->name, (ull)seq,
		    (ull)a64_load(&s->lru.max_seq));
		break;
	case PROACTIVE_EXISTS:
		say("+ %s %llu: EEXIST: there is a younger one already, %llu", s->name, (ull)seq,
		    (ull)a64_load(&s->lru.max_seq));
		break;
	default:
		if (twolist_on()) {
			say("+ %s %llu: EINVAL: policy = twolist has no generations", s->name,
			    (ull)seq);
			break;
		}
		say("+ %s %llu: EINVAL: it is in the future, the youngest is %llu", s->name,
		    (ull)seq, (ull)youngest);
		break;
	}
}

static void evict(const struct command *c, struct space *s)
{
	u64 youngest = a64_load(&s->lru.max_seq), freed = 0;
	u64 seq = c->value == COMMAND_SEQ_MAX ? youngest - GEN_MIN : c->value;

	if (proactive_evict(s, seq, swappiness_of(c), c->nr, &freed) == PROACTIVE_DONE)
		say("- %s %llu: %llu frames freed", s->name, (ull)seq, (ull)freed);
	else
		say("- %s %llu: EINVAL: the %u youngest stay, and the youngest is %llu", s->name,
		    (ull)seq, GEN_MIN, (ull)youngest);
}

static void reclaim(const struct command *c, struct space *s)
{
	u64 wanted = c->value >> PAGE_SHIFT, freed = 0;

	if (proactive_reclaim(s, c->value, swappiness_of(c), &freed) == PROACTIVE_DONE)
		say("reclaim %s: %llu frames freed", s->name, (ull)freed);
	else
		say("reclaim %s: EAGAIN: of %llu frames only %llu could be had", s->name,
		    (ull)wanted, (ull)freed);
}

static void clear_refs(const struct command *c, struct space *s)
{
	u64 young = 0;

	(void)c;
	if (proactive_clear_references(s, &young) == PROACTIVE_DONE)
		say("clear_refs %s: %llu pages had been accessed", s->name, (ull)young);
	else
		say("clear_refs %s: EINVAL: policy = twolist looks at a page when it evicts it",
		    s->name);
}

/* The space stays whole meanwhile, and the audit waits until it is over. */
static void with_space(const struct command *c, void (*fn)(const struct command *, struct space *))
{
	struct space *s = space_named(c->vm);

	if (!s)
		return;
	s = space_get_id(s->id);
	if (!s) {
		say("vm %s is going: its memory is being given back", c->vm);
		return;
	}
	world_enter();
	fn(c, s);
	world_leave();
	space_put(s);
}

/* --- what a VM is promised -------------------------------------------------------------------- */

/* A promise that contradicts the other one is refused, as in a scenario. */
static bool promise_fits(const struct command *c, const struct space_limits *l)
{
	u64 pages = c->value >> PAGE_SHIFT, min = a64_load(&l->min), limit = a64_load(&l->limit);

	if (c->kind == COMMAND_LIMIT && pages && pages < min) {
		say("limit %s: EINVAL: its min is more", c->vm);
		return false;
	}
	if (c->kind == COMMAND_MIN && limit && pages > limit) {
		say("min %s: EINVAL: its limit is less", c->vm);
		return false;
	}
	return true;
}

static void set_promise(const struct command *c, struct space *s)
{
	u64 frames = c->value >> PAGE_SHIFT;

	if (c->kind == COMMAND_MIN)
		limits_set_min(s, frames);
	else if (c->kind == COMMAND_LOW)
		limits_set_low(s, frames);
	else if (c->kind == COMMAND_LIMIT)
		limits_set_limit(s, frames);
	else
		limits_set_weight(s, (u32)c->value);
}

static void promise(const struct command *c)
{
	struct space *s = space_named(c->vm);

	if (!s)
		return;
	if (c->set && promise_fits(c, &s->limits))
		set_promise(c, s);
	view_promises(s);
}

/* Promises by age need ages, as in a scenario. */
static bool ages_are_promised(void)
{
	u64 min_ttl = a64_load(&policy.min_ttl_ns);

	for (unsigned i = 0; i < vm_count; i++)
		if (vms[i].space)
			min_ttl |= a64_load(&vms[i].space->limits.min_ttl_ns);
	return min_ttl;
}

static void switch_policy(const struct command *c)
{
	if (c->set && c->value && ages_are_promised()) {
		say("policy twolist: EINVAL: somebody has a min_ttl, and it knows no ages");
		return;
	}
	if (c->set) {
		world_enter();
		policy_switch(c->value);
		world_leave();
	}
	say("policy %s", policy_names[a32_load(&policy.twolist)]);
}

static void walk(const struct command *c)
{
	struct space *s = space_named(c->vm);

	if (!s)
		return;
	if (c->set)
		a32_store(&s->walk, (u32)c->value);
	say("walk %s: %s", c->vm, walk_mode_names[a32_load(&s->walk)]);
}

static void min_ttl(const struct command *c)
{
	struct space *s = c->vm[0] ? space_named(c->vm) : NULL;

	if (c->vm[0] && !s)
		return;
	if (c->set && s)
		limits_set_min_ttl(s, c->value);
	else if (c->set)
		a64_store(&policy.min_ttl_ns, c->value);
	if (s)
		view_promises(s);
	else
		say("min_ttl %llu ms", (ull)a64_load(&policy.min_ttl_ns) / MS_NS);
}

static void view_target(const char *name, struct controller_target t)
{
	switch (t.kind) {
	case CONTROLLER_FREE:
		say("target %s: free %llu pages", name, (ull)t.value);
		break;
	case CONTROLLER_REFAULTS:
		say("target %s: refaults %llu.%04llu%%/min", name, (ull)t.value / 10000,
		    (ull)t.value % 10000);
		break;
	default:
		say("target %s: none", name);
		break;
	}
}

/* What a VM keeps to is shown as it counts: without a target of its own, the host's. */
static void target(const struct command *c)
{
	struct space *s = c->vm[0] ? space_named(c->vm) : NULL;

	if (c->vm[0] && !s)
		return;
	if (c->set)
		reclaimer_set_target(s, &c->target);
	view_target(s ? s->name : "of the host", controller_get(s));
}

/* --- settings of the policy ------------------------------------------------------------------- */

static void set(const struct command *c, a32 *where)
{
	if (c->set)
		a32_store(where, (u32)c->value);
}

static void setting_number(const struct command *c, const char *name, a32 *where)
{
	set(c, where);
	say("%s %u", name, a32_load(where));
}

static void setting_word(const struct command *c, const char *name, a32 *where,
                         const char *const *words)
{
	set(c, where);
	say("%s %s", name, words[a32_load(where)]);
}

static void caps(const struct command *c)
{
	u32 now;

	set(c, &policy.caps);
	now = a32_load(&policy.caps);
	say("caps 0x%x:%s%s%s%s", now, now & POLICY_CORE ? " core" : "",
	    now & POLICY_WALK ? " walk" : "", now & POLICY_NONLEAF ? " non-leaf" : "",
	    now & POLICY_SECONDARY ? " secondary" : "");
}

static void chaos(const struct command *c)
{
	if (c->set)
		chaos_set((u32)c->value);
	say("chaos %u", a32_load(&chaos_period));
}

static void trace(const struct command *c)
{
	if (c->value == COMMAND_TRACE_DRAIN)
		stats_trace();
	else if (!trace_switch(c->value == COMMAND_TRACE_ON))
		say("trace on: ENOMEM: the machine has no memory left for the rings");
	say("trace is %s", trace_on() ? "on" : "off");
}

static void profile(const struct command *c)
{
	if (c->value == COMMAND_PROFILE_SHOW)
		profile_view();
	else
		profile_switch(c->value == COMMAND_PROFILE_ON);
	say("profile is %s", profile_on() ? "on" : "off");
}

static void balloon(const struct command *c)
{
	struct space *s = space_named(c->vm);

	if (!s)
		return;
	if (!s->balloon.pages) {
		say("balloon %s: EINVAL: its scenario does not say pv = yes", c->vm);
		return;
	}
	if (c->set)
		balloon_set_target(s, c->value >> PAGE_SHIFT);
	view_balloon(s);
}

static void sampler(const struct command *c)
{
	struct space *s = space_named(c->vm);

	if (!s)
		return;
	if (c->set)
		sampler_thread_switch(s, c->value);
	view_sampler(s);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void help(void)
{
	const struct command_form *f;

	for (unsigned i = 0; (f = command_form_at(i)) != NULL; i++)
		say("%-44s %s", command_usage(f), command_help(f));
}

static void stats(const struct command *c)
{
	if (c->value == COMMAND_STATS_PROM)
		stats_prom(say_text);
	else
		stats_all(hal_time_ns(), say_text);
}

/* Returns false for what is none of the policy's. */
static bool execute_setting(const struct command *c)
{
	switch (c->kind) {
	case COMMAND_CAPS:
		caps(c);
		return true;
	case COMMAND_LOCKED:
		setting_word(c, "locked", &policy.locked, policy_locked_names);
		return true;
	case COMMAND_POLICY:
		switch_policy(c);
		return true;
	case COMMAND_LOOKAROUND:
		setting_word(c, "lookaround", &policy.lookaround, policy_lookaround_names);
		return true;
	case COMMAND_FLUSH:
		setting_word(c, "flush", &policy.flush, policy_flush_names);
		return true;
	case COMMAND_BATCH:
		setting_number(c, "batch", &policy.batch);
		return true;
	case COMMAND_TWO_TOUCH:
		setting_word(c, "two_touch", &policy.two_touch, no_yes);
		return true;
	case COMMAND_DIRECT_RATE:
		setting_number(c, "direct_rate", &policy.direct_rate);
		return true;
	case COMMAND_FAULT_TOUCH:
		setting_word(c, "fault_touch", &policy.fault_touch, no_yes);
		return true;
	case COMMAND_DEMOTE:
		setting_word(c, "demote", &policy.demote, no_yes);
		return true;
	case COMMAND_PROBATION:
		setting_word(c, "probation", &policy.probation, no_yes);
		return true;
	case COMMAND_GUARD:
		setting_word(c, "guard", &policy.guard, no_yes);
		return true;
	case COMMAND_CHUNK:
		setting_number(c, "chunk", &policy.chunk);
		return true;
	case COMMAND_SWAPPINESS:
		setting_number(c, "swappiness", &policy.swappiness);
		return true;
	case COMMAND_MIN_TTL:
		min_ttl(c);
		return true;
	case COMMAND_MIN:
	case COMMAND_LOW:
	case COMMAND_LIMIT:
	case COMMAND_WEIGHT:
		promise(c);
		return true;
	case COMMAND_WALK:
		walk(c);
		return true;
	case COMMAND_TARGET:
		target(c);
		return true;
	default:
		return false;
	}
}

/* Returns false for what only looks. */
static bool execute_action(const struct command *c)
{
	switch (c->kind) {
	case COMMAND_AGE:
		with_space(c, age);
		return true;
	case COMMAND_EVICT:
		with_space(c, evict);
		return true;
	case COMMAND_RECLAIM:
		with_space(c, reclaim);
		return true;
	case COMMAND_CLEAR_REFS:
		with_space(c, clear_refs);
		return true;
	case COMMAND_DIRTY:
		with_space(c, monitor_dirty);
		return true;
	case COMMAND_CHAOS:
		chaos(c);
		return true;
	case COMMAND_TRACE:
		trace(c);
		return true;
	case COMMAND_PROFILE:
		profile(c);
		return true;
	case COMMAND_BALLOON:
		balloon(c);
		return true;
	case COMMAND_SAMPLER:
		sampler(c);
		return true;
	case COMMAND_AUDIT:
		monitor_audit();
		return true;
	case COMMAND_QUIT:
		monitor_quit();
		return true;
	default:
		return false;
	}
}

static void execute_view(const struct command *c)
{
	struct space *s;

	switch (c->kind) {
	case COMMAND_HELP:
		help();
		break;
	case COMMAND_VMS:
		view_vms();
		break;
	case COMMAND_GENS:
		each_space(c, view_gens);
		break;
	case COMMAND_FULL:
		each_space(c, view_full);
		break;
	case COMMAND_WSS:
		s = space_named(c->vm);
		if (s)
			view_working_set(s, c->value);
		break;
	case COMMAND_PAGE:
		s = space_named(c->vm);
		if (s)
			view_page(s, gfn(c->value));
		break;
	case COMMAND_PAGEMAP:
		s = space_named(c->vm);
		if (s)
			view_pagemap(s, gfn(c->value), (unsigned)c->nr);
		break;
	case COMMAND_AGES:
		s = space_named(c->vm);
		if (s)
			stats_ages(s->priv);
		break;
	case COMMAND_STATS:
		stats(c);
		break;
	default:
		break;
	}
}

static void execute(const char *text, const struct command *c, bool typed)
{
	const struct vm *vm = NULL;

	if (c->kind == COMMAND_NOTHING)
		return;
	for (unsigned i = 0; i < vm_count; i++)
		if (!strcmp(vms[i].name, c->vm))
			vm = &vms[i];
	stats_command(text, typed);
	trace_event(TRACE_COMMAND, vm && vm->space ? vm->space->id : 0, gfn(0), typed, 0);
	if (!execute_setting(c) && !execute_action(c))
		execute_view(c);
}

void monitor_line(const char *text)
{
	struct command_error error;
	struct command c;

	if (command_parse((struct slice){text, strlen(text)}, &c, &error))
		execute(text, &c, true);
	else
		say("%s", error.text);
}

void monitor_at(const char *text, const struct command *c)
{
	hal_log(HAL_INFO, "timeline: %s", text);
	execute(text, c, false);
}
