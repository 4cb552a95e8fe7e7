#include "hv/command.h"

#include "hv/scenario.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "mm/policy.h"
#include "mm/space.h"

_Static_assert(COMMAND_VM_MAX == SCENARIO_NAME_MAX, "a VM that a scenario names can be asked for");

#define ARGS_MAX   4u
#define MAX_GFN    ((1ull << 40) - 1)
#define MAX_FRAMES ((1ull << 32) - 1)
#define MS_NS      1000000ull

/* One kind of argument: its name in the usage, what it allows, and how it is taken. */
struct arg {
	const char *name, *allowed;
	bool (*take)(struct slice value, struct command *c);
	bool rest; /* all that is left of the line */
};

/* --- arguments -------------------------------------------------------------------------------- */

static bool take_vm(struct slice value, struct command *c)
{
	return value_name(value, c->vm, COMMAND_VM_MAX);
}

static bool take_seq(struct slice value, struct command *c)
{
	c->value = COMMAND_SEQ_MAX;
	return slice_is(value, "max") || value_number(value, 0, COMMAND_SEQ_MAX - 1, &c->value);
}

static bool take_rule(struct slice value, struct command *c)
{
	u64 v = POLICY_SWAPPINESS_MAX;

	if (!slice_is(value, "max") && !value_number(value, 0, POLICY_SWAPPINESS_MAX, &v))
		return false;
	c->swappiness = (u32)v;
	return true;
}

static bool take_force(struct slice value, struct command *c)
{
	u64 v = 0;

	if (!value_number(value, 0, 1, &v))
		return false;
	c->force = v;
	return true;
}

static bool take_nr(struct slice value, struct command *c)
{
	return value_number(value, 1, MAX_FRAMES, &c->nr);
}

static bool take_pages(struct slice value, struct command *c)
{
	return value_number(value, 1, COMMAND_PAGEMAP_MAX, &c->nr);
}

static bool set_number(struct slice value, u64 min, u64 max, struct command *c)
{
	c->set = true;
	return value_number(value, min, max, &c->value);
}

static bool set_word(struct slice value, const char *const *words, struct command *c)
{
	unsigned at;

	c->set = true;
	if (!value_word(value, words, &at))
		return false;
	c->value = at;
	return true;
}

static bool take_caps(struct slice value, struct command *c)
{
	return set_number(value, 0, POLICY_CAPS, c);
}

static bool take_no_yes(struct slice value, struct command *c)
{
	static const char *const words[] = {"no", "yes", NULL};

	return set_word(value, words, c);
}

static bool take_off_on(struct slice value, struct command *c)
{
	static const char *const words[] = {"off", "on", NULL};

	return set_word(value, words, c);
}

static bool take_lookaround(struct slice value, struct command *c)
{
	return set_word(value, policy_lookaround_names, c);
}

static bool take_flush(struct slice value, struct command *c)
{
	return set_word(value, policy_flush_names, c);
}

static bool take_locked(struct slice value, struct command *c)
{
	return set_word(value, policy_locked_names, c) && policy_ager_built(c->value);
}

static bool take_policy(struct slice value, struct command *c)
{
	return set_word(value, policy_names, c);
}

static bool take_walk(struct slice value, struct command *c)
{
	return set_word(value, walk_mode_names, c);
}

static bool take_batch(struct slice value, struct command *c)
{
	return set_number(value, 1, TABLE_PAGES, c) && policy_batch_valid((u32)c->value);
}

static bool take_chunk(struct slice value, struct command *c)
{
	return set_number(value, 0, POLICY_CHUNK_MAX, c);
}

static bool take_swappiness(struct slice value, struct command *c)
{
	return set_number(value, 0, POLICY_SWAPPINESS_MAX, c);
}

static bool take_direct_rate(struct slice value, struct command *c)
{
	return set_number(value, 0, DIRECT_RATE_MAX, c);
}

static bool take_ms(struct slice value, struct command *c)
{
	if (!set_number(value, 0, SCENARIO_MAX_TIME_NS / MS_NS, c))
		return false;
	c->value *= MS_NS;
	return true;
}

static bool take_size(struct slice value, struct command *c)
{
	c->set = true;
	return value_size(value, SCENARIO_MAX_MEMORY_BYTES, &c->value);
}

static bool take_promise(struct slice value, struct command *c)
{
	c->set = true;
	return value_size_or_none(value, SCENARIO_MAX_MEMORY_BYTES, &c->value);
}

static bool take_weight(struct slice value, struct command *c)
{
	return set_number(value, 1, SPACE_WEIGHT_MAX, c);
}

static bool take_target(struct slice value, struct command *c)
{
	c->set = true;
	return value_target(value, SCENARIO_MAX_MEMORY_BYTES, &c->target);
}

