#include "hv/monitor_view.h"

#include "arch/hal.h"
#include "hv/monitor_say.h"
#include "hv/vm.h"
#include "lib/fmt.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen_view.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/space.h"
#include "mm/trace.h"

#define MS_NS   1000000u
#define HISTORY 16u /* records of a page that are shown */
#define LAST    16u /* records of the trace in a panic */

typedef unsigned long long ull;

/* --- VMs and promises ------------------------------------------------------------------------- */

/* "none", "8M", "340K". */
struct size_text {
	char text[24];
};

static const char *size_text(u64 pages, struct size_text *t)
{
	u64 kib = pages << (PAGE_SHIFT - 10);

	if (!pages)
		return "none";
	if (kib % 1024)
		fmt_snprintf(t->text, sizeof(t->text), "%lluK", (ull)kib);
	else
		fmt_snprintf(t->text, sizeof(t->text), "%lluM", (ull)(kib / 1024));
	return t->text;
}

static const char *promise_text(const a64 *pages, struct size_text *t)
{
	return size_text(a64_load(pages), t);
}

void view_promises(struct space *s)
{
	const struct space_limits *l = &s->limits;
	struct size_text min, low, limit;

	say("vm %s: min %s, low %s, limit %s, min_ttl %llu ms, weight %u; resident %llu pages",
	    s->name, promise_text(&l->min, &min), promise_text(&l->low, &low),
	    promise_text(&l->limit, &limit), (ull)a64_load(&l->min_ttl_ns) / MS_NS,
	    a32_load(&l->weight), (ull)a64_load(&s->resident));
}

static void view_vm(struct vm *vm)
{
	struct space *s = vm->space;
	struct size_text memory;

	say("%-9s %-7s %7s %5u %9llu %8llu %8llu", vm->name, vm_state_name(vm),
	    size_text(vm->bytes >> PAGE_SHIFT, &memory), vm->nr_vcpus,
	    s ? (ull)a64_load(&s->resident) : 0,
	    s ? (ull)(a64_load(&s->zero) + a64_load(&s->filled)) : 0,
	    s ? (ull)a64_load(&s->pooled) : 0);
}

void view_vms(void)
{
	say("%-9s %-7s %7s %5s %9s %8s %8s", "vm", "state", "memory", "vcpus", "resident", "zero",
	    "pooled");
	for (unsigned i = 0; i < vm_count; i++)
		view_vm(&vms[i]);
	for (unsigned i = 0; i < vm_count; i++)
		if (vms[i].space)
			view_promises(vms[i].space);
	say("host: %llu frames, %llu free, %llu of the pool", (ull)frame_total(),
	    (ull)frame_free_count(), (ull)frame_pool_count());
}

/* --- generations ------------------------------------------------------------------------------ */

static void gen_lines(struct space *s)
{
	struct gen_view gen[GEN_MAX];
	unsigned n = gen_snapshot(&s->lru, gen);

	say("vm %s: %12s %10s %9s %9s", s->name, "seq", "age_ms", "clean", "dirty");
	for (unsigned i = 0; i < n; i++)
		say("    %12llu %10llu %9llu %9llu", (ull)gen[i].seq, (ull)gen[i].age_ns / MS_NS,
		    (ull)gen[i].frames[GEN_CLEAN], (ull)gen[i].frames[GEN_DIRTY]);
}

void view_gens(struct vm *vm)
{
	gen_lines(vm->space);
}

static void tier_lines(const struct gen_tiers_view *v, enum gen_type type)
{
	say("    %s: evicting from %llu, tiers above %u stay",
	    type == GEN_CLEAN ? "clean" : "dirty", (ull)v->min_seq[type], v->limit[type]);
	for (unsigned i = 0; i < GEN_TIERS; i++) {
		const struct gen_tier_view *t = &v->tier[type][i];

		say("      tier %u: %9llu R %9llu T %9llu r %9llu e %9llu p", i,
		    (ull)t->avg_refaulted, (ull)t->avg_total, (ull)t->refaulted, (ull)t->evicted,
		    (ull)t->protected_);
	}
}

void view_full(struct vm *vm)
{
	struct gen_tiers_view v;
	const struct space_stats *st = &vm->space->stats;

	gen_lines(vm->space);
	gen_tier_snapshot(&vm->space->lru, &v);
	for (unsigned type = 0; type < GEN_TYPES; type++)
		tier_lines(&v, type);
	say("    walks: %llu entries, %llu young; tables: %llu read, %llu untouched, %llu sparse",
	    (ull)a64_load(&st->visited_total), (ull)a64_load(&st->young_total),
	    (ull)a64_load(&st->tables_visited_total),
	    (ull)a64_load(&st->tables_skipped_nonleaf_total),
	    (ull)a64_load(&st->tables_skipped_bloom_total));
}

