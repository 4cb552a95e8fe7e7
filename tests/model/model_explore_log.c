/*
 * Every interleaving, within a bound on preemptions, of vCPUs that write a page, somebody who reads the dirty log, and
 * an evictor: over the real log, entries, faults, zaps and the hardware walker. A reading must have every write that
 * was over when it began and is in no reading before; and nothing else, once all is quiet.
 *
 * Then the test is tested: one at a time, the code is spoilt, and the explorer has to find it.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer.h"

#include <stdio.h>
#include <stdlib.h>
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
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "plain store instead of compare-exchange",
                                          "no flush",
                                          "zaps are not waited for",
                                          "zaps tell nothing",
                                          "what a zap noted read at once",
                                          "Dirty cleared, and nobody told",
                                          "Dirty cleared without BUSY"};
static enum mutant mutant;

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
#define write_lock   mutable_write_lock
#define write_unlock mutable_write_unlock
#define set_bits     log_set_bits
#include "mm/dirty_log.c"
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

#define GFN    gfn(5)
#define POISON 0xdeadu
#include "tests/model/tdp_guest.h"

static struct {
	struct space space;
	struct tdp tdp;
	a64 word;
	unsigned frame;
	u64 copy[VCPUS];
	bool copy_valid;
	u64 seq;
	unsigned in_progress;
	unsigned epochs[EXPLORER_ACTORS];
	a64 bits[2]; /* of the slot: written, written down */
	/* of the log */
	unsigned written,
	        reported; /* writes: all, and those that a reading has: its reader looks at the page then */
	unsigned vcpus_done, vcpus;
} world;
static u64 frames[3][PAGE_SIZE / 8] aligned_to(PAGE_SIZE);
static a64 tables[4][TABLE_PAGES] aligned_to(PAGE_SIZE);

static enum gfn_tag tag(void)
{
	return gfn_word_tag(world.word.raw);
}
static bool busy(void)
{
	return world.word.raw & GFN_BUSY;
}
static void set_tag(enum gfn_tag to)
{
	world.word.raw = gfn_word(to, world.frame);
}

bool tdp_fault_huge(struct tdp *t, const struct tdp_access *a)
{
	(void)t, (void)a;
	return false;
}
void tdp_split_locked(struct tdp *t, gfn_t g)
{
	(void)t, (void)g;
	explorer_panic("split of what is not large");
}
void epoch_enter(void)
{
	world.epochs[explorer_self()]++;
}
void epoch_exit(void)
{
	world.epochs[explorer_self()]--;
}
bool epoch_active(void)
{
	return world.epochs[explorer_self()] != 0;
}
void hist_add(struct hist *h, u64 value)
{
	(void)h, (void)value;
}
pfn_t frame_pfn(u32 frame)
{
	return hal_ptr_pfn(frames[frame]);
}

/* --- gfn map, faults, notifiers --- */

const struct slot *gfnmap_slot(struct space *s, gfn_t g)
{
	static const struct slot slot = {
	        .npages = 64, .dirty = &world.bits[0], .noted = &world.bits[1]};

	(void)s, (void)g;
	return &slot;
}
const struct slots *gfnmap_slots(struct space *s)
{
	(void)s;
	explorer_panic("only one page is read");
}
a64 *gfnmap_word(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	return &world.word;
}
static bool not_busy(void *arg)
{
	(void)arg;
	return !busy();
}
bool gfnmap_busy_resident(struct space *s, gfn_t g, u64 *word)
{
	(void)s, (void)g;
	explorer_yield();
	explorer_wait(not_busy, NULL);
	if (tag() != GFN_RESIDENT)
		return false;
	*word = world.word.raw;
	if (mutant != CLEAN_FREE)
		world.word.raw |= GFN_BUSY;
	return true;
}
void gfnmap_busy_give(struct space *s, gfn_t g, u64 word)
{
	(void)s, (void)g, (void)word;
	explorer_yield();
	world.word.raw &= ~GFN_BUSY;
}
void fault_make_dirty_busy(struct space *s, u32 frame)
{
	(void)s, (void)frame;
	explorer_yield();
	if (mutant != CLEAN_UNTOLD)
		world.copy_valid = false;
}
enum fault_result fault_make_dirty(struct space *s, gfn_t g)
{
	(void)s, (void)g;
	explorer_panic("nobody beside the TDP");
}
enum fault_result fault_write_begin(struct space *s, gfn_t g, u64 *word)
{
	(void)s, (void)g;
	explorer_yield();
	if (tag() != GFN_RESIDENT || busy())
		return FAULT_RETRY;
	*word = world.word.raw;
	world.copy_valid = false;
	world.word.raw |= GFN_BUSY;
	return FAULT_FIXED;
}
void fault_write_end(struct space *s, gfn_t g, u64 word)
{
	gfnmap_busy_give(s, g, word);
}
enum fault_result fault_bring_in(struct space *s, gfn_t g, bool write, bool keep_copy,
                                 struct fault_page *out)
{
	(void)s, (void)g;
	explorer_yield();
	if (busy())
		return FAULT_RETRY;
	if (tag() == GFN_POOLED) {
		memcpy(frames[world.frame], world.copy, sizeof(world.copy));
		world.copy_valid = true;
	}
	set_tag(GFN_RESIDENT);
	if (write && !keep_copy)
		world.copy_valid = false;
	*out = (struct fault_page){.frame = world.frame, .clean = world.copy_valid};
	return FAULT_FIXED;
}
bool gen_promote(struct lruvec *l, u32 frame, u16 space_id, struct gen_batch *b)
{
	(void)l, (void)frame, (void)space_id, (void)b;
	return false;
}
void gen_batch_flush(struct lruvec *l, struct gen_batch *b)
{
	(void)l, (void)b;
}
bool notifier_all_log(const struct space *s)
{
	(void)s;
	return true;
}
bool notifiers_know_dirty(const struct space *s)
{
	(void)s;
	return true;
}
void notifier_split(struct space *s, gfn_t g)
{
	(void)s, (void)g;
}