static bool take_gfn(struct slice value, struct command *c)
{
	return value_number(value, 0, MAX_GFN, &c->value);
}

static bool take_chaos(struct slice value, struct command *c)
{
	return set_number(value, 0, SCENARIO_MAX_CHAOS, c);
}

static bool take_trace(struct slice value, struct command *c)
{
	static const char *const words[] = {"on", "off", "drain", NULL};

	return set_word(value, words, c);
}

static bool take_profile(struct slice value, struct command *c)
{
	static const char *const words[] = {"on", "off", "show", NULL};

	return set_word(value, words, c);
}

static bool take_dirty(struct slice value, struct command *c)
{
	static const char *const words[] = {"off", "on", "bits", "pml", "read", NULL};

	static_assert(ARRAY_SIZE(words) == COMMAND_DIRTY_READ + 2, "a word for each mode");
	return set_word(value, words, c);
}

static bool take_stats(struct slice value, struct command *c)
{
	static const char *const words[] = {"json", "prom", NULL};

	return set_word(value, words, c);
}

#define SIZES "a multiple of 4K from 4K to 512G, as 64M (K, M, G)"

static const struct arg vm_name = {"VM", "the name of a VM: 1 to 31 of a-z 0-9 _ -",
                                   .take = take_vm};
static const struct arg max_gen = {"MAX_GEN", "the number of a generation, or max",
                                   .take = take_seq};
static const struct arg min_gen = {"MIN_GEN", "the number of a generation, or max",
                                   .take = take_seq};
static const struct arg rule = {"SWAPPINESS", "a number from 0 to 200, or max", .take = take_rule};
static const struct arg force = {"FORCE", "0 or 1", .take = take_force};
static const struct arg nr = {"NR", "a number of pages from 1 to 0xffffffff", .take = take_nr};
static const struct arg size = {"SIZE", SIZES, .take = take_size};
static const struct arg promise = {"SIZE", "none, or " SIZES, .take = take_promise};
static const struct arg caps = {
        "MASK", "a number from 0 to 0xf: 1 core, 2 walk, 4 non-leaf, 8 secondary MMUs",
        .take = take_caps};
static const struct arg no_yes = {"yes|no", "yes or no", .take = take_no_yes};
static const struct arg locked = {"no|yes|read", "no, yes or read" POLICY_AGERS_NOTE,
                                  .take = take_locked};
static const struct arg off_on = {"on|off", "on or off", .take = take_off_on};
static const struct arg lookaround = {"off|any|all", "off, any or all", .take = take_lookaround};
static const struct arg flush = {"none|per-pass|sampled", "none, per-pass or sampled",
                                 .take = take_flush};
static const struct arg policies = {"mglru|twolist", "mglru or twolist", .take = take_policy};
static const struct arg walk = {"off|fast|all|accurate", "off, fast, all or accurate",
                                .take = take_walk};
static const struct arg batch = {"1|64|512", "1, 64 or 512", .take = take_batch};
static const struct arg chunk = {"N", "a number from 0 (by the size of the VM) to 64",
                                 .take = take_chunk};
static const struct arg swappiness = {"N", "a number from 0 to 200", .take = take_swappiness};
static const struct arg direct_rate = {"N", "a number from 0 (no bound) to 1000000",
                                       .take = take_direct_rate};
static const struct arg ms = {"MS", "a number of milliseconds from 0 to 86400000", .take = take_ms};
static const struct arg weight = {"N", "a number from 1 to 1000", .take = take_weight};
static const struct arg target = {"TARGET", ALLOWED_TARGET, .take = take_target, .rest = true};
static const struct arg page = {"GFN", "the number of a guest page below 2^40, decimal or 0x",
                                .take = take_gfn};
static const struct arg pages = {"N", "a number of pages from 1 to 512", .take = take_pages};
static const struct arg chaos = {"N", "a number from 0 (off) to 1000000", .take = take_chaos};
static const struct arg trace = {"on|off|drain", "on, off or drain", .take = take_trace};
static const struct arg profile = {"on|off|show", "on, off or show", .take = take_profile};
static const struct arg dirty = {"on|bits|pml|off|read", "on, bits, pml, off or read",
                                 .take = take_dirty};
static const struct arg stats = {"json|prom", "json or prom", .take = take_stats};

/* --- forms ------------------------------------------------------------------------------------ */

struct command_form {
	const char *word;
	enum command_kind kind;
	const char *usage, *help;
	const struct arg *arg[ARGS_MAX]; /* in order; NULL behind the last */
	unsigned required;               /* so many of them at least */
	bool host_too; /* the VM may be left out before a value: the host's setting is meant */
};

