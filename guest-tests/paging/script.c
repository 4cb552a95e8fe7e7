#include "guest-tests/paging/script.h"

#include "guest-tests/lib/guest.h"

#define CR0_FIXED (CR0_PE | CR0_NE | CR0_ET)
#define CR0_ET    BIT(4)

static u64 below(struct script *s, u64 n)
{
	return rng_below(&s->rng, n);
}

static bool chance(struct script *s, unsigned percent)
{
	return below(s, 100) < percent;
}

struct op *script_add(struct script *s, unsigned kind, u64 at, u64 value)
{
	struct op *op = &s->ops[s->count++];

	VERDICT_CHECK(s->count <= TRIP_OPS_MAX, "a script is too long");
	*op = (struct op){.kind = kind, .at = at, .value = value};
	if (s->world->mode->bytes == 8)
		op->flags = OP_WIDE;
	return op;
}

static u64 random_cr0(struct script *s)
{
	u64 paging = s->world->mode->levels ? CR0_PG : 0;

	/* SMAP without WP is what no system runs with, and what shadow tables cannot express (decision 28). */
	return CR0_FIXED | paging | (chance(s, 60) || s->cr4 & CR4_SMAP ? CR0_WP : 0);
}

static u64 random_cr4(struct script *s)
{
	u64 cr4 = s->world->mode->cr4;

	if (features->smep && chance(s, 30))
		cr4 |= CR4_SMEP;
	if (features->smap && s->cr0 & CR0_WP && chance(s, 30))
		cr4 |= CR4_SMAP;
	return cr4;
}

static u64 random_root(struct script *s)
{
	return s->world->mode->levels ? s->world->root[below(s, SPACES)] : 0;
}

void script_begin(struct script *s, const struct world *world, u64 seed, u64 step)
{
	s->world = world;
	s->rng.state = rng_mix(seed * 0x10001 + step);
	s->count = 0;
	s->cr4 = 0;
	s->cr0 = random_cr0(s);
	s->cr3 = random_root(s);
	s->cr4 = random_cr4(s);
}

static u64 hot_offset(struct script *s)
{
	const struct mode *m = s->world->mode;
	unsigned bytes = m->bytes ? m->bytes : 4;
	static const u16 words[] = {0, 1, 255, 511};

	return (u64)words[below(s, ARRAY_SIZE(words))] * bytes;
}

static void random_path(struct script *s, unsigned path[LEVELS_MAX + 1])
{
	const struct mode *m = s->world->mode;

	for (unsigned level = 1; level <= m->levels; level++)
		path[level] = m->hot[level][below(s, m->hot_count[level])];
}

/* An address through hot entries, one that was used before, or without paging a data frame. */
static u64 random_address(struct script *s)
{
	unsigned path[LEVELS_MAX + 1] = {0};
	u64 at;

	if (chance(s, 50) && s->recent[0])
		return s->recent[below(s, RECENT)];
	if (s->world->mode->levels) {
		random_path(s, path);
		at = mode_address(s->world->mode, path, hot_offset(s));
	} else {
		at = s->world->data[below(s, s->world->data_count)] + hot_offset(s);
	}
	if (!s->recent[0])
		for (unsigned i = 0; i < RECENT; i++)
			s->recent[i] = at;
	s->recent[below(s, RECENT)] = at;
	return at;
}

/* Code is at one place of a frame only. */
static void add_access(struct script *s)
{
	static const u8 kinds[] = {OP_READ,  OP_READ, OP_READ,  OP_WRITE,
	                           OP_WRITE, OP_XCHG, OP_FETCH, OP_FETCH};
	unsigned kind = kinds[below(s, ARRAY_SIZE(kinds))];
	u64 at = random_address(s);
	struct op *op;

	if (kind == OP_FETCH)
		at = (at & ~(PAGE_SIZE - 1)) + FRAME_CODE;
	op = script_add(s, kind, at, rng_next(&s->rng));
	if (!s->world->mode->long_mode)
		op->value = (u32)op->value;
	op->flags |= chance(s, 50) ? OP_USER : 0;
	op->flags |= chance(s, 30) ? OP_AC : 0;
}

