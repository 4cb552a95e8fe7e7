/* hv/scenario: what the text says, and a sentence for everything that it must not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/scenario.h"
#include "mm/policy.h"
#include "mm/space.h"

#define MIB (1ull << 20)

static struct scenario s;
static struct scenario_error error;

static bool load(const char *text, const char *cmdline)
{
	memset(&s, 0xa5, sizeof(s));
	memset(&error, 0xa5, sizeof(error));
	return scenario_load(&s, text, strlen(text), cmdline, &error);
}

static void assert_loads(const char *text, const char *cmdline)
{
	if (!load(text, cmdline))
		fail_msg("refused: %s", error.text);
	assert_string_equal(error.text, "");
}

/* Refused with a message that has all the words, which are separated by '|'. */
static void assert_refused(const char *text, const char *cmdline, const char *words)
{
	char copy[256];

	if (load(text, cmdline))
		fail_msg("accepted: %s", text);
	assert_true(strlen(error.text) < sizeof(error.text));
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok(copy, "|"); w; w = strtok(NULL, "|"))
		if (!strstr(error.text, w))
			fail_msg("'%s' does not say '%s'", error.text, w);
}

#define SMALL "[host]\nmemory = 64M\n[vm a]\nimage = a.elf\nmemory = 16M\n"

static void test_scenario_smallest_and_defaults(void **state)
{
	(void)state;
	assert_loads(SMALL, NULL);
	assert_int_equal(s.memory_bytes, 64 * MIB);
	assert_false(s.overcommit);
	assert_int_equal(s.caps, 0xf);
	assert_int_equal(s.cpus, 0);
	assert_int_equal(s.time_ns, 60000000000ull);
	assert_int_equal(s.aging_ns, 1000000000ull);
	assert_int_equal(s.stats_ns, 1000000000ull);
	assert_int_equal(s.nr_vms, 1);
	assert_string_equal(s.vm[0].name, "a");
	assert_string_equal(s.vm[0].image, "a.elf");
	assert_string_equal(s.vm[0].args, "");
	assert_int_equal(s.vm[0].memory_bytes, 16 * MIB);
	assert_int_equal(s.vm[0].vcpus, 1);
	assert_int_equal(s.vm[0].mmu, SCENARIO_MMU_TDP);
	assert_false(s.vm[0].ad_off);
	assert_int_equal(s.vm[0].expect, SCENARIO_EXPECT_PASS);
	assert_int_equal(s.vm[0].line, 3);
}

/* A scenario that says nothing about the policy leaves it as it is. */
static void test_scenario_defaults_of_the_policy(void **state)
{
	(void)state;
	policy_init();
	assert_loads(SMALL, NULL);
	assert_int_equal(s.caps, a32_load(&policy.caps));
	assert_int_equal(s.lookaround, a32_load(&policy.lookaround));
	assert_int_equal(s.flush, a32_load(&policy.flush));
	assert_int_equal(s.batch, a32_load(&policy.batch));
	assert_int_equal(s.two_touch, a32_load(&policy.two_touch));
	assert_int_equal(s.fault_touch, a32_load(&policy.fault_touch));
	assert_int_equal(s.demote, a32_load(&policy.demote));
	assert_true(s.probation && s.guard);
	assert_int_equal(s.chunk, a32_load(&policy.chunk));
	assert_int_equal(s.swappiness, a32_load(&policy.swappiness));
	assert_int_equal(s.locked, a32_load(&policy.locked));
	assert_int_equal(s.direct_rate, a32_load(&policy.direct_rate));
	assert_int_equal(s.min_ttl_ns, a64_load(&policy.min_ttl_ns));
	assert_int_equal(s.target.kind, TARGET_NONE);
	assert_int_equal(s.chaos_every, 0);
	assert_int_equal(s.vm[0].min_bytes, 0);
	assert_int_equal(s.vm[0].low_bytes, 0);
	assert_int_equal(s.vm[0].limit_bytes, 0);
	assert_int_equal(s.vm[0].min_ttl_ns, 0);
	assert_int_equal(s.vm[0].weight, SPACE_WEIGHT);
	assert_int_equal(s.vm[0].walk, WALK_FAST);
	assert_int_equal(s.vm[0].target.kind, TARGET_NONE);
	assert_false(s.vm[0].huge);
	assert_false(s.vm[0].null_mmu);
	assert_false(s.vm[0].experiments || s.vm[0].pv);
	assert_false(s.trace_on || s.vm[0].sampler || s.vm[0].shares);
}

