/*
 * The scenario parser on any bytes, a command line behind the first zero byte. What it accepts keeps
 * every bound, and comes back the same when it is written out and read again; what it refuses has a reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/scenario.h"

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

static void check_bounds(const struct scenario *s)
{
	u64 sum = 0;

	check_size(s->memory_bytes);
	check_period(s->time_ns);
	check_period(s->aging_ns);
	check_period(s->stats_ns);
	check(s->caps <= SCENARIO_CAPS && s->cpus <= SCENARIO_MAX_CPUS);
	check(s->nr_vms >= 1 && s->nr_vms <= SCENARIO_MAX_VMS);
	for (u32 i = 0; i < s->nr_vms; i++) {
		const struct scenario_vm *vm = &s->vm[i];

		check_size(vm->memory_bytes);
		sum += vm->memory_bytes;
		check(vm->name[0] && vm->image[0] && vm->line);
		check(memchr(vm->name, 0, sizeof(vm->name)) != NULL);
		check(memchr(vm->image, 0, sizeof(vm->image)) != NULL);
		check(memchr(vm->args, 0, sizeof(vm->args)) != NULL);
		check(vm->vcpus >= 1 && vm->vcpus <= SCENARIO_MAX_VCPUS);
		for (u32 j = 0; j < i; j++)
			check(strcmp(vm->name, s->vm[j].name) != 0);
	}
	check(s->overcommit || sum <= s->memory_bytes);
}

static unsigned long long ull(u64 v)
{
	return v;
}

/* False when a value cannot be written in quotes. */
static bool write_out(const struct scenario *s, char *out, size_t size)
{
	static const char *const expect[] = {"pass", "fail", "stop"};
	size_t n = 0;

	n += (size_t)snprintf(out, size,
	                      "[host]\nmemory=%llu\novercommit=%s\ncaps=%u\ntime=%llums\n"
	                      "aging=%llums\nstats=%llums\n",
	                      ull(s->memory_bytes), s->overcommit ? "yes" : "no", s->caps,
	                      ull(s->time_ns / 1000000), ull(s->aging_ns / 1000000),
	                      ull(s->stats_ns / 1000000));
	if (s->cpus)
		n += (size_t)snprintf(out + n, size - n, "cpus=%u\n", s->cpus);
	for (u32 i = 0; i < s->nr_vms; i++) {
		const struct scenario_vm *vm = &s->vm[i];

		if (strchr(vm->args, '"') || strchr(vm->image, '"'))
			return false;
		n += (size_t)snprintf(out + n, size - n,
		                      "[vm %s]\nimage=\"%s\"\nargs=\"%s\"\nmemory=%lluK\nvcpus=%u\n"
		                      "ad=%s\nexpect=%s\n",
		                      vm->name, vm->image, vm->args, ull(vm->memory_bytes >> 10),
		                      vm->vcpus, vm->ad_off ? "off" : "hw", expect[vm->expect]);
	}
	return true;
}

static void check_same(const struct scenario *a, const struct scenario *b)
{
	check(a->memory_bytes == b->memory_bytes && a->overcommit == b->overcommit);
	check(a->caps == b->caps && a->cpus == b->cpus && a->time_ns == b->time_ns);
	check(a->aging_ns == b->aging_ns && a->stats_ns == b->stats_ns && a->nr_vms == b->nr_vms);
	for (u32 i = 0; i < a->nr_vms; i++) {
		const struct scenario_vm *x = &a->vm[i], *y = &b->vm[i];

		check(!strcmp(x->name, y->name) && !strcmp(x->image, y->image));
		check(!strcmp(x->args, y->args) && x->memory_bytes == y->memory_bytes);
		check(x->vcpus == y->vcpus && x->mmu == y->mmu && x->ad_off == y->ad_off);
		check(x->expect == y->expect);
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
