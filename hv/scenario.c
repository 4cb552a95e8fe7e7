/*
 * Sections, lines and words; what the keys mean is in hv/scenario_key. File and command line meet in
 * key_set().
 */
#include "hv/scenario.h"

#include "hv/experiment_call.h"
#include "hv/scenario_key.h"
#include "hv/slice.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "mm/policy.h"
#include "mm/space.h"
#include "mm/swap.h"

/* Where we are, for messages. */
struct parser {
	struct scenario *s;
	struct scenario_error *error;
	struct scenario_vm *vm; /* section [vm NAME], else NULL */
	u32 line;               /* 0: in an override */
	struct slice override;
	bool in_section, seen_host;
	bool in_timeline, seen_timeline;
	u32 seen; /* keys of this section, by their place in its table */
};

/* --- messages --------------------------------------------------------------------------------- */

/* "line 7: " or "override host.memory=x: ". */
static size_t error_where(const struct parser *p)
{
	struct value_quote q;
	int n;

	if (p->line)
		n = fmt_snprintf(p->error->text, SCENARIO_ERROR_MAX, "line %u: ", p->line);
	else
		n = fmt_snprintf(p->error->text, SCENARIO_ERROR_MAX,
		                 "override %s: ", value_quote(p->override, &q));
	return min_of((size_t)n, (size_t)SCENARIO_ERROR_MAX - 1);
}

static bool printf_like(2, 3) error_set(const struct parser *p, const char *fmt, ...)
{
	size_t at = error_where(p);
	va_list args;

	va_start(args, fmt);
	fmt_vsnprintf(p->error->text + at, SCENARIO_ERROR_MAX - at, fmt, args);
	va_end(args);
	return false;
}

/* --- keys and sections ------------------------------------------------------------------------ */

static bool error_no_key(const struct parser *p, const struct scenario_key *keys, struct slice key)
{
	char names[256];
	size_t at = 0;
	struct value_quote q;

	for (; keys->name && at < sizeof(names); keys++)
		at += (size_t)fmt_snprintf(names + at, sizeof(names) - at, "%s%s", at ? ", " : "",
		                           keys->name);
	return error_set(p, "%s: no such key in %s, allowed are %s", value_quote(key, &q),
	                 p->vm ? "[vm]" : "[host]", names);
}

/* In the file (p->line), a key may stand once in its section. */
static bool key_set(struct parser *p, struct slice key, struct slice value)
{
	const struct scenario_key *keys = p->vm ? scenario_vm_keys : scenario_host_keys, *k = keys;
	struct value_quote kq, vq;
	size_t i;
	u32 bit;

	while (k->name && !slice_is(key, k->name))
		k++;
	if (!k->name)
		return error_no_key(p, keys, key);
	bit = 1u << (k - keys);
	if (p->line && (p->seen & bit))
		return error_set(p, "%s = %s: the key stands here twice", k->name,
		                 value_quote(value, &vq));
	p->seen |= bit;
	for (i = 0; i < value.n; i++)
		if (!text_is_text(value.p[i]) && value.p[i] != '\t')
			return error_set(p, "%s = %s: byte 0x%02x is no text, allowed is %s",
			                 value_quote(key, &kq), value_quote(value, &vq),
			                 (u8)value.p[i], k->allowed);
	if (!k->take(k, value, (char *)(p->vm ? (void *)p->vm : (void *)p->s) + k->offset))
		return error_set(p, "%s = %s: allowed is %s", k->name, value_quote(value, &vq),
		                 k->allowed);
	return true;
}

static struct scenario_vm *vm_find(struct scenario *s, struct slice name)
{
	for (u32 i = 0; i < s->nr_vms; i++)
		if (slice_is(name, s->vm[i].name))
			return &s->vm[i];
	return NULL;
}