static void test_scenario_keys_of_the_policy(void **state)
{
	(void)state;
	assert_loads("[host]\nmemory = 64M\nreclaim = locked\nlookaround = all\n"
	             "flush = per-pass\nbatch = 64\ntwo_touch = no\nswappiness = 200\n"
	             "direct_rate = 50\nswap = virtio\nswap_pool = 7\n"
	             "fault_touch = yes\ndemote = no\nchunk = 63\nprobation = yes\nguard = no\n"
	             "min_ttl = 1500ms\ntarget = free 8M\nchaos = 7\ntrace = on\n"
	             "[vm a]\nimage = a\nmemory = 16M\nmin = 4M\nlow = 6M\nlimit = 8M\n"
	             "min_ttl = 0s\nweight = 1000\ntarget = refaults 0.2%/min\npages = 2m\n"
	             "null = yes\nexperiments = yes\nsampler = on\nshare = yes\npv = yes\nwalk = "
	             "accurate\n",
	             NULL);
	assert_true(s.vm[0].experiments && s.vm[0].shares && s.vm[0].sampler && s.vm[0].pv);
	assert_int_equal(s.locked, POLICY_LOCKED);
	assert_int_equal(s.lookaround, POLICY_LOOK_ALL);
	assert_int_equal(s.flush, POLICY_FLUSH_PER_PASS);
	assert_int_equal(s.batch, 64);
	assert_false(s.two_touch);
	assert_true(s.fault_touch);
	assert_false(s.demote || !s.probation || s.guard);
	assert_int_equal(s.chunk, 63);
	assert_int_equal(s.swappiness, 200);
	assert_int_equal(s.min_ttl_ns, 1500000000ull);
	assert_int_equal(s.direct_rate, 50);
	assert_true(s.swap == SCENARIO_SWAP_VIRTIO && s.swap_pool == 7);
	assert_int_equal(s.target.kind, TARGET_FREE);
	assert_int_equal(s.target.free_bytes, 8 * MIB);
	assert_int_equal(s.chaos_every, 7);
	assert_true(s.trace_on);
	assert_int_equal(s.vm[0].min_bytes, 4 * MIB);
	assert_int_equal(s.vm[0].low_bytes, 6 * MIB);
	assert_int_equal(s.vm[0].limit_bytes, 8 * MIB);
	assert_int_equal(s.vm[0].weight, 1000);
	assert_int_equal(s.vm[0].walk, WALK_ACCURATE);
	assert_int_equal(s.vm[0].target.kind, TARGET_REFAULTS);
	assert_int_equal(s.vm[0].target.refaults_ppm, 2000);
	assert_true(s.vm[0].huge);
	assert_true(s.vm[0].null_mmu);
	assert_loads(SMALL "min = none\nlow = none\nlimit = none\npages = 4k\nnull = no\n",
	             "host.lookaround=off host.flush=sampled host.batch=1 host.trace=off "
	             "host.chaos=0 \"host.target=refaults 12.0625%/min\" vm.a.target=none");
	assert_int_equal(s.vm[0].limit_bytes, 0);
	assert_int_equal(s.lookaround, POLICY_LOOK_OFF);
	assert_int_equal(s.flush, POLICY_FLUSH_SAMPLED);
	assert_int_equal(s.batch, 1);
	assert_int_equal(s.target.refaults_ppm, 120625);
}

