#include "hv/scenario_key.h"

#include "hv/value.h"
#include "lib/string.h"
#include "mm/policy.h"
#include "mm/space.h"

/* --- one kind of value each, into a field of one type ------------------------------------------ */

static bool take_size(const struct scenario_key *key, struct slice value, void *field)
{
	(void)key;
	return value_size(value, SCENARIO_MAX_MEMORY_BYTES, (u64 *)field);
}

static bool take_size_or_none(const struct scenario_key *key, struct slice value, void *field)
{
	(void)key;
	return value_size_or_none(value, SCENARIO_MAX_MEMORY_BYTES, (u64 *)field);
}

static bool take_time(const struct scenario_key *key, struct slice value, void *field)
{
	return value_time(value, key->min, SCENARIO_MAX_TIME_NS, (u64 *)field);
}

static bool take_number(const struct scenario_key *key, struct slice value, void *field)
{
	u64 v;

	if (!value_number(value, key->min, key->max, &v))
		return false;
	*(u32 *)field = (u32)v;
	return true;
}

static bool take_flag(const struct scenario_key *key, struct slice value, void *field)
{
	unsigned at;

	if (!value_word(value, key->words, &at))
		return false;
	*(bool *)field = at == 1;
	return true;
}

static bool take_word(const struct scenario_key *key, struct slice value, void *field)
{
	unsigned at;

	if (!value_word(value, key->words, &at))
		return false;
	*(u32 *)field = at;
	return true;
}

/* What the image does not have is no choice. */
static bool take_reclaim(const struct scenario_key *key, struct slice value, void *field)
{
	return take_word(key, value, field) && policy_ager_built(*(u32 *)field);
}

static bool take_batch(const struct scenario_key *key, struct slice value, void *field)
{
	u64 v;

	(void)key;
	if (!value_number(value, 1, TABLE_PAGES, &v) || !policy_batch_valid((u32)v))
		return false;
	*(u32 *)field = (u32)v;
	return true;
}

static bool take_target(const struct scenario_key *key, struct slice value, void *field)
{
	(void)key;
	return value_target(value, SCENARIO_MAX_MEMORY_BYTES, (struct target *)field);
}

static bool take_text(const struct scenario_key *key, struct slice value, void *field)
{
	return slice_copy(value, (char *)field, key->max);
}

static bool take_image(const struct scenario_key *key, struct slice value, void *field)
{
	return value.n && slice_find(value, ' ') == value.n && slice_find(value, '\t') == value.n &&
	       take_text(key, value, field);
}

/* --- the tables ------------------------------------------------------------------------------- */

#define ALLOWED_SIZE    "a multiple of 4K from 4K to 512G, as 64M (K, M, G)"
#define ALLOWED_PROMISE "none, or " ALLOWED_SIZE
#define ALLOWED_PERIOD  "a time from 1ms to 86400s, as 500ms or 2s"
#define ALLOWED_TTL     "a time from 0ms to 86400s, as 500ms or 2s"

static const char *const no_yes[] = {"no", "yes", NULL};
static const char *const off_on[] = {"off", "on", NULL};
static const char *const reclaims[] = {"lockless", "locked", "read", NULL};
static const char *const mmus[] = {"tdp", "shadow", "both", NULL};
static const char *const ads[] = {"hw", "off", NULL};
static const char *const expects[] = {"pass", "fail", "stop", NULL};
static const char *const swaps[] = {"off", "virtio", NULL};
static const char *const page_sizes[] = {"4k", "2m", NULL};

/* Where a field is; a field of another type than the `take` behind it writes does not compile. */
#define FIELD(of, type, field) \
	(offsetof(struct of, field) + 0 * sizeof(&((struct of *)0)->field == (type *)0))

#define SIZE(of, field)       .take = take_size, .offset = FIELD(of, u64, field)
#define PROMISE(of, field)    .take = take_size_or_none, .offset = FIELD(of, u64, field)
#define TIME(of, field, from) .take = take_time, .offset = FIELD(of, u64, field), .min = (from)
#define NUMBER(of, field, from, to) \
	.take = take_number, .offset = FIELD(of, u32, field), .min = (from), .max = (to)
#define FLAG(of, field, list) .take = take_flag, .offset = FIELD(of, bool, field), .words = (list)
#define WORD(of, field, list) .take = take_word, .offset = FIELD(of, u32, field), .words = (list)
#define TARGET(of, field)     .take = take_target, .offset = FIELD(of, struct target, field)