static bool vm_begin(struct parser *p, struct slice name)
{
	struct scenario *s = p->s;
	struct scenario_vm *vm;
	struct value_quote q;
	char text[SCENARIO_NAME_MAX];

	if (!value_name(name, text, sizeof(text)))
		return error_set(p, "[vm %s]: allowed are names of 1 to 31 of a-z 0-9 _ -",
		                 value_quote(name, &q));
	vm = vm_find(s, name);
	if (vm)
		return error_set(p, "[vm %s]: the name is taken in line %u", vm->name, vm->line);
	if (s->nr_vms == SCENARIO_MAX_VMS)
		return error_set(p, "[vm %s]: at most %u VMs are allowed", value_quote(name, &q),
		                 SCENARIO_MAX_VMS);
	vm = &s->vm[s->nr_vms++];
	*vm = (struct scenario_vm){
	        .vcpus = 1, .weight = SPACE_WEIGHT, .walk = WALK_FAST, .line = p->line};
	p->vm = vm;
	memcpy(vm->name, text, sizeof(text));
	return true;
}

/* What stands between the brackets. */
static bool section_begin(struct parser *p, struct slice t)
{
	struct value_quote q;

	p->in_section = true;
	p->in_timeline = false;
	p->seen = 0;
	p->vm = NULL;
	if (slice_is(t, "host")) {
		if (p->seen_host)
			return error_set(p, "[host]: the section stands here twice");
		p->seen_host = true;
		return true;
	}
	if (slice_is(t, "timeline")) {
		if (p->seen_timeline)
			return error_set(p, "[timeline]: the section stands here twice");
		return p->in_timeline = p->seen_timeline = true;
	}
	if (slice_begins(t, "vm") && (t.n == 2 || text_is_blank(t.p[2])))
		return vm_begin(p, slice_trim(slice_skip(t, 2)));
	return error_set(p, "[%s]: no such section, allowed are [host], [vm NAME] and [timeline]",
	                 value_quote(t, &q));
}

/* --- lines ------------------------------------------------------------------------------------ */

static bool is_comment(char c)
{
	return c == '#' || c == ';';
}

/* Behind something that ended: only blanks and a comment. */
static bool is_rest_empty(struct slice t)
{
	t = slice_trim(t);
	return !t.n || is_comment(t.p[0]);
}

static struct slice comment_cut(struct slice t)
{
	size_t i;

	for (i = 0; i < t.n; i++)
		if (is_comment(t.p[i]) && (!i || text_is_blank(t.p[i - 1])))
			break;
	return slice_trim((struct slice){t.p, i});
}

static bool line_key(struct parser *p, struct slice t)
{
	size_t eq = slice_find(t, '='), end;
	struct slice key = slice_trim((struct slice){t.p, eq}), value;
	struct value_quote q;

	if (eq == t.n)
		return error_set(p, "%s: allowed are [section] and key = value",
		                 value_quote(t, &q));
	value = slice_trim(slice_skip(t, eq + 1));
	if (!p->in_section)
		return error_set(
		        p, "%s: a key before the first section, allowed are [host] and [vm NAME]",
		        value_quote(key, &q));
	if (!value.n || value.p[0] != '"')
		return key_set(p, key, comment_cut(value));
	value = slice_skip(value, 1);
	end = slice_find(value, '"');
	if (end == value.n)
		return error_set(p, "%s: the closing quote is missing", value_quote(key, &q));
	if (!is_rest_empty(slice_skip(value, end + 1)))
		return error_set(p, "%s: only a comment is allowed behind the closing quote",
		                 value_quote(key, &q));
	return key_set(p, key, (struct slice){value.p, end});
}

/* Which VMs there are is known behind the last line: check_timeline(). */
static bool line_timeline(struct parser *p, struct slice t)
{
	struct command_error why;

	return timeline_add(&p->s->timeline, p->line, comment_cut(t), &why) ||
	       error_set(p, "%s", why.text);
}

static bool line_parse(struct parser *p, struct slice t)
{
	struct value_quote q;
	size_t end;

	t = slice_trim(t);
	if (is_rest_empty(t))
		return true;
	if (t.p[0] != '[')
		return p->in_timeline ? line_timeline(p, t) : line_key(p, t);
	end = slice_find(t, ']');
	if (end == t.n || !is_rest_empty(slice_skip(t, end + 1)))
		return error_set(p, "%s: allowed are [host] and [vm NAME]", value_quote(t, &q));
	return section_begin(p, slice_trim((struct slice){t.p + 1, end - 1}));
}

static bool text_parse(struct parser *p, struct slice t)
{
	while (t.n) {
		size_t end = slice_find(t, '\n');

		p->line++;
		if (!line_parse(p, (struct slice){t.p, end}))
			return false;
		t = slice_skip(t, min_of(end + 1, t.n));
	}
	return true;
}