static const struct command_form forms[] = {
        {"help", COMMAND_HELP, "help", "this list", .arg = {NULL}},
        {"vms", COMMAND_VMS, "vms", "every VM: state, pages and promises", .arg = {NULL}},
        {"gens", COMMAND_GENS, "gens [VM]",
         "generations: number, age in ms, clean pages, dirty pages", .arg = {&vm_name}},
        {"full", COMMAND_FULL, "full [VM]", "generations and what each tier went through",
         .arg = {&vm_name}},
        {"+", COMMAND_AGE, "+ VM MAX_GEN [SWAPPINESS [FORCE]]",
         "age: make a generation after MAX_GEN, the youngest",
         .arg = {&vm_name, &max_gen, &rule, &force}, .required = 2},
        {"-", COMMAND_EVICT, "- VM MIN_GEN [SWAPPINESS [NR]]",
         "evict generations up to MIN_GEN, at most NR pages",
         .arg = {&vm_name, &min_gen, &rule, &nr}, .required = 2},
        {"reclaim", COMMAND_RECLAIM, "reclaim VM SIZE", "take so much from a VM",
         .arg = {&vm_name, &size}, .required = 2},
        {"wss", COMMAND_WSS, "wss VM MS", "working set: pages touched within so many ms",
         .arg = {&vm_name, &ms}, .required = 2},
        {"page", COMMAND_PAGE, "page VM GFN", "one page: where it is, how old, what is known of it",
         .arg = {&vm_name, &page}, .required = 2},
        {"pagemap", COMMAND_PAGEMAP, "pagemap VM GFN N",
         "N pages from GFN on: where each is, its generation and flags",
         .arg = {&vm_name, &page, &pages}, .required = 3},
        {"clear_refs", COMMAND_CLEAR_REFS, "clear_refs VM",
         "forget accesses: pagemap shows as accessed what is touched from now on",
         .arg = {&vm_name}, .required = 1},
        {"dirty", COMMAND_DIRTY, "dirty VM [on|bits|pml|off|read]",
         "the log of pages written: by write protection, Dirty bits, the CPU's own; what it has",
         .arg = {&vm_name, &dirty}, .required = 1},
        {"ages", COMMAND_AGES, "ages VM",
         "every page's age to COM2: 0 youngest .. 3, e being evicted, z away, . never touched",
         .arg = {&vm_name}, .required = 1},
        {"sampler", COMMAND_SAMPLER, "sampler VM [on|off]",
         "regions and how often samples of them were found touched", .arg = {&vm_name, &off_on},
         .required = 1},
        {"min", COMMAND_MIN, "min VM [none|SIZE]", "others' need leaves the VM so much",
         .arg = {&vm_name, &promise}, .required = 1},
        {"low", COMMAND_LOW, "low VM [none|SIZE]", "... if it can be had elsewhere",
         .arg = {&vm_name, &promise}, .required = 1},
        {"limit", COMMAND_LIMIT, "limit VM [none|SIZE]", "the VM may have so much resident",
         .arg = {&vm_name, &promise}, .required = 1},
        {"balloon", COMMAND_BALLOON, "balloon VM [none|SIZE]",
         "so much the guest is asked to lend; what it has lent", .arg = {&vm_name, &promise},
         .required = 1},
        {"weight", COMMAND_WEIGHT, "weight VM [N]",
         "of what is taken by everybody's need its share is 1/N; 1 to 1000, rule 100",
         .arg = {&vm_name, &weight}, .required = 1},
        {"walk", COMMAND_WALK, "walk VM [off|fast|all|accurate]",
         "whom walks ask: nobody, fast MMUs, all, or all and exactly", .arg = {&vm_name, &walk},
         .required = 1},
        {"min_ttl", COMMAND_MIN_TTL, "min_ttl [VM] [MS]", "pages younger than this stay",
         .arg = {&vm_name, &ms}, .host_too = true},
        {"target", COMMAND_TARGET, "target [VM] [none|free SIZE|refaults P%/min]",
         "what is reclaimed ahead of need", .arg = {&vm_name, &target}, .host_too = true},
        {"caps", COMMAND_CAPS, "caps [MASK]",
         "capabilities: 1 core, 2 walk, 4 non-leaf bits, 8 secondary MMUs", .arg = {&caps}},
        {"locked", COMMAND_LOCKED, "locked [no|yes|read]",
         "aging under the MMU lock, for comparison", .arg = {&locked}},
        {"policy", COMMAND_POLICY, "policy [mglru|twolist]",
         "generations, or active and inactive lists", .arg = {&policies}},
        {"lookaround", COMMAND_LOOKAROUND, "lookaround [off|any|all]",
         "neighbours of a young page: never, if a fast MMU saw it, if all are fast",
         .arg = {&lookaround}},
        {"flush", COMMAND_FLUSH, "flush [none|per-pass|sampled]",
         "what is flushed after Accessed bits were cleared", .arg = {&flush}},
        {"batch", COMMAND_BATCH, "batch [1|64|512]", "pages a walk asks for at a time",
         .arg = {&batch}},
        {"two_touch", COMMAND_TWO_TOUCH, "two_touch [yes|no]",
         "the second sighting promotes, not the first", .arg = {&no_yes}},
        {"direct_rate", COMMAND_DIRECT_RATE, "direct_rate [N]",
         "so often a second may faulting vCPUs reclaim by themselves; 0: no bound",
         .arg = {&direct_rate}},
        {"fault_touch", COMMAND_FAULT_TOUCH, "fault_touch [yes|no]",
         "the fault and the access retried after it are two touches", .arg = {&no_yes}},
        {"demote", COMMAND_DEMOTE, "demote [yes|no]",
         "pages that were promoted and grew old have another turn", .arg = {&no_yes}},
        {"probation", COMMAND_PROBATION, "probation [yes|no]",
         "pages of one use go before those that were used twice", .arg = {&no_yes}},
        {"guard", COMMAND_GUARD, "guard [yes|no]",
         "... unless going by age would have fewer refaults", .arg = {&no_yes}},
        {"chunk", COMMAND_CHUNK, "chunk [N]",
         "frames an evictor takes at a time, up to 64; 0: by the size of the VM", .arg = {&chunk}},
        {"swappiness", COMMAND_SWAPPINESS, "swappiness [N]",
         "0 clean pages only .. 200 dirty pages only", .arg = {&swappiness}},
        {"trace", COMMAND_TRACE, "trace on|off|drain", "the trace, and where it goes: COM2",
         .arg = {&trace}, .required = 1},
        {"profile", COMMAND_PROFILE, "profile on|off|show",
         "where the time of reclaim goes: on begins anew, show also sends it to COM2",
         .arg = {&profile}, .required = 1},
        {"chaos", COMMAND_CHAOS, "chaos [N]", "evict a random page at every Nth exit; 0: off",
         .arg = {&chaos}},
        {"audit", COMMAND_AUDIT, "audit", "stop the world and check every frame, map and table",
         .arg = {NULL}},
        {"stats", COMMAND_STATS, "stats json|prom",
         "counters now: as on COM2, or in Prometheus' text format", .arg = {&stats}, .required = 1},
        {"quit", COMMAND_QUIT, "quit", "end the scenario: what still runs is stopped",
         .arg = {NULL}},
};

