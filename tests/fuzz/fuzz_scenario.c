/*
 * The scenario parser on any bytes, a command line behind the first zero byte. What it accepts keeps
 * every bound, and comes back the same when it is written out and read again; what it refuses has a reason.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/scenario.h"
#include "mm/policy.h"
#include "mm/space.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_size(u64 bytes)
{
	check(bytes && bytes <= SCENARIO_MAX_MEMORY_BYTES && bytes % PAGE_SIZE == 0);
}

static void check_period(u64 ns)
{
	check(ns >= SCENARIO_MIN_PERIOD_NS && ns <= SCENARIO_MAX_TIME_NS && ns % 1000000 == 0);
}

static void check_ttl(u64 ns)
{
	check(ns <= SCENARIO_MAX_TIME_NS && ns % 1000000 == 0);
}

/* 0 is none. */
static void check_promise(u64 bytes)
{
	check(bytes <= SCENARIO_MAX_MEMORY_BYTES && bytes % PAGE_SIZE == 0);
}

static void check_target(const struct target *t)
{
	check(t->kind == TARGET_NONE || t->kind == TARGET_FREE || t->kind == TARGET_REFAULTS);
	if (t->kind == TARGET_FREE)
		check_size(t->free_bytes);
	else
		check(!t->free_bytes);
	check((t->kind == TARGET_REFAULTS) == (t->refaults_ppm != 0));
	check(t->refaults_ppm <= TARGET_MAX_PPM);
}

static void check_policy(const struct scenario *s)
{
	check(s->policy == SCENARIO_POLICY_MGLRU);
	check(s->caps <= POLICY_CAPS && s->cpus <= SCENARIO_MAX_CPUS);
	check(s->lookaround <= POLICY_LOOK_ALL && s->flush <= POLICY_FLUSH_SAMPLED);
	check(s->direct_rate <= DIRECT_RATE_MAX);
	check(policy_batch_valid(s->batch) && s->swappiness <= POLICY_SWAPPINESS_MAX);
	check(s->chaos_every <= SCENARIO_MAX_CHAOS);
	check_ttl(s->min_ttl_ns);
	check_target(&s->target);
}

static void check_limits(const struct scenario_vm *vm)
{
	check_promise(vm->min_bytes);
	check_promise(vm->low_bytes);
	check_promise(vm->limit_bytes);
	check(vm->min_bytes <= vm->memory_bytes);
	check(!vm->limit_bytes || vm->min_bytes <= vm->limit_bytes);
	check_ttl(vm->min_ttl_ns);
	check(vm->walk <= WALK_ACCURATE);
	check(vm->weight >= 1 && vm->weight <= SPACE_WEIGHT_MAX);
	check_target(&vm->target);
}

static void check_timeline(const struct timeline *t)
{
	check(t->nr <= TIMELINE_MAX);
	for (u32 i = 0; i < t->nr; i++) {
		const struct timeline_entry *e = &t->entry[i];

		check_ttl(e->at_ns);
		check_ttl(e->every_ns);
		check(memchr(e->text, 0, sizeof(e->text)) && e->text[0] && e->line);
		check(e->command.kind > COMMAND_NOTHING && e->command.kind <= COMMAND_QUIT);
		check(!e->every_ns || e->every_ns >= TIMELINE_MIN_PERIOD_NS);
		check(!i || e[-1].at_ns <= e->at_ns);
	}
}

static void check_bounds(const struct scenario *s)
{
	u64 sum = 0, promised = 0;

	check_size(s->memory_bytes);
	check_period(s->time_ns);
	check_period(s->aging_ns);
	check_period(s->stats_ns);
	check_policy(s);
	check_timeline(&s->timeline);
	check(s->nr_vms >= 1 && s->nr_vms <= SCENARIO_MAX_VMS);
	for (u32 i = 0; i < s->nr_vms; i++) {
		const struct scenario_vm *vm = &s->vm[i];

		check_size(vm->memory_bytes);
		check_limits(vm);
		sum += vm->memory_bytes;
		promised += vm->min_bytes;
		check(vm->name[0] && vm->image[0] && vm->line);
		check(memchr(vm->name, 0, sizeof(vm->name)) != NULL);
		check(memchr(vm->image, 0, sizeof(vm->image)) != NULL);
		check(memchr(vm->args, 0, sizeof(vm->args)) != NULL);
		check(vm->vcpus >= 1 && vm->vcpus <= SCENARIO_MAX_VCPUS);
		for (u32 j = 0; j < i; j++)
			check(strcmp(vm->name, s->vm[j].name) != 0);
	}
	check(s->overcommit || sum <= s->memory_bytes);
	check(promised <= s->memory_bytes);
}