void notifier_dirty(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	(void)s;
	epoch_enter();
	tdp_dirty(&world.tdp.notifier, first, npages, bitmap);
	epoch_exit();
}
void notifier_log_protect(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	(void)s;
	memset(bitmap, 0, NOTIFIER_WORDS * sizeof(u64));
	epoch_enter();
	tdp_log_protect(&world.tdp.notifier, first, npages, bitmap);
	epoch_exit();
}
bool notifier_log_clean(struct space *s, gfn_t g)
{
	(void)s;
	return tdp_log_clean(&world.tdp.notifier, g);
}

/* --- invalidations and flushes --- */

static void write_section(unsigned seq, int in_progress)
{
	explorer_yield();
	explorer_wait(nobody, NULL);
	world.seq += seq;
	world.in_progress += (unsigned)in_progress;
}
u64 invalidate_seq(const struct space *s)
{
	(void)s;
	explorer_yield();
	return world.seq;
}
bool invalidate_retry(const struct space *s, u64 seq, gfn_t g)
{
	(void)s, (void)g;
	explorer_yield();
	return world.in_progress || world.seq != seq;
}
u64 flush_request(struct space *s)
{
	(void)s;
	return 0;
}
void flush_wait(struct space *s, u64 gen)
{
	(void)s, (void)gen;
	if (mutant != NO_LOG_FLUSH)
		shootdown();
}

/* --- the actors --- */

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

static void run_reader(void)
{
	(void)read_log();
	explorer_wait(all_written, NULL);
	(void)read_log();
	if (read_log() && world.reported == world.written)
		explorer_panic("in the log, and not written");
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

static const struct spte_format *scene_format;
static enum walker_kind scene_kind;
static enum dirty_log_mode scene_mode;
static bool scene_clean; /* the page has a copy */
static unsigned scene_vcpus;

static void setup(void)
{
	memset(&world, 0, sizeof(world));
	memset(&guest, 0, sizeof(guest));
	memset(tables, 0, sizeof(tables));
	memset(frames, 0, sizeof(frames));
	guest.touch = guest_touch;
	set_tag(GFN_RESIDENT);
	world.copy_valid = scene_clean;
	world.vcpus = scene_vcpus;
	world.space.dirty_log.mode.raw = scene_mode;
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

static const struct explorer_scene scenes[] = {
        {
                .name = "writer, reader of the log, evictor",
                .setup = setup,
                .check = check,
                .actor = {{"writer", run_writer}, {"log", run_reader}, {"evictor", run_evictor}},
                .nr_actors = 3,
        },
        {
                .name = "two writers, reader of the log",
                .setup = setup,
                .check = check,
                .actor = {{"writer", run_writer}, {"writer2", run_writer2}, {"log", run_reader}},
                .nr_actors = 3,
        },
};

/* Scene, format, way of logging, and whether the page has a copy. False: there is no such thing. */
static bool choose(unsigned i)
{
	unsigned machine = i / 2 % ARRAY_SIZE(machines);

	scene_vcpus = 1 + i % 2;
	scene_format = machines[machine].format;
	scene_kind = machines[machine].kind;
	scene_mode = i / 8 % 2 ? DIRTY_LOG_BITS : DIRTY_LOG_PROTECT;
	scene_clean = i / 16 % 2;
	return scene_mode == DIRTY_LOG_PROTECT || spte_has_dirty(scene_format);
}
#define CHOICES 32u

static bool explore(unsigned i, unsigned preemptions, struct explorer_result *r)
{
	struct explorer_scene scene = scenes[i % 2];

	scene.max_preemptions = preemptions;
	explorer_run(&scene, r);
	return !r->failed && r->exhausted;
}

static bool explore_all(unsigned preemptions)
{
	struct explorer_result r;
	bool good = true;

	for (unsigned i = 0; i < CHOICES; i++) {
		bool one;

		if (!choose(i))
			continue;
		one = explore(i, preemptions, &r);
		printf("%s, %s, %s%s: %llu schedules of up to %u steps, all with up to %u "
		       "preemptions: %s %s\n",
		       scenes[i % 2].name, scene_format->name, dirty_log_names[scene_mode],
		       scene_clean ? ", clean" : "", (unsigned long long)r.schedules, r.longest,
		       preemptions, one ? "none bad" : r.why, one ? "" : r.trace);
		good &= one;
	}
	return good;
}

static bool explore_mutant(void)
{
	struct explorer_result r;

	for (unsigned bound = 0; bound <= 2; bound++) {
		for (unsigned i = 0; i < CHOICES; i++) {
			if (!choose(i))
				continue;
			(void)explore(i, bound, &r);
			if (!r.failed)
				continue;
			printf("%s: found on %s, %s, schedule %llu with %u preemptions: %s (%s)\n",
			       mutant_name[mutant], scene_format->name, dirty_log_names[scene_mode],
			       (unsigned long long)r.schedules, bound, r.why, r.trace);
			return true;
		}
	}
	printf("%s: NOT found\n", mutant_name[mutant]);
	return false;
}

int main(void)
{
	const char *bound = getenv("VARVE_PREEMPTIONS");
	bool good = explore_all(bound ? (unsigned)atoi(bound) : 2);

	for (mutant = NONE + 1; !getenv("VARVE_AS_IS") && mutant < MUTANTS; mutant++)
		good &= explore_mutant();
	return good ? 0 : 1;
}