static unsigned random_level(struct script *s)
{
	static const u8 weights[] = {1, 1, 1, 1, 2, 2, 2, 3, 3, 4};
	unsigned level;

	do
		level = weights[below(s, ARRAY_SIZE(weights))];
	while (level > s->world->mode->levels);
	return level;
}

/* PAE: the last PD holds the PDs of the test as if they were its tables. */
static void add_window_entry(struct script *s)
{
	const struct world *w = s->world;
	u64 pd = w->last_pd[below(s, SPACES)];
	u64 value = w->tables[2][below(s, w->table_count[2])] | ENTRY_P | ENTRY_A;

	value |= (chance(s, 80) ? ENTRY_W : 0) | (chance(s, 70) ? ENTRY_U : 0);
	script_add(s, OP_STORE, pd + (508 + 1 + below(s, 2)) * 8, value);
}

/* PDPTEs of PAE are loaded with CR3 (SDM vol. 3, 4.4.1). */
static void reload(struct script *s)
{
	script_add(s, OP_CR3, 0, s->cr3);
}

static u64 hot_entry(struct script *s, unsigned level)
{
	const struct mode *m = s->world->mode;
	u64 table = s->world->tables[level][below(s, s->world->table_count[level])];

	return table + m->hot[level][below(s, m->hot_count[level])] * m->bytes;
}

static void add_store(struct script *s)
{
	const struct mode *m = s->world->mode;
	unsigned level = random_level(s);

	if (m->levels == 3 && chance(s, 10)) {
		add_window_entry(s);
		return;
	}
	script_add(s, OP_STORE, hot_entry(s, level), world_entry(s->world, &s->rng, level));
	if (mode_is_pdpte(m, level))
		reload(s);
}

/* One attribute changes: an entry that is present stays it, one that is not stays absent. */
static void add_rmw_of(struct script *s, unsigned level)
{
	static const u64 bits[] = {ENTRY_W, ENTRY_W, ENTRY_U,  ENTRY_A,          ENTRY_A,
	                           ENTRY_D, ENTRY_D, ENTRY_NX, ENTRY_A | ENTRY_D};
	u64 bit = bits[below(s, ARRAY_SIZE(bits))];
	struct op *op;

	if (bit == ENTRY_NX && (s->world->mode->bytes == 4 || !features->nx))
		bit = 0;
	op = script_add(s, OP_RMW, hot_entry(s, level), chance(s, 50) ? bit : 0);
	op->mask = ~bit;
}

static void add_rmw(struct script *s)
{
	unsigned level = random_level(s);

	if (!mode_is_pdpte(s->world->mode, level)) /* no attributes */
		add_rmw_of(s, level);
}

/* An entry is read or written through the table that maps itself. It must be known which is written: no stale
 * translation then. */
static void add_window(struct script *s)
{
	static const u8 kinds[] = {OP_READ, OP_WRITE, OP_WRITE, OP_XCHG};
	const struct mode *m = s->world->mode;
	unsigned path[LEVELS_MAX + 1] = {0}, level = random_level(s);
	unsigned kind = kinds[below(s, ARRAY_SIZE(kinds))];
	struct op *op;
	u64 at;

	if (mode_is_pdpte(m, level))
		level = 2;
	random_path(s, path);
	at = mode_window(m, path, level);
	if (kind != OP_READ)
		script_add(s, OP_INVLPG, at, 0);
	op = script_add(s, kind, at, world_entry(s->world, &s->rng, level));
	if (!m->long_mode)
		op->value = (u32)op->value;
	op->flags |= chance(s, 20) ? OP_USER : 0;
	op->flags |= chance(s, 50) ? OP_AC : 0;
}