static void test_scenario_every_key(void **state)
{
	(void)state;
	assert_loads("# all of them\r\n"
	             "[host]   ; the machine\r\n"
	             "\tmemory=65536K # as 64M\r\n"
	             "overcommit = yes\nreclaim = lockless\npolicy = mglru\ncaps = 0x5\n"
	             "cpus = 2\ntime = 30s\naging = 250ms\nstats = 2s\n"
	             "\n; a VM\n[ vm  kv-1_x ]\nimage = /boot/kv.elf\n"
	             "args = keys=20000 zipf=0.99 a#b # not this\nmemory = 1G\nvcpus = 16\n"
	             "mmu = tdp\nad = off\nexpect = stop\n"
	             "[vm b]\nmemory=4096\nimage=b\nargs = \" a # b \" # comment\nexpect = fail",
	             NULL);
	assert_int_equal(s.memory_bytes, 64 * MIB);
	assert_true(s.overcommit);
	assert_int_equal(s.caps, POLICY_CORE | POLICY_NONLEAF);
	assert_int_equal(s.cpus, 2);
	assert_int_equal(s.time_ns, 30000000000ull);
	assert_int_equal(s.aging_ns, 250000000ull);
	assert_int_equal(s.stats_ns, 2000000000ull);
	assert_int_equal(s.nr_vms, 2);
	assert_string_equal(s.vm[0].name, "kv-1_x");
	assert_string_equal(s.vm[0].image, "/boot/kv.elf");
	assert_string_equal(s.vm[0].args, "keys=20000 zipf=0.99 a#b");
	assert_int_equal(s.vm[0].memory_bytes, 1024 * MIB);
	assert_int_equal(s.vm[0].vcpus, 16);
	assert_true(s.vm[0].ad_off);
	assert_int_equal(s.vm[0].expect, SCENARIO_EXPECT_STOP);
	assert_string_equal(s.vm[1].args, " a # b ");
	assert_int_equal(s.vm[1].memory_bytes, 4096);
	assert_int_equal(s.vm[1].expect, SCENARIO_EXPECT_FAIL);
}

/* One line put into [host] or [vm a] of an otherwise right scenario. */
static void host_refused(const char *line, const char *words)
{
	char text[512];

	snprintf(text, sizeof(text), "[host]\n%s\n[vm a]\nimage = a\nmemory = 4K\n", line);
	assert_refused(text, NULL, words);
}

static void vm_refused(const char *line, const char *words)
{
	char text[2048];

	snprintf(text, sizeof(text), "[host]\nmemory = 1M\n[vm a]\n%s\n", line);
	assert_refused(text, NULL, words);
}

