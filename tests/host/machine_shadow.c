/*
 * The machine's vCPUs on shadow tables: their accesses through the guest's own tables (machine_tables.h), what these may
 * lead to, and what the guest does with them.
 */
#include "tests/host/machine_shadow.h"

#include <string.h>

#include "arch/hal.h"
#include "hv/mmu/shadow_core.h"
#include "mm/frame.h"
#include "tests/host/hal.h"

static void load(unsigned cpu, enum guest_mode mode, unsigned space)
{
	struct shadow_regs regs = {.cr0 = BIT(0) | BIT(16), .phys_bits = 36};
	struct guest_cpu *c = &machine_guest.cpu[cpu];
	u64 start = machine_guest.now;

	machine_leave(cpu);
	c->mode = mode;
	c->space = space;
	if (mode != GUEST_UNPAGED) {
		u64 top = space_table(space, mode == GUEST_LONG ? PML4 : PDPT_PAE);

		regs.cr0 |= BIT(31);
		regs.cr4 = BIT(5);
		regs.efer = BIT(11) | (mode == GUEST_LONG ? BIT(8) | BIT(10) : 0);
		regs.cr3 = top << PAGE_SHIFT | (mode == GUEST_PAE ? PAE_QUADRANT : 0);
	}
	shadow_vcpu_set(&machine.svcpu[cpu].shadow, &regs);
	machine.svcpu[cpu].walker.long_mode = mode == GUEST_LONG;
	cpu_flush(&machine.svcpu[cpu].walker);
	for (unsigned i = 0; i < SHADOW_WINDOWS; i++)
		c->since[i] = start;
}

/* I7: what hardware walks is a table, or the four entries of PAE, which are in no frame. */
static void look_at_table(const a64 *entry)
{
	u32 frame;

	cpus_calm(true);
	frame = frame_of_pfn(hal_ptr_pfn(entry));
	if (frame != FRAME_NONE && !(a64_load(&frame_at(frame)->state) & FRAME_TABLE))
		machine_fail("walks what is no table (I7)", 0, FRAME_TABLE,
		             a64_load(&frame_at(frame)->state));
	cpus_calm(false);
}

void machine_shadow_create(void)
{
	const struct plan *p = &machine.plan;
	const struct spte_format *format = p->track ? &spte_shadow_track : &spte_shadow_ad;

	memset(&machine_guest, 0, offsetof(struct machine_guest, window));
	memset(machine_guest.writers, 0, sizeof(machine_guest.writers));
	memset(machine_guest.cpu, 0, sizeof(machine_guest.cpu));
	if (!shadow_create(&machine.shadow, machine.vm.space, format,
	                   p->mmu == MACHINE_BOTH ? &machine.vm.tdp : NULL,
	                   (struct shadow_window){.npages = 0}))
		machine_fail("no shadow MMU", 0, 1, 0);
	machine.vm.drained = machine_shadow_destroy;
	machine.shadow.limit = p->mix == OP_MIX_CALM ? SHADOW_PAGES_MIN : SHADOW_LIMIT;
	machine.vm.mem.shadow = &machine.shadow;
	machine_make_tables();
	for (unsigned cpu = 0; cpu < MACHINE_VCPUS; cpu++) {
		struct machine_svcpu *v = &machine.svcpu[cpu];

		if (!shadow_vcpu_create(&v->shadow, &machine.shadow))
			machine_fail("no vCPU", cpu, 1, 0);
		v->walker = (struct cpu_walker){.reads = look_at_table};
		/* The last of them is on the TDP. */
		machine_guest.cpu[cpu].on_shadow = p->mmu == MACHINE_SHADOW ||
		                                   cpu + 1 < MACHINE_VCPUS;
		load(cpu, GUEST_LONG, cpu % SHADOW_SPACES);
	}
}

void machine_shadow_destroy(void)
{
	for (unsigned cpu = 0; cpu < MACHINE_VCPUS; cpu++) {
		machine.totals->shadow_walks += machine.svcpu[cpu].walker.walks;
		shadow_vcpu_destroy(&machine.svcpu[cpu].shadow);
	}
	machine.totals->shadow_made += a64_load(&machine.shadow.stats.made_total);
	machine.totals->unsync += a64_load(&machine.shadow.stats.unsync_total);
	machine.totals->stale += a64_load(&machine.shadow.stats.stale_total);
	machine.totals->settled += a64_load(&machine.shadow.stats.settled_total);
	shadow_destroy(&machine.shadow);
}

bool machine_on_shadow(unsigned cpu)
{
	return machine.plan.mmu != MACHINE_TDP && machine_guest.cpu[cpu].on_shadow;
}

