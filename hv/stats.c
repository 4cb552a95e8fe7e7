#include "hv/stats.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "arch/x86/vendor.h"
#include "hv/scenario.h"
#include "hv/stats_line.h"
#include "hv/vm.h"
#include "lib/fmt.h"
#include "lib/hist.h"
#include "mm/age_flush.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/pool.h"
#include "mm/swap.h"
#include "mm/trace.h"

#define FORMAT_VERSION 1

typedef unsigned long long ull;

void stats_take(struct vm *vm, u64 now_ns, struct stats_vm *out)
{
	const struct space_stats *st = vm_stats(vm);
	struct space *s = vm->space;

	*out = (struct stats_vm){.vm = vm, .t_ns = now_ns};
	if (s) {
		u64 away = vm_pages_in_use(vm);

		out->nr_gens = gen_snapshot(&s->lru, out->gen);
		out->resident = a64_load(&s->resident);
		out->zero = a64_load(&s->zero) + a64_load(&s->filled);
		out->pooled = a64_load(&s->pooled);
		out->huge = a64_load(&s->huge_mappings);
		out->none = s->pages > away ? s->pages - away : 0;
	}
	out->evictions = a64_load(&st->evictions_total);
	out->refaults = a64_load(&st->refaults_total);
	out->passes = a64_load(&st->passes_total);
	out->visited = a64_load(&st->visited_total);
	out->aging_ns = a64_load(&st->aging_ns_total);
	out->faults = a64_load(&st->faults_total);
	out->fault_p50_ns = hist_percentile(&st->fault_ns, 500);
	out->fault_p99_ns = hist_percentile(&st->fault_ns, 990);
	out->fault_max_ns = a64_load(&st->fault_ns.max);
}

/* As they are when the first guest starts; a "command" line tells of each change. */
static void add_policy(struct stats_line *l)
{
	line_add(l, ",\"policy\":{\"caps\":%u,\"lookaround\":\"%s\",\"flush\":\"%s\"",
	         a32_load(&policy.caps), policy_lookaround_names[a32_load(&policy.lookaround)],
	         policy_flush_names[a32_load(&policy.flush)]);
	line_count(l, "batch", a32_load(&policy.batch));
	line_count(l, "two_touch", a32_load(&policy.two_touch));
	line_count(l, "fault_touch", a32_load(&policy.fault_touch));
	line_count(l, "demote", a32_load(&policy.demote));
	line_count(l, "probation", a32_load(&policy.probation));
	line_count(l, "guard", a32_load(&policy.guard));
	line_count(l, "chunk", a32_load(&policy.chunk));
	line_count(l, "swappiness", a32_load(&policy.swappiness));
	line_count(l, "twolist", a32_load(&policy.twolist));
	line_count(l, "locked", a32_load(&policy.locked));
	line_count(l, "direct_rate", a32_load(&policy.direct_rate));
	line_count(l, "min_ttl_ns", a64_load(&policy.min_ttl_ns));
	line_add(l, "}");
}

void stats_boot(const struct scenario *scenario)
{
	struct stats_line l = {0};

	line_add(&l,
	         "{\"type\":\"boot\",\"version\":%d,\"t_ns\":%llu,\"machine\":\"%s\",\"caps\":{",
	         FORMAT_VERSION, (ull)hal_time_ns(), vendor->name);
	for (u32 i = 0; i < vendor_caps.nr_caps; i++)
		line_add(&l, "%s\"%s\":%d", i ? "," : "", vendor_caps.cap[i].name,
		         vendor_caps.cap[i].have);
	line_add(&l, "},\"cpus\":%u,\"host_frames\":%llu,\"vms\":[", hal_cpu_count(),
	         (ull)frame_total());
	for (u32 i = 0; i < scenario->nr_vms; i++) {
		line_add(&l, "%s{\"vm\":", i ? "," : "");
		line_string(&l, vms[i].name);
		line_add(&l, ",\"frames\":%llu,\"vcpus\":%u,\"space\":%u}",
		         (ull)(vms[i].bytes >> PAGE_SHIFT), vms[i].nr_vcpus,
		         vms[i].space ? vms[i].space->id : 0u);
	}
	line_add(&l, "]");
	add_policy(&l);
	line_send(&l, stats_write);
}

