/*
 * The whole exit handler with exits that nobody would think of. The input is a program: it sets up a machine, a guest
 * and what surrounds it, then goes on with steps, most of which are an exit of one of its vCPUs. Exits come at three
 * levels: what SVM or VMX hardware leaves in its control block, made neutral by arch/x86; instructions with the
 * exit that is theirs; and neutral exits. Between them pages are aged, evicted and logged, and memory gets short.
 *
 * What may never happen: an assertion, a report of a sanitizer, a wait without end; an access to a frame that is not
 * the guest's (all others are poisoned); a translation that leads out of the guest; state that the CPU would refuse
 * to enter (tests/host/entry_check.h); a VM that stops without a reason; memory that does not come back.
 *
 * VARVE_PLANTED=N plants a fault that the seeds alone have to find (tests/all.py looks that each is, by what it should be).
 */
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

#include "arch/x86/regs.h"
#include "hv/chaos.h"
#include "hv/mmu/guest_mem.h"
#include "mm/age.h"
#include "mm/age_flush.h"
#include "mm/audit.h"
#include "mm/balloon.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/draw.h"
#include "tests/host/exits.h"
#include "tests/host/guest_modes.h"
#include "tests/host/hal.h"
#include "tests/host/hyper.h"
#include "tests/host/planted.h"
#include "tests/host/vm.h"

#define FRAMES      192u
#define GUEST_BYTES DRAW_LIMIT
#define GUEST_PAGES (GUEST_BYTES >> PAGE_SHIFT)
#define OTHER_PAGES 8u
#define STEPS_MAX   256u
#define STEP_APIC   30u
#define STEP_CALL   31u
#define TURNS_MAX   200u   /* of a vCPU that gets nowhere, though there is memory */
#define PAUSES_MAX  50000u /* in one turn */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
u32 __real_frame_alloc(enum frame_class class);
u32 __wrap_frame_alloc(enum frame_class class);
const char *__asan_default_options(void);

static struct {
	struct scenario_vm config;
	bool neutral;
	enum planted planted;
} f;

static struct space *other;
static u64 frames_at_rest, pages_at_rest;

static void fail(const char *what)
{
	fprintf(stderr, "fuzz_exit: %s\n", what);
	abort();
}

static void check(bool ok, const char *what)
{
	if (!ok)
		fail(what);
}

/* --- frames: who is not the guest's is poisoned --- */

static void poison(u32 frame, bool on)
{
	if (on)
		ASAN_POISON_MEMORY_REGION(frame_ptr(frame), PAGE_SIZE);
	else
		ASAN_UNPOISON_MEMORY_REGION(frame_ptr(frame), PAGE_SIZE);
}

/* Linked in place of the real one, where other files call it. */
u32 __wrap_frame_alloc(enum frame_class class)
{
	u32 frame = __real_frame_alloc(class);

	if (f.planted == PLANTED_FRAME && class == FRAME_FOR_FAULT && frame != FRAME_NONE)
		frame = __real_frame_alloc(class);
	if (frame != FRAME_NONE)
		poison(frame, false);
	return frame;
}

static void poison_free(void)
{
	for (u32 i = 0; i < FRAMES; i++)
		if (frame_use(a64_load(&frame_at(i)->state)) == FRAME_FREE)
			poison(i, true);
}

/* The auditor takes a pin for one that was forgotten. */
static void pin_other(bool on)
{
	for (u32 i = 0; i < FRAMES; i++) {
		const struct frame *frame = frame_at(i);

		if (frame_use(a64_load(&frame->state)) != FRAME_GUEST ||
		    frame_space_id(frame) != other->id)
			continue;
		if (on)
			check(frame_pin_try(i), "it is not pinned");
		else
			frame_unpin(i);
		poison(i, true);
	}
}

/* Another guest's memory, which nobody here has any business with: all of it pinned, none readable. */
static void make_other(void)
{
	const struct guest_mem mem = {.space = other};

	check(gfnmap_add(other, gfn(0), OTHER_PAGES), "no memory for the other guest");
	for (u32 i = 0; i < OTHER_PAGES; i++) {
		u64 secret = 0x5ec2e7ull << 8 | i;

		check(guest_write(&mem, gpa((u64)i << PAGE_SHIFT), &secret, 8) == 8,
		      "it is not written");
	}
	pin_other(true);
}

