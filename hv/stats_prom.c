/*
 * The figures in Prometheus' text format: per metric a HELP and a TYPE line, then a sample for each VM, so
 * the metrics are gone through outside and the VMs inside.
 */
#include "hv/stats.h"

#include "arch/hal.h"
#include "hv/stats_line.h"
#include "hv/vm.h"
#include "mm/age_flush.h"
#include "mm/frame.h"
#include "mm/pool.h"
#include "mm/swap.h"

typedef unsigned long long ull;

#define COUNTER(field, help)                                      \
	{                                                         \
#field, help, offsetof(struct space_stats, field) \
	}

const struct stats_counter stats_counters[] = {
        COUNTER(faults_total, "Second-level faults resolved."),
        COUNTER(first_touch_total, "Pages touched for the first time."),
        COUNTER(evictions_total, "Pages that left their frame."),
        COUNTER(clean_evictions_total, "Evictions that found a valid copy."),
        COUNTER(refaults_total, "Pages brought back."),
        COUNTER(refaults_recent_total, "Pages brought back within the window of generations."),
        COUNTER(guard_alarms_total, "Times that recency began to rule."),
        COUNTER(guard_refaults_total, "Refaults while it ruled."),
        COUNTER(rescues_total, "Pages touched while they were being evicted."),
        COUNTER(rejected_total, "Pages that the evictor found young."),
        COUNTER(store_full_total, "Pages that no store took."),
        COUNTER(scanned_total, "Frames that evictors looked at."),
        COUNTER(sorted_total, "Frames that had been promoted since they were listed."),
        COUNTER(protected_total, "Frames of a tier that comes back too often."),
        COUNTER(demoted_total, "Frames that had been promoted, and had another turn."),
        COUNTER(rotated_total, "Frames that were pinned, or that a store had declined."),
        COUNTER(passes_total, "Aging passes."),
        COUNTER(visited_total, "Second-level entries read by aging."),
        COUNTER(young_total, "Entries that aging found accessed."),
        COUNTER(promoted_total, "Frames promoted by aging."),
        COUNTER(dirtied_total, "Frames listed as clean that aging found Dirty."),
        COUNTER(aging_ns_total, "Time spent aging, in ns."),
        COUNTER(harvest_waits_total,
                "Harvests that did not get the read side of the MMU lock at once."),
        COUNTER(harvest_left_total, "Harvests that left without it."),
        COUNTER(harvest_delays_total,
                "Harvests under the MMU lock that a writer of it waited for."),
        COUNTER(tables_visited_total, "Tables that aging read."),
        COUNTER(tables_skipped_nonleaf_total, "Tables skipped by the entry above them."),
        COUNTER(tables_skipped_bloom_total, "Tables skipped because the last walk found little."),
        COUNTER(walks_given_up_total, "Passes made without a walk, which did not pay."),
        COUNTER(lookarounds_total, "Neighbourhoods of young pages swept by the evictor."),
        COUNTER(lookarounds_hinted_total, "... or groups that the guest told of."),
        COUNTER(lookaround_promoted_total, "Frames promoted by that."),
        COUNTER(direct_reclaims_total, "Times a faulting vCPU had to reclaim by itself."),
        COUNTER(dirty_chunks_total, "Chunks that had to be packed to the last page."),
        COUNTER(limit_reclaims_total, "Faults at the limit."),
        COUNTER(over_limit_total, "Faults at the limit that found nothing to give for it."),
        COUNTER(direct_refused_total, "Faults that had to wait for others to reclaim."),
        COUNTER(stall_ns_total, "Time that vCPUs waited because memory was short, ns."),
        COUNTER(stall_some_ns_total, "Time in which at least one of them did, ns."),
        COUNTER(stall_all_ns_total, "Time in which all of them did, ns."),
        COUNTER(balloon_given_total, "Pages that the guest lent."),
        COUNTER(balloon_returned_total, "... took back."),
        COUNTER(balloon_touched_total, "... touched while they were lent."),
        COUNTER(reported_free_total, "Pages dropped because the guest said they are free."),
        COUNTER(sampled_total, "Pages that the region sampler looked at."),
        COUNTER(sampled_young_total, "... found touched."),
        COUNTER(sampled_passes_flushed_total, "Sampled passes behind a flush."),
        COUNTER(sampled_young_flushed_total, "Young pages that they found."),
        COUNTER(sampled_passes_unflushed_total, "Sampled passes without a flush before."),
        COUNTER(sampled_young_unflushed_total, "Young pages that those found."),
        COUNTER(huge_faults_total, "First touches of 512 pages at once."),
        COUNTER(splits_total, "Large leaves split into 512."),
        COUNTER(collapses_total, "Sets of 512 leaves made one large leaf again."),
        COUNTER(collapses_cold_total, "Ranges not collapsed: too few of the 512 pages were young."),
        COUNTER(collapses_pinned_total, "Ranges not collapsed: a page was in somebody's hands."),
        COUNTER(shared_total, "Evictions that found an equal page in the store."),
        COUNTER(shared_bytes_total, "Bytes that they did not need there."),
        COUNTER(given_total, "Pages given back by the controller."),
        {0},
};

