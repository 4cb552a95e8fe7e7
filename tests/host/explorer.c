#include "tests/host/explorer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define STACK_BYTES 65536u
#define MAX_CHOICES 20000u
#define BUFFER      4u
#define NOBODY      EXPLORER_ACTORS

struct store {
	u64 *where;
	u64 value;
};

struct actor {
	ucontext_t context;
	bool done;
	bool (*ready)(void *arg); /* NULL: not waiting */
	void *arg;
	struct store buffer[BUFFER];
	unsigned buffered;
	unsigned last_ran; /* step */
};

/* A point of the schedule where there was something to choose. */
struct choice {
	u8 taken, options;
};

static struct {
	const struct explorer_scene *scene;
	struct explorer_result *result;
	struct actor actor[EXPLORER_ACTORS];
	ucontext_t home;
	unsigned current; /* NOBODY: outside of the actors */
	unsigned steps, preemptions, traced;
	struct choice choice[MAX_CHOICES];
	unsigned nr_choices, at_choice;
} x = {.current = NOBODY};

static u8 stacks[EXPLORER_ACTORS][STACK_BYTES] aligned_to(16);

static unsigned choose(unsigned options)
{
	struct choice *c = &x.choice[x.at_choice];

	if (options == 1)
		return 0;
	if (x.at_choice == MAX_CHOICES) {
		fprintf(stderr, "explorer: more than %u choices\n", MAX_CHOICES);
		abort();
	}
	if (x.at_choice++ == x.nr_choices) {
		x.nr_choices++;
		*c = (struct choice){.taken = 0, .options = (u8)options};
	}
	return c->taken;
}

/* The next schedule in order; false after the last. */
static bool choices_advance(void)
{
	while (x.nr_choices) {
		struct choice *last = &x.choice[x.nr_choices - 1];

		if (++last->taken < last->options)
			return true;
		x.nr_choices--;
	}
	return false;
}

static bool runnable(unsigned i)
{
	struct actor *a = &x.actor[i];

	return !a->done && (!a->ready || a->ready(a->arg));
}

/* Who can run next, the present actor first. */
static unsigned moves_list(unsigned *list, bool leave)
{
	bool stays = x.current != NOBODY && runnable(x.current) && !leave;
	bool may_switch = !stays || x.preemptions < x.scene->max_preemptions;
	unsigned n = 0;

	if (stays)
		list[n++] = x.current;
	for (unsigned i = 0; i < x.scene->nr_actors && may_switch; i++)
		if (i != x.current && runnable(i))
			list[n++] = i;
	if (!n && x.current != NOBODY && runnable(x.current))
		list[n++] = x.current;
	return n;
}

static void write_back(struct actor *a)
{
	__atomic_store_n(a->buffer[0].where, a->buffer[0].value, __ATOMIC_RELAXED);
	a->buffered--;
	memmove(a->buffer, a->buffer + 1, a->buffered * sizeof(a->buffer[0]));
}

static void trace(unsigned actor)
{
	const char *name = x.scene->actor[actor].name;
	size_t room = sizeof(x.result->trace) - x.traced;
	int n = snprintf(x.result->trace + x.traced, room, "%s ", name);

	if (n > 0 && (size_t)n < room)
		x.traced += (unsigned)n;
}

/* Writes everything back; whether there was something. */
static bool drain_all(void)
{
	bool any = false;

	for (unsigned i = 0; i < x.scene->nr_actors; i++)
		for (; x.actor[i].buffered; any = true)
			write_back(&x.actor[i]);
	return any;
}

/* After a pause all get their turn, or two that wait could keep a third from what they wait for. */
static unsigned longest_waiting(const unsigned *list, unsigned n)
{
	unsigned best = list[0];

	for (unsigned i = 1; i < n; i++)
		if (x.actor[list[i]].last_ran < x.actor[best].last_ran)
			best = list[i];
	return best;
}

/* Who runs next; NOBODY when nobody can. */
static unsigned schedule(bool leave)
{
	bool stays = x.current != NOBODY && !leave && runnable(x.current);
	unsigned list[EXPLORER_ACTORS];
	unsigned n = moves_list(list, leave), next;

	/* Who waits alone waits for what is still in a buffer; it does not stay there for ever. */
	if ((!n || (leave && list[0] == x.current)) && drain_all())
		n = moves_list(list, leave);
	if (!n)
		return NOBODY;
	next = leave ? longest_waiting(list, n) : list[choose(n)];
	if (next != x.current) {
		x.preemptions += stays;
		trace(next);
	}
	return next;
}

/*
 * A buffered store matters to others only when they look at memory: there, and only there, any number of
 * those of the other actors may have been written back.
 */
static void others_write_back(void)
{
	unsigned owner[EXPLORER_ACTORS], n, taken;

	do {
		n = 0;
		for (unsigned i = 0; i < x.scene->nr_actors; i++)
			if (i != x.current && x.actor[i].buffered)
				owner[n++] = i;
		taken = choose(n + 1);
		if (taken < n)
			write_back(&x.actor[owner[taken]]);
	} while (taken < n);
}

static void leave_for(unsigned next)
{
	unsigned me = x.current;

	if (next == me)
		return;
	x.current = next;
	swapcontext(&x.actor[me].context, next == NOBODY ? &x.home : &x.actor[next].context);
}