static unsigned long long ull(u64 v)
{
	return v;
}

/* A text that grows. */
struct out {
	char *text;
	size_t n, size;
};

static void __attribute__((format(printf, 2, 3))) put(struct out *o, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	o->n += (size_t)vsnprintf(o->text + o->n, o->size - o->n, fmt, args);
	va_end(args);
	check(o->n < o->size);
}

static void put_target(struct out *o, const struct target *t)
{
	if (t->kind == TARGET_FREE)
		put(o, "target=free %lluK\n", ull(t->free_bytes >> 10));
	else if (t->kind == TARGET_REFAULTS)
		put(o, "target=refaults %u.%04u%%/min\n", t->refaults_ppm / 10000,
		    t->refaults_ppm % 10000);
	else
		put(o, "target=none\n");
}

static void put_promise(struct out *o, const char *key, u64 bytes)
{
	if (bytes)
		put(o, "%s=%lluK\n", key, ull(bytes >> 10));
	else
		put(o, "%s=none\n", key);
}

static void put_policy(struct out *o, const struct scenario *s)
{
	static const char *const reclaims[] = {"lockless", "locked", "read"};

	put(o, "reclaim=%s\ncaps=0x%x\nlookaround=%s\nflush=%s\nbatch=%u\ntwo_touch=%s\n",
	    reclaims[s->locked % ARRAY_SIZE(reclaims)], s->caps,
	    policy_lookaround_names[s->lookaround], policy_flush_names[s->flush], s->batch,
	    s->two_touch ? "yes" : "no");
	put(o, "swappiness=%u\ndirect_rate=%u\nmin_ttl=%llums\nchaos=%u\ntrace=%s\n", s->swappiness,
	    s->direct_rate, ull(s->min_ttl_ns / 1000000), s->chaos_every,
	    s->trace_on ? "on" : "off");
	put(o, "fault_touch=%s\ndemote=%s\nprobation=%s\nguard=%s\nchunk=%u\n",
	    s->fault_touch ? "yes" : "no", s->demote ? "yes" : "no", s->probation ? "yes" : "no",
	    s->guard ? "yes" : "no", s->chunk);
	put_target(o, &s->target);
}

static void put_limits(struct out *o, const struct scenario_vm *vm)
{
	put_promise(o, "min", vm->min_bytes);
	put_promise(o, "low", vm->low_bytes);
	put_promise(o, "limit", vm->limit_bytes);
	put(o, "min_ttl=%llums\nweight=%u\npages=%s\nnull=%s\nwalk=%s\n",
	    ull(vm->min_ttl_ns / 1000000), vm->weight, vm->huge ? "2m" : "4k",
	    vm->null_mmu ? "yes" : "no", walk_mode_names[vm->walk]);
	put_target(o, &vm->target);
}

static void put_timeline(struct out *o, const struct timeline *t)
{
	put(o, "[timeline]\n");
	for (u32 i = 0; i < t->nr; i++) {
		const struct timeline_entry *e = &t->entry[i];

		put(o, "%s %llums %s\n", e->every_ns ? "every" : "at", ull(e->at_ns / 1000000),
		    e->text);
	}
}

/* False when a value cannot be written in quotes. */
static bool write_out(const struct scenario *s, char *out, size_t size)
{
	static const char *const expect[] = {"pass", "fail", "stop"};
	struct out o = {out, 0, size};

	put(&o, "[host]\nmemory=%llu\novercommit=%s\ntime=%llums\naging=%llums\nstats=%llums\n",
	    ull(s->memory_bytes), s->overcommit ? "yes" : "no", ull(s->time_ns / 1000000),
	    ull(s->aging_ns / 1000000), ull(s->stats_ns / 1000000));
	put_policy(&o, s);
	if (s->cpus)
		put(&o, "cpus=%u\n", s->cpus);
	for (u32 i = 0; i < s->nr_vms; i++) {
		const struct scenario_vm *vm = &s->vm[i];

		if (strchr(vm->args, '"') || strchr(vm->image, '"'))
			return false;
		put(&o, "[vm %s]\nimage=\"%s\"\nargs=\"%s\"\nmemory=%lluK\nvcpus=%u\n", vm->name,
		    vm->image, vm->args, ull(vm->memory_bytes >> 10), vm->vcpus);
		put(&o, "ad=%s\nexpect=%s\n", vm->ad_off ? "off" : "hw", expect[vm->expect]);
		put_limits(&o, vm);
	}
	put_timeline(&o, &s->timeline);
	return true;
}

