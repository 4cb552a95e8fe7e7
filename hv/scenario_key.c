#include "hv/scenario_key.h"

#include "lib/string.h"

/* --- values ----------------------------------------------------------------------------------- */

static unsigned digit_value(char c)
{
	if (text_is_digit(c))
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A') + 10;
	return 99;
}

/* Digits at the beginning of *t, which moves behind them. False: none, or too many. */
static bool take_number(struct slice *t, unsigned base, u64 *out)
{
	u64 v = 0;
	size_t i = 0;

	for (; i < t->n && digit_value(t->p[i]) < base; i++)
		if (__builtin_mul_overflow(v, (u64)base, &v) ||
		    __builtin_add_overflow(v, (u64)digit_value(t->p[i]), &v))
			return false;
	*t = slice_skip(*t, i);
	*out = v;
	return i > 0;
}

static bool value_number(struct slice t, u64 min, u64 max, u64 *out)
{
	bool hex = slice_begins(t, "0x");

	if (hex)
		t = slice_skip(t, 2);
	return take_number(&t, hex ? 16 : 10, out) && !t.n && *out >= min && *out <= max;
}

static bool value_size(struct slice t, u64 *out)
{
	u64 unit = 1;

	if (!take_number(&t, 10, out))
		return false;
	if (slice_is(t, "K"))
		unit = 1ull << 10;
	else if (slice_is(t, "M"))
		unit = 1ull << 20;
	else if (slice_is(t, "G"))
		unit = 1ull << 30;
	else if (t.n)
		return false;
	return !__builtin_mul_overflow(*out, unit, out) && *out &&
	       *out <= SCENARIO_MAX_MEMORY_BYTES && !(*out & (PAGE_SIZE - 1));
}

static bool value_time(struct slice t, u64 min_ns, u64 *out)
{
	u64 unit;

	if (!take_number(&t, 10, out))
		return false;
	if (slice_is(t, "ms"))
		unit = 1000000;
	else if (slice_is(t, "s"))
		unit = 1000000000;
	else
		return false;
	return !__builtin_mul_overflow(*out, unit, out) && *out >= min_ns &&
	       *out <= SCENARIO_MAX_TIME_NS;
}

/* The place of the value in a NULL-terminated list of words. */
static bool value_word(struct slice t, const char *const *words, unsigned *out)
{
	for (*out = 0; words[*out]; ++*out)
		if (slice_is(t, words[*out]))
			return true;
	return false;
}

/* --- [host] ----------------------------------------------------------------------------------- */

#define ALLOWED_SIZE   "a multiple of 4K from 4K to 512G, as 64M (K, M, G)"
#define ALLOWED_PERIOD "a time from 1ms to 86400s, as 500ms or 2s"

static bool host_memory(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)vm;
	return value_size(value, &s->memory_bytes);
}

static bool host_overcommit(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	static const char *const words[] = {"no", "yes", NULL};
	unsigned at;

	(void)vm;
	if (!value_word(value, words, &at))
		return false;
	s->overcommit = at == 1;
	return true;
}

static bool host_reclaim(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)s;
	(void)vm;
	return slice_is(value, "lockless");
}

static bool host_policy(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)s;
	(void)vm;
	return slice_is(value, "mglru");
}

static bool host_caps(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	u64 v;

	(void)vm;
	if (!value_number(value, 0, SCENARIO_CAPS, &v))
		return false;
	s->caps = (u32)v;
	return true;
}

static bool host_cpus(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	u64 v;

	(void)vm;
	if (!value_number(value, 1, SCENARIO_MAX_CPUS, &v))
		return false;
	s->cpus = (u32)v;
	return true;
}

static bool host_time(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)vm;
	return value_time(value, SCENARIO_MIN_PERIOD_NS, &s->time_ns);
}

static bool host_aging(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)vm;
	return value_time(value, SCENARIO_MIN_PERIOD_NS, &s->aging_ns);
}

static bool host_stats(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)vm;
	return value_time(value, SCENARIO_MIN_PERIOD_NS, &s->stats_ns);
}

const struct scenario_key scenario_host_keys[] = {
        {"memory", ALLOWED_SIZE, host_memory},
        {"overcommit", "yes or no", host_overcommit},
        {"reclaim", "lockless (locked is not built yet)", host_reclaim},
        {"policy", "mglru (twolist is not built yet)", host_policy},
        {"caps", "a number from 0 to 0xf: 1 core, 2 walk, 4 non-leaf, 8 secondary MMUs", host_caps},
        {"cpus", "a number from 1 to 64", host_cpus},
        {"time", ALLOWED_PERIOD, host_time},
        {"aging", ALLOWED_PERIOD, host_aging},
        {"stats", ALLOWED_PERIOD, host_stats},
        {0},
};

/* --- [vm NAME] -------------------------------------------------------------------------------- */

static bool vm_image(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)s;
	return value.n && slice_find(value, ' ') == value.n && slice_find(value, '\t') == value.n &&
	       slice_copy(value, vm->image, SCENARIO_IMAGE_MAX);
}

static bool vm_args(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)s;
	return slice_copy(value, vm->args, SCENARIO_ARGS_MAX);
}

static bool vm_memory(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)s;
	return value_size(value, &vm->memory_bytes);
}

static bool vm_vcpus(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	u64 v;

	(void)s;
	if (!value_number(value, 1, SCENARIO_MAX_VCPUS, &v))
		return false;
	vm->vcpus = (u32)v;
	return true;
}

static bool vm_mmu(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	(void)s;
	vm->mmu = SCENARIO_MMU_TDP;
	return slice_is(value, "tdp");
}

static bool vm_ad(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	static const char *const words[] = {"hw", "off", NULL};
	unsigned at;

	(void)s;
	if (!value_word(value, words, &at))
		return false;
	vm->ad_off = at == 1;
	return true;
}

static bool vm_expect(struct scenario *s, struct scenario_vm *vm, struct slice value)
{
	static const char *const words[] = {"pass", "fail", "stop", NULL};
	unsigned at;

	(void)s;
	if (!value_word(value, words, &at))
		return false;
	vm->expect = (enum scenario_expect)at;
	return true;
}

const struct scenario_key scenario_vm_keys[] = {
        {"image", "the base name of a boot module, at most 127 characters, no blanks", vm_image},
        {"args", "at most 511 characters", vm_args},
        {"memory", ALLOWED_SIZE, vm_memory},
        {"vcpus", "a number from 1 to 16", vm_vcpus},
        {"mmu", "tdp (shadow and both are not built yet)", vm_mmu},
        {"ad", "hw or off", vm_ad},
        {"expect", "pass, fail or stop", vm_expect},
        {0},
};
