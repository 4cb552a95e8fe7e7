/* A line of statistics that grows: a JSON object, or anything else. For hv/stats*.c only. */
#pragma once

#include "hv/stats.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/space.h"

/* What does not fit is lost, and the lines are far from that. */
struct stats_line {
	size_t len;
	char text[4096];
};

void line_add(struct stats_line *l, const char *fmt, ...) printf_like(2, 3);
/* A JSON string; control characters and what is not ASCII do not come this far but are cheap to stop. */
void line_string(struct stats_line *l, const char *s);
/* ,"name":value */
void line_count(struct stats_line *l, const char *name, u64 value);
/* {"type":"..","t_ns":.. */
void line_begin(struct stats_line *l, const char *type, u64 t_ns);
/* ,"vm":".." */
void line_vm(struct stats_line *l, const struct vm *vm);
/* Closes the object and sends it. */
void line_send(struct stats_line *l, stats_sink sink);

/* ,"shadow":{...} of a VM on shadow tables, or nothing. hv/stats_shadow.c */
void stats_shadow_line(struct stats_line *l, const struct vm *vm);
void stats_shadow_prom(stats_sink sink);

/* The counters of a space by name, in the order of the lines; the last has no name. */
struct stats_counter {
	const char *name, *help;
	size_t offset;
};
extern const struct stats_counter stats_counters[];
static inline u64 stats_counter_of(const struct space_stats *st, const struct stats_counter *c)
{
	return a64_load((const a64 *)((const char *)st + c->offset));
}