static void check_same_target(const struct target *a, const struct target *b)
{
	check(a->kind == b->kind && a->free_bytes == b->free_bytes);
	check(a->refaults_ppm == b->refaults_ppm);
}

static void check_same_policy(const struct scenario *a, const struct scenario *b)
{
	check(a->locked == b->locked && a->policy == b->policy && a->caps == b->caps);
	check(a->lookaround == b->lookaround && a->flush == b->flush && a->batch == b->batch);
	check(a->two_touch == b->two_touch && a->swappiness == b->swappiness);
	check(a->fault_touch == b->fault_touch && a->chunk == b->chunk);
	check(a->demote == b->demote);
	check(a->probation == b->probation);
	check(a->guard == b->guard);
	check(a->min_ttl_ns == b->min_ttl_ns && a->chaos_every == b->chaos_every);
	check(a->trace_on == b->trace_on && a->direct_rate == b->direct_rate);
	check_same_target(&a->target, &b->target);
}

static void check_same_limits(const struct scenario_vm *x, const struct scenario_vm *y)
{
	check(x->min_bytes == y->min_bytes && x->low_bytes == y->low_bytes);
	check(x->limit_bytes == y->limit_bytes && x->min_ttl_ns == y->min_ttl_ns);
	check(x->walk == y->walk && x->weight == y->weight && x->huge == y->huge &&
	      x->null_mmu == y->null_mmu);
	check_same_target(&x->target, &y->target);
}

static void check_same_timeline(const struct timeline *a, const struct timeline *b)
{
	check(a->nr == b->nr);
	for (u32 i = 0; i < a->nr; i++) {
		const struct timeline_entry *x = &a->entry[i], *y = &b->entry[i];

		check(x->at_ns == y->at_ns && x->every_ns == y->every_ns);
		check(!strcmp(x->text, y->text) && x->command.kind == y->command.kind);
	}
}

static void check_same(const struct scenario *a, const struct scenario *b)
{
	check(a->memory_bytes == b->memory_bytes && a->overcommit == b->overcommit);
	check(a->cpus == b->cpus && a->time_ns == b->time_ns);
	check_same_policy(a, b);
	check_same_timeline(&a->timeline, &b->timeline);
	check(a->aging_ns == b->aging_ns && a->stats_ns == b->stats_ns && a->nr_vms == b->nr_vms);
	for (u32 i = 0; i < a->nr_vms; i++) {
		const struct scenario_vm *x = &a->vm[i], *y = &b->vm[i];

		check(!strcmp(x->name, y->name) && !strcmp(x->image, y->image));
		check(!strcmp(x->args, y->args) && x->memory_bytes == y->memory_bytes);
		check(x->vcpus == y->vcpus && x->mmu == y->mmu && x->ad_off == y->ad_off);
		check(x->expect == y->expect);
		check_same_limits(x, y);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct scenario first, second;
	static char text[64 << 10], cmdline[BOOT_CMDLINE_MAX];
	const u8 *zero = size ? memchr(data, 0, size) : NULL;
	size_t n = zero ? (size_t)(zero - data) : size;
	struct scenario_error error;
	bool ok;

	if (zero)
		snprintf(cmdline, sizeof(cmdline), "%.*s", (int)(size - n - 1),
		         (const char *)zero + 1);
	/* A copy that ends where the text does, so that a read behind it is seen. */
	char *copy = malloc(n ? n : 1);
	check(copy != NULL);
	if (n)
		memcpy(copy, data, n);
	ok = scenario_load(&first, copy, n, zero ? cmdline : NULL, &error);
	free(copy);
	check(memchr(error.text, 0, sizeof(error.text)) != NULL);
	check(ok == !error.text[0]);
	for (const char *c = error.text; *c; c++)
		check(*c >= 0x20 && *c < 0x7f);
	if (!ok)
		return 0;
	check_bounds(&first);
	if (!write_out(&first, text, sizeof(text)))
		return 0;
	check(scenario_load(&second, text, strlen(text), NULL, &error));
	check_same(&first, &second);
	return 0;
}
