/* The laboratory's program; `lab help` says what it does. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/lab/file.h"
#include "tools/lab/guest.h"
#include "tools/lab/lab.h"
#include "tools/lab/matrix.h"
#include "tools/lab/ours.h"
#include "tools/lab/synth.h"

static const char usage[] =
        "lab list           policies and synthetic traces\n"
        "lab make NAME      a synthetic trace into a file: --output FILE [--seed N]\n"
        "lab convert        text on standard input into a trace: --text lackey|plain\n"
        "                   --output FILE [--name NAME --filter 0|1|2 --skip N --max N]\n"
        "lab info TRACE     what is in it\n"
        "lab hits TRACE     a letter for each access, hit, miss or refault:\n"
        "                   --policy NAME --capacity PAGES [--bits --interval ACCESSES]\n"
        "lab matrix [TRACE...]   CSV, a line for each trace, capacity, policy and mode\n"
        "                   [--policies A,B --capacities PERCENT,PERCENT\n"
        "                   or --frames PAGES,PAGES; --from ACCESS\n"
        "                   --interval PERCENT --jobs N]\n"
        "TRACE is a file, the name of a synthetic one or of what a guest does, or that\n"
        "guest's arguments, \"work=...\"; for the matrix, \"synthetic\" is all synthetic\n"
        "ones. --seed N: of synthetic ones; --set NAME=VALUE: see README.md\n";

struct options {
	const char *output, *name, *policy;
	u64 seed, capacity, interval;
	bool bits;
	struct lab_convert convert;
	struct lab_matrix matrix;
	char **rest;
	int nr_rest;
};

static u64 number(const char *text)
{
	char *end;
	u64 v = strtoull(text, &end, 0);

	if (end == text || *end)
		lab_die("%s is no number", text);
	return v;
}

static void set_ours(char *text)
{
	char *is = strchr(text, '=');

	if (!is)
		lab_die("--set wants NAME=VALUE");
	*is = 0;
	if (!lab_ours_set(text, number(is + 1)))
		lab_die("there is no setting %s", text);
	*is = '=';
}

static void parse_text(struct options *o, const char *value)
{
	if (!strcmp(value, "lackey"))
		o->convert.text = LAB_TEXT_LACKEY;
	else if (!strcmp(value, "plain"))
		o->convert.text = LAB_TEXT_PLAIN;
	else
		lab_die("--text is lackey or plain");
}

/* An option that has a value; false if it is none of them. */
static bool option(struct options *o, const char *key, char *value)
{
	const struct {
		const char *key;
		u64 *number;
		const char **text;
	} table[] = {
	        {"--seed", &o->seed, NULL},
	        {"--capacity", &o->capacity, NULL},
	        {"--interval", &o->interval, NULL},
	        {"--skip", &o->convert.skip, NULL},
	        {"--max", &o->convert.max, NULL},
	        {"--output", NULL, &o->output},
	        {"--name", NULL, &o->name},
	        {"--policy", NULL, &o->policy},
	        {"--policies", NULL, &o->matrix.policies},
	        {"--capacities", NULL, &o->matrix.capacities},
	        {"--frames", NULL, &o->matrix.frames},
	        {"--from", &o->matrix.from, NULL},
	        {"--jobs", &o->matrix.jobs, NULL},
	};

	if (!strcmp(key, "--set"))
		set_ours(value);
	else if (!strcmp(key, "--text"))
		parse_text(o, value);
	else if (!strcmp(key, "--filter"))
		o->convert.filter = (u32)number(value);
	else {
		for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
			if (strcmp(table[i].key, key))
				continue;
			if (table[i].number)
				*table[i].number = number(value);
			else
				*table[i].text = value;
			return true;
		}
		return false;
	}
	return true;
}

static void parse(struct options *o, int argc, char **argv)
{
	o->rest = argv;
	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--bits"))
			o->bits = true;
		else if (strncmp(argv[i], "--", 2))
			o->rest[o->nr_rest++] = argv[i];
		else if (i + 1 == argc || !option(o, argv[i], argv[i + 1]))
			lab_die("%s is unknown, or wants a value", argv[i]);
		else
			i++;
	}
}

static void list(void)
{
	for (unsigned i = 0; lab_policy(i); i++)
		printf("policy %-10s %s\n", lab_policy(i)->name, lab_policy(i)->about);
	for (unsigned i = 0; i < lab_nr_synths; i++)
		printf("trace  %-10s %s\n", lab_synths[i].name, lab_synths[i].about);
	for (unsigned i = 0; i < guest_nr_works; i++)
		printf("guest  %s: %s (%s " GUEST_COMMON ")\n", guest_works[i].name,
		       guest_works[i].about, guest_works[i].args);
}

static void info(const struct lab_trace *t)
{
	u64 writes = 0;

	for (u32 i = 0; i < t->n; i++)
		writes += lab_write(t->access[i]);
	printf("name=%s pages=%u accesses=%u writes=%lu filter=%u %s", t->name, t->pages, t->n,
	       writes, t->filter, t->real ? "recorded" : "made");
	if (t->sum)
		printf(" from=%u sum=%lu", t->from, t->sum);
	putchar('\n');
}

static void hits(const struct options *o, const struct lab_trace *t)
{
	const struct lab_policy *p = lab_policy_find(o->policy ? o->policy : "");
	struct lab_setup setup = {
	        .capacity = (u32)o->capacity, .interval = (u32)o->interval, .bits = o->bits};

	if (!p)
		lab_die("--policy: see lab list");
	if (o->capacity < 2 || o->capacity > t->pages)
		lab_die("--capacity is 2 to %u pages here", t->pages);
	setup.outcome = lab_alloc(t->n + 1, 1);
	(void)lab_replay(p, t, &setup);
	puts(setup.outcome);
	free(setup.outcome);
}

static void convert(const struct options *o)
{
	struct lab_trace t = {.real = true};

	if (!o->output)
		lab_die("--output is missing");
	snprintf(t.name, sizeof(t.name), "%s", o->name ? o->name : "unnamed");
	lab_convert(stdin, &o->convert, &t);
	lab_file_write(o->output, &t);
	info(&t);
	free(t.access);
}

static void with_trace(const char *command, const struct options *o, const char *name)
{
	struct lab_trace t;

	lab_trace_get(name, o->seed, &t);
	if (!strcmp(command, "hits"))
		hits(o, &t);
	else if (!strcmp(command, "make") && o->output)
		lab_file_write(o->output, &t);
	else
		info(&t);
	free(t.access);
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .matrix = {.jobs = 1, .from = LAB_FROM_TRACE}};
	const char *command = argc > 1 ? argv[1] : "help";

	lab_ours_reset();
	parse(&o, argc - 2 > 0 ? argc - 2 : 0, argv + 2);
	o.matrix.seed = o.seed;
	o.matrix.interval = o.interval;
	if (!strcmp(command, "matrix"))
		return lab_matrix_run(&o.matrix, o.rest, o.nr_rest);
	if (!strcmp(command, "list"))
		list();
	else if (!strcmp(command, "convert"))
		convert(&o);
	else if (o.nr_rest == 1 &&
	         (!strcmp(command, "make") || !strcmp(command, "info") || !strcmp(command, "hits")))
		with_trace(command, &o, o.rest[0]);
	else {
		fputs(usage, stderr);
		return strcmp(command, "help") != 0;
	}
	return 0;
}
