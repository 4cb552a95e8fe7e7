#include "hv/stats.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "arch/x86/vendor.h"
#include "hv/scenario.h"
#include "hv/vm.h"
#include "lib/fmt.h"
#include "lib/hist.h"
#include "mm/frame.h"
#include "mm/pool.h"
#include "mm/trace.h"

#define FORMAT_VERSION 1

typedef unsigned long long ull;

/* One line that grows; what does not fit is lost, and the lines are far from that. */
struct line {
	size_t len;
	char text[2048];
};

static void printf_like(2, 3) add(struct line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->text) - l->len;
	va_list args;
	int n;

	va_start(args, fmt);
	n = fmt_vsnprintf(l->text + l->len, room, fmt, args);
	va_end(args);
	l->len += min_of((size_t)n, room - 1);
}

/* A JSON string; control characters and what is not ASCII do not come this far but are cheap to stop. */
static void add_string(struct line *l, const char *s)
{
	add(l, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			add(l, "\\%c", *s);
		else
			add(l, "%c", *s >= ' ' && *s < 0x7f ? *s : ' ');
	}
	add(l, "\"");
}

static void add_count(struct line *l, const char *name, u64 value)
{
	add(l, ",\"%s\":%llu", name, (ull)value);
}

static void send(struct line *l)
{
	add(l, "}\n");
	stats_write(l->text, l->len);
}

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
	out->huge_faults = a64_load(&st->huge_faults_total);
	out->splits = a64_load(&st->splits_total);
	out->evictions = a64_load(&st->evictions_total);
	out->refaults = a64_load(&st->refaults_total);
	out->rescues = a64_load(&st->rescues_total);
	out->passes = a64_load(&st->passes_total);
	out->visited = a64_load(&st->visited_total);
	out->aging_ns = a64_load(&st->aging_ns_total);
	out->faults = a64_load(&st->faults_total);
	out->fault_p50_ns = hist_percentile(&st->fault_ns, 500);
	out->fault_p99_ns = hist_percentile(&st->fault_ns, 990);
	out->fault_max_ns = a64_load(&st->fault_ns.max);
}

void stats_boot(const struct scenario *scenario)
{
	struct line l = {0};

	add(&l, "{\"type\":\"boot\",\"version\":%d,\"t_ns\":%llu,\"machine\":\"%s\",\"caps\":{",
	    FORMAT_VERSION, (ull)hal_time_ns(), vendor->name);
	for (u32 i = 0; i < vendor_caps.nr_caps; i++)
		add(&l, "%s\"%s\":%d", i ? "," : "", vendor_caps.cap[i].name,
		    vendor_caps.cap[i].have);
	add(&l, "},\"cpus\":%u,\"host_frames\":%llu,\"vms\":[", hal_cpu_count(),
	    (ull)frame_total());
	for (u32 i = 0; i < scenario->nr_vms; i++) {
		add(&l, "%s{\"vm\":", i ? "," : "");
		add_string(&l, vms[i].name);
		add(&l, ",\"frames\":%llu,\"vcpus\":%u,\"space\":%u}",
		    (ull)(vms[i].bytes >> PAGE_SHIFT), vms[i].nr_vcpus,
		    vms[i].space ? vms[i].space->id : 0u);
	}
	add(&l, "]");
	send(&l);
}

static void begin(struct line *l, const char *type, u64 t_ns)
{
	add(l, "{\"type\":\"%s\",\"t_ns\":%llu", type, (ull)t_ns);
}

static void add_vm(struct line *l, const struct vm *vm)
{
	add(l, ",\"vm\":");
	add_string(l, vm->name);
}

