/*
 * Every interleaving, within a bound on preemptions, of vCPUs that write a page, somebody who switches the dirty log on
 * and reads it, and an evictor: over the real log, entries, faults, zaps and the hardware walker. A reading must have
 * every write that was over when it began and is in no reading before; and nothing else, once all is quiet.
 *
 * Where hardware writes down what it makes dirty (PML), the walker does, and a vCPU hands that on when it leaves, as
 * hv/run.c does.
 *
 * Then the test is tested: one at a time, the code is spoilt, and the explorer has to find it.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer_suite.h"

#include <stdio.h>
#include <string.h>

#include "lib/atomic.h"
#include "tests/host/walker.c"

enum mutant {
	NONE,
	STORE_FOR_CAS, /* an entry is replaced by a plain store */
	NO_LOG_FLUSH,  /* a reading does not wait for the TLBs */
	NO_SECTIONS,   /* ... nor for zaps that are under way */
	ZAP_UNTOLD,    /* a zap does not say that it found a write */
	ZAP_AT_ONCE,   /* what a zap noted is in a reading that did not flush since */
	CLEAN_UNTOLD,  /* Dirty is cleared, and the frame's state is not told */
	CLEAN_FREE,    /* Dirty is cleared while the page may go */
	NOTED_LATE,    /* what was written down is taken after Dirty is cleared */
	DIRTY_STAYS,   /* ... and Dirty is not cleared */
	DRAIN_LATE,    /* a vCPU says that it has left before it hands on what was written down */
	NO_DRAIN,      /* a reading does not make vCPUs leave before it looks */
	MODE_EARLY,    /* a vCPU decides whether to log before it counts as inside */
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "plain store instead of compare-exchange",
                                          "no flush",
                                          "zaps are not waited for",
                                          "zaps tell nothing",
                                          "what a zap noted read at once",
                                          "Dirty cleared, and nobody told",
                                          "Dirty cleared without BUSY",
                                          "what was written down taken after Dirty is cleared",
                                          "Dirty not cleared of what was written down",
                                          "left before what was written down is handed on",
                                          "vCPUs stay before a reading",
                                          "whether to log decided before the entry"};
static unsigned mutant; /* enum mutant */

static bool mutable_cas(a64 *a, u64 *expected, u64 desired)
{
	if (mutant != STORE_FOR_CAS)
		return a64_cas(a, expected, desired);
	a64_store(a, desired);
	return true;
}
#define a64_cas mutable_cas
#include "hv/mmu/spte.c"
#undef a64_cas
#include "hv/mmu/shadow.h"
#define shadow_tracks(sh, g)    ((void)(g), (sh) != NULL)
#define shadow_let_write(sh, g) ((void)(g), (void)(sh))
#include "hv/mmu/tdp_age.c"
#include "hv/mmu/tdp_fault.c"
#include "hv/mmu/tdp_iter.c"
#include "hv/mmu/tdp_zap.c"

static void mutable_write_lock(struct rwlock *lock)
{
	if (mutant != NO_SECTIONS)
		write_lock(lock);
}
static void mutable_write_unlock(struct rwlock *lock)
{
	if (mutant != NO_SECTIONS)
		write_unlock(lock);
}
static u64 mutable_fetch_and(a64 *word, u64 keep);
#define write_lock    mutable_write_lock
#define write_unlock  mutable_write_unlock
#define set_bits      log_set_bits
#define a64_fetch_and mutable_fetch_and
#include "mm/dirty_log.c"
#undef a64_fetch_and
#undef set_bits
#undef write_lock
#undef write_unlock
static void mutable_mark(struct space *s, gfn_t g)
{
	if (mutant != ZAP_UNTOLD)
		set_bit(s, g, mutant != ZAP_AT_ONCE);
}
#define dirty_log_mark mutable_mark
#include "hv/mmu/tdp_log.c"
#undef dirty_log_mark

/* --- the world of one guest page --- */