/* --- overrides -------------------------------------------------------------------------------- */

#define WORD_MAX (SCENARIO_ARGS_MAX + 64)

/*
 * The next word of a command line, without its quotes. *t moves behind it. False: no more. A word that is
 * longer than out is cut and *fits false.
 */
static bool word_next(struct slice *t, char *out, size_t *len, bool *fits)
{
	bool quoted = false;

	*len = 0;
	*fits = true;
	*t = slice_trim(*t);
	if (!t->n)
		return false;
	for (; t->n && (quoted || !text_is_blank(t->p[0])); *t = slice_skip(*t, 1)) {
		if (t->p[0] == '"') {
			quoted = !quoted;
			continue;
		}
		if (t->p[0] == '\\' && t->n > 1 && (t->p[1] == '"' || t->p[1] == '\\'))
			*t = slice_skip(*t, 1);
		if (*len < WORD_MAX)
			out[(*len)++] = t->p[0];
		else
			*fits = false;
	}
	return true;
}

static bool override_set(struct parser *p, struct slice word)
{
	size_t eq = slice_find(word, '='), dot;
	struct slice key = {word.p, eq}, name;
	struct value_quote q;

	p->vm = NULL;
	if (eq == word.n)
		return error_set(p, "allowed are host.KEY=VALUE and vm.NAME.KEY=VALUE");
	if (slice_begins(key, "host."))
		return key_set(p, slice_skip(key, 5), slice_skip(word, eq + 1));
	name = slice_skip(key, 3);
	dot = slice_find(name, '.');
	if (dot == name.n)
		return error_set(p, "allowed is vm.NAME.KEY=VALUE");
	p->vm = vm_find(p->s, (struct slice){name.p, dot});
	if (!p->vm)
		return error_set(p, "the scenario has no VM %s",
		                 value_quote((struct slice){name.p, dot}, &q));
	return key_set(p, slice_skip(name, dot + 1), slice_skip(word, eq + 1));
}

