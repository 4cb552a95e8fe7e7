#include "hv/vm.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "arch/x86/cpu.h"
#include "arch/x86/fpu.h"
#include "arch/x86/time.h"
#include "arch/x86/vendor.h"
#include "hv/experiment_call.h"
#include "hv/loader.h"
#include "hv/monitor.h"
#include "hv/reclaimer.h"
#include "hv/run.h"
#include "hv/stats.h"
#include "hv/thread.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "mm/age.h"
#include "mm/limits.h"

#define LOW_RAM_END       0xa0000u
#define HIGH_RAM          0x100000u
#define RAM_BELOW_DEVICES (3ull << 30)
#define RAM_ABOVE_DEVICES (4ull << 30)
#define BENCH_PREFIX      "bench "

struct vm vms[VM_MAX];
unsigned vm_count;

bool vm_uses_ad(const struct scenario_vm *config)
{
	return vendor_caps.ad && !config->ad_off;
}

bool vm_on_shadow(const struct vm *vm, u32 index)
{
	return vm->mmu == SCENARIO_MMU_SHADOW || (vm->mmu == SCENARIO_MMU_BOTH && index % 2);
}

const char *vm_state_name(const struct vm *vm)
{
	switch (a32_load(&vm->state)) {
	case VM_PASSED:
		return "passed";
	case VM_FAILED:
		return "failed";
	case VM_STOPPED:
		return "stopped";
	default:
		return "running";
	}
}

static void add_ram(struct vm *vm, u64 start, u64 end)
{
	if (start < end)
		vm->ram[vm->nr_ram++] = (struct vm_ram){start, end};
}

/* As on a PC: nothing where the VGA and the ROMs would be, nothing where the devices are. */
static void layout_ram(struct vm *vm, u64 bytes)
{
	u64 low = min_of(bytes, (u64)RAM_BELOW_DEVICES);

	vm->bytes = bytes;
	add_ram(vm, 0, min_of(low, (u64)LOW_RAM_END));
	add_ram(vm, HIGH_RAM, low);
	add_ram(vm, RAM_ABOVE_DEVICES, RAM_ABOVE_DEVICES + bytes - low);
}

bool vm_has_ram(const struct vm *vm, gpa_t at, u64 bytes)
{
	for (unsigned i = 0; i < vm->nr_ram; i++)
		if (at.v >= vm->ram[i].start && at.v + bytes <= vm->ram[i].end)
			return true;
	return false;
}

static void make_cpuid(struct vm *vm)
{
	struct cpuid_config config = {
	        .vcpus = vm->nr_vcpus,
	        .xcr0 = vendor_caps.xsetbv_exits ? fpu_xcr0() : 0,
	        .tsc_khz = (u32)(tsc_hz() / 1000),
	        .apic_khz = (u32)(VLAPIC_HZ / 1000),
	        .phys_bits = cpu_features.phys_bits,
	        .pcid = cpu_features.pcid && vendor_caps.invpcid,
	};

	cpuid_build(&vm->cpuid, &config, cpuid);
}

static void set_limits(struct space *s, const struct scenario_vm *config)
{
	a64_store(&s->limits.min, config->min_bytes >> PAGE_SHIFT);
	a64_store(&s->limits.low, config->low_bytes >> PAGE_SHIFT);
	limits_set_limit(s, config->limit_bytes >> PAGE_SHIFT);
	a64_store(&s->limits.min_ttl_ns, config->min_ttl_ns);
	a32_store(&s->limits.weight, config->weight);
	a32_store(&s->walk, config->walk);
	reclaimer_set_target(s, &config->target);
	sampler_switch(s, config->sampler);
}

static struct shadow_window shadow_window_of(const struct scenario_vm *config)
{
	return (struct shadow_window){.first = gfn(EXPERIMENT_WINDOW_FIRST),
	                              .npages = config->experiments ? EXPERIMENT_WINDOW_PAGES : 0};
}

