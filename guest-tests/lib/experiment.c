#include "guest-tests/lib/experiment.h"

#include "guest-tests/lib/console.h"
#include "guest-tests/lib/mem.h"
#include "guest-tests/lib/verdict.h"

u32 experiment_call(u32 command, u64 arg0, u64 arg1, struct port_regs *out)
{
	return port_call(EXPERIMENT_PORT, command, arg0, arg1, out);
}

static struct port_regs must(u32 command, u64 arg0, u64 arg1)
{
	struct port_regs out;
	u32 status = experiment_call(command, arg0, arg1, &out);

	VERDICT_CHECK(status == EXPERIMENT_OK, "experiment %u (0x%lx, 0x%lx) is refused: %u",
	              command, arg0, arg1, status);
	return out;
}

/* The window is mapped whether slots are there or not. */
void experiment_init(void)
{
	struct port_regs out;
	u32 status = experiment_call(EXPERIMENT_HELLO, 0, 0, &out);

	VERDICT_CHECK(status == EXPERIMENT_OK && out.rbx == EXPERIMENT_VERSION,
	              "no experiments here: the scenario needs experiments = yes");
	for (u64 page = 0; page < EXPERIMENT_WINDOW_PAGES; page += LARGE_SIZE / PAGE_SIZE)
		mem_map_window((u64)experiment_window(page));
}

u64 *experiment_window(u64 page)
{
	return (u64 *)((EXPERIMENT_WINDOW_FIRST + page) * PAGE_SIZE);
}

struct experiment_pass experiment_age(bool force)
{
	struct port_regs r = must(EXPERIMENT_AGE, force, 0);

	return (struct experiment_pass){r.rbx, r.rcx, r.rsi, r.rdi, r.r8, r.r9, r.r10};
}

/* Runs a command on any number of pages; adds result 0. */
static u64 on_range(u32 command, const void *first, u64 pages)
{
	u64 sum = 0, gfn = (u64)first / PAGE_SIZE;

	for (u64 n; pages; gfn += n, pages -= n) {
		n = pages < EXPERIMENT_PAGES_MAX ? pages : EXPERIMENT_PAGES_MAX;
		sum += must(command, gfn, n).rbx;
	}
	return sum;
}

void experiment_ages_add(const void *first, u64 pages, struct experiment_ages *sum)
{
	u64 gfn = (u64)first / PAGE_SIZE;

	for (u64 n; pages; gfn += n, pages -= n) {
		struct port_regs r;

		n = pages < EXPERIMENT_PAGES_MAX ? pages : EXPERIMENT_PAGES_MAX;
		r = must(EXPERIMENT_AGES, gfn, n);
		sum->gen[0] += r.rbx;
		sum->gen[1] += r.rcx;
		sum->gen[2] += r.rsi;
		sum->gen[3] += r.rdi;
		sum->unlisted += r.r8;
		sum->away += r.r9;
		sum->none += r.r10;
		sum->youngest = r.r11;
	}
}

struct experiment_ages experiment_ages_of(const void *first, u64 pages)
{
	struct experiment_ages sum = {.youngest = 0};

	experiment_ages_add(first, pages, &sum);
	return sum;
}

bool experiment_heat_of(const void *page, struct experiment_heat *heat)
{
	struct port_regs r;

	if (experiment_call(EXPERIMENT_HEAT, (u64)page / PAGE_SIZE, 0, &r) != EXPERIMENT_OK)
		return false;
	*heat = (struct experiment_heat){r.rbx, r.rcx, r.rsi, r.rdi, r.r8, r.r9, r.r10};
	return true;
}

void experiment_zap_all(void)
{
	(void)on_range(EXPERIMENT_ZAP, NULL, mem_top() / PAGE_SIZE);
	(void)on_range(EXPERIMENT_ZAP, experiment_window(0), EXPERIMENT_WINDOW_PAGES);
}

bool experiment_protect(const void *first, u64 pages)
{
	struct port_regs out;
	u32 status = experiment_call(EXPERIMENT_PROTECT, (u64)first / PAGE_SIZE, pages, &out);

	VERDICT_CHECK(status == EXPERIMENT_OK || status == EXPERIMENT_REFUSED,
	              "%lu pages cannot be protected: %u", pages, status);
	return status == EXPERIMENT_OK;
}