/* --- what a window may lead to --------------------------------------------------------------------- */

/* In force at some time from `since` on. */
static bool in_force(const struct history *h, unsigned v, u64 since)
{
	return v + 1 == h->nr || h->version[v + 1].from > since;
}

typedef bool (*entry_fits_fn)(u64 entry, u64 page, bool write);

static bool leads_there(u64 entry, u64 page, bool write)
{
	return entry & ENTRY_P && (!write || entry & ENTRY_W) &&
	       (entry & BITS(51, 12)) == page_gfn(page).v << PAGE_SHIFT;
}
static bool not_there(u64 entry, u64 page, bool write)
{
	(void)page;
	(void)write;
	return !(entry & ENTRY_P);
}
static bool refuses(u64 entry, u64 page, bool write)
{
	(void)page;
	return entry & ENTRY_P && write && !(entry & ENTRY_W);
}

static unsigned table_of(u64 choice)
{
	return (choice & BITS(51, 12)) >> PAGE_SHIFT == page_gfn(table_page(WINDOWS_2)).v;
}

/* Is there an entry of the window, in force since then, that is so? */
static bool window_fits(unsigned cpu, unsigned i, u64 since, entry_fits_fn fits, u64 page,
                        bool write)
{
	const struct history *choice = &machine_guest.choice[machine_guest.cpu[cpu].space];

	for (unsigned c = 0; c < choice->nr; c++) {
		const struct history *h =
		        &machine_guest.window[table_of(choice->version[c].entry)][i];

		if (!in_force(choice, c, since))
			continue;
		for (unsigned v = 0; v < h->nr; v++)
			if (in_force(h, v, since) && fits(h->version[v].entry, page, write))
				return true;
	}
	return false;
}

/* Nothing changed since: so what was used is what is there. */
static void mark(unsigned cpu, unsigned i, bool write)
{
	struct history *choice = &machine_guest.choice[machine_guest.cpu[cpu].space];
	struct history *h = &machine_guest.window[table_of(latest(choice))][i];
	u64 since = machine_guest.cpu[cpu].since[i];

	if (choice->version[choice->nr - 1].from > since || h->version[h->nr - 1].from > since)
		return;
	choice->must_a = h->must_a = true;
	h->must_d |= write;
}

/* --- accesses -------------------------------------------------------------------------------------- */

/* The store that this vCPU came for. Everybody else stands still. */
void machine_guest_store(const struct action *a, void *frame)
{
	struct guest_cpu *c = &machine_guest.cpu[a->cpu];
	struct history *h = c->storing;
	unsigned word = (unsigned)c->store_at;
	bool writers = word - 1 < SHADOW_WINDOWS && machine_guest.writers[word - 1];

	((u64 *)frame)[word] = c->store_value;
	remember(h, c->store_value, writers);
}

bool machine_guest_stores(unsigned cpu)
{
	return cpu < MACHINE_VCPUS && machine_guest.cpu[cpu].storing;
}

struct route {
	gva_t at;
	bool window;
	unsigned i;
	u64 start;
};

static struct route choose_route(const struct action *a)
{
	const struct guest_cpu *c = &machine_guest.cpu[a->cpu];
	u64 bytes = c->storing ? 8 * c->store_at : 0;
	unsigned kind = (unsigned)(a->arg >> 24) % 8;
	struct route r = {.start = machine_guest.now};

	if (c->mode == GUEST_UNPAGED)
		r.at = gva(gfn_gpa(page_gfn(a->page)).v);
	else if (kind < 4 && kind && !c->storing && a->op <= OP_WRITE)
		r = (struct route){.window = true,
		                   .i = (unsigned)(a->arg >> 28) % SHADOW_WINDOWS,
		                   .start = machine_guest.now};
	else if (kind == 4 && a->page < pages_first())
		r.at = gva(REGION(c->mode, ENTRY_LARGE) + a->page * PAGE_SIZE);
	else
		r.at = gva(REGION(c->mode, ENTRY_DIRECT) + (a->page + 1ull) * PAGE_SIZE);
	if (r.window)
		r.at = gva(REGION(c->mode, ENTRY_WINDOWS) + (r.i + 1ull) * PAGE_SIZE);
	r.at.v += bytes;
	return r;
}

/* Enters if it has to: the handshake of hv/run.c. */
static enum shadow_result be_inside(const struct action *a)
{
	struct machine_svcpu *v = &machine.svcpu[a->cpu];
	struct host_vcpu *h = &machine.vm.vcpu[a->cpu];
	enum shadow_result result;
	u64 wanted;