static void step(bool leave)
{
	unsigned limit = x.scene->max_steps ? x.scene->max_steps : 10000;

	x.actor[x.current].last_ran = x.steps;
	if (++x.steps > limit)
		explorer_panic("hangs: %u steps", x.steps);
	leave_for(schedule(leave));
}

void explorer_yield(void)
{
	if (x.current != NOBODY)
		step(false);
}

bool explorer_active(void)
{
	return x.current != NOBODY;
}

unsigned explorer_choose(unsigned options)
{
	return x.current == NOBODY ? 0 : choose(options);
}

unsigned explorer_self(void)
{
	return x.current == NOBODY ? 0 : x.current;
}

void explorer_pause(void)
{
	if (x.current != NOBODY)
		step(true);
}

void explorer_wait(bool (*ready)(void *arg), void *arg)
{
	struct actor *a = &x.actor[x.current];

	if (x.current == NOBODY || ready(arg))
		return;
	a->ready = ready;
	a->arg = arg;
	step(false);
	a->ready = NULL;
}

void explorer_panic(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!x.result) {
		vfprintf(stderr, fmt, args);
		abort();
	}
	vsnprintf(x.result->why, sizeof(x.result->why), fmt, args);
	va_end(args);
	x.result->failed = true;
	if (x.current != NOBODY) {
		x.current = NOBODY;
		setcontext(&x.home);
	}
	fprintf(stderr, "explorer: %s: outside of the actors: %s\n", x.scene->name, x.result->why);
	abort();
}

void explorer_store(u64 *where, u64 value)
{
	struct actor *a;

	if (x.current == NOBODY) {
		*where = value;
		return;
	}
	explorer_yield();
	a = &x.actor[x.current];
	if (a->buffered == BUFFER)
		write_back(a);
	a->buffer[a->buffered++] = (struct store){where, value};
}

u64 explorer_load(const u64 *where)
{
	explorer_yield();
	if (x.current != NOBODY) {
		struct actor *a = &x.actor[x.current];

		for (unsigned i = a->buffered; i-- > 0;)
			if (a->buffer[i].where == where)
				return a->buffer[i].value;
		others_write_back();
	}
	return __atomic_load_n(where, __ATOMIC_RELAXED);
}

void explorer_fence(void)
{
	explorer_yield();
	if (x.current == NOBODY)
		return;
	while (x.actor[x.current].buffered)
		write_back(&x.actor[x.current]);
	others_write_back();
}

static void actor_main(void)
{
	x.scene->actor[x.current].run();
	x.actor[x.current].done = true;
	step(false);
	abort(); /* nobody chooses one that is done */
}

static void actor_start(unsigned i)
{
	struct actor *a = &x.actor[i];

	memset(a, 0, sizeof(*a));
	getcontext(&a->context);
	a->context.uc_stack.ss_sp = stacks[i];
	a->context.uc_stack.ss_size = STACK_BYTES;
	a->context.uc_link = NULL;
	makecontext(&a->context, actor_main, 0);
}

static bool all_done(void)
{
	for (unsigned i = 0; i < x.scene->nr_actors; i++)
		if (!x.actor[i].done)
			return false;
	return true;
}

static void run_schedule(void)
{
	x.steps = x.preemptions = x.at_choice = x.traced = 0;
	x.result->trace[0] = 0;
	x.scene->setup();
	for (unsigned i = 0; i < x.scene->nr_actors; i++)
		actor_start(i);
	x.current = schedule(false);
	swapcontext(&x.home, &x.actor[x.current].context);
	if (x.result->failed)
		return;
	if (!all_done()) {
		x.result->failed = true;
		snprintf(x.result->why, sizeof(x.result->why), "deadlock");
		return;
	}
	x.result->longest = max_of(x.result->longest, x.steps);
}

/* check() runs as the last actor's last act would: a failure in it must not abort. */
static void check_main(void)
{
	x.scene->check();
	x.current = NOBODY;
	setcontext(&x.home);
}

static void run_check(void)
{
	actor_start(0);
	makecontext(&x.actor[0].context, check_main, 0);
	for (unsigned i = 1; i < EXPLORER_ACTORS; i++)
		x.actor[i].done = true;
	x.current = 0;
	swapcontext(&x.home, &x.actor[0].context);
}

void explorer_run(const struct explorer_scene *scene, struct explorer_result *result)
{
	*result = (struct explorer_result){.schedules = 0};
	x.scene = scene;
	x.result = result;
	x.nr_choices = 0;
	x.current = NOBODY;
	do {
		run_schedule();
		result->schedules++;
		if (!result->failed && scene->check)
			run_check();
		if (result->failed ||
		    (scene->max_schedules && result->schedules == scene->max_schedules))
			return;
	} while (choices_advance());
	result->exhausted = true;
}

bool explorer_passes(const struct explorer_scene *scene)
{
	struct explorer_result r;

	explorer_run(scene, &r);
	printf("%s: %llu schedules of up to %u steps, all with up to %u preemptions: %s %s\n",
	       scene->name, (unsigned long long)r.schedules, r.longest, scene->max_preemptions,
	       r.failed ? r.why : "none bad", r.failed ? r.trace : "");
	return r.exhausted && !r.failed;
}

int explorer_main(const struct explorer_scene *scene, unsigned n)
{
	bool good = true;

	for (unsigned i = 0; i < n; i++)
		good &= explorer_passes(&scene[i]);
	return good ? 0 : 1;
}