const struct scenario_key scenario_host_keys[] = {
        {"memory", ALLOWED_SIZE, SIZE(scenario, memory_bytes)},
        {"overcommit", "yes or no", FLAG(scenario, overcommit, no_yes)},
        {"reclaim", "lockless, locked or read" POLICY_AGERS_NOTE, .take = take_reclaim,
         .offset = FIELD(scenario, u32, locked), .words = reclaims},
        {"policy", "mglru or twolist", WORD(scenario, policy, policy_names)},
        {"caps", "a number from 0 to 0xf: 1 core, 2 walk, 4 non-leaf, 8 secondary MMUs",
         NUMBER(scenario, caps, 0, POLICY_CAPS)},
        {"cpus", "a number from 1 to 64", NUMBER(scenario, cpus, 1, SCENARIO_MAX_CPUS)},
        {"time", ALLOWED_PERIOD, TIME(scenario, time_ns, SCENARIO_MIN_PERIOD_NS)},
        {"aging", ALLOWED_PERIOD, TIME(scenario, aging_ns, SCENARIO_MIN_PERIOD_NS)},
        {"stats", ALLOWED_PERIOD, TIME(scenario, stats_ns, SCENARIO_MIN_PERIOD_NS)},
        {"lookaround", "off, any or all", WORD(scenario, lookaround, policy_lookaround_names)},
        {"flush", "none, per-pass or sampled", WORD(scenario, flush, policy_flush_names)},
        {"batch", "1, 64 or 512", .take = take_batch, .offset = FIELD(scenario, u32, batch)},
        {"two_touch", "yes or no", FLAG(scenario, two_touch, no_yes)},
        {"fault_touch", "yes or no", FLAG(scenario, fault_touch, no_yes)},
        {"demote", "yes or no", FLAG(scenario, demote, no_yes)},
        {"probation", "yes or no", FLAG(scenario, probation, no_yes)},
        {"guard", "yes or no", FLAG(scenario, guard, no_yes)},
        {"chunk", "a number from 0 (by the size of the VM) to 64",
         NUMBER(scenario, chunk, 0, POLICY_CHUNK_MAX)},
        {"swappiness", "a number from 0 to 200",
         NUMBER(scenario, swappiness, 0, POLICY_SWAPPINESS_MAX)},
        {"swap", "off or virtio", WORD(scenario, swap, swaps)},
        {"swap_pool", "a number from 0 to 100, percent of memory",
         NUMBER(scenario, swap_pool, 0, 100)},
        {"direct_rate", "a number from 0 (no bound) to 1000000",
         NUMBER(scenario, direct_rate, 0, DIRECT_RATE_MAX)},
        {"min_ttl", ALLOWED_TTL, TIME(scenario, min_ttl_ns, 0)},
        {"target", ALLOWED_TARGET, TARGET(scenario, target)},
        {"chaos", "a number from 0 (off) to 1000000",
         NUMBER(scenario, chaos_every, 0, SCENARIO_MAX_CHAOS)},
        {"trace", "on or off", FLAG(scenario, trace_on, off_on)},
        {0},
};

const struct scenario_key scenario_vm_keys[] = {
        {"image", "the base name of a boot module, at most 127 characters, no blanks",
         .take = take_image, .offset = offsetof(struct scenario_vm, image),
         .max = SCENARIO_IMAGE_MAX},
        {"args", "at most 511 characters", .take = take_text,
         .offset = offsetof(struct scenario_vm, args), .max = SCENARIO_ARGS_MAX},
        {"memory", ALLOWED_SIZE, SIZE(scenario_vm, memory_bytes)},
        {"vcpus", "a number from 1 to 16", NUMBER(scenario_vm, vcpus, 1, SCENARIO_MAX_VCPUS)},
        {"mmu", "tdp, shadow or both", WORD(scenario_vm, mmu, mmus)},
        {"ad", "hw or off", FLAG(scenario_vm, ad_off, ads)},
        {"expect", "pass, fail or stop", WORD(scenario_vm, expect, expects)},
        {"min", ALLOWED_PROMISE, PROMISE(scenario_vm, min_bytes)},
        {"low", ALLOWED_PROMISE, PROMISE(scenario_vm, low_bytes)},
        {"limit", ALLOWED_PROMISE, PROMISE(scenario_vm, limit_bytes)},
        {"min_ttl", ALLOWED_TTL, TIME(scenario_vm, min_ttl_ns, 0)},
        {"weight", "a number from 1 to 1000", NUMBER(scenario_vm, weight, 1, SPACE_WEIGHT_MAX)},
        {"target", ALLOWED_TARGET, TARGET(scenario_vm, target)},
        {"walk", "off, fast, all or accurate", WORD(scenario_vm, walk, walk_mode_names)},
        {"pages", "4k or 2m", FLAG(scenario_vm, huge, page_sizes)},
        {"null", "yes or no", FLAG(scenario_vm, null_mmu, no_yes)},
        {"share", "yes or no", FLAG(scenario_vm, shares, no_yes)},
        {"experiments", "yes or no", FLAG(scenario_vm, experiments, no_yes)},
        {"pv", "yes or no", FLAG(scenario_vm, pv, no_yes)},
        {"sampler", "on or off", FLAG(scenario_vm, sampler, off_on)},
        {0},
};