void stats_vm(const struct stats_vm *s)
{
	struct line l = {0};

	begin(&l, "vm", s->t_ns);
	add_vm(&l, s->vm);
	add(&l, ",\"state\":\"%s\",\"gens\":[", vm_state_name(s->vm));
	for (unsigned i = 0; i < s->nr_gens; i++)
		add(&l, "%s{\"seq\":%llu,\"age_ms\":%llu,\"clean\":%llu,\"dirty\":%llu}",
		    i ? "," : "", (ull)s->gen[i].seq, (ull)s->gen[i].age_ns / 1000000,
		    (ull)s->gen[i].frames[GEN_CLEAN], (ull)s->gen[i].frames[GEN_DIRTY]);
	add(&l, "]");
	add_count(&l, "none", s->none);
	add_count(&l, "resident", s->resident);
	add_count(&l, "zero", s->zero);
	add_count(&l, "pooled", s->pooled);
	add_count(&l, "evictions_total", s->evictions);
	add_count(&l, "refaults_total", s->refaults);
	add_count(&l, "rescues_total", s->rescues);
	add_count(&l, "passes_total", s->passes);
	add_count(&l, "visited_total", s->visited);
	add_count(&l, "aging_ns_total", s->aging_ns);
	add_count(&l, "faults_total", s->faults);
	add_count(&l, "fault_p50_ns", s->fault_p50_ns);
	add_count(&l, "fault_p99_ns", s->fault_p99_ns);
	add_count(&l, "fault_max_ns", s->fault_max_ns);
	add_count(&l, "huge", s->huge);
	add_count(&l, "huge_faults_total", s->huge_faults);
	add_count(&l, "splits_total", s->splits);
	send(&l);
}

void stats_host(u64 now_ns)
{
	struct store_stats st;
	struct line l = {0};

	store_snapshot(&st);
	begin(&l, "host", now_ns);
	add_count(&l, "frames", frame_total());
	add_count(&l, "free", frame_free_count());
	add_count(&l, "pool_frames", st.pool_frames);
	add_count(&l, "pool_bytes", st.compressed_bytes);
	add_count(&l, "pool_objects", st.objects);
	add_count(&l, "pool_meta_bytes", st.meta_bytes);
	add_count(&l, "hv_bytes", hal_pages_used() << PAGE_SHIFT);
	send(&l);
}

/* The bytes of the records as they lie in memory: 64 hexadecimal digits each. */
static void trace_line(void *arg, unsigned cpu, u64 lost, const struct trace_record *record,
                       unsigned n)
{
	static const char digits[] = "0123456789abcdef";
	const u8 *bytes = (const u8 *)record;
	struct line l = {0};

	static_assert(2 * TRACE_BATCH * sizeof(*record) + 128 < sizeof(l.text), "a line has room");
	(void)arg;
	add(&l, "{\"type\":\"trace\",\"version\":%d,\"cpu\":%u,\"lost\":%llu,\"records\":\"",
	    TRACE_VERSION, cpu, (ull)lost);
	for (size_t i = 0; i < n * sizeof(*record); i++) {
		l.text[l.len++] = digits[bytes[i] >> 4];
		l.text[l.len++] = digits[bytes[i] & 15];
	}
	add(&l, "\"");
	send(&l);
}

void stats_trace(void)
{
	trace_drain(trace_line, NULL, ~0ull);
}

void stats_bench(const struct vm *vm, const char *text)
{
	struct line l = {0};

	begin(&l, "bench", hal_time_ns());
	add_vm(&l, vm);
	add(&l, ",\"line\":");
	add_string(&l, text);
	send(&l);
}

void stats_result(const struct vm *vm, bool pass, const char *why)
{
	struct line l = {0};

	begin(&l, "result", hal_time_ns());
	add_vm(&l, vm);
	add(&l, ",\"verdict\":\"%s\",\"why\":", pass ? "PASS" : "FAIL");
	add_string(&l, why);
	send(&l);
}

void stats_verdict(const struct stats_end *end)
{
	struct line l = {0};

	begin(&l, "verdict", hal_time_ns());
	add(&l, ",\"verdict\":\"%s\",\"why\":", end->pass ? "PASS" : "FAIL");
	add_string(&l, end->why);
	add_count(&l, "saved_bytes", end->saved_bytes);
	add_count(&l, "pool_ratio_pct", end->pool_ratio_pct);
	add_count(&l, "worst_fault_ns", end->worst_fault_ns);
	send(&l);
}
