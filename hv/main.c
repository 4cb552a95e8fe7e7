#include "hv/main.h"

#include "arch/hal.h"
#include "arch/x86/panic.h"
#include "arch/x86/hostmem.h"
#include "arch/x86/insn.h"
#include "arch/x86/tick.h"
#include "arch/x86/vendor.h"
#include "hv/ager.h"
#include "hv/chaos.h"
#include "hv/experiment_call.h"
#include "hv/monitor.h"
#include "hv/monitor_view.h"
#include "hv/reclaimer.h"
#include "hv/sampler_thread.h"
#include "hv/scenario.h"
#include "hv/sched.h"
#include "hv/selftest.h"
#include "hv/swapper.h"
#include "hv/verdict.h"
#include "hv/vm.h"
#include "lib/cmdline.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "mm/trace.h"

#define CPU_WAIT_NS 5000000000ull

typedef unsigned long long ull;

static struct scenario scenario;
static const struct boot_info *boot;

static void log_caps(void)
{
	char text[1024] = "";
	size_t len = 0;

	for (u32 i = 0; i < vendor_caps.nr_caps && len < sizeof(text); i++) {
		const struct vendor_cap *cap = &vendor_caps.cap[i];
		bool fallback = !cap->have && cap->fallback;

		len += (size_t)fmt_snprintf(text + len, sizeof(text) - len, " %s%s%s%s%s",
		                            cap->have ? "+" : "-", cap->name, fallback ? " (" : "",
		                            fallback ? cap->fallback : "", fallback ? ")" : "");
	}
	hal_log(HAL_INFO, "caps: %s:%s", vendor->name, text);
}

static void find_vendor(void)
{
	const char *why = NULL;

	if (vendor_init(&why) != VENDOR_OK)
		verdict_fail("%s", why);
	if (!vendor->enable())
		verdict_fail("the boot CPU refuses to turn virtualization on");
	log_caps();
}

