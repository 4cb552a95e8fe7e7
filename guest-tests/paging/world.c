#include "guest-tests/paging/world.h"

#include "guest-tests/lib/guest.h"
#include "guest-tests/paging/trip.h"

#define PAGES_MAX   8192u /* a guest of 32 MiB */
#define BASE_BITS   (ENTRY_P | ENTRY_W | ENTRY_U | ENTRY_A)
#define BASE_LEAF   (ENTRY_P | ENTRY_W | ENTRY_A | ENTRY_D)
#define LEAF_USER   (ENTRY_P | ENTRY_U | ENTRY_A | ENTRY_D)
#define LEAF_DEVICE (BASE_LEAF | BIT(3) | BIT(4))
#define DATA_ALONE  8u

static u8 number_of[PAGES_MAX]; /* + 1 */
static u64 model[FRAMES_MAX][PAGE_WORDS];

static u64 *hide(u64 gpa)
{
	__asm__("" : "+r"(gpa)); /* from the compiler, that this may be the first page */
	return (u64 *)gpa;
}

int world_frame(const struct world *world, u64 gpa)
{
	(void)world;
	return gpa / PAGE_SIZE < PAGES_MAX ? number_of[gpa / PAGE_SIZE] - 1 : -1;
}

static u8 *model_at(const struct world *world, u64 gpa)
{
	int f = world_frame(world, gpa);

	VERDICT_CHECK(f >= 0, "the model has no frame at 0x%lx", gpa);
	return (u8 *)model[f] + gpa % PAGE_SIZE;
}

u64 world_load(const struct world *world, u64 gpa, unsigned bytes)
{
	const u8 *p = model_at(world, gpa);

	return bytes == 4 ? *(const u32 *)p : *(const u64 *)p;
}

void world_store(const struct world *world, u64 gpa, u64 value, unsigned bytes)
{
	u8 *p = model_at(world, gpa);

	if (bytes == 4)
		*(u32 *)p = (u32)value;
	else
		*(u64 *)p = value;
}

static void set(const struct world *w, u64 gpa, u64 value, unsigned bytes)
{
	if (bytes == 4)
		*(u32 *)hide(gpa) = (u32)value;
	else
		*hide(gpa) = value;
	world_store(w, gpa, value, bytes);
}

static void add_frame(struct world *w, u64 at, unsigned level)
{
	unsigned n = w->frame_count++;

	VERDICT_CHECK(n < FRAMES_MAX && at / PAGE_SIZE < PAGES_MAX, "frame %u at 0x%lx", n, at);
	w->frames[n] = (struct frame){at, (u8)level};
	number_of[at / PAGE_SIZE] = (u8)(n + 1);
	memset(model[n], 0, PAGE_SIZE);
}

static u64 new_table(struct world *w, unsigned level)
{
	u64 at = (u64)mem_alloc(1, 1);

	add_frame(w, at, level);
	return at;
}

/* mov $number, %eax; jmp *%edx, or in 64-bit code jmp *%rdx: the same bytes. */
static void add_data(struct world *w, u64 at)
{
	unsigned number = w->frame_count;

	add_frame(w, at, 0);
	for (u64 i = 0; i < PAGE_SIZE; i += 8)
		set(w, at + i, rng_mix(at + i), 8);
	set(w, at + FRAME_CODE, 0xb8 | (u64)number << 8 | 0xe2ffull << 40 | 0xccull << 56, 8);
}

static void set_entry(struct world *w, u64 table, unsigned index, u64 value)
{
	set(w, table + index * w->mode->bytes, value, w->mode->bytes);
}

/* The supervisor's view of all RAM below `end`, in small pages throughout the first `small` bytes. */
static u64 base_leaf(u64 at)
{
	if (at == (u64)trip_user)
		return at | LEAF_USER;
	return at | BASE_LEAF;
}

