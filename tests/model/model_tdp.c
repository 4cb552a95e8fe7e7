/*
 * Random guests against an oracle that remembers every word they wrote: two vCPUs with TLBs of their own,
 * the hypervisor's accesses, aging, eviction by the real evictor, single zaps, all interleaved at random
 * on every entry format. What comes back is what was written (I8), nothing that is not present names a
 * frame (I6), and the audit is clean all the way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/collapse.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/vm.h"
#include "tests/model/steps.h"

/* model_huge includes this file with 2 MiB mappings, for which memory has to be plenty. */
#ifdef MODEL_HUGE
#define PAGES  1536u
#define FRAMES 6144u
#else
#define PAGES      700u
#define FRAMES     400u /* the pool takes its part of them */
#define MODEL_HUGE 0
#endif
#define WORDS     4u /* of each page, that the guests use */
#define WORD_STEP (PAGE_SIZE / WORDS)
#define VCPUS     3u
#define NEAR      1000u /* steps from the first on that are looked at one by one */

static struct host_vm vm;
static u64 oracle[PAGES][WORDS];
static u64 seed, step;

static void fail(const char *what, u64 g, u64 expected, u64 found)
{
	printf("%s: step %llu: %s: gfn %llu, expected %#llx, found %#llx\n", vm.tdp.format->name,
	       (unsigned long long)step, what, (unsigned long long)g, (unsigned long long)expected,
	       (unsigned long long)found);
	exit(1);
}

static u64 random_below(u64 n)
{
	return host_random(&seed) % n;
}

/* Few pages are hot, so that generations mean something. */
static u64 random_page(void)
{
	return random_below(4) ? random_below(PAGES / 8) : random_below(PAGES);
}

static u64 random_value(void)
{
	/* Zero and filled pages, pages that pack well and badly: all stores have work. */
	switch (random_below(4)) {
	case 0:
		return 0;
	case 1:
		return 0x0101010101010101ull * random_below(3);
	default:
		return host_random(&seed);
	}
}

static void must(enum fault_result result, u64 g)
{
	if (result != FAULT_FIXED)
		fail("access fails", g, FAULT_FIXED, result);
}

static gpa_t address(u64 g, u64 word)
{
	return gpa(g * PAGE_SIZE + word * WORD_STEP);
}

static void do_read(void)
{
	u64 g = random_page(), word = random_below(WORDS), value = 0;

	must(host_vm_read(&vm, (unsigned)random_below(VCPUS), address(g, word), &value), g);
	if (value != oracle[g][word])
		fail("guest reads", g, oracle[g][word], value);
}

static void do_write(void)
{
	u64 g = random_page(), word = random_below(WORDS);

	oracle[g][word] = random_value();
	must(host_vm_write(&vm, (unsigned)random_below(VCPUS), address(g, word), oracle[g][word]),
	     g);
}

static void do_fill(void)
{
	u64 g = random_page(), value = random_value();

	for (u64 i = 0; i < PAGE_SIZE / 8; i++)
		must(host_vm_write(&vm, 0, gpa(g * PAGE_SIZE + i * 8), value), g);
	for (u64 word = 0; word < WORDS; word++)
		oracle[g][word] = value;
}

static void do_hypervisor_read(void)
{
	u64 g = random_page(), word = random_below(WORDS), value = 0;

	if (guest_read(&vm.mem, address(g, word), &value, 8) != 8 || value != oracle[g][word])
		fail("hypervisor reads", g, oracle[g][word], value);
}

static void do_hypervisor_write(void)
{
	u64 g = random_page(), word = random_below(WORDS);

	oracle[g][word] = random_value();
	if (guest_write(&vm.mem, address(g, word), &oracle[g][word], 8) != 8)
		fail("hypervisor writes", g, 8, 0);
}

static void do_age(void)
{
	u64 bitmap[NOTIFIER_WORDS], visited = 0;
	unsigned n = 1 + (unsigned)random_below(512);

	memset(bitmap, 0xff, sizeof(bitmap));
	notifier_age(vm.space, gfn(random_below(PAGES)), n, bitmap,
	             random_below(3) ? NOTIFIER_CLEAR : NOTIFIER_TEST, &visited);
}