static void metric(stats_sink sink, const char *name, const char *type, const char *help)
{
	struct stats_line l = {0};

	line_add(&l, "# HELP varve_%s %s\n# TYPE varve_%s %s\n", name, help, name, type);
	sink(l.text, l.len);
}

static void sample(stats_sink sink, const char *name, const struct vm *vm, u64 value)
{
	struct stats_line l = {0};

	line_add(&l, "varve_%s{vm=\"%s\"} %llu\n", name, vm->name, (ull)value);
	sink(l.text, l.len);
}

static void counters(stats_sink sink)
{
	for (const struct stats_counter *c = stats_counters; c->name; c++) {
		metric(sink, c->name, "counter", c->help);
		for (unsigned i = 0; i < vm_count; i++)
			sample(sink, c->name, &vms[i], stats_counter_of(vm_stats(&vms[i]), c));
	}
}

/* Of VMs that have their memory still. */
static void gauge(stats_sink sink, const char *name, const char *help,
                  u64 (*value)(const struct space *s))
{
	metric(sink, name, "gauge", help);
	for (unsigned i = 0; i < vm_count; i++)
		if (vms[i].space)
			sample(sink, name, &vms[i], value(vms[i].space));
}

static u64 resident(const struct space *s)
{
	return a64_load(&s->resident);
}

static u64 zero(const struct space *s)
{
	return a64_load(&s->zero) + a64_load(&s->filled);
}

static u64 pooled(const struct space *s)
{
	return a64_load(&s->pooled);
}

static u64 huge(const struct space *s)
{
	return a64_load(&s->huge_mappings);
}

static u64 may_reclaim(const struct space *s)
{
	return direct_left(s);
}

static u64 reader_waits(const struct space *s)
{
	return a32_load(&s->mmu_lock.reader_waits);
}

static u64 writer_waits_readers(const struct space *s)
{
	return a32_load(&s->mmu_lock.writer_waits_readers);
}

static u64 writer_waits_writer(const struct space *s)
{
	return a32_load(&s->mmu_lock.writer_waits_writer);
}

static u64 max_seq(const struct space *s)
{
	return a64_load(&s->lru.max_seq);
}

static u64 limit(const struct space *s)
{
	return a64_load(&s->limits.limit);
}

static void generation(stats_sink sink, const struct vm *vm, const struct gen_view *gen)
{
	static const char *const type[] = {"clean", "dirty"};
	struct stats_line l = {0};

	for (unsigned i = 0; i < GEN_TYPES; i++)
		line_add(&l, "varve_generation_pages{vm=\"%s\",seq=\"%llu\",type=\"%s\"} %llu\n",
		         vm->name, (ull)gen->seq, type[i], (ull)gen->frames[i]);
	sink(l.text, l.len);
}

static void generations(stats_sink sink)
{
	struct gen_view gen[GEN_MAX];

	metric(sink, "generation_pages", "gauge", "Resident pages of a generation.");
	for (unsigned i = 0; i < vm_count; i++) {
		unsigned n = vms[i].space ? gen_snapshot(&vms[i].space->lru, gen) : 0;

		for (unsigned k = 0; k < n; k++)
			generation(sink, &vms[i], &gen[k]);
	}
}

static void latency(stats_sink sink)
{
	metric(sink, "fault_ns", "summary", "Time to resolve a fault, in ns.");
	for (unsigned i = 0; i < vm_count; i++) {
		const struct hist *h = &vm_stats(&vms[i])->fault_ns;
		struct stats_line l = {0};

		line_add(&l, "varve_fault_ns{vm=\"%s\",quantile=\"0.5\"} %llu\n", vms[i].name,
		         (ull)hist_percentile(h, 500));
		line_add(&l, "varve_fault_ns{vm=\"%s\",quantile=\"0.99\"} %llu\n", vms[i].name,
		         (ull)hist_percentile(h, 990));
		sink(l.text, l.len);
	}
}