/* A table of level 2 for the `bytes` from `from` on. */
static void base_level_2(struct world *w, u64 pd, u64 from, u64 bytes)
{
	const struct mode *m = w->mode;
	u64 reach = 1ull << mode_shift(m, 2);

	for (u64 at = from; at < from + bytes; at += reach) {
		u64 pt;

		if (at && mode_large(m, 2)) {
			set_entry(w, pd, mode_index(m, at, 2), at | BASE_LEAF | ENTRY_PS);
			continue;
		}
		pt = new_table(w, 1);
		for (u64 p = 0; p < reach; p += PAGE_SIZE)
			set_entry(w, pt, mode_index(m, p, 1), base_leaf(at + p));
		set_entry(w, pd, mode_index(m, at, 2), pt | BASE_BITS);
	}
}

/* The page of the APIC. */
static void base_device(struct world *w, u64 pd)
{
	u64 pt = new_table(w, 1);

	set_entry(w, pt, mode_index(w->mode, APIC_BASE, 1), APIC_BASE | LEAF_DEVICE);
	set_entry(w, pd, mode_index(w->mode, APIC_BASE, 2), pt | BASE_BITS);
}

static void make_spaces_32(struct world *w)
{
	for (unsigned s = 0; s < SPACES; s++) {
		w->root[s] = w->tables[2][w->table_count[2]++] = new_table(w, 2);
		if (s == 0) {
			base_level_2(w, w->root[0], 0, mem_top());
			base_device(w, w->root[0]);
		} else {
			for (unsigned i = 0; i < 1024; i++)
				set_entry(w, w->root[s], i, world_load(w, w->root[0] + i * 4, 4));
		}
	}
	for (unsigned s = 0; s < SPACES; s++)
		set_entry(w, w->root[s], w->mode->self, w->root[s] | BASE_BITS | ENTRY_D);
}

/* PDPTEs have no rights; bit 0 and the address only. */
static void make_spaces_pae(struct world *w)
{
	u64 low = new_table(w, 2);

	base_level_2(w, low, 0, mem_top());
	for (unsigned s = 0; s < SPACES; s++) {
		u64 last = new_table(w, 2);

		w->root[s] = w->tables[3][w->table_count[3]++] = new_table(w, 3);
		w->last_pd[s] = last;
		base_device(w, last);
		set_entry(w, w->root[s], 0, low | ENTRY_P);
		set_entry(w, w->root[s], 3, last | ENTRY_P);
		set_entry(w, last, 508, low | BASE_BITS | ENTRY_D);
		set_entry(w, last, 511, last | BASE_BITS | ENTRY_D);
	}
}

static void make_spaces_long(struct world *w)
{
	u64 pdpt = new_table(w, 3), low = new_table(w, 2), high = new_table(w, 2);

	base_level_2(w, low, 0, mem_top());
	base_device(w, high);
	set_entry(w, pdpt, 0, low | BASE_BITS);
	set_entry(w, pdpt, 3, high | BASE_BITS);
	for (unsigned s = 0; s < SPACES; s++) {
		w->root[s] = w->tables[4][w->table_count[4]++] = new_table(w, 4);
		set_entry(w, w->root[s], 0, pdpt | BASE_BITS);
		set_entry(w, w->root[s], w->mode->self, w->root[s] | BASE_BITS | ENTRY_D);
	}
}

static void make_tables(struct world *w, unsigned level, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		w->tables[level][w->table_count[level]++] = new_table(w, level);
}

/* Where entries of level 1 and large ones may point, and where large ones in a window lead. */
static void make_data(struct world *w)
{
	static const u16 pages[] = {0, 1, 255, 511, 512, 513, 767, 1023};

	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
		add_data(w, w->area + pages[i] * PAGE_SIZE);
		w->data[w->data_count++] = w->area + pages[i] * PAGE_SIZE;
	}
	for (unsigned i = 0; i < DATA_ALONE; i++) {
		u64 at = (u64)mem_alloc(1, 1);

		add_data(w, at);
		w->data[w->data_count++] = at;
	}
	if (w->mode->levels < 4 || !features->page_1g)
		return;
	VERDICT_CHECK((w->area >> 21) + 1 < LOW_RESERVED / PAGE_SIZE, "area at 0x%lx", w->area);
	add_data(w, 0);
	add_data(w, (w->area >> 21) * PAGE_SIZE);
	add_data(w, ((w->area >> 21) + 1) * PAGE_SIZE);
}