/* The order is that in which mm asks them. Every CPU has Accessed and Dirty bits in ordinary tables. */
static bool make_mmus(struct vm *vm)
{
	struct tdp *tdp = vm->mmu == SCENARIO_MMU_SHADOW ? NULL : &vm->tdp;

	if (tdp &&
	    !tdp_create(tdp, vm->space, spte_format_of(vendor_caps.ept, vm_uses_ad(vm->config))))
		return false;
	vm->space->logs_writes = tdp && vendor_caps.logs_writes && vm_uses_ad(vm->config);
	if (vm->mmu == SCENARIO_MMU_TDP)
		return true;
	if (!shadow_create(&vm->shadow, vm->space, spte_shadow_format(!vm->config->ad_off), tdp,
	                   shadow_window_of(vm->config)))
		return false;
	vm->mem.shadow = &vm->shadow;
	return true;
}

/* False: it asks for what the machine does not have. */
static bool choose_mmu(struct vm *vm)
{
	vm->mmu = vm->config->mmu;
	if (vendor_caps.second_level || vm->mmu == SCENARIO_MMU_SHADOW)
		return true;
	if (vm->mmu == SCENARIO_MMU_BOTH)
		return false;
	vm->mmu = SCENARIO_MMU_SHADOW;
	hal_log(HAL_INFO, "[%s] mmu = shadow: this machine has neither EPT nor NPT", vm->name);
	return true;
}

/* Which of its MMUs answer at once when aging asks; in the order in which they are asked. */
static void say_aging(const struct vm *vm)
{
	char text[80] = "";
	size_t n = 0;

	for (u32 i = 0; age_built && i < space_notifiers(vm->space); i++) {
		const struct notifier_ops *ops = vm->space->notifier[i]->ops;

		n += (size_t)fmt_snprintf(text + n, sizeof(text) - n, " %s=%s", ops->name,
		                          ops->has_fast_aging ? "fast" : "slow");
	}
	hal_log(HAL_INFO, "[%s] aging:%s", vm->name, age_built ? text : " not in this image");
}

static bool make_memory(struct vm *vm)
{
	vm->space = space_create(vm->name, &run_space_ops, vm);
	if (!vm->space)
		return false;
	vm->mem.space = vm->space;
	vm->space->vcpus = vm->nr_vcpus;
	set_limits(vm->space, vm->config);
	vm->space->shares = vm->config->shares;
	a32_store(&vm->space->wants_huge, vm->config->huge && vm->mmu == SCENARIO_MMU_TDP);
	for (unsigned i = 0; i < vm->nr_ram; i++)
		if (!gfnmap_add(vm->space, gpa_gfn(gpa(vm->ram[i].start)),
		                (vm->ram[i].end - vm->ram[i].start) >> PAGE_SHIFT))
			return false;
	if (!make_mmus(vm) || (vm->config->pv && !balloon_enable(vm->space)))
		return false;
	if (vm->config->null_mmu) {
		null_create(&vm->null, vm->space);
		vm->mem.device = &vm->null;
	}
	say_aging(vm);
	return true;
}

static bool make_vcpus(struct vm *vm)
{
	u64 pages = (vm->nr_vcpus * sizeof(struct vcpu) + PAGE_SIZE - 1) / PAGE_SIZE;

	vm->vcpu = hal_pages_alloc(pages);
	if (!vm->vcpu)
		return false;
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (!vcpu_create(&vm->vcpu[i], vm, i))
			return false;
	return true;
}

const char *vm_create(const struct scenario_vm *config, const struct boot_module *image)
{
	static char text[VM_WHY_MAX];
	struct vm *vm = &vms[vm_count];
	const char *why;

	vm->index = vm_count;
	vm->config = config;
	vm->image = image;
	vm->nr_vcpus = config->vcpus;
	fmt_snprintf(vm->name, sizeof(vm->name), "%s", config->name);
	spin_init(&vm->device_lock, LOCK_DEVICE, "devices");
	vuart_reset(&vm->uart);
	layout_ram(vm, config->memory_bytes);
	why = loader_check(vm);
	if (why) {
		fmt_snprintf(text, sizeof(text), "image %s: %s", config->image, why);
		return text;
	}
	if (!choose_mmu(vm))
		return "mmu = both needs EPT or NPT, which this machine does not have";
	make_cpuid(vm);
	vm->stats = hal_pages_alloc((sizeof(*vm->stats) + PAGE_SIZE - 1) / PAGE_SIZE);
	if (!vm->stats || !make_memory(vm) || !make_vcpus(vm))
		return "the machine has no memory left for its tables";
	vm_count++;
	return NULL;
}