#define LOG_SPOILT(what) (mutant == (what))
#include "tests/model/log_page.h"

static u64 mutable_fetch_and(a64 *word, u64 keep)
{
	if (mutant == NOTED_LATE && scene_mode == DIRTY_LOG_HARDWARE && word == &world.bits[1])
		return a64_load(word);
	return a64_fetch_and(word, keep);
}

/* --- the actors --- */

/* As run_once() in hv/run.c. */
static void gate(struct vcpu *v, enum gate at)
{
	u64 *down = &world.down[v - guest.vcpu];

	if (at == (mutant == MODE_EARLY ? GATE_ENTERING : GATE_INSIDE)) {
		v->walker.log = dirty_log_mode(&world.space) == DIRTY_LOG_HARDWARE ? down : NULL;
		v->walker.log_room = 1;
	} else if (at == (mutant == DRAIN_LATE ? GATE_LEFT : GATE_LEAVING)) {
		if (v->walker.logged)
			dirty_log_hardware(&world.space, down, v->walker.logged);
		v->walker.logged = 0;
	}
}

static void guest_touch(struct vcpu *v, u64 *word, bool write, u64 value)
{
	explorer_yield();
	if (!write) {
		guest_check_read(v, *word);
		return;
	}
	*word = v->expect = value;
	world.written++;
}

static void run_writer(void)
{
	run_vcpu();
	guest_access(0, true, FIRST + 3);
	world.vcpus_done++;
}
static void run_writer2(void)
{
	run_vcpu2();
	world.vcpus_done++;
}

static unsigned read_log(void)
{
	unsigned over = world.written, n;
	u64 bitmap;

	dirty_log_sync(&world.space, GFN, 1);
	n = (unsigned)dirty_log_take(&world.space, GFN, 1, &bitmap);
	if (n) /* nothing yields between taking the bit and this */
		world.reported = world.written;
	else if (over > world.reported)
		explorer_panic("a write is missing in the log");
	return n;
}

static bool all_written(void *arg)
{
	(void)arg;
	return world.vcpus_done == world.vcpus;
}

/* Nobody writes any more. */
static void read_last(void)
{
	(void)read_log();
	/* What is in a reading may be noted by a zap meanwhile, and is in the next once more (mm/dirty_log.h). */
	if (scene_mode == DIRTY_LOG_HARDWARE && scene_nr == EVICTED)
		(void)read_log();
	if (read_log() && world.reported == world.written)
		explorer_panic("in the log, and not written");
}

static void run_reader(void)
{
	(void)read_log();
	explorer_wait(all_written, NULL);
	read_last();
}

static void run_starter(void)
{
	if (!dirty_log_start(&world.space, scene_mode))
		explorer_panic("not switched on");
	/* Whoever looks at the page now sees what is not in the log. */
	world.reported = world.written;
	explorer_wait(all_written, NULL);
	read_last();
}

static void run_evictor(void)
{
	struct notifier_zap zap = {.mapped = false};

	explorer_yield();
	if (tag() != GFN_RESIDENT)
		return;
	write_section(0, 1);
	tdp_zap(&world.tdp.notifier, GFN, &zap);
	explorer_yield();
	if (zap.dirty)
		world.copy_valid = false;
	if (!busy()) /* else it stays */
		set_tag(GFN_EVICTING);
	write_section(1, -1);
	shootdown();
	explorer_yield();
	if (tag() != GFN_EVICTING || busy())
		return;
	if (!world.copy_valid)
		memcpy(world.copy, frames[world.frame], sizeof(world.copy));
	set_tag(GFN_POOLED);
	frames[world.frame][0] = frames[world.frame][1] = POISON;
}