/* Words of the command line that nobody knows are most likely misspelt. */
static bool word_known(const struct cmdline_word *word)
{
	static const char *const keys[] = {"console", "loglevel", "maxcpus", "failcpu", "selftest"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (cmdline_key_is(word, keys[i]))
			return true;
	return (word->key_len > 5 && !strncmp(word->text, "host.", 5)) ||
	       (word->key_len > 3 && !strncmp(word->text, "vm.", 3));
}

/* A quoted value may hold blanks: its further words are not looked at. */
static void warn_of_words(const char *cmdline)
{
	struct cmdline_word word;
	bool quoted = false;

	while (cmdline_next(&cmdline, &word)) {
		bool inside = quoted;

		for (size_t i = 0; i < word.len; i++)
			quoted ^= word.text[i] == '"';
		if (!inside && !word_known(&word))
			hal_log(HAL_WARN, "command line: nobody knows the word \"%.*s\"",
			        (int)word.len, word.text);
	}
}

static void read_scenario(void)
{
	struct scenario_error error = {""};

	if (!boot->nr_modules)
		verdict_fail("no scenario: the first boot module must be its text");
	if (!scenario_load(&scenario, (const char *)boot->module[0].data, boot->module[0].bytes,
	                   boot->cmdline, &error))
		verdict_fail("scenario: %s", error.text);
}

/* Before the first thread that could read them. */
static void set_policy(void)
{
	policy_init();
	a32_store(&policy.caps, scenario.caps);
	a32_store(&policy.lookaround, scenario.lookaround);
	a32_store(&policy.flush, scenario.flush);
	a32_store(&policy.batch, scenario.batch);
	a32_store(&policy.two_touch, scenario.two_touch);
	a32_store(&policy.fault_touch, scenario.fault_touch);
	a32_store(&policy.demote, scenario.demote);
	a32_store(&policy.probation, scenario.probation);
	a32_store(&policy.guard, scenario.guard);
	a32_store(&policy.chunk, scenario.chunk);
	a32_store(&policy.swappiness, scenario.swappiness);
	a32_store(&policy.locked, scenario.locked);
	a32_store(&policy.twolist, scenario.policy == SCENARIO_POLICY_TWOLIST);
	a32_store(&policy.direct_rate, scenario.direct_rate);
	a64_store(&policy.min_ttl_ns, scenario.min_ttl_ns);
	reclaimer_set_target(NULL, &scenario.target);
}

static void carve_memory(void)
{
	struct hostmem_extent got[FRAME_MAX_EXTENTS] = {0};
	struct frame_extent extent[FRAME_MAX_EXTENTS];
	u64 want = scenario.memory_bytes >> PAGE_SHIFT, free = hostmem_free_frames();
	unsigned n = 0;

	if (want > free || hostmem_carve(want, got, FRAME_MAX_EXTENTS) < want)
		verdict_fail(
		        "scenario: [host] memory is %llu MiB, but the machine has only %llu MiB "
		        "free",
		        (ull)scenario.memory_bytes >> 20, (ull)free >> (20 - PAGE_SHIFT));
	for (; n < FRAME_MAX_EXTENTS && got[n].frames; n++)
		extent[n] = (struct frame_extent){got[n].first, got[n].frames};
	if (!frame_init(extent, n) || !store_init())
		verdict_fail("the machine has no memory left for the frame table of %llu MiB",
		             (ull)scenario.memory_bytes >> 20);
}

/* Nobody starts if the worst case of all of them cannot be backed (unless that is wanted). */
static void admit_vms(void)
{
	struct limits_demand demand = {.nr_vms = scenario.nr_vms};
	const struct limits_supply supply = {.frames = frame_total(),
	                                     .free_pages = hostmem_free_frames(),
	                                     .overcommit = scenario.overcommit};

	for (u32 i = 0; i < scenario.nr_vms; i++) {
		demand.frames += scenario.vm[i].memory_bytes >> PAGE_SHIFT;
		demand.frames += scenario.vm[i].experiments ? EXPERIMENT_WINDOW_PAGES : 0;
		demand.min_frames += scenario.vm[i].min_bytes >> PAGE_SHIFT;
		demand.vcpus += scenario.vm[i].vcpus;
	}
	switch (limits_admit(&demand, &supply, frame_marks.high)) {
	case LIMITS_ADMITTED:
		return;
	case LIMITS_OVERCOMMIT:
		verdict_fail("scenario: the VMs' memory needs overcommit = yes");
	case LIMITS_MIN:
		verdict_fail(
		        "scenario: min of all VMs, and %llu KiB that are kept free, do not fit "
		        "into [host] memory",
		        (ull)frame_marks.high << (PAGE_SHIFT - 10));
	case LIMITS_TABLES:
		verdict_fail(
		        "scenario: the VMs' tables may need %llu MiB at worst, but the machine "
		        "has only %llu MiB free besides [host] memory: that needs overcommit = yes",
		        (ull)limits_table_pages(&demand) >> (20 - PAGE_SHIFT),
		        (ull)supply.free_pages >> (20 - PAGE_SHIFT));
	}
}

static void create_vm(const struct scenario_vm *config)
{
	const struct boot_module *image = scenario_find_image(config->image, boot);
	const char *why;

	if (!image)
		verdict_fail("scenario: line %u: [vm %s] image %s is not among the boot modules",
		             config->line, config->name, config->image);
	why = vm_create(config, image);
	if (why)
		verdict_fail("scenario: line %u: [vm %s] %s", config->line, config->name, why);
}

void hv_init(const struct boot_info *bi)
{
	boot = bi;
	warn_of_words(bi->cmdline);
	sched_init();
	hv_cpu_bind();
	find_vendor();
	read_scenario();
	set_policy();
	carve_memory();
	if (scenario.swap == SCENARIO_SWAP_VIRTIO)
		swapper_open(scenario.swap_pool);
	admit_vms();
	for (u32 i = 0; i < scenario.nr_vms; i++)
		create_vm(&scenario.vm[i]);
}

static bool cpu_wanted(unsigned cpu)
{
	return !scenario.cpus || cpu < scenario.cpus;
}

void hv_cpu_main(void)
{
	hv_cpu_bind();
	if (cpu_wanted(hal_cpu_id()) && vendor->enable())
		sched_start();
	a32_store(&this_hv_cpu()->state, HV_CPU_FAILED);
	cpu_halt_forever();
}

/* The boot CPU itself goes online in sched_start(); threads may be placed on it before. */
static void wait_for_cpus(void)
{
	u64 until = hal_time_ns() + CPU_WAIT_NS;

	a32_store(&this_hv_cpu()->state, HV_CPU_ONLINE);
	for (unsigned i = 0; i < hal_cpu_count(); i++) {
		while (a32_load(&hv_cpus[i].state) == HV_CPU_ABSENT && hal_time_ns() < until)
			hal_pause();
		if (a32_load(&hv_cpus[i].state) != HV_CPU_ONLINE && cpu_wanted(i))
			hal_log(HAL_WARN, "CPU %u cannot run guests and stays unused", i);
	}
}

static bool somebody_experiments(void)
{
	for (u32 i = 0; i < scenario.nr_vms; i++)
		if (scenario.vm[i].experiments)
			return true;
	return false;
}

/*
 * Without a preemption timer and a second level a machine is old, or Bochs's model of one, which keeps interrupts from a
 * guest with IF = 0. No CPU says of itself that it does that, so all of them get the tick.
 */
static void start_tick(void)
{
	if (vendor_caps.preemption_timer || vendor_caps.second_level)
		return;
	if (tick_start())
		hal_log(HAL_INFO, "an NMI ends time slices");
	else
		hal_log(HAL_WARN, "no I/O APIC: guests with interrupts off may keep their CPU");
}

void hv_main(void)
{
	wait_for_cpus();
	panic_also_say(view_trace_last);
	selftest_run(boot->cmdline);
	if (!reclaimer_create(scenario.aging_ns) || !sampler_thread_create() || !swapper_create() ||
	    !monitor_create(&scenario))
		verdict_fail("the machine has no memory left for the hypervisor's threads");
	if (somebody_experiments() && !ager_create())
		verdict_fail("the machine has no memory left for the ager");
	chaos_set(scenario.chaos_every);
	if (scenario.trace_on && !trace_switch(true))
		verdict_fail("the machine has no memory left for the trace");
	monitor_start();
	reclaimer_start();
	sampler_thread_start();
	for (unsigned i = 0; i < vm_count; i++)
		if (!vm_start(&vms[i]))
			verdict_fail("vm %s: the machine has no memory left for its threads",
			             vms[i].name);
	start_tick();
	sched_start();
}
