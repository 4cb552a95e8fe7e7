/* The counters of VMs that run on shadow tables, in the lines of the statistics and for Prometheus. */
#include "hv/stats_line.h"

#include "arch/hal.h"
#include "hv/vm.h"

#define COUNTER(field, help)                                       \
	{                                                          \
#field, help, offsetof(struct shadow_stats, field) \
	}

static const struct stats_counter counter[] = {
        COUNTER(faults_total, "Page faults that shadow tables caused and that were repaired."),
        COUNTER(guest_total, "Page faults that went to the guest."),
        COUNTER(fixed_fast_total, "Leaves restored without the MMU lock."),
        COUNTER(made_total, "Shadow pages made."),
        COUNTER(zapped_total, "Shadow pages taken apart."),
        COUNTER(recycled_total, "Of these, for a limit or for want of memory."),
        COUNTER(unshadowed_total, "Of these, because the page with the guest's table was taken."),
        COUNTER(kept_total, "Pages that were not evicted because they hold tables in use."),
        COUNTER(unsync_total, "Tables that the guest was let write."),
        COUNTER(synced_total, "Tables read again."),
        COUNTER(stale_total, "Entries that had changed there."),
        COUNTER(settled_total, "Tables write-protected again."),
        COUNTER(overfull_total, "Pages mapped too often, all their entries dropped."),
};

static bool on_shadow(const struct vm *vm)
{
	return vm->mmu != SCENARIO_MMU_TDP;
}

static u64 value_of(const struct vm *vm, const struct stats_counter *c)
{
	return a64_load((const a64 *)((const char *)&vm->shadow.stats + c->offset));
}

void stats_shadow_line(struct stats_line *l, const struct vm *vm)
{
	if (!on_shadow(vm))
		return;
	line_add(l, ",\"shadow\":{\"pages\":%llu", (unsigned long long)a64_load(&vm->shadow.pages));
	line_count(l, "leaves", a64_load(&vm->shadow.leaves));
	line_count(l, "unsync", a64_load(&vm->shadow.unsynced));
	for (unsigned i = 0; i < ARRAY_SIZE(counter); i++)
		line_count(l, counter[i].name, value_of(vm, &counter[i]));
	line_add(l, "}");
}

static void metric(stats_sink sink, const char *name, const char *type, const char *help,
                   u64 (*value)(const struct vm *vm, const struct stats_counter *c),
                   const struct stats_counter *c)
{
	struct stats_line l = {0};

	line_add(&l, "# HELP varve_shadow_%s %s\n# TYPE varve_shadow_%s %s\n", name, help, name,
	         type);
	for (unsigned i = 0; i < vm_count; i++)
		if (on_shadow(&vms[i]))
			line_add(&l, "varve_shadow_%s{vm=\"%s\"} %llu\n", name, vms[i].name,
			         (unsigned long long)value(&vms[i], c));
	sink(l.text, l.len);
}

static u64 pages(const struct vm *vm, const struct stats_counter *c)
{
	(void)c;
	return a64_load(&vm->shadow.pages);
}

static u64 leaves(const struct vm *vm, const struct stats_counter *c)
{
	(void)c;
	return a64_load(&vm->shadow.leaves);
}

static u64 unsync(const struct vm *vm, const struct stats_counter *c)
{
	(void)c;
	return a64_load(&vm->shadow.unsynced);
}

void stats_shadow_prom(stats_sink sink)
{
	metric(sink, "pages", "gauge", "Shadow pages.", pages, NULL);
	metric(sink, "leaves", "gauge", "Translations in them.", leaves, NULL);
	metric(sink, "unsync", "gauge", "Shadow pages that may be stale.", unsync, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(counter); i++)
		metric(sink, counter[i].name, "counter", counter[i].help, value_of, &counter[i]);
}
