#include "hv/monitor_dirty.h"

#include "hv/command.h"
#include "hv/monitor_say.h"
#include "mm/dirty_log.h"
#include "mm/space.h"

#define RUNS_MAX 32u /* lines; what is more is counted */

typedef unsigned long long ull;

static void read_log(struct space *s)
{
	u64 pages = 0, runs = 0, n;
	gfn_t at = gfn(0);

	dirty_log_sync_all(s);
	for (; (n = dirty_log_next(s, &at)) != 0; at = gfn_add(at, n)) {
		pages += n;
		if (++runs <= RUNS_MAX)
			say("  0x%llx %llu", (ull)at.v, (ull)n);
	}
	say("dirty %s: %llu pages written, in %llu runs%s", s->name, (ull)pages, (ull)runs,
	    runs > RUNS_MAX ? ", the first of them shown" : "");
}

static void say_log(const struct space *s)
{
	say("dirty %s: %s, %llu pages reported, %llu written down by the CPU", s->name,
	    dirty_log_names[dirty_log_mode(s)], (ull)a64_load(&s->dirty_log.reported_total),
	    (ull)a64_load(&s->dirty_log.hardware_total));
}

void monitor_dirty(const struct command *c, struct space *s)
{
	enum dirty_log_mode now = dirty_log_mode(s);

	if (c->set && c->value == COMMAND_DIRTY_READ && now == DIRTY_LOG_OFF) {
		say("dirty %s: EINVAL: the log is off", s->name);
	} else if (c->set && c->value == COMMAND_DIRTY_READ) {
		read_log(s);
	} else if (c->set && c->value == DIRTY_LOG_OFF) {
		dirty_log_stop(s);
		say_log(s);
	} else if (c->set && !dirty_log_start(s, (enum dirty_log_mode)c->value)) {
		if (now != DIRTY_LOG_OFF)
			say("dirty %s: EBUSY: it is on already, by %s", s->name,
			    dirty_log_names[now]);
		else
			say("dirty %s: EINVAL: not by %s: the machine has no such log, or the VM "
			    "runs on shadow tables",
			    s->name, dirty_log_names[c->value]);
	} else {
		say_log(s);
	}
}