/* In pages, as the limits are kept. */
static void add_limits(struct stats_line *l, const struct space_limits *limits)
{
	line_count(l, "min", a64_load(&limits->min));
	line_count(l, "low", a64_load(&limits->low));
	line_count(l, "limit", a64_load(&limits->limit));
	line_count(l, "min_ttl_ns", a64_load(&limits->min_ttl_ns));
	line_count(l, "weight", a32_load(&limits->weight));
}

/* Who found the MMU lock taken, and by whom; counted since the space was made, modulo 2^32. */
static void add_lock(struct stats_line *l, const struct rwlock *lock)
{
	line_count(l, "mmu_lock_reader_waits", a32_load(&lock->reader_waits));
	line_count(l, "mmu_lock_writer_waits_readers", a32_load(&lock->writer_waits_readers));
	line_count(l, "mmu_lock_writer_waits_writer", a32_load(&lock->writer_waits_writer));
}

void stats_vm(const struct stats_vm *s, stats_sink sink)
{
	const struct space_stats *st = vm_stats(s->vm);
	struct stats_line l = {0};

	line_begin(&l, "vm", s->t_ns);
	line_vm(&l, s->vm);
	line_add(&l, ",\"state\":\"%s\",\"gens\":[", vm_state_name(s->vm));
	for (unsigned i = 0; i < s->nr_gens; i++)
		line_add(&l, "%s{\"seq\":%llu,\"age_ms\":%llu,\"clean\":%llu,\"dirty\":%llu}",
		         i ? "," : "", (ull)s->gen[i].seq, (ull)s->gen[i].age_ns / 1000000,
		         (ull)s->gen[i].frames[GEN_CLEAN], (ull)s->gen[i].frames[GEN_DIRTY]);
	line_add(&l, "]");
	line_count(&l, "none", s->none);
	line_count(&l, "resident", s->resident);
	line_count(&l, "zero", s->zero);
	line_count(&l, "pooled", s->pooled);
	for (const struct stats_counter *c = stats_counters; c->name; c++)
		line_count(&l, c->name, stats_counter_of(st, c));
	line_add(&l, ",\"refault_distance\":[");
	for (unsigned i = 0; i < SPACE_DISTANCES; i++)
		line_add(&l, "%s%llu", i ? "," : "", (ull)a64_load(&st->refault_distance_total[i]));
	line_add(&l, "]");
	line_count(&l, "false_old_permille", age_false_old_permille(st));
	line_count(&l, "fault_p50_ns", s->fault_p50_ns);
	line_count(&l, "fault_p99_ns", s->fault_p99_ns);
	line_count(&l, "fault_max_ns", s->fault_max_ns);
	line_count(&l, "huge", s->huge);
	stats_shadow_line(&l, s->vm);
	if (s->vm->space) {
		line_count(&l, "direct_left", direct_left(s->vm->space));
		add_lock(&l, &s->vm->space->mmu_lock);
		add_limits(&l, &s->vm->space->limits);
	}
	line_send(&l, sink);
}

static void add_swap(struct stats_line *l, const struct store_stats *store)
{
	struct swap_stats st;

	if (swap_state() == SWAP_OFF)
		return;
	swap_snapshot(&st);
	line_add(l, ",\"swap\":\"%s\"", swap_state_names[st.state]);
	line_count(l, "swap_pages", store->on_disk);
	line_count(l, "swap_bytes", store->disk_bytes);
	line_count(l, "swap_sectors", st.sectors);
	line_count(l, "swap_sectors_used", st.sectors_used);
	line_count(l, "swap_moved_total", st.written_objects_total);
	line_count(l, "swap_moved_bytes_total", st.written_bytes_total);
	line_count(l, "swap_writes_total", st.writes_total);
	line_count(l, "swap_reads_total", st.reads_total);
	line_count(l, "swap_errors_total", st.errors_total);
	line_count(l, "swap_read_p50_ns", st.read_p50_ns);
	line_count(l, "swap_read_p99_ns", st.read_p99_ns);
	line_count(l, "swap_read_max_ns", st.read_max_ns);
}

