/*
 * The commands of the monitor: what a line says. Typed at the console (COM1) or written into a scenario's
 * [timeline], it is the same text with the same meaning. Pure functions over text, no allocation; any context.
 *
 *   limit kv 32M         a word, then arguments separated by blanks; sizes and numbers as in a scenario
 *   # anything           nothing, like an empty line
 *
 * Nothing is guessed: a word nobody knows, an argument that is missing, none, out of bounds or too many is
 * refused with a sentence that says which one and what is allowed.
 */
#pragma once

#include "hv/slice.h"
#include "hv/value.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/dirty_log.h"

#define COMMAND_LINE_MAX 128u /* with the terminating zero, like the next one */
#define COMMAND_VM_MAX   32u

enum command_kind {
	COMMAND_NOTHING,
	COMMAND_HELP,
	COMMAND_VMS,
	COMMAND_GENS,
	COMMAND_FULL,
	COMMAND_AGE,   /* + */
	COMMAND_EVICT, /* - */
	COMMAND_RECLAIM,
	COMMAND_CAPS,
	COMMAND_LOCKED,
	COMMAND_POLICY,
	COMMAND_LOOKAROUND,
	COMMAND_FLUSH,
	COMMAND_BATCH,
	COMMAND_TWO_TOUCH,
	COMMAND_FAULT_TOUCH,
	COMMAND_DEMOTE,
	COMMAND_PROBATION,
	COMMAND_GUARD,
	COMMAND_CHUNK,
	COMMAND_SWAPPINESS,
	COMMAND_DIRECT_RATE,
	COMMAND_MIN_TTL,
	COMMAND_LIMIT,
	COMMAND_LOW,
	COMMAND_MIN,
	COMMAND_WEIGHT,
	COMMAND_WALK,
	COMMAND_TARGET,
	COMMAND_WSS,
	COMMAND_PAGE,
	COMMAND_PAGEMAP,
	COMMAND_CLEAR_REFS,
	COMMAND_DIRTY,
	COMMAND_AGES,
	COMMAND_SAMPLER,
	COMMAND_BALLOON,
	COMMAND_TRACE,
	COMMAND_PROFILE,
	COMMAND_CHAOS,
	COMMAND_AUDIT,
	COMMAND_STATS,
	COMMAND_QUIT,
};

enum command_trace { COMMAND_TRACE_ON, COMMAND_TRACE_OFF, COMMAND_TRACE_DRAIN };
enum command_profile { COMMAND_PROFILE_ON, COMMAND_PROFILE_OFF, COMMAND_PROFILE_SHOW };
/* Modes of the log as in mm/dirty_log.h, then the question. */
enum command_dirty { COMMAND_DIRTY_READ = DIRTY_LOG_MODES };
enum command_stats { COMMAND_STATS_JSON, COMMAND_STATS_PROM };

#define COMMAND_SEQ_MAX         (~0ull) /* "max": the youngest generation that will do */
#define COMMAND_SWAPPINESS_RULE (~0u)   /* not given: the policy's */
#define COMMAND_PAGEMAP_MAX     512u    /* pages, a line each */

struct command {
	enum command_kind kind;
	bool set;                /* a setting gets a new value; else it is shown */
	char vm[COMMAND_VM_MAX]; /* empty: none was named */
	/*
	 * The setting's value, a size in bytes, a time in ns, a gfn, or the choice; sizes: 0 is none.
	 * COMMAND_AGE, COMMAND_EVICT: the generation.
	 */
	u64 value;
	u32 swappiness; /* COMMAND_AGE, COMMAND_EVICT */
	bool force;     /* COMMAND_AGE */
	u64 nr; /* COMMAND_EVICT: frames; ~0: as many as there are. COMMAND_PAGEMAP: pages */
	struct target target;
};

#define COMMAND_ERROR_MAX 256u
struct command_error {
	char text[COMMAND_ERROR_MAX]; /* one sentence without newline; empty if there is none */
};

/* One line without its newline. False, with *error: it says no command, and *out is unspecified. */
bool command_parse(struct slice line, struct command *out, struct command_error *error) must_check;

/* What may be said, in the order of the help. */
struct command_form;
/* The n-th form, or NULL. */
const struct command_form *command_form_at(unsigned n);
/* "limit VM [none|SIZE]" and what it does, in a sentence. */
const char *command_usage(const struct command_form *form);
const char *command_help(const struct command_form *form);