static void test_scenario_host_values_refused(void **state)
{
	static const char *const sizes[] = {"",
	                                    "0",
	                                    "1",
	                                    "4095",
	                                    "4097",
	                                    "513G",
	                                    "M",
	                                    "4k",
	                                    "4KB",
	                                    "-4K",
	                                    "0x1000",
	                                    "1 M",
	                                    "lots",
	                                    "1.5M",
	                                    "99999999999999999999G",
	                                    "18446744073709551615G"};
	char line[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(line, sizeof(line), "memory = %s", sizes[i]);
		host_refused(line, "line 2|memory = |allowed is|multiple of 4K|512G");
		host_refused(line, sizes[i][0] ? sizes[i] : "memory = :");
	}
	host_refused("overcommit = maybe", "line 2|overcommit = maybe|yes or no");
	host_refused("reclaim = lock", "line 2|reclaim = lock|lockless, locked or read");
	host_refused("policy = fifo", "line 2|policy = fifo|mglru or twolist");
	host_refused("caps = 16", "caps = 16|0xf");
	host_refused("caps = 0x", "caps = 0x:|0xf");
	host_refused("caps = all", "caps = all|0xf");
	host_refused("cpus = 0", "cpus = 0|from 1 to 64");
	host_refused("cpus = 65", "cpus = 65|from 1 to 64");
	host_refused("time = 30", "time = 30|1ms to 86400s");
	host_refused("time = 0s", "time = 0s|1ms to 86400s");
	host_refused("time = 86401s", "time = 86401s|1ms to 86400s");
	host_refused("aging = 1 s", "aging = 1 s|1ms");
	host_refused("stats = 1us", "stats = 1us|1ms");
	host_refused("lookaround = some", "lookaround = some|off, any or all");
	host_refused("flush = pass", "flush = pass|none, per-pass or sampled");
	host_refused("batch = 0", "batch = 0|1, 64 or 512");
	host_refused("batch = 32", "batch = 32|1, 64 or 512");
	host_refused("batch = 4294967297", "batch = 4294967297|1, 64 or 512");
	host_refused("two_touch = on", "two_touch = on|yes or no");
	host_refused("fault_touch = on", "fault_touch = on|yes or no");
	host_refused("demote = 2", "demote = 2|yes or no");
	host_refused("chunk = 65", "chunk = 65|a number from 0 (by the size of the VM) to 64");
	host_refused("swappiness = 201", "swappiness = 201|0 to 200");
	host_refused("swap = nvme", "swap = nvme|off or virtio");
	host_refused("swap_pool = 101", "swap_pool = 101|from 0 to 100, percent");
	host_refused("direct_rate = 1000001", "direct_rate = 1000001|to 1000000");
	host_refused("min_ttl = 1000", "min_ttl = 1000|0ms to 86400s");
	host_refused("chaos = 1000001", "chaos = 1000001|0 (off) to 1000000");
	host_refused("trace = yes", "trace = yes|on or off");
	host_refused("stats = 18446744073709551615s", "stats = 18446744073709551615s|1ms");
}

static void test_scenario_vm_values_refused(void **state)
{
	char line[1024];

	(void)state;
	vm_refused("image =", "line 4|image = |base name");
	vm_refused("image = \"a b\"", "line 4|image = a b|no blanks");
	snprintf(line, sizeof(line), "image = %0128d", 1);
	vm_refused(line, "line 4|image = 000|...|at most 127");
	snprintf(line, sizeof(line), "args = %0512d", 1);
	vm_refused(line, "line 4|args = 000|...|at most 511");
	vm_refused("memory = 0", "line 4|memory = 0|multiple of 4K");
	vm_refused("vcpus = 0", "vcpus = 0|from 1 to 16");
	vm_refused("vcpus = 17", "vcpus = 17|from 1 to 16");
	vm_refused("vcpus = two", "vcpus = two|from 1 to 16");
	vm_refused("mmu = ept", "mmu = ept|tdp, shadow or both");
	vm_refused("ad = on", "ad = on|hw or off");
	vm_refused("expect = panic", "expect = panic|pass, fail or stop");
	vm_refused("args = a\x01"
	           "b",
	           "args = a?b|byte 0x01");
}

static void test_scenario_targets_refused(void **state)
{
	static const char *const wrong[] = {
	        "",
	        "free",
	        "free 0",
	        "free 5",
	        "free none",
	        "8M",
	        "refaults",
	        "refaults 0.2",
	        "refaults 0%/min",
	        "refaults 0.00001%/min",
	        "refaults .5%/min",
	        "refaults 5.%/min",
	        "refaults 101%/min",
	        "refaults 100.0001%/min",
	        "refaults -1%/min",
	        "refaults 1%/s",
	        "refaults 1 %/min",
	        "refaults 1%/min 8M",
	        "refaults0.2%/min",
	};
	char line[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(line, sizeof(line), "target = %s", wrong[i]);
		host_refused(line, "line 2|target = |free SIZE|refaults P%/min");
		vm_refused(line, "line 4|target = |free SIZE|refaults P%/min");
	}
}