const struct command_form *command_form_at(unsigned n)
{
	return n < ARRAY_SIZE(forms) ? &forms[n] : NULL;
}

const char *command_usage(const struct command_form *form)
{
	return form->usage;
}

const char *command_help(const struct command_form *form)
{
	return form->help;
}

/* --- lines ------------------------------------------------------------------------------------ */

static bool printf_like(2, 3) refuse(struct command_error *error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fmt_vsnprintf(error->text, COMMAND_ERROR_MAX, fmt, args);
	va_end(args);
	return false;
}

static struct slice value_take(const struct arg *arg, struct slice *t)
{
	struct slice all = *t;

	if (!arg->rest)
		return slice_word(t);
	*t = slice_skip(*t, t->n);
	return all;
}

/* Are we to take the value at once, because no VM stands before it? */
static bool means_host(const struct command_form *form, struct slice t)
{
	struct command unused = {0};

	return form->host_too && form->arg[1]->take(value_take(form->arg[1], &t), &unused) && !t.n;
}

static bool args_take(const struct command_form *form, struct slice t, struct command *out,
                      struct command_error *error)
{
	unsigned i = means_host(form, t) ? 1 : 0;
	struct value_quote q;

	for (; t.n && i < ARGS_MAX && form->arg[i]; i++) {
		struct slice value = value_take(form->arg[i], &t);

		if (!form->arg[i]->take(value, out))
			return refuse(error, "%s: %s %s: allowed is %s", form->word,
			              form->arg[i]->name, value_quote(value, &q),
			              form->arg[i]->allowed);
	}
	if (t.n)
		return refuse(error, "%s: %s is too much, the usage is: %s", form->word,
		              value_quote(t, &q), form->usage);
	if (i < form->required)
		return refuse(error, "%s: %s is missing, the usage is: %s", form->word,
		              form->arg[i]->name, form->usage);
	return true;
}

bool command_parse(struct slice line, struct command *out, struct command_error *error)
{
	struct slice t = slice_trim(line), word;
	struct value_quote q;

	*out = (struct command){.swappiness = COMMAND_SWAPPINESS_RULE, .nr = ~0ull};
	error->text[0] = '\0';
	if (!t.n || t.p[0] == '#')
		return true;
	word = slice_word(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		if (!slice_is(word, forms[i].word))
			continue;
		out->kind = forms[i].kind;
		return args_take(&forms[i], t, out, error);
	}
	return refuse(error, "%s: no such command, help lists them", value_quote(word, &q));
}