	if (machine.stays[a->cpu] && a32_load(&h->kicked) && !(a->arg & BIT(20)))
		machine_leave(a->cpu);
	if (machine.stays[a->cpu])
		return SHADOW_FIXED;
	result = shadow_vcpu_root(&v->shadow, &v->walker.cr3);
	if (result != SHADOW_FIXED)
		return result;
	if ((a->arg >> 44) % 16 == 0) /* an NMI, or whatever takes long: others get far */
		for (unsigned i = 0; i < 300; i++)
			hal_pause();
	a32_store(&machine.vm.ran, 1);
	a32_store(&machine.vm.ran_lately, 1);
	a32_store(&h->kicked, 0);
	machine.stays[a->cpu] = true;
	a32_store_full(&h->in_guest, 1);
	wanted = a64_load_acquire(&machine.vm.space->flush.wanted);
	if (a64_load(&h->flushed) == wanted)
		return SHADOW_FIXED;
	if (machine.plan.fault != HOST_VM_NO_LOOK && !shadow_vcpu_root_valid(&v->shadow)) {
		machine_leave(a->cpu);
		return SHADOW_RETRY;
	}
	if (machine.plan.fault != HOST_VM_NO_FLUSH)
		cpu_flush(&v->walker);
	a64_store_release(&h->flushed, wanted);
	return SHADOW_FIXED;
}

/* A fault that the guest gets: the access is over. */
static void check_guest_fault(const struct action *a, const struct route *r, u32 error, bool write)
{
	entry_fits_fn fits = error & ENTRY_P ? refuses : not_there;

	machine.totals->guest_faults++;
	if (!r->window || !window_fits(a->cpu, r->i, r->start, fits, 0, write))
		machine_fail("a fault that the guest's tables do not justify", r->at.v, 0, error);
}

/* False: the access is over. */
static bool resolve(const struct action *a, const struct route *r, u32 error)
{
	struct shadow_outcome out = {.error = 0};
	enum shadow_result result;

	machine_leave(a->cpu);
	/* What hardware fetches ahead of the program faults without anybody knowing. */
	if (a->op == OP_PREFETCH)
		return false;
	result = shadow_fault(&machine.svcpu[a->cpu].shadow, r->at, error, false, &out);
	switch (result) {
	case SHADOW_FIXED:
		return true;
	case SHADOW_RETRY:
	case SHADOW_NO_MEMORY:
		hal_pause();
		return true;
	case SHADOW_GUEST_FAULT:
		check_guest_fault(a, r, out.error, a->op == OP_WRITE);
		return false;
	default:
		machine_fail("shadow fault", a->page, SHADOW_FIXED, result);
	}
}

/* The page that the frame is, which the route may lead to. */
static u64 check_reached(const struct action *a, const struct route *r, hpa_t where)
{
	u32 frame = frame_of_pfn(hpa_pfn(where));
	bool write = a->op == OP_WRITE;
	u64 page, g;

	if (!r->window)
		return a->page;
	if (frame == FRAME_NONE || frame_use(a64_load(&frame_at(frame)->state)) != FRAME_GUEST)
		machine_fail("a window leads to what is no page", r->i, 0, where.v);
	g = frame_gfn(frame_at(frame)).v;
	page = g < plug_base() ? g : g - plug_base() + pages_first();
	if (!window_fits(a->cpu, r->i, machine_guest.cpu[a->cpu].since[r->i], leads_there, page,
	                 write))
		machine_fail("a window leads where it should not", r->i,
		             latest(&machine_guest.window[0][r->i]), page);
	mark(a->cpu, r->i, write);
	return page;
}

static void access_routed(const struct action *a, const struct route *r)
{
	struct cpu_walker *w = &machine.svcpu[a->cpu].walker;
	unsigned access = (a->op == OP_WRITE ? CPU_WRITE : 0) | (a->op == OP_FETCH ? CPU_FETCH : 0);
	struct action reached = *a;
	u64 walks = w->walks;
	hpa_t where;
	u32 error;

	for (;;) {
		enum shadow_result result = be_inside(a);

		if (result == SHADOW_NO_MEMORY || result == SHADOW_RETRY) {
			hal_pause();
			continue;
		}
		if (result != SHADOW_FIXED)
			machine_fail("no root", a->page, SHADOW_FIXED, result);
		if (cpu_translate(w, r->at, access, false, &where, &error))
			break;
		if (!resolve(a, r, error))
			return;
	}
	cpus_calm(true);
	reached.page = (u32)check_reached(a, r, where);
	if (w->walks != walks)
		machine.walked[reached.page / 64] |= BIT(reached.page % 64);
	if (a->op != OP_PREFETCH)
		machine_touch(&reached, where);
	cpus_calm(false);
	if (machine.plan.mix == OP_MIX_CALM ? (a->arg >> 21) % 8 == 0 : !(a->arg & BIT(21)))
		machine_leave(a->cpu);
}