static void test_scenario_promises_refused(void **state)
{
	(void)state;
	vm_refused("min = 0", "line 4|min = 0|none, or a multiple of 4K");
	vm_refused("low = all", "line 4|low = all|none, or a multiple of 4K");
	vm_refused("limit = 5000", "line 4|limit = 5000|none, or a multiple of 4K");
	vm_refused("weight = 0", "line 4|weight = 0|1 to 1000");
	vm_refused("weight = 1001", "line 4|weight = 1001|1 to 1000");
	vm_refused("walk = slow", "line 4|walk = slow|off, fast, all or accurate");
	vm_refused("pages = 1g", "line 4|pages = 1g|4k or 2m");
	vm_refused("null = maybe", "line 4|null = maybe|yes or no");
	vm_refused("sampler = yes", "line 4|sampler = yes|on or off");
	vm_refused("swappiness = 5", "line 4|swappiness|no such key in [vm]");
	assert_refused(SMALL "min = 17M\n", NULL, "line 3|[vm a]|min|its memory");
	assert_refused(SMALL "min = 8M\nlimit = 4M\n", NULL, "line 3|[vm a]|min|limit");
	assert_loads(SMALL "min = 8M\nlimit = 8M\n", NULL);
	assert_refused(SMALL "min = 16M\n[vm b]\nimage = b\nmemory = 60M\nmin = 49M\n",
	               "host.overcommit=yes", "min adds up to 66560K|65536K");
	assert_loads(SMALL "min = 16M\n[vm b]\nimage = b\nmemory = 60M\nmin = 48M\n",
	             "host.overcommit=yes");
}

static void test_scenario_longest_values(void **state)
{
	char text[2048];

	(void)state;
	snprintf(text, sizeof(text),
	         "[host]\nmemory=512G\n[vm %031d]\nimage=%0127d\nargs=%0511d\nmemory=512G\n", 1, 2,
	         3);
	assert_loads(text, NULL);
	assert_int_equal(strlen(s.vm[0].name), 31);
	assert_int_equal(strlen(s.vm[0].image), 127);
	assert_int_equal(strlen(s.vm[0].args), 511);
}

static void test_scenario_timeline(void **state)
{
	(void)state;
	assert_loads(SMALL, NULL);
	assert_int_equal(s.timeline.nr, 0);
	assert_loads("[timeline]\nat 5s limit a 8M # less\nevery 2s + a max\n  at 0ms\tgens ; all\n"
	             "at 2000ms vms\n" SMALL,
	             "host.time=10s");
	assert_int_equal(s.timeline.nr, 4);
	assert_int_equal(s.timeline.entry[0].at_ns, 0);
	assert_int_equal(s.timeline.entry[0].every_ns, 0);
	assert_int_equal(s.timeline.entry[0].command.kind, COMMAND_GENS);
	assert_string_equal(s.timeline.entry[0].text, "gens");
	assert_int_equal(s.timeline.entry[1].at_ns, 2000000000ull);
	assert_int_equal(s.timeline.entry[1].every_ns, 2000000000ull);
	assert_string_equal(s.timeline.entry[1].text, "+ a max");
	assert_int_equal(s.timeline.entry[2].command.kind, COMMAND_VMS);
	assert_int_equal(s.timeline.entry[3].command.kind, COMMAND_LIMIT);
	assert_int_equal(s.timeline.entry[3].command.value, 8 * MIB);
	assert_string_equal(s.timeline.entry[3].text, "limit a 8M");
	assert_int_equal(s.timeline.entry[3].line, 2);
}

static void timeline_refused(const char *line, const char *words)
{
	char text[512];

	snprintf(text, sizeof(text), SMALL "[timeline]\n%s\n", line);
	assert_refused(text, NULL, words);
}