/* PLANTED_FOREIGN */
static u8 foreign_byte(void)
{
	for (u32 i = 0; i < FRAMES; i++)
		if (frame_use(a64_load(&frame_at(i)->state)) == FRAME_GUEST &&
		    frame_space_id(frame_at(i)) == other->id)
			return *(const u8 *)frame_ptr(i);
	return 0;
}

/* Memory, if it is that for which somebody waits. */
static void relieve(void)
{
	struct vm *vm = hyper_vm();

	host_pages_limit(HOST_NO_LIMIT);
	(void)evict_space(vm->space, evict_any(32));
	(void)age_space(vm->space, a64_load(&vm->space->lru.max_seq), true);
	epoch_barrier();
}

/* Until it is in its guest again, sleeps or ends. */
static void turn(unsigned i, bool patient)
{
	u64 pauses = hyper_pauses();

	for (unsigned t = 0; t < TURNS_MAX; t++) {
		poison_free();
		if (hyper_resume(i) != HYPER_YIELDED || !patient)
			return;
		check(hyper_pauses() - pauses < PAUSES_MAX, "a wait without end");
		if (t > 3)
			relieve();
	}
	fprintf(stderr, "vCPU %u at rip 0x%llx, exit kind %d, %llu free\n", i,
	        (unsigned long long)hyper_vcpu(i)->arch.rip, (int)hyper_vcpu(i)->exit.kind,
	        (unsigned long long)frame_free_count());
	fail("a vCPU gets nowhere, though there is memory");
}

static void step_exit(unsigned i, u8 op)
{
	struct vcpu *v = hyper_vcpu(i);
	struct exit_plan p = {0};

	if (hyper_where(i) == HYPER_GUEST) {
		if (f.neutral)
			draw_neutral(v, &p);
		else if (op == STEP_APIC)
			draw_apic(v, &p);
		else if (op == STEP_CALL)
			draw_call(v, &p);
		else if (op < 1)
			draw_raw(v, &p);
		else if (op < 8)
			draw_insn(v, &p);
		else
			draw_access(&p);
		if (exits_possible(&v->arch, &p))
			*exits_plan(i) = p;
	}
	turn(i, op != 7); /* or it may stay where it yields */
}

/* --- steps: the guest --- */

static void step_mode(unsigned i)
{
	u8 mode = (u8)draw(1);
	u32 base = (u32)draw_place();

	if (hyper_where(i) != HYPER_GUEST || !guest_tables_write(hyper_vcpu(i)) ||
	    hyper_where(i) != HYPER_GUEST)
		return;
	hyper_visit(i);
	guest_mode_set(hyper_vcpu(i), (enum guest_mode)(mode % GUEST_MODES), mode & 0x80, base);
	hyper_visit(HYPER_VCPUS);
	hyper_vcpu(i)->arch.rip = base & 0xffff;
	turn(i, true); /* the last of the exits that led there */
}

static void step_registers(unsigned i)
{
	struct arch_vcpu *v = &hyper_vcpu(i)->arch;
	u8 which = (u8)draw(1);
	u64 value = which & 0x20 ? draw_place() : draw_number();

	if (hyper_where(i) != HYPER_GUEST)
		return;
	if (which < 0x80) {
		v->gpr[which % GPR_COUNT] = value;
	} else if (which < 0xc0) { /* CF to OF without VM, IOPL, NT; RF, AC, ID */
		v->rflags = (v->rflags & (BIT(17) | BITS(13, 12))) | 2 | (value & 0x250fd5);
	} else if (which < 0xe0) {
		v->rip = which & 0x10 ? 0xfffffff0u | (value & 15) : value & 0xffff;
	} else {
		v->cr8 = value & 15;
	}
}

/* A segment's base, as a load from a descriptor would leave it. */
static void step_segment(unsigned i)
{
	static const enum seg which[] = {SEG_FS, SEG_GS, SEG_IDTR, SEG_GDTR};
	enum seg seg = which[draw(1) % ARRAY_SIZE(which)];
	u64 base = draw_place() & BITS(31, 0);
	struct seg_state s;
	struct vcpu *v = hyper_vcpu(i);

	if (hyper_where(i) != HYPER_GUEST || (v->arch.rflags & BIT(17)))
		return;
	hyper_visit(i);
	vendor->get_seg(&v->arch, seg, &s);
	s.base = seg < SEG_LDTR ? base & 0xffff0 : base;
	if (seg < SEG_LDTR)
		s.selector = (u16)(s.base >> 4);
	else
		s.limit = (u16)draw(2);
	vendor->set_seg(&v->arch, seg, &s);
	hyper_visit(HYPER_VCPUS);
}