void world_init(struct world *w, const char *name)
{
	struct mode *m;

	VERDICT_CHECK(mem_top() <= PAGES_MAX * PAGE_SIZE, "more than 32 MiB");
	w->area = (u64)mem_alloc(AREA_BYTES / PAGE_SIZE, AREA_BYTES / PAGE_SIZE);
	w->mode = m = mode_find(name, w->area);
	VERDICT_CHECK(m, "mode=%s: it is none, 32, pse, pae or long", name);
	make_data(w);
	if (!m->levels)
		return;
	make_tables(w, 1, TABLES_1);
	if (m->levels > 2)
		make_tables(w, 2, TABLES_2);
	if (m->levels > 3)
		make_tables(w, 3, TABLES_3);
	if (m->levels == 2)
		make_spaces_32(w);
	else if (m->levels == 3)
		make_spaces_pae(w);
	else
		make_spaces_long(w);
}

static u64 random_bits(struct rng *rng, u64 bits, unsigned percent)
{
	return rng_below(rng, 100) < percent ? bits : 0;
}

/* What an entry points to, and PS if that is a large page. */
static u64 target(const struct world *w, struct rng *rng, unsigned level)
{
	const struct mode *m = w->mode;

	if (level == 1)
		return w->data[rng_below(rng, w->data_count)];
	if (mode_large(m, level) && rng_below(rng, 100) < (level == 2 ? 35 : 12)) {
		u64 reach = 1ull << mode_shift(m, level);

		if (level == 2)
			return (w->area + rng_below(rng, AREA_BYTES / reach) * reach) | ENTRY_PS;
		return (w->area & ~(reach - 1)) | ENTRY_PS;
	}
	return w->tables[level - 1][rng_below(rng, w->table_count[level - 1])];
}

static u64 random_rights(const struct world *w, struct rng *rng)
{
	u64 e = random_bits(rng, ENTRY_W, 75) | random_bits(rng, ENTRY_U, 75) |
	        random_bits(rng, ENTRY_A, 50) | random_bits(rng, ENTRY_D, 50) |
	        random_bits(rng, ENTRY_G, 20) | random_bits(rng, 0x600, 30);

	if (w->mode->bytes == 8 && features->nx)
		e |= random_bits(rng, ENTRY_NX, w->nxe ? 15 : 2);
	if (w->mode->long_mode)
		e |= random_bits(rng, 0x3ffull << 52 & ~ENTRY_NX, 10);
	return e;
}

/* 32-bit code may write the lower half alone: the upper one must do for any. PSE and no PSE: where PS is ignored it is set at random. A page's PAT bit and the like stay clear. */
u64 world_entry(const struct world *w, struct rng *rng, unsigned level)
{
	const struct mode *m = w->mode;
	u64 e = target(w, rng, level);

	if (mode_is_pdpte(m, level))
		return e | random_bits(rng, ENTRY_P, 92);
	if (rng_below(rng, 100) < 12) /* not present: the rest is free */
		return (e | random_rights(w, rng) | rng_next(rng) << 12) &
		       (m->long_mode ? ~ENTRY_P : 0xfffffffeull);
	e |= random_rights(w, rng) | ENTRY_P;
	if (m->bytes == 4 && level == 2 && !mode_large(m, 2))
		e |= random_bits(rng, ENTRY_PS, 30);
	if (m->bytes == 8 && rng_below(rng, 100) < 2)
		e |= ENTRY_RSVD8;
	if (m->bytes == 4 && e & ENTRY_PS && mode_large(m, 2) && rng_below(rng, 100) < 4)
		e |= ENTRY_RSVD4;
	return e;
}

void world_scramble(const struct world *w, struct rng *rng)
{
	const struct mode *m = w->mode;

	for (unsigned level = 1; level <= m->levels; level++)
		for (unsigned t = 0; t < w->table_count[level]; t++)
			for (unsigned i = 0; i < m->hot_count[level]; i++)
				set(w, w->tables[level][t] + m->hot[level][i] * m->bytes,
				    world_entry(w, rng, level), m->bytes);
}