void view_working_set(struct space *s, u64 within_ns)
{
	struct gen_view gen[GEN_MAX];
	unsigned n = gen_snapshot(&s->lru, gen);
	u64 least = 0, most = 0;

	/* A page of a generation was seen between its birth and the birth of the next one. */
	for (unsigned i = 0; i < n; i++) {
		u64 frames = gen[i].frames[GEN_CLEAN] + gen[i].frames[GEN_DIRTY];

		if (gen[i].age_ns <= within_ns)
			least += frames;
		if (i + 1 == n || gen[i + 1].age_ns < within_ns)
			most += frames;
	}
	say("wss %s %llu ms: at least %llu, at most %llu pages", s->name, (ull)within_ns / MS_NS,
	    (ull)least, (ull)most);
}

void view_balloon(const struct space *s)
{
	const struct balloon *b = &s->balloon;
	const struct space_stats *st = &s->stats;
	bool urgent;
	u64 target = balloon_target(s, &urgent);

	say("balloon %s: %llu pages inside, %llu wanted%s; given %llu, returned %llu, touched "
	    "%llu; "
	    "reported free %llu",
	    s->name, (ull)a64_load(&b->inside), (ull)target, urgent ? " urgently" : "",
	    (ull)a64_load(&st->balloon_given_total), (ull)a64_load(&st->balloon_returned_total),
	    (ull)a64_load(&st->balloon_touched_total), (ull)a64_load(&st->reported_free_total));
	say("    the guest: %llu pages free, waits %llu of 1000; %s", (ull)a64_load(&b->guest_free),
	    (ull)a64_load(&b->guest_stall),
	    a64_load(&b->looked_ns) ? "it looks" : "it has never looked");
}

void view_sampler(struct space *s)
{
	/* The monitor thread's. */
	static struct sampler_report report;
	bool any = sampler_report(s, &report);

	say("sampler %s: %s, %llu reports, %u regions", s->name,
	    sampler_wanted(&s->sampler) ? "on" : "off", (ull)report.nr_reports, report.nr);
	if (any)
		say("    %12s %10s %12s %10s", "first", "pages", "accesses", "unchanged");
	for (u32 i = 0; i < report.nr; i++) {
		const struct sampler_region *r = &report.region[i];

		say("    0x%-10llx %10llu %9u/%u %10u", (ull)r->first.v, (ull)r->npages,
		    r->accesses, SAMPLER_SAMPLES, r->age);
	}
}

/* --- one page --------------------------------------------------------------------------------- */

static const char *tag_name(u64 word)
{
	static const char *const names[] = {"never touched", "resident",   "evicting", "zero",
	                                    "filled",        "compressed", "on disk"};

	return gfn_word_tag(word) < ARRAY_SIZE(names) ? names[gfn_word_tag(word)] : "broken";
}

struct flags_text {
	char text[80];
};

/* Of a frame's state, each with a blank before it. */
static const char *flags_text(u64 state, bool copy, struct flags_text *t)
{
	fmt_snprintf(t->text, sizeof(t->text), "%s%s%s%s%s%s%s",
	             state & FRAME_REFERENCED ? " referenced" : "",
	             state & FRAME_WORKINGSET ? " workingset" : "",
	             state & FRAME_PINS ? " pinned" : "", state & FRAME_HUGE ? " huge" : "",
	             state & FRAME_UNPACKABLE ? " unpackable" : "",
	             state & FRAME_SEEN ? " seen" : "", copy ? " copy" : "");
	return t->text;
}

static void view_frame(u32 frame, const struct gen_frame_view *v, bool copy)
{
	const char *type = v->type == GEN_CLEAN ? "clean" : "dirty";
	struct flags_text flags;

	if (v->listed)
		say("  frame %u: generation %llu (%llu younger), %llu ms, %s, tier %u%s", frame,
		    (ull)v->seq, (ull)v->steps, (ull)v->age_ns / MS_NS, type, v->tier,
		    v->evictable ? ", next to go" : "");
	else
		say("  frame %u: in no generation%s, %s, tier %u", frame,
		    v->isolated ? ", in an evictor's hands" : "", type, v->tier);
	say("  flags:%s", flags_text(v->state, copy, &flags));
}

/* What the word of a page that is away remembers. */
static void view_shadow(u64 word)
{
	say("  it went as %s, tier %llu%s, when generation %llu (of 4096) was the oldest",
	    word & GFN_CLEAN ? "clean" : "dirty", (ull)(word & GFN_TIER) >> GFN_TIER_SHIFT,
	    word & GFN_WORKINGSET ? ", of the working set" : "", (ull)gfn_word_seq(word));
}