static void do_pass(void)
{
	age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
}

static void do_evict(void)
{
	evict_space(vm.space, evict_any(1 + random_below(32)));
}

/* Translations may be dropped at will: the gfn map is the authority. */
static void do_drop_translation(void)
{
	u64 g = random_page();
	struct notifier_zap zap;
	struct frame *f;
	a64 *where;
	u64 word;

	invalidate_begin(vm.space, gfn(g), gfn(g));
	notifier_zap(vm.space, gfn(g), &zap);
	epoch_enter();
	where = gfnmap_word(vm.space, gfn(g));
	word = a64_load(where);
	f = gfn_word_tag(word) == GFN_RESIDENT ? frame_at(gfn_word_frame(word)) : NULL;
	epoch_exit();
	invalidate_end(vm.space, gfn(g), gfn(g));
	if (zap.mapped != (f != NULL) && zap.mapped)
		fail("mapped without a frame", g, 0, word);
	/* As every zap must: what the entry knew goes to the core. */
	if (zap.dirty)
		must(fault_make_dirty(vm.space, gfn(g)), g);
	flush_wait(vm.space, flush_request(vm.space));
}

static gfn_t random_range(void)
{
	return gfn(random_below(PAGES / TABLE_PAGES) * TABLE_PAGES);
}

static void do_split(void)
{
	notifier_split(vm.space, gfn(random_page()));
}

/* Most of the time the range is touched before, so that there is something to collapse. */
static void do_collapse(void)
{
	bool write = random_below(2); /* without Dirty bits only what was written is collapsed */
	gfn_t first = random_range();
	u64 value;

	for (u64 g = first.v; g < first.v + TABLE_PAGES && random_below(2000); g++) {
		value = oracle[g][0];
		must(write ? host_vm_write(&vm, 0, address(g, 0), value)
		           : host_vm_read(&vm, 0, address(g, 0), &value),
		     g);
	}
	(void)collapse_range(vm.space, first);
}

static u32 pin_resident(u64 g)
{
	u32 frame = FRAME_NONE;
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	if (gfn_word_tag(word) == GFN_RESIDENT && frame_pin_try(gfn_word_frame(word)))
		frame = gfn_word_frame(word);
	epoch_exit();
	return frame;
}

static void do_collapse_pinned(void)
{
	gfn_t first = random_range();
	u64 g = first.v + random_below(TABLE_PAGES);
	u32 frame = pin_resident(g);

	if (frame == FRAME_NONE)
		return;
	if (collapse_range(vm.space, first) == COLLAPSE_DONE)
		fail("a pinned page was moved", g, COLLAPSE_PINNED, COLLAPSE_DONE);
	frame_unpin(frame);
}

static void do_drop_page(void)
{
	u64 g = random_page();

	space_drop_range(vm.space, gfn(g), 1);
	memset(oracle[g], 0, sizeof(oracle[g]));
}

static void do_flush(void)
{
	flush_wait(vm.space, flush_request(vm.space));
}

static void do_check(void)
{
	u64 leaks = host_vm_leaks(&vm), faults = audit_all(NULL);

	if (leaks)
		fail("frame numbers in entries that are not present", 0, 0, leaks);
	if (faults)
		fail(host_log_last(), 0, 0, faults);
}

static const struct {
	void (*run)(void);
	unsigned weight;
} actions[] = {
        {do_read, 400},
        {do_write, 300},
        {do_fill, 10},
        {do_hypervisor_read, 40},
        {do_hypervisor_write, 40},
        {do_age, 60},
        {do_pass, 20},
        {do_evict, 30},
        {do_drop_translation, 60},
        {do_flush, 20},
        {do_check, 1},
        {do_split, MODEL_HUGE * 2},
        {do_collapse, MODEL_HUGE * 4},
        {do_collapse_pinned, MODEL_HUGE * 2},
        {do_drop_page, MODEL_HUGE * 2},
};