static void step_memory(void)
{
	u64 at = draw_place(), n = 1 + draw(1) % 16;
	u8 bytes[16];

	for (unsigned i = 0; i < n; i++)
		bytes[i] = (u8)draw(1);
	if (f.planted == PLANTED_FOREIGN)
		bytes[0] = foreign_byte();
	(void)guest_write(&hyper_vm()->mem, gpa(at), bytes, n);
}

/* An entry of the tables of guest_modes.c. */
static void step_entry(void)
{
	u64 at = GUEST_TABLES + (draw(2) & 0x6ff8), value = draw_place() & PAGE_MASK;

	value |= draw(1) | (draw(1) & 0x80 ? BIT(63) : 0);
	(void)guest_write(&hyper_vm()->mem, gpa(at), &value, 8);
}

static void step_request(unsigned i)
{
	struct vcpu *v = hyper_vcpu(i);
	u8 what = (u8)draw(1);

	switch (what & 7) {
	case 0:
		vcpu_request(v, VCPU_REQ_NMI);
		break;
	case 1:
		vcpu_request(v, VCPU_REQ_INIT);
		break;
	case 2:
		v->sipi_vector = what >> 3;
		vcpu_request(v, VCPU_REQ_INIT);
		turn(i, true);
		vcpu_request(v, VCPU_REQ_SIPI);
		break;
	case 3:
		host_time_add(draw_number() & BITS(40, 0));
		hyper_tick();
		break;
	default:
		vcpu_post(v, (u8)(what | 16));
	}
	turn(i, true);
}

/* --- steps: memory --- */

static void step_log(struct space *s)
{
	u8 what = (u8)draw(1);
	u64 bitmap[GUEST_PAGES / 64];

	switch (what & 3) {
	case 0:
		(void)!dirty_log_start(s, (enum dirty_log_mode)(1 + (what >> 2) % 3));
		break;
	case 1:
		dirty_log_stop(s);
		break;
	case 2:
		dirty_log_sync_all(s);
		break;
	default:
		(void)dirty_log_take(s, gfn(what & 0xc0), 64, bitmap);
	}
}

static void step_reclaim(struct space *s)
{
	u8 what = (u8)draw(1);

	switch (what & 7) {
	case 0:
	case 1:
		(void)age_space(s, a64_load(&s->lru.max_seq), what & 8);
		break;
	case 2:
		(void)evict_space(s, evict_any(1 + (what >> 3)));
		break;
	case 3:
	case 4:
		(void)!evict_page(s, gpa_gfn(gpa(draw_place())));
		break;
	case 5:
		(void)reclaim_background();
		reclaim_limits();
		reclaim_age_periodic(hal_time_ns(), 1000000);
		break;
	case 6:
		host_pages_limit(what & 0x80 ? HOST_NO_LIMIT : what >> 3);
		break;
	default:
		(void)age_flush_poll(hal_time_ns());
		epoch_poll();
	}
}

static void step(void)
{
	u8 op = (u8)draw(1);
	unsigned i = (op >> 5) % f.config.vcpus;

	switch (op & 31) {
	case 16:
	case 17:
		step_mode(i);
		break;
	case 18:
	case 19:
	case 20:
		step_registers(i);
		break;
	case 21:
		step_segment(i);
		break;
	case 22:
		step_memory();
		break;
	case 23:
		step_entry();
		break;
	case 24:
	case 25:
		step_request(i);
		break;
	case 26:
	case 27:
	case 28:
		step_reclaim(hyper_vm()->space);
		break;
	case 29:
		step_log(hyper_vm()->space);
		break;
	default:
		step_exit(i, op & 31);
	}
}

/* --- one input --- */

static void out_of_memory(struct space *victim, const char *why)
{
	check(victim != other, "the wrong guest is out of memory");
	vm_stop(victim->priv, VM_STOPPED, "out of memory: %s", why);
}

static void nobody_to_wake(void)
{
}

static bool never_runs(struct space *s)
{
	(void)s;
	return false;
}

static void nobody_inside(struct space *s, u64 gen)
{
	(void)s;
	(void)gen;
}

static const struct space_ops other_ops = {
        .shootdown = nobody_inside, .ran = never_runs, .ran_lately = never_runs};
static const struct reclaim_ops ops = {.wake = nobody_to_wake, .out_of_memory = out_of_memory};