void experiment_protect_nothing(void)
{
	(void)must(EXPERIMENT_PROTECT, 0, 0);
}

void experiment_unmap(const void *first, u64 pages)
{
	(void)on_range(EXPERIMENT_UNMAP, first, pages);
}

bool experiment_slot_add(u64 page, u64 pages)
{
	struct port_regs out;

	return experiment_call(EXPERIMENT_SLOT_ADD, EXPERIMENT_WINDOW_FIRST + page, pages, &out) ==
	       EXPERIMENT_OK;
}

bool experiment_slot_remove(u64 page)
{
	struct port_regs out;

	return experiment_call(EXPERIMENT_SLOT_REMOVE, EXPERIMENT_WINDOW_FIRST + page, 1, &out) ==
	       EXPERIMENT_OK;
}

void experiment_duty(unsigned percent, bool burn)
{
	(void)must(EXPERIMENT_DUTY, percent, burn);
}

struct experiment_duty experiment_duty_end(void)
{
	struct port_regs r = must(EXPERIMENT_DUTY, 0, 0);

	return (struct experiment_duty){r.rbx, r.rcx, r.rsi};
}

struct experiment_faults experiment_fault_times(bool anew)
{
	struct port_regs r = must(EXPERIMENT_FAULT_TIMES, anew, 0);

	return (struct experiment_faults){r.rbx, r.rcx, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11};
}

static struct {
	enum experiment_ager ager;
	unsigned duty;
	struct experiment_faults before;
} beside;

void experiment_beside_begin(enum experiment_ager ager, unsigned duty)
{
	beside.ager = ager;
	beside.duty = duty;
	beside.before = experiment_fault_times(true);
	if (ager != EXPERIMENT_ALONE)
		experiment_duty(duty, ager == EXPERIMENT_BURN);
}

u64 experiment_beside_end(const char *name, u64 run)
{
	static const char *const work[] = {"none", "burn", "passes"};
	struct experiment_duty d = experiment_duty_end();
	struct experiment_faults f = experiment_fault_times(true);
	u64 mean = f.total_ns / (f.faults + !f.faults);

	console_printf(
	        "bench %s_beside run=%lu work=%s asked=%u had_permille=%lu passes=%lu "
	        "pass_ns=%lu faults=%lu mean_ns=%lu p50_ns=%lu p99_ns=%lu p999_ns=%lu max_ns=%lu "
	        "lock_wait_ns=%lu lock_waits=%lu\n",
	        name, run, work[beside.ager], beside.ager == EXPERIMENT_ALONE ? 0 : beside.duty,
	        d.busy_ns * 1000 / (d.whole_ns + 1), d.passes, d.passes ? d.busy_ns / d.passes : 0,
	        f.faults, mean, f.p50_ns, f.p99_ns, f.p999_ns, f.max_ns,
	        f.lock_wait_ns - beside.before.lock_wait_ns,
	        f.lock_waits - beside.before.lock_waits);
	return mean;
}

u64 experiment_reclaim(u64 pages)
{
	return must(EXPERIMENT_RECLAIM, pages, 0).rbx;
}

u64 experiment_counter(u32 which)
{
	return must(EXPERIMENT_COUNTER, which, 0).rbx;
}

bool experiment_dirty(u32 mode)
{
	struct port_regs out;
	u32 status = experiment_call(EXPERIMENT_DIRTY, mode, 0, &out);

	VERDICT_CHECK(status == EXPERIMENT_OK || status == EXPERIMENT_REFUSED,
	              "the dirty log cannot be switched to %u: %u", mode, status);
	return status == EXPERIMENT_OK;
}

void experiment_dirty_read(const void *first, u64 pages, u64 bitmap[EXPERIMENT_BITMAP_WORDS])
{
	struct port_regs r = must(EXPERIMENT_DIRTY_READ, (u64)first / PAGE_SIZE, pages);

	bitmap[0] = r.rbx;
	bitmap[1] = r.rcx;
	bitmap[2] = r.rsi;
	bitmap[3] = r.rdi;
	bitmap[4] = r.r8;
	bitmap[5] = r.r9;
	bitmap[6] = r.r10;
	bitmap[7] = r.r11;
}
