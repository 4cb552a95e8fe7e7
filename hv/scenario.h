/*
 * The scenario: what `[host]`, the `[vm NAME]` sections and `[timeline]` of the first boot module say, with
 * the overrides of the command line. Pure functions over text, no allocation; any context.
 *
 *   [host]                  # or ; begins a comment, at the start of a line or behind a blank
 *   memory = 64M            sizes: K, M, G        times: ms, s        numbers: decimal or 0x
 *   [vm kv]                 names: a-z 0-9 _ -
 *   args = "a # b"          a value in double quotes is taken as it stands
 *   [timeline]
 *   at 5s limit kv 32M      a command of the monitor: hv/timeline.h
 *
 * On the command line: `host.memory=32M vm.kv.vcpus=2 vm.kv.args="keys=10 seconds=2"`. Double quotes
 * keep blanks in a word, wherever they stand in it; \" and \\ stand for themselves. An override replaces
 * what the file says; given twice, the last one counts. Words that begin otherwise are not looked at.
 *
 * Nothing is guessed: an unknown section or key, one given twice, a value that is none or cannot be are
 * refused with a sentence that names line (or override), key, value and what is allowed.
 */
#pragma once

#include "hv/bootinfo.h"
#include "hv/timeline.h"
#include "hv/value.h"
#include "lib/types.h"
#include "lib/util.h"

#define SCENARIO_MAX_VMS   32u
#define SCENARIO_NAME_MAX  32u /* with the terminating zero, like the next two */
#define SCENARIO_IMAGE_MAX 128u
#define SCENARIO_ARGS_MAX  512u

#define SCENARIO_MAX_MEMORY_BYTES (512ull << 30) /* of the host as of a VM */
#define SCENARIO_MAX_VCPUS        16u
#define SCENARIO_MAX_CPUS         64u
#define SCENARIO_MAX_TIME_NS      VALUE_MAX_TIME_NS
#define SCENARIO_MIN_PERIOD_NS    1000000ull
#define SCENARIO_MAX_CHAOS        1000000u

enum scenario_policy { SCENARIO_POLICY_MGLRU, SCENARIO_POLICY_TWOLIST };
enum scenario_mmu { SCENARIO_MMU_TDP, SCENARIO_MMU_SHADOW, SCENARIO_MMU_BOTH };
enum scenario_swap { SCENARIO_SWAP_OFF, SCENARIO_SWAP_VIRTIO };
enum scenario_expect { SCENARIO_EXPECT_PASS, SCENARIO_EXPECT_FAIL, SCENARIO_EXPECT_STOP };

struct scenario_vm {
	char name[SCENARIO_NAME_MAX];
	char image[SCENARIO_IMAGE_MAX];
	char args[SCENARIO_ARGS_MAX]; /* empty: none */
	u64 memory_bytes;
	u32 vcpus;
	enum scenario_mmu mmu;
	bool ad_off; /* treat the CPU as having no A/D bits */
	enum scenario_expect expect;
	u64 min_bytes, low_bytes, limit_bytes; /* struct space_limits; 0: none */
	u64 min_ttl_ns;
	u32 weight; /* 1 .. SPACE_WEIGHT_MAX */
	struct target target;
	bool huge;        /* 2 MiB translations where memory allows */
	bool experiments; /* the guest may ask for what hv/experiment_call.h has */
	bool shares;      /* its pages away are kept once with equal ones of other VMs that share */
	bool pv;          /* the guest may use hv/pv_call.h: balloon, free pages, working set */
	bool sampler;     /* the region sampler runs from the start */
	bool null_mmu;    /* behind its MMU stands a second one that can only unmap */
	u32 walk;         /* enum walk_mode, of mm/policy.h */
	u32 line;         /* of its section, for messages */
};

struct scenario {
	u64 memory_bytes;
	bool overcommit;
	u32 locked; /* enum policy_locked, of mm/policy.h */
	enum scenario_policy policy;
	u32 caps;       /* POLICY_CORE | ..., like the next ones a setting of mm/policy.h */
	u32 lookaround; /* enum policy_lookaround */
	u32 flush;      /* enum policy_flush */
	u32 batch;
	bool two_touch;
	bool fault_touch;
	bool demote;
	bool probation;
	bool guard;
	u32 chunk; /* 0: by the size of the space */
	u32 swappiness;
	u32 direct_rate; /* times a second that faulting vCPUs may reclaim; 0: no bound */
	u64 min_ttl_ns;
	struct target target;
	u32 swap;      /* enum scenario_swap: what is below the compressed pool */
	u32 swap_pool; /* percent of the frames that the pool may keep if there is something below it */
	u32 chaos_every; /* a random page is evicted at every so many exits; 0: off */
	bool trace_on;
	u32 cpus;     /* at most so many of the machine's; 0 = all */
	u64 time_ns;  /* end of the scenario */
	u64 aging_ns; /* between two aging passes of a VM */
	u64 stats_ns; /* between two tables */
	u32 nr_vms;
	struct scenario_vm vm[SCENARIO_MAX_VMS]; /* in the order of the file */
	struct timeline timeline;
};

#define SCENARIO_ERROR_MAX 384u
struct scenario_error {
	char text[SCENARIO_ERROR_MAX]; /* one sentence without newline; empty if there is none */
};

/*
 * The whole scenario: text, overrides, checks over all of it. False, with *error, if anything is wrong;
 * *out is then unspecified. `cmdline` may be NULL.
 */
bool scenario_load(struct scenario *out, const char *text, size_t bytes, const char *cmdline,
                   struct scenario_error *error) must_check;
/*
 * The module whose base name is that of `image`, or NULL. Module 0 is the scenario itself and is not
 * looked at.
 */
const struct boot_module *scenario_find_image(const char *image, const struct boot_info *bi);