bool vm_start(struct vm *vm)
{
	a32_store(&vm->live, vm->nr_vcpus);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (!vcpu_make_thread(&vm->vcpu[i]))
			return false;
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		thread_wake(vm->vcpu[i].thread);
	return true;
}

void vm_stop(struct vm *vm, enum vm_state how, const char *fmt, ...)
{
	u32 running = VM_RUNNING;
	va_list args;

	if (!a32_cas(&vm->state, &running, VM_ENDING))
		return;
	va_start(args, fmt);
	fmt_vsnprintf(vm->why, sizeof(vm->why), fmt, args);
	va_end(args);
	vm->ended_ns = hal_time_ns();
	a32_store_release(&vm->state, how); /* ord V2: `why` is there for whoever sees the state */
	if (how == VM_STOPPED)
		hal_log(HAL_WARN, "[%s] stopped: %s", vm->name, vm->why);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vcpu_request(&vm->vcpu[i], VCPU_REQ_STOP);
	monitor_wake(); /* its vCPUs may have seen VM_ENDING, and be gone */
}

void vm_vcpu_left(struct vm *vm)
{
	if (a32_fetch_add(&vm->live, (u32)-1) ==
	    1) /* ord V3: all that its vCPUs did is before it */
		monitor_wake();
}

/* Who stops a VM need not be one of its vCPUs: they may all be gone while it still writes down why. */
bool vm_is_left(const struct vm *vm)
{
	u32 state = a32_load_acquire(&vm->state); /* ord V2 */

	return state != VM_RUNNING && state != VM_ENDING &&
	       !a32_load_acquire(&vm->live); /* ord V3 */
}

const struct space_stats *vm_stats(const struct vm *vm)
{
	return vm->space ? &vm->space->stats : vm->stats;
}

u64 vm_pages_in_use(struct vm *vm)
{
	struct space *s = vm->space;
	u64 pages;

	if (!s)
		return 0;
	pages = a64_load(&s->resident) + a64_load(&s->zero) + a64_load(&s->filled) +
	        a64_load(&s->pooled);
	vm->final.peak_pages = max_of(vm->final.peak_pages, pages);
	return pages;
}

void vm_take_down(struct vm *vm)
{
	vm_pages_in_use(vm);
	if (vuart_flush(&vm->uart)) {
		vm_guest_line(vm, vm->uart.line);
		vuart_line_done(&vm->uart);
	}
	memcpy(vm->stats, &vm->space->stats, sizeof(*vm->stats));
	space_drain(vm->space);
	if (vm->mmu != SCENARIO_MMU_TDP)
		shadow_destroy(&vm->shadow);
	if (vm->mmu != SCENARIO_MMU_SHADOW)
		tdp_destroy(&vm->tdp);
	space_destroy(vm->space);
	vm->space = NULL;
}

void vm_guest_line(struct vm *vm, const char *line)
{
	char text[SPACE_NAME_MAX + VUART_LINE_MAX + 8];
	int n = fmt_snprintf(text, sizeof(text), "[%s] %s\n", vm->name, line);

	console_write(text, min_of((size_t)n, sizeof(text) - 1));
	if (!strncmp(line, BENCH_PREFIX, strlen(BENCH_PREFIX)))
		stats_bench(vm, line);
}

bool vm_odd_msr(struct vm *vm, u32 msr)
{
	bool fresh = true;

	spin_lock(&vm->device_lock);
	for (u32 i = 0; i < vm->nr_odd_msrs; i++)
		fresh &= vm->odd_msr[i] != msr;
	if (vm->nr_odd_msrs == ARRAY_SIZE(vm->odd_msr))
		fresh = false; /* enough lines for one VM */
	else if (fresh)
		vm->odd_msr[vm->nr_odd_msrs++] = msr;
	spin_unlock(&vm->device_lock);
	return fresh;
}