static void test_scenario_timeline_refused(void **state)
{
	char text[4096], line[200];
	int n;

	(void)state;
	timeline_refused("limit a 8M", "line 7|limit|at TIME COMMAND|every TIME COMMAND");
	timeline_refused("memory = 8M", "line 7|memory|at TIME COMMAND");
	timeline_refused("at 5 vms", "line 7|at 5|0ms to 86400s");
	timeline_refused("at", "line 7|at :|0ms");
	timeline_refused("every 9ms vms", "line 7|every 9ms|10ms to 86400s");
	timeline_refused("at 1s", "line 7|the command is missing");
	timeline_refused("at 1s frobnicate", "line 7|frobnicate: no such command");
	timeline_refused("at 1s limit a 5", "line 7|limit|SIZE 5|multiple of 4K");
	timeline_refused("at 1s limit b 8M", "line 7|limit b 8M|no VM b");
	timeline_refused("at 1s limit\tb 8M",
	                 "line 7|limit?b 8M|no VM b"); /* no tabs in a sentence */
	timeline_refused("at 1s vms\n[timeline]", "line 8|[timeline]|twice");
	snprintf(line, sizeof(line), "at 1s limit %0150d", 1);
	timeline_refused(line, "line 7|at most 127");
	n = snprintf(text, sizeof(text), SMALL "[timeline]\n");
	for (unsigned i = 0; i < TIMELINE_MAX; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "at %us vms\n", i % 7);
	assert_loads(text, NULL);
	for (unsigned i = 1; i < TIMELINE_MAX; i++) {
		const struct timeline_entry *e = &s.timeline.entry[i];

		assert_true(e[-1].at_ns < e->at_ns ||
		            (e[-1].at_ns == e->at_ns && e[-1].line < e->line));
	}
	snprintf(text + n, sizeof(text) - (size_t)n, "at 1s vms\n");
	assert_refused(text, NULL, "line 71|at most 64");
}

static void test_scenario_timeline_runs(void **state)
{
	struct timeline_run run;

	(void)state;
	assert_loads(SMALL "[timeline]\nevery 2s gens\nat 3s vms\nat 0ms audit\n", NULL);
	timeline_start(&run, &s.timeline);
	assert_int_equal(timeline_due(&run), 0);
	assert_int_equal(timeline_take(&run, 0)->command.kind, COMMAND_AUDIT);
	assert_null(timeline_take(&run, 1999999999));
	assert_int_equal(timeline_due(&run), 2000000000);
	assert_int_equal(timeline_take(&run, 2000000000)->command.kind, COMMAND_GENS);
	assert_int_equal(timeline_due(&run), 3000000000);
	/* Late: the one that is due longest first, and a period that was missed is left out. */
	assert_int_equal(timeline_take(&run, 9000000000)->command.kind, COMMAND_VMS);
	assert_int_equal(timeline_take(&run, 9000000000)->command.kind, COMMAND_GENS);
	assert_null(timeline_take(&run, 9000000000));
	assert_int_equal(timeline_due(&run), 10000000000);
	assert_loads(SMALL "[timeline]\nat 3s vms\n", NULL);
	timeline_start(&run, &s.timeline);
	assert_non_null(timeline_take(&run, 3000000000));
	assert_true(timeline_due(&run) == TIMELINE_NEVER);
	assert_null(timeline_take(&run, TIMELINE_NEVER));
}