static void add_control(struct script *s)
{
	switch (below(s, 4)) {
	case 0:
		s->cr0 = random_cr0(s);
		script_add(s, OP_CR0, 0, s->cr0);
		break;
	case 1:
		s->cr4 = random_cr4(s);
		script_add(s, OP_CR4, 0, s->cr4);
		break;
	default:
		s->cr3 = chance(s, 30) ? s->cr3 : random_root(s);
		reload(s);
		break;
	}
}

/* Without paging there is nothing but accesses and registers. */
static void add_random(struct script *s)
{
	u64 n = below(s, 100);

	if (n < 60)
		add_access(s);
	else if (!s->world->mode->levels)
		script_add(s, OP_CR0, 0, s->cr0 = random_cr0(s));
	else if (n < 72)
		add_store(s);
	else if (n < 82)
		add_rmw(s);
	else if (n < 87)
		add_window(s);
	else if (n < 94)
		script_add(s, OP_INVLPG, random_address(s), 0);
	else
		add_control(s);
}

void script_random(struct script *s, unsigned count)
{
	while (s->count < count)
		add_random(s);
}

void script_accesses(struct script *s, unsigned count)
{
	while (count--)
		add_access(s);
}

/* Not of a PDPTE, which CR3 loads. */
void script_change(struct script *s)
{
	const struct mode *m = s->world->mode;
	unsigned level;

	do
		level = random_level(s);
	while (mode_is_pdpte(m, level));
	if (chance(s, 60))
		script_add(s, OP_STORE, hot_entry(s, level), world_entry(s->world, &s->rng, level));
	else
		add_rmw_of(s, level);
}

/* A table of level 1 into every hot entry of every table of level 2 by turns, and the way down to them. */
static void storm_tables(struct script *s, u64 bits)
{
	const struct world *w = s->world;
	const struct mode *m = w->mode;
	unsigned n = 0;

	for (unsigned t = 0; t < w->table_count[2]; t++)
		for (unsigned i = 0; i < m->hot_count[2]; i++)
			script_add(s, OP_STORE, w->tables[2][t] + m->hot[2][i] * m->bytes,
			           w->tables[1][n++ % w->table_count[1]] | bits);
	for (unsigned level = 3; level <= m->levels; level++)
		for (unsigned t = 0; t < w->table_count[level]; t++)
			for (unsigned i = 0; i < m->hot_count[level]; i++)
				script_add(
				        s, OP_STORE,
				        w->tables[level][t] + m->hot[level][i] * m->bytes,
				        w->tables[level - 1][(t + i) % w->table_count[level - 1]] |
				                (mode_is_pdpte(m, level) ? ENTRY_P : bits));
}

static void storm_sweeps(struct script *s)
{
	const struct mode *m = s->world->mode;
	unsigned path[LEVELS_MAX + 1] = {0}, pages = 1u << m->bits;

	for (unsigned n = 0; n < 4; n++) {
		random_path(s, path);
		path[1] = 0;
		script_add(s, OP_SWEEP, mode_address(m, path, 0), 0)->mask = pages;
	}
}

static void storm_fill(struct script *s, u64 value)
{
	const struct world *w = s->world;

	for (unsigned t = 0; t < w->table_count[1]; t++)
		script_add(s, OP_FILL, w->tables[1][t], value)->mask = 1u << w->mode->bits;
	reload(s);
}

/* Kernel pages, so that SMAP does not matter. */
void script_storm(struct script *s, unsigned round)
{
	const struct world *w = s->world;
	u64 bits = ENTRY_P | ENTRY_W, frame = w->data[round % w->data_count];

	storm_tables(s, bits);
	storm_fill(s, frame | bits);
	storm_sweeps(s);
	s->cr3 = random_root(s);
	reload(s);
	storm_sweeps(s);
	storm_fill(s, 0);
	storm_sweeps(s);
}

u64 script_efer(const struct script *s)
{
	return (s->world->nxe ? EFER_NXE : 0) |
	       (s->world->mode->long_mode ? EFER_LME | EFER_LMA : 0);
}

void script_end(struct script *s)
{
	script_add(s, OP_END, 0, 0);
}