void stats_host(u64 now_ns, stats_sink sink)
{
	struct store_stats st;
	struct stats_line l = {0};

	store_snapshot(&st);
	line_begin(&l, "host", now_ns);
	line_count(&l, "frames", frame_total());
	line_count(&l, "free", frame_free_count());
	line_count(&l, "pool_frames", st.pool_frames);
	line_count(&l, "pool_bytes", st.compressed_bytes);
	line_count(&l, "pool_objects", st.objects);
	line_count(&l, "pool_meta_bytes", st.meta_bytes);
	line_count(&l, "shared_pages", st.shared_pages);
	line_count(&l, "shared_bytes", st.shared_bytes);
	add_swap(&l, &st);
	line_count(&l, "hv_bytes", hal_pages_used() << PAGE_SHIFT);
	line_send(&l, sink);
}

void stats_all(u64 now_ns, stats_sink sink)
{
	struct stats_vm s;

	for (unsigned i = 0; i < vm_count; i++) {
		stats_take(&vms[i], now_ns, &s);
		stats_vm(&s, sink);
	}
	stats_host(now_ns, sink);
}

void stats_command(const char *text, bool typed)
{
	struct stats_line l = {0};

	line_begin(&l, "command", hal_time_ns());
	line_add(&l, ",\"from\":\"%s\",\"text\":", typed ? "console" : "timeline");
	line_string(&l, text);
	line_send(&l, stats_write);
}

/* The bytes of the records as they lie in memory: 64 hexadecimal digits each. */
static void trace_line(void *arg, unsigned cpu, u64 lost, const struct trace_record *record,
                       unsigned n)
{
	static const char digits[] = "0123456789abcdef";
	const u8 *bytes = (const u8 *)record;
	struct stats_line l = {0};

	static_assert(2 * TRACE_BATCH * sizeof(*record) + 128 < sizeof(l.text), "a line has room");
	(void)arg;
	line_add(&l, "{\"type\":\"trace\",\"version\":%d,\"cpu\":%u,\"lost\":%llu,\"records\":\"",
	         TRACE_VERSION, cpu, (ull)lost);
	for (size_t i = 0; i < n * sizeof(*record); i++) {
		l.text[l.len++] = digits[bytes[i] >> 4];
		l.text[l.len++] = digits[bytes[i] & 15];
	}
	line_add(&l, "\"");
	line_send(&l, stats_write);
}

void stats_trace(void)
{
	trace_drain(trace_line, NULL, ~0ull);
}

void stats_bench(const struct vm *vm, const char *text)
{
	struct stats_line l = {0};

	line_begin(&l, "bench", hal_time_ns());
	line_vm(&l, vm);
	line_add(&l, ",\"line\":");
	line_string(&l, text);
	line_send(&l, stats_write);
}

void stats_result(const struct vm *vm, bool pass, const char *why)
{
	struct stats_line l = {0};

	line_begin(&l, "result", hal_time_ns());
	line_vm(&l, vm);
	line_add(&l, ",\"verdict\":\"%s\",\"why\":", pass ? "PASS" : "FAIL");
	line_string(&l, why);
	line_send(&l, stats_write);
}

void stats_verdict(const struct stats_end *end)
{
	struct stats_line l = {0};

	line_begin(&l, "verdict", hal_time_ns());
	line_add(&l, ",\"verdict\":\"%s\",\"why\":", end->pass ? "PASS" : "FAIL");
	line_string(&l, end->why);
	line_count(&l, "saved_bytes", end->saved_bytes);
	line_count(&l, "pool_ratio_pct", end->pool_ratio_pct);
	line_count(&l, "worst_fault_ns", end->worst_fault_ns);
	line_send(&l, stats_write);
}