static void test_scenario_structure_refused(void **state)
{
	(void)state;
	host_refused("colour = blue", "line 2|colour|[host]|memory, overcommit");
	host_refused("vcpus = 1", "line 2|vcpus|[host]");
	vm_refused("colour = blue", "line 4|colour|[vm]|image, args");
	vm_refused("vcpus = 1\nvcpus = 1", "line 5|vcpus|twice");
	vm_refused("memory", "line 4|memory|key = value");
	vm_refused("= 5", "line 4|no such key");
	vm_refused("args = \"a", "line 4|args|closing quote");
	vm_refused("args = \"a\" b", "line 4|args|closing quote");
	vm_refused("[host]", "line 4|[host]|twice");
	vm_refused("[disk x]", "line 4|[disk x]|[host], [vm NAME] and [timeline]");
	vm_refused("[vmx]", "line 4|[vmx]");
	vm_refused("[vm", "line 4|[vm");
	vm_refused("[vm b] x", "line 4");
	vm_refused("[]", "line 4|[host], [vm NAME] and [timeline]");
	vm_refused("[vm]", "line 4|1 to 31");
	vm_refused("[vm a.b]", "line 4|a.b|1 to 31");
	vm_refused("[vm A]", "line 4|[vm A]");
	vm_refused("[vm 01234567890123456789012345678901]", "line 4|1 to 31");
	vm_refused("[vm a]", "line 4|[vm a]|line 3");
	assert_refused("memory = 64M\n" SMALL, NULL, "line 1|memory|before the first section");
}

static void test_scenario_whole_refused(void **state)
{
	(void)state;
	assert_refused("", NULL, "[host] has no memory");
	assert_refused("[host]\nmemory = 1M\n", NULL, "no [vm NAME]");
	assert_refused("[vm a]\nimage=a\nmemory=1M\n", NULL, "[host] has no memory");
	assert_refused("[host]\nmemory=1M\n[vm a]\nmemory=1M\n", NULL, "line 3|[vm a]|no image");
	assert_refused("[host]\nmemory=1M\n\n[vm a]\nimage=a\n", NULL, "line 4|[vm a]|no memory");
	assert_refused(SMALL "[vm b]\nimage=b\nmemory=49M\n", NULL,
	               "66560K|65536K|overcommit = yes");
	assert_loads(SMALL "[vm b]\nimage=b\nmemory=48M\n", NULL);
	assert_loads(SMALL "[vm b]\nimage=b\nmemory=49M\n", "host.overcommit=yes");
}

static void test_scenario_bytes_that_are_no_text(void **state)
{
	static const char zero[] =
	        "[host]\nmemory = 64M\n[vm a]\nargs = a\0b\nimage=a\nmemory=4K\n";
	static const char binary[] = "\x00\xff\xfe\n[vm \x80]";

	(void)state;
	assert_false(scenario_load(&s, zero, sizeof(zero) - 1, NULL, &error));
	assert_non_null(strstr(error.text, "line 4"));
	assert_non_null(strstr(error.text, "byte 0x00"));
	assert_false(scenario_load(&s, binary, sizeof(binary) - 1, NULL, &error));
	assert_non_null(strstr(error.text, "line 1"));
	/* Anything may stand in a comment. */
	assert_loads("# d\xc3\xa9j\xc3\xa0 vu\n" SMALL, NULL);
}

static void test_scenario_most_vms(void **state)
{
	static char text[8192];
	int n = snprintf(text, sizeof(text), "[host]\nmemory=512G\n");

	(void)state;
	for (unsigned i = 0; i < SCENARIO_MAX_VMS; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "[vm v%u]\nimage=i\nmemory=4K\n",
		              i);
	assert_loads(text, NULL);
	assert_int_equal(s.nr_vms, SCENARIO_MAX_VMS);
	snprintf(text + n, sizeof(text) - (size_t)n, "[vm one-more]\n");
	assert_refused(text, NULL, "line 99|one-more|at most 32");
}

static void test_scenario_overrides(void **state)
{
	(void)state;
	assert_loads(
	        SMALL,
	        "varve.elf loglevel=3 host.memory=32M vm.a.args=\"keys=1 zipf=2\" console=com1 "
	        "vm.a.vcpus=2 vm.a.vcpus=3");
	assert_int_equal(s.memory_bytes, 32 * MIB);
	assert_string_equal(s.vm[0].args, "keys=1 zipf=2");
	assert_int_equal(s.vm[0].vcpus, 3);
	/* The whole word in quotes, as a boot loader may write it, and quotes in the value. */
	assert_loads(SMALL, "\"vm.a.args=say \\\"a b\\\" c\\\\d\" host.cpus=1");
	assert_string_equal(s.vm[0].args, "say \"a b\" c\\d");
	assert_int_equal(s.cpus, 1);
	assert_loads("[host]\n[vm a]\nimage=a\n", "host.memory=1M vm.a.memory=1M");
	assert_loads(SMALL, "vm.a.args=");
	assert_loads(SMALL, "hostess=1 vmlinuz memory=5");
}