void machine_shadow_access(const struct action *a)
{
	const struct route r = choose_route(a);
	bool writes = r.window && a->op == OP_WRITE;

	if (writes) {
		machine_guest.writers[r.i]++;
		machine_guest.window[0][r.i].may_d = machine_guest.window[1][r.i].may_d = true;
	}
	access_routed(a, &r);
	if (writes)
		machine_guest.writers[r.i]--;
}

/* --- what a guest does with its tables ------------------------------------------------------------- */

/* Writes an entry as it writes data: by what leads to the page. */
static void store(const struct action *a, u64 page, unsigned word, u64 entry)
{
	struct action write = *a;
	struct guest_cpu *c = &machine_guest.cpu[a->cpu];
	struct history *h = machine_history_at(page, word);

	if (h->nr == VERSIONS)
		return;
	write.op = OP_WRITE;
	write.page = (u32)page;
	c->storing = h;
	c->store_at = word;
	c->store_value = entry;
	machine_access(&write, true);
	c->storing = NULL;
	machine.totals->stores++;
}

static void do_map(const struct action *a)
{
	unsigned t = (unsigned)(a->arg >> 32) % 2, i = (unsigned)(a->arg >> 28) % SHADOW_WINDOWS;
	u64 kind = (a->arg >> 33) % 8;
	u64 bits = ENTRY_U | (kind != 1 ? ENTRY_W : 0) | (kind > 4 ? ENTRY_AD : 0);
	u64 page = (a->arg >> 36) % 4 ? (a->arg >> 38) % 12 : (a->arg >> 38) % pages_first();

	store(a, table_page(WINDOWS_1 + t), i + 1, kind ? to_page(page, bits) : 0);
}

static void do_map_table(const struct action *a)
{
	unsigned t = (unsigned)(a->arg >> 32) % 2, space = (unsigned)(a->arg >> 33) % SHADOW_SPACES;

	store(a, space_table(space, DIRECTORY), ENTRY_WINDOWS,
	      to_page(table_page(WINDOWS_1 + t), ENTRY_W | ENTRY_U));
}

static void do_invlpg(const struct action *a)
{
	unsigned i = (unsigned)(a->arg >> 28) % SHADOW_WINDOWS;
	u64 start = machine_guest.now;

	machine_leave(a->cpu);
	shadow_invlpg(&machine.svcpu[a->cpu].shadow,
	              gva(REGION(machine_guest.cpu[a->cpu].mode, ENTRY_WINDOWS) +
	                  (i + 1ull) * PAGE_SIZE));
	cpu_flush(&machine.svcpu[a->cpu].walker);
	machine_guest.cpu[a->cpu].since[i] = start;
}

static void do_load(const struct action *a)
{
	const struct guest_cpu *c = &machine_guest.cpu[a->cpu];
	unsigned dice = (unsigned)(a->arg >> 32) % 8;

	for (unsigned i = 0; dice < 4 && i <= dice; i++)
		load(a->cpu, c->mode, c->space);
	if (dice >= 4)
		load(a->cpu,
		     dice < 6    ? GUEST_LONG
		     : dice == 6 ? GUEST_PAE
		                 : GUEST_UNPAGED,
		     (unsigned)(a->arg >> 36) % SHADOW_SPACES);
}

void machine_guest_act(const struct action *a)
{
	bool paged = machine_guest.cpu[a->cpu].on_shadow;

	switch ((enum operation)a->op) {
	case OP_MAP:
		do_map(a);
		break;
	case OP_MAP_TABLE:
		do_map_table(a);
		break;
	case OP_INVLPG:
		if (paged && machine_guest.cpu[a->cpu].mode != GUEST_UNPAGED)
			do_invlpg(a);
		break;
	case OP_LOAD:
		if (paged)
			do_load(a);
		break;
	default:
		break;
	}
}

void machine_shrink_tables(const struct action *a)
{
	if (machine.plan.mmu == MACHINE_TDP)
		return;
	if (a->arg % 4)
		(void)shadow_shrink_used(&machine.shadow,
		                         1 + (a->arg >> 8) % (a->arg % 4 == 1 ? 24 : 3));
	else
		(void)shadow_shrink(&machine.shadow.notifier, 1 + (a->arg >> 8) % 8);
}