static void distances(stats_sink sink)
{
	metric(sink, "refault_distance_total", "counter", "Refaults by generations since.");
	for (unsigned i = 0; i < vm_count; i++) {
		const struct space_stats *st = vm_stats(&vms[i]);
		struct stats_line l = {0};

		for (unsigned d = 0; d < SPACE_DISTANCES; d++)
			line_add(&l,
			         "varve_refault_distance_total{vm=\"%s\",distance=\"%u\"} %llu\n",
			         vms[i].name, d, (ull)a64_load(&st->refault_distance_total[d]));
		sink(l.text, l.len);
	}
}

static void false_old(stats_sink sink)
{
	metric(sink, "false_old_permille", "gauge",
	       "Of a thousand touched pages, so many are missed without a flush.");
	for (unsigned i = 0; i < vm_count; i++)
		sample(sink, "false_old_permille", &vms[i],
		       age_false_old_permille(vm_stats(&vms[i])));
}

static void host_metric(stats_sink sink, const char *name, const char *type, const char *help,
                        u64 value)
{
	struct stats_line l = {0};

	metric(sink, name, type, help);
	line_add(&l, "varve_%s %llu\n", name, (ull)value);
	sink(l.text, l.len);
}

static void host_gauge(stats_sink sink, const char *name, const char *help, u64 value)
{
	host_metric(sink, name, "gauge", help, value);
}

static void host_counter(stats_sink sink, const char *name, const char *help, u64 value)
{
	host_metric(sink, name, "counter", help, value);
}

static void swap(stats_sink sink, const struct store_stats *store)
{
	struct stats_line l = {0};
	struct swap_stats st;

	if (swap_state() == SWAP_OFF)
		return;
	swap_snapshot(&st);
	host_gauge(sink, "swap_on", "1: pages may go to the disk.", st.state == SWAP_ON);
	host_gauge(sink, "swap_pages", "Pages on the disk.", store->on_disk);
	host_gauge(sink, "swap_bytes", "... what they are, compressed.", store->disk_bytes);
	host_gauge(sink, "swap_sectors", "Sectors of the disk.", st.sectors);
	host_gauge(sink, "swap_sectors_used", "... taken.", st.sectors_used);
	host_counter(sink, "swap_moved_total", "Pages moved there.", st.written_objects_total);
	host_counter(sink, "swap_moved_bytes_total", "... compressed.", st.written_bytes_total);
	host_counter(sink, "swap_writes_total", "Writes.", st.writes_total);
	host_counter(sink, "swap_reads_total", "Reads.", st.reads_total);
	host_counter(sink, "swap_errors_total", "Transfers that failed.", st.errors_total);
	metric(sink, "swap_read_ns", "summary", "Time to read a page back, in ns.");
	line_add(&l, "varve_swap_read_ns{quantile=\"0.5\"} %llu\n", (ull)st.read_p50_ns);
	line_add(&l, "varve_swap_read_ns{quantile=\"0.99\"} %llu\n", (ull)st.read_p99_ns);
	sink(l.text, l.len);
}

void stats_prom(stats_sink sink)
{
	struct store_stats st;

	store_snapshot(&st);
	counters(sink);
	gauge(sink, "resident_pages", "Pages in frames.", resident);
	gauge(sink, "zero_pages", "Pages kept as a pattern.", zero);
	gauge(sink, "pooled_pages", "Pages kept compressed.", pooled);
	gauge(sink, "huge_mappings", "Large leaves.", huge);
	gauge(sink, "limit_pages", "Pages that may be in frames; 0: no limit.", limit);
	gauge(sink, "direct_left", "Times that its vCPUs may reclaim by themselves now.",
	      may_reclaim);
	gauge(sink, "mmu_lock_reader_waits", "Readers that found a writer at the MMU lock.",
	      reader_waits);
	gauge(sink, "mmu_lock_writer_waits_readers", "Writers that waited for its readers.",
	      writer_waits_readers);
	gauge(sink, "mmu_lock_writer_waits_writer", "Writers that waited for another.",
	      writer_waits_writer);
	gauge(sink, "max_seq", "Number of the youngest generation.", max_seq);
	generations(sink);
	latency(sink);
	distances(sink);
	false_old(sink);
	stats_shadow_prom(sink);
	host_gauge(sink, "frames", "Frames of guests and pool.", frame_total());
	host_gauge(sink, "frames_free", "Frames nobody has.", frame_free_count());
	host_gauge(sink, "pool_frames", "Frames of the pool.", st.pool_frames);
	host_gauge(sink, "pool_bytes", "What is in the pool.", st.compressed_bytes);
	host_gauge(sink, "shared_pages", "Pages kept away without bytes of their own.",
	           st.shared_pages);
	host_gauge(sink, "shared_bytes", "What they would take.", st.shared_bytes);
	swap(sink, &st);
	host_gauge(sink, "hypervisor_bytes", "Memory of the hypervisor itself.",
	           hal_pages_used() << PAGE_SHIFT);
}