static void test_scenario_overrides_refused(void **state)
{
	char text[1024];

	(void)state;
	assert_refused(SMALL, "host.memory=32X", "override host.memory=32X|multiple of 4K");
	assert_refused(SMALL, "host.colour=1", "override host.colour=1|no such key in [host]");
	assert_refused(SMALL, "vm.b.vcpus=1", "override vm.b.vcpus=1|no VM b");
	assert_refused(SMALL, "vm.a.colour=1", "override vm.a.colour=1|no such key in [vm]");
	assert_refused(SMALL, "vm.a=1", "override vm.a=1|vm.NAME.KEY=VALUE");
	assert_refused(SMALL, "host.memory", "override host.memory|host.KEY=VALUE");
	assert_refused(SMALL, "vm.a.mmu=all", "override vm.a.mmu=all|tdp");
	assert_refused(SMALL, "host.memory=8M", "16384K|8192K|overcommit");
	snprintf(text, sizeof(text), "vm.a.args=%0600d", 1);
	assert_refused(SMALL, text, "override vm.a.args=000|at most");
	snprintf(text, sizeof(text), "vm.a.args=%0530d", 1);
	assert_refused(SMALL, text, "override vm.a.args=000|at most 511");
}

static void test_scenario_find_image(void **state)
{
	static struct boot_info bi = {
	        .nr_modules = 5,
	        .module = {{.args = "kv.elf"},
	                   {.args = "/boot/guests/touch.elf x=1"},
	                   {.args = "kv.elf keys=/a/b"},
	                   {.args = ""},
	                   {.args = "dir/"}},
	};

	(void)state;
	assert_ptr_equal(scenario_find_image("kv.elf", &bi), &bi.module[2]);
	assert_ptr_equal(scenario_find_image("elsewhere/kv.elf", &bi), &bi.module[2]);
	assert_ptr_equal(scenario_find_image("touch.elf", &bi), &bi.module[1]);
	assert_null(scenario_find_image("touch", &bi));
	assert_null(scenario_find_image("b", &bi));
	assert_null(scenario_find_image("dir/", &bi));
	bi.nr_modules = 0;
	assert_null(scenario_find_image("kv.elf", &bi));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_scenario_smallest_and_defaults),
	        cmocka_unit_test(test_scenario_every_key),
	        cmocka_unit_test(test_scenario_defaults_of_the_policy),
	        cmocka_unit_test(test_scenario_keys_of_the_policy),
	        cmocka_unit_test(test_scenario_host_values_refused),
	        cmocka_unit_test(test_scenario_targets_refused),
	        cmocka_unit_test(test_scenario_promises_refused),
	        cmocka_unit_test(test_scenario_vm_values_refused),
	        cmocka_unit_test(test_scenario_longest_values),
	        cmocka_unit_test(test_scenario_timeline),
	        cmocka_unit_test(test_scenario_timeline_refused),
	        cmocka_unit_test(test_scenario_timeline_runs),
	        cmocka_unit_test(test_scenario_structure_refused),
	        cmocka_unit_test(test_scenario_whole_refused),
	        cmocka_unit_test(test_scenario_bytes_that_are_no_text),
	        cmocka_unit_test(test_scenario_most_vms),
	        cmocka_unit_test(test_scenario_overrides),
	        cmocka_unit_test(test_scenario_overrides_refused),
	        cmocka_unit_test(test_scenario_find_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