static void setup(void)
{
	memset(&world, 0, sizeof(world));
	memset(&guest, 0, sizeof(guest));
	memset(tables, 0, sizeof(tables));
	memset(frames, 0, sizeof(frames));
	guest.touch = guest_touch;
	guest.gate = gate;
	set_tag(GFN_RESIDENT);
	world.copy_valid = scene_clean;
	world.vcpus = scene_nr == TWO_WRITERS ? 2 : 1;
	world.space.dirty_log.mode.raw = scene_nr == STARTED ? DIRTY_LOG_OFF : scene_mode;
	world.space.logs_writes = true;
	for (unsigned i = 0; i < VCPUS; i++) {
		guest.vcpu[i].at = gpa(gfn_gpa(GFN).v + 8 * i);
		world.copy[i] = guest.vcpu[i].expect = frames[0][i] = FIRST;
	}
	guest_start(&world.tdp, &world.space, tables, scene_format, scene_kind);
}

static void check(void)
{
	u64 spte = tdp_find(&world.tdp, GFN).seen;
	bool leaf = spte_is_leaf(scene_format, 1, spte);

	if (!spte_valid(scene_format, 1, spte))
		explorer_panic("entry %#llx is no valid encoding", (unsigned long long)spte);
	for (unsigned i = 0; i < VCPUS; i++) {
		u64 has = tag() == GFN_POOLED ? world.copy[i] : frames[world.frame][i];

		if (has != guest.vcpu[i].expect)
			explorer_panic("a write was lost");
		if (!(leaf && spte_dirty(scene_format, spte)) && world.copy_valid &&
		    world.copy[i] != guest.vcpu[i].expect)
			explorer_panic("Dirty was lost");
	}
}

static const struct explorer_scene scenes[SCENES] = {
        [EVICTED] =
                {
                        .name = "writer, reader of the log, evictor",
                        .setup = setup,
                        .check = check,
                        .actor = {{"writer", run_writer},
                                  {"log", run_reader},
                                  {"evictor", run_evictor}},
                        .nr_actors = 3,
                },
        [TWO_WRITERS] =
                {
                        .name = "two writers, reader of the log",
                        .setup = setup,
                        .check = check,
                        .actor = {{"writer", run_writer},
                                  {"writer2", run_writer2},
                                  {"log", run_reader}},
                        .nr_actors = 3,
                },
        [STARTED] =
                {
                        .name = "writer, log switched on and read",
                        .setup = setup,
                        .check = check,
                        .actor = {{"writer", run_writer}, {"log", run_starter}},
                        .nr_actors = 2,
                },
};

#define CHOICES (SCENES * (unsigned)ARRAY_SIZE(machines) * (DIRTY_LOG_MODES - 1) * 2)

/* Scene, format, way of logging, and whether the page has a copy. */
static const struct explorer_scene *choose(unsigned number, char name[EXPLORER_NAME])
{
	unsigned machine = number / SCENES % ARRAY_SIZE(machines);
	unsigned way = number / (SCENES * (unsigned)ARRAY_SIZE(machines));

	scene_nr = number % SCENES;
	scene_format = machines[machine].format;
	scene_kind = machines[machine].kind;
	scene_mode = DIRTY_LOG_PROTECT + way / 2;
	scene_clean = way % 2;
	if (scene_mode == DIRTY_LOG_HARDWARE
	            ? scene_kind != WALKER_EPT_AD
	            : scene_mode != DIRTY_LOG_PROTECT && !spte_has_dirty(scene_format))
		return NULL;
	snprintf(name, EXPLORER_NAME, "%s, %s, %s%s", scenes[scene_nr].name, scene_format->name,
	         dirty_log_names[scene_mode], scene_clean ? ", clean" : "");
	return &scenes[scene_nr];
}

int main(void)
{
	static const struct explorer_suite suite = {.choose = choose,
	                                            .nr_scenes = CHOICES,
	                                            .mutant_name = mutant_name,
	                                            .nr_mutants = MUTANTS,
	                                            .mutant = &mutant,
	                                            .mutant_preemptions = 2};

	return explorer_suite_main(&suite);
}