static bool overrides_parse(struct parser *p, const char *cmdline)
{
	struct slice t = {cmdline, strlen(cmdline)};
	char word[WORD_MAX];
	bool fits;

	p->line = 0;
	while (word_next(&t, word, &p->override.n, &fits)) {
		p->override.p = word;
		if (!slice_begins(p->override, "host.") && !slice_begins(p->override, "vm."))
			continue;
		if (!fits)
			return error_set(p, "at most %u characters are allowed", WORD_MAX);
		if (!override_set(p, p->override))
			return false;
	}
	return true;
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool printf_like(2, 3) error_whole(struct scenario_error *error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fmt_vsnprintf(error->text, SCENARIO_ERROR_MAX, fmt, args);
	va_end(args);
	return false;
}

/* Promises that contradict each other or the machine. */
static bool check_limits(const struct scenario_vm *vm, struct scenario_error *error)
{
	if (vm->min_bytes > vm->memory_bytes)
		return error_whole(error, "line %u: [vm %s] min is more than its memory", vm->line,
		                   vm->name);
	if (vm->limit_bytes && vm->min_bytes > vm->limit_bytes)
		return error_whole(error, "line %u: [vm %s] min is more than its limit", vm->line,
		                   vm->name);
	return true;
}

static bool check_vms(const struct scenario *s, struct scenario_error *error, u64 *sum)
{
	u64 promised = 0;

	*sum = 0;
	for (u32 i = 0; i < s->nr_vms; i++) {
		const struct scenario_vm *vm = &s->vm[i];

		if (!vm->image[0])
			return error_whole(error, "line %u: [vm %s] has no image = FILE", vm->line,
			                   vm->name);
		if (!vm->memory_bytes)
			return error_whole(error, "line %u: [vm %s] has no memory = SIZE", vm->line,
			                   vm->name);
		if (!check_limits(vm, error))
			return false;
		*sum += vm->memory_bytes;
		if (vm->experiments)
			*sum += (u64)EXPERIMENT_WINDOW_PAGES << PAGE_SHIFT;
		promised += vm->min_bytes;
	}
	if (s->memory_bytes && promised > s->memory_bytes)
		return error_whole(error,
		                   "the VMs' min adds up to %lluK, more than the %lluK of [host] "
		                   "memory",
		                   (unsigned long long)promised >> 10,
		                   (unsigned long long)s->memory_bytes >> 10);
	return true;
}

static bool check_timeline(struct scenario *s, struct scenario_error *error)
{
	for (u32 i = 0; i < s->timeline.nr; i++) {
		const struct timeline_entry *e = &s->timeline.entry[i];
		const char *name = e->command.vm;
		struct value_quote q;

		if (name[0] && !vm_find(s, (struct slice){name, strlen(name)}))
			return error_whole(
			        error, "line %u: %s: the scenario has no VM %s", e->line,
			        value_quote((struct slice){e->text, strlen(e->text)}, &q), name);
	}
	return true;
}

/* Promises by age need ages. */
static bool check_policy(const struct scenario *s, struct scenario_error *error)
{
	u64 min_ttl = s->min_ttl_ns;

	for (u32 i = 0; i < s->nr_vms; i++)
		min_ttl |= s->vm[i].min_ttl_ns;
	if (s->policy == SCENARIO_POLICY_TWOLIST && min_ttl)
		return error_whole(error, "min_ttl needs policy = mglru: twolist knows no ages");
	return true;
}

static bool check_whole(struct scenario *s, struct scenario_error *error)
{
	u64 sum;

	if (!s->memory_bytes)
		return error_whole(error, "[host] has no memory = SIZE");
	if (!s->nr_vms)
		return error_whole(error, "the scenario has no [vm NAME]");
	if (!check_policy(s, error) || !check_vms(s, error, &sum) || !check_timeline(s, error))
		return false;
	if (sum > s->memory_bytes && !s->overcommit)
		return error_whole(
		        error,
		        "the VMs' memory adds up to %lluK, more than the %lluK of [host] memory: "
		        "that needs overcommit = yes",
		        (unsigned long long)sum >> 10, (unsigned long long)s->memory_bytes >> 10);
	return true;
}

/* Of the policy: those that it has without a scenario. The VMs are cleared one by one. */
static void set_defaults(struct scenario *s)
{
	s->memory_bytes = 0;
	s->overcommit = false;
	s->locked = POLICY_AGER;
	s->policy = SCENARIO_POLICY_MGLRU;
	s->caps = POLICY_CAPS;
	s->lookaround = POLICY_LOOK_ANY;
	s->flush = POLICY_FLUSH_NONE;
	s->batch = TABLE_PAGES;
	s->two_touch = true;
	s->fault_touch = POLICY_FAULT_TOUCH;
	s->demote = true;
	s->probation = POLICY_PROBATION;
	s->guard = POLICY_GUARD;
	s->chunk = POLICY_CHUNK_AUTO;
	s->swappiness = POLICY_SWAPPINESS;
	s->swap_pool = SWAP_POOL;
	s->direct_rate = 0;
	s->min_ttl_ns = 0;
	s->target = (struct target){.kind = TARGET_NONE};
	s->chaos_every = 0;
	s->trace_on = false;
	s->cpus = 0;
	s->time_ns = 60ull * 1000000000;
	s->aging_ns = 1000000000;
	s->stats_ns = 1000000000;
	s->nr_vms = 0;
	s->timeline.nr = 0;
}

bool scenario_load(struct scenario *out, const char *text, size_t bytes, const char *cmdline,
                   struct scenario_error *error)
{
	struct parser p = {.s = out, .error = error};

	error->text[0] = '\0';
	set_defaults(out);
	return text_parse(&p, (struct slice){text, bytes}) &&
	       (!cmdline || overrides_parse(&p, cmdline)) && check_whole(out, error);
}

/* Behind the last slash of the first word. */
static struct slice base_name(const char *path)
{
	struct slice t = {path, 0};

	for (; path[t.n] && !text_is_blank(path[t.n]); t.n++)
		;
	while (slice_find(t, '/') < t.n)
		t = slice_skip(t, slice_find(t, '/') + 1);
	return t;
}

const struct boot_module *scenario_find_image(const char *image, const struct boot_info *bi)
{
	struct slice wanted = base_name(image);

	for (u32 i = 1; i < bi->nr_modules; i++) {
		struct slice name = base_name(bi->module[i].args);

		if (name.n && name.n == wanted.n && !memcmp(name.p, wanted.p, name.n))
			return &bi->module[i];
	}
	return NULL;
}