/* Pages of the hypervisor come and go with each VM: what is kept of them for reports costs page faults. */
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct space *first;

	(void)argc;
	(void)argv;
	if (getenv("VARVE_PLANTED"))
		f.planted = (enum planted)atoi(getenv("VARVE_PLANTED"));
	host_time_set(1000000000);
	host_frames_create(FRAMES);
	check(store_init(), "no store");
	reclaim_init(&ops);
	first = space_create("first", &other_ops,
	                     NULL); /* the guest's number, which chaos counts from */
	other = space_create("other", &other_ops, NULL);
	make_other();
	space_drain(first);
	space_destroy(first);
	return 0;
}

static struct cpu_virt take_hardware(void)
{
	u16 bits = (u16)draw(2);
	bool ept = !(bits & 0x300);

	return (struct cpu_virt){
	        .vmx = bits & 1,
	        .ad = bits & 2,
	        .invpcid = bits & 4,
	        .nrip = bits & 8,
	        .decode = bits & 16,
	        .tcg = bits & 32,
	        .clean_bits = bits & 64,
	        .flush_asid = bits & 128,
	        .ept = !ept,
	        .unrestricted = !ept,
	        .vpid = bits & 8,
	        .virtual_nmi = bits & 16,
	        .efer = bits & 32,
	        .pat = bits & 64,
	        .timer = bits & 128,
	        .pml = bits & 0x400,
	};
}

static void take_config(const struct cpu_virt *hardware)
{
	u16 bits = (u16)draw(2);
	bool second = !hardware->vmx || hardware->ept;

	f.config = (struct scenario_vm){
	        .name = "guest",
	        .image = "image",
	        .memory_bytes = GUEST_BYTES,
	        .vcpus = 1 + (bits & 3) % 3,
	        .mmu = second ? (enum scenario_mmu)((bits >> 2 & 3) % 3) : SCENARIO_MMU_SHADOW,
	        .ad_off = bits & 16,
	        .experiments = bits & 32,
	        .pv = bits & 64,
	        .shares = bits & 128,
	        .sampler = bits & 256,
	        .null_mmu = (bits & 0x600) == 0x600,
	        .weight = 1,
	        .limit_bytes = bits & 0x800 ? 256u << 10 : 0,
	};
	f.neutral = !hardware->vmx && (bits & 0x7000) == 0x7000;
	chaos_set(bits >> 15 ? 1 + (u32)draw(1) % 8 : 0);
}

/* Everything is at rest again, and as it was. */
static void end(u64 lines)
{
	struct vm *vm = hyper_vm();
	u64 frames;

	if (f.planted == PLANTED_WHY)
		vm->why[0] = 0;
	if (a32_load(&vm->state) == VM_STOPPED)
		check(vm->why[0] && host_log_lines() > lines, "stopped without a reason");
	dirty_log_stop(vm->space);
	for (unsigned t = 0; !hyper_end(8); t++) {
		check(t < TURNS_MAX, "a vCPU does not end");
		relieve();
	}
	pin_other(false);
	check(!audit_all(&frames), "the audit");
	pin_other(true);
	hyper_destroy();
	for (unsigned cpu = 0; cpu <= f.config.vcpus; cpu++) { /* what each has put off */
		host_cpu_set(cpu);
		epoch_barrier();
	}
	host_cpu_set(0);
	if (!frames_at_rest) {
		frames_at_rest = frame_free_count();
		pages_at_rest = hal_pages_used();
	}
	check(frame_free_count() == frames_at_rest, "frames are missing");
	/* Tables of the store grow and stay: a leak comes again with every input. */
	check(hal_pages_used() <= pages_at_rest + 64, "pages are missing");
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct cpu_virt hardware;
	static struct vendor_ops neutral;
	u64 lines = host_log_lines();

	draw_from(data, size);
	hardware = take_hardware();
	take_config(&hardware);
	for (unsigned i = 0; i < HYPER_VCPUS; i++)
		*exits_plan(i) = (struct exit_plan){0};
	host_time_set(1000000000);
	check(hyper_create(&hardware, &f.config, exits_guest), "no VM");
	planted_vendor(f.planted);
	if (f.neutral) {
		neutral = *vendor;
		neutral.run = exits_neutral_run;
		vendor = &neutral;
	}
	turn(0, true);
	for (unsigned n = 0; n < STEPS_MAX && !draw_is_over() && vm_running(hyper_vm()); n++)
		step();
	host_pages_limit(HOST_NO_LIMIT);
	chaos_set(0);
	end(lines);
	return 0;
}