static void do_something(void)
{
	u64 total = 0, at;

	for (unsigned i = 0; i < ARRAY_SIZE(actions); i++)
		total += actions[i].weight;
	at = random_below(total);
	for (unsigned i = 0; i < ARRAY_SIZE(actions); i++) {
		if (at < actions[i].weight) {
			actions[i].run();
			return;
		}
		at -= actions[i].weight;
	}
}

static void read_everything(void)
{
	for (u64 g = 0; g < PAGES; g++) {
		for (u64 word = 0; word < WORDS; word++) {
			u64 value = 0;

			must(host_vm_read(&vm, 0, address(g, word), &value), g);
			if (value != oracle[g][word])
				fail("at the end", g, oracle[g][word], value);
		}
	}
}

static void report(void)
{
	const struct space_stats *s = &vm.space->stats;

	printf("%s: %llu steps, %llu faults, %llu fast, %llu evictions (%llu clean), %llu "
	       "refaults, "
	       "%llu entries visited\n",
	       vm.tdp.format->name, (unsigned long long)step,
	       (unsigned long long)a64_load(&s->faults_total),
	       (unsigned long long)a64_load(&vm.tdp.fixed_fast_total),
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->clean_evictions_total),
	       (unsigned long long)a64_load(&s->refaults_total),
	       (unsigned long long)a64_load(&s->visited_total));
	if (MODEL_HUGE)
		printf("  %llu large leaves by first touch, %llu split, %llu collapsed\n",
		       (unsigned long long)a64_load(&s->huge_faults_total),
		       (unsigned long long)a64_load(&s->splits_total),
		       (unsigned long long)a64_load(&s->collapses_total));
	if (MODEL_HUGE && (!a64_load(&s->huge_faults_total) || !a64_load(&s->splits_total) ||
	                   !a64_load(&s->collapses_total)))
		fail("no large leaf was made, split or made again", 0, 1, 0);
	/* The run is worth nothing if it did not come to these. */
	if (!a64_load(&s->evictions_total) || !a64_load(&s->clean_evictions_total) ||
	    !a64_load(&s->refaults_total))
		fail("nothing was evicted or came back", 0, 1, 0);
}

static const struct host_machine *machine_run;
static enum host_vm_fault planted;

static void run(const u32 *list, unsigned n)
{
	memset(oracle, 0, sizeof(oracle));
	host_vm_create(&vm, machine_run, PAGES, VCPUS);
	vm.fault = planted;
	a32_store(&vm.space->wants_huge, MODEL_HUGE);
	for (unsigned i = 0; i < n; i++) {
		step = list[i];
		seed = steps_random(list[i]);
		do_something();
		if (list[i] < NEAR)
			do_check();
	}
	do_check();
	read_everything();
	do_check();
	step = n;
	if (steps_whole)
		report();
	host_vm_destroy(&vm);
	if (frame_free_count() != FRAMES)
		fail("frames are missing", 0, FRAMES, frame_free_count());
}

static void wake(void)
{
}
static void out_of_memory(struct space *victim, const char *why)
{
	(void)victim;
	fail(why, 0, 0, 0);
}

/* What is left out on purpose is found, and what it takes is little. */
static bool planted_found(void)
{
	unsigned needed = 0;

	machine_run = &host_machines[0];
	planted = HOST_VM_NO_FLUSH;
	if (steps_pass(run, 1, 20000, true, &needed)) {
		printf("no flush at an entry: NOT found\n");
		return false;
	}
	return needed <= 12;
}

int main(void)
{
	static const struct reclaim_ops ops = {.wake = wake, .out_of_memory = out_of_memory};
	u64 steps = host_steps(400000);
	const char *text = getenv("VARVE_SEED");
	bool good = true;

	host_frames_create(FRAMES);
	reclaim_init(&ops);
	if (!store_init())
		return 1;
	for (unsigned i = 0; i < HOST_MACHINES; i++) {
		unsigned needed;

		machine_run = &host_machines[i];
		good &= steps_pass(run, (text ? strtoull(text, NULL, 0) : 0x7d9) + i,
		                   (unsigned)steps, false, &needed);
	}
	if (!getenv("VARVE_AS_IS"))
		good &= planted_found();
	host_frames_destroy();
	return good ? 0 : 1;
}