/* What happened to it, as far as the trace goes back. */
static void view_event(const struct trace_record *r)
{
	static const char *const names[] = {
	        [TRACE_EVICT] = "evicted",
	        [TRACE_REJECT] = "chosen by the evictor, found young",
	        [TRACE_FAULT] = "touched for the first time",
	        [TRACE_REFAULT] = "brought back",
	        [TRACE_RESCUE] = "touched while being evicted",
	        [TRACE_SPLIT] = "its 2 MiB were split",
	        [TRACE_COLLAPSE] = "its 2 MiB were collapsed",
	        [TRACE_LOOKAROUND] = "found young, neighbours swept",
	};
	unsigned event = r->what & 0xff;
	u64 us = r->time_ns / 1000;

	if (event == TRACE_REFAULT)
		say("  [%3llu.%06llu] brought back, %llu generations later", (ull)us / 1000000,
		    (ull)us % 1000000, (ull)r->a >> TRACE_REFAULT_DISTANCE);
	else
		say("  [%3llu.%06llu] %s", (ull)us / 1000000, (ull)us % 1000000, names[event]);
}

void view_trace_last(void)
{
	/* A report may be made on any stack, and there is one report. */
	static struct trace_record record[LAST];
	unsigned n = trace_last(record, LAST);

	for (unsigned i = 0; i < n; i++) {
		const struct trace_record *r = &record[i];

		say("trace: ns %llu cpu %llu event %llu space %llu gfn 0x%llx a 0x%llx b 0x%llx",
		    (ull)r->time_ns, (ull)r->what >> 8 & 0xff, (ull)r->what & 0xff,
		    (ull)r->what >> 16 & 0xff, (ull)r->what >> 24, (ull)r->a, (ull)r->b);
	}
}

static void view_history(const struct space *s, gfn_t g)
{
	struct trace_record record[HISTORY];
	unsigned n = trace_page(s->id, g, record, HISTORY);

	for (unsigned i = 0; i < n; i++)
		view_event(&record[i]);
}

/* What is known of a page at one moment. */
struct page_view {
	bool exists; /* a slot has it */
	bool here;   /* it has a frame: `frame` is true of it */
	bool copy;
	u64 word;
	struct gen_frame_view frame;
};

static void page_look(struct space *s, gfn_t g, struct page_view *v)
{
	const a64 *where;

	*v = (struct page_view){.exists = false};
	epoch_enter();
	where = gfnmap_word(s, g);
	if (where) {
		v->exists = true;
		v->word = a64_load(where); /* a look: its frame may be somebody's else already */
		v->here = gfn_word_tag(v->word) == GFN_RESIDENT ||
		          gfn_word_tag(v->word) == GFN_EVICTING;
	}
	if (v->here) {
		gen_frame_snapshot(&s->lru, gfn_word_frame(v->word), &v->frame);
		v->copy = a64_load(&frame_at(gfn_word_frame(v->word))->copy) != 0;
	}
	epoch_exit();
}

void view_page(struct space *s, gfn_t g)
{
	struct page_view v;

	page_look(s, g, &v);
	if (!v.exists) {
		say("page %s 0x%llx: the VM has no memory there", s->name, (ull)g.v);
		return;
	}
	say("page %s 0x%llx: %s%s", s->name, (ull)g.v, tag_name(v.word),
	    v.word & GFN_BUSY ? ", being changed" : "");
	if (v.here)
		view_frame(gfn_word_frame(v.word), &v.frame, v.copy);
	else if (gfn_word_away(v.word))
		view_shadow(v.word);
	view_history(s, g);
}

/* --- many pages ------------------------------------------------------------------------------- */

/* Accessed and Dirty as the MMUs have them now; Dirty also if the frame is known to be. */
static void pagemap_resident(struct space *s, gfn_t g, const struct page_view *v)
{
	bool young = notifier_age_one(s, g, NOTIFIER_TEST) & NOTIFIER_YOUNG;
	struct flags_text flags;
	char seq[24] = "-";
	u64 dirty = 1;

	notifier_dirty(s, g, 1, &dirty);
	if (v->frame.listed)
		fmt_snprintf(seq, sizeof(seq), "%llu", (ull)v->frame.seq);
	say("  0x%-9llx %-13s %4s%s%s%s", (ull)g.v, tag_name(v->word), seq,
	    young ? " accessed" : "", dirty || v->frame.type == GEN_DIRTY ? " dirty" : "",
	    flags_text(v->frame.state, v->copy, &flags));
}

void view_pagemap(struct space *s, gfn_t first, unsigned n)
{
	struct page_view v;

	say("pagemap %s: %u pages from 0x%llx: state, generation, flags", s->name, n, (ull)first.v);
	for (unsigned i = 0; i < n; i++) {
		gfn_t g = gfn_add(first, i);

		page_look(s, g, &v);
		if (v.here)
			pagemap_resident(s, g, &v);
		else
			say("  0x%-9llx %-13s    -%s", (ull)g.v,
			    v.exists ? tag_name(v.word) : "no memory",
			    gfn_word_away(v.word) && v.word & GFN_WORKINGSET ? " workingset" : "");
	}
}
