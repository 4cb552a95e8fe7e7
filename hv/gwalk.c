/*
 * One loop for all formats: a level has a shift and an entry size, a mode says how many levels there are
 * and where the first begins. Permissions are ANDed on the way down and checked once, at the end, as
 * hardware does: an entry that is not present or has a reserved bit ends the walk before that.
 */
#include "hv/gwalk.h"

#define CR0_WP   BIT(16)
#define CR0_PG   BIT(31)
#define CR4_PSE  BIT(4)
#define CR4_PAE  BIT(5)
#define CR4_LA57 BIT(12)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define ENTRY_P   BIT(0)
#define ENTRY_W   BIT(1)
#define ENTRY_U   BIT(2)
#define ENTRY_PS  BIT(7)
#define ENTRY_NX  BIT(63)
#define ENTRY_PFN BITS(51, 12)

#define ERROR_P    BIT(0)
#define ERROR_W    BIT(1)
#define ERROR_U    BIT(2)
#define ERROR_RSVD BIT(3)
#define ERROR_I    BIT(4)

struct walk {
	const struct gwalk_state *state;
	u64 at;
	unsigned access;
	unsigned levels, entry_bytes, bits; /* bits of the address that one level translates */
	bool pae, nx;                       /* 8-byte entries; EFER.NXE counts */
	u64 allowed;                        /* ENTRY_W, ENTRY_U as far as all levels allow */
	bool no_execute;
};

static void walk_mode(struct walk *w)
{
	const struct gwalk_state *s = w->state;

	w->pae = s->cr4 & CR4_PAE;
	w->nx = w->pae && s->efer & EFER_NXE;
	w->entry_bytes = w->pae ? 8 : 4;
	w->bits = w->pae ? 9 : 10;
	if (s->efer & EFER_LMA)
		w->levels = s->cr4 & CR4_LA57 ? 5 : 4;
	else
		w->levels = w->pae ? 3 : 2;
	if (!(s->efer & EFER_LMA))
		w->at = (u32)w->at;
	w->allowed = ENTRY_W | ENTRY_U;
}

/* In long mode the bits above the translated ones repeat the topmost of them. */
static bool walk_canonical(const struct walk *w)
{
	unsigned width = 12 + 9 * w->levels;
	s64 top;

	if (!(w->state->efer & EFER_LMA))
		return true;
	top = (s64)w->at >> (width - 1);
	return top == 0 || top == -1;
}

/* Where the first table is; that of PAE has four entries and lies on 32 bytes. */
static u64 walk_root(const struct walk *w)
{
	if (w->levels == 2)
		return w->state->cr3 & BITS(31, 12);
	if (w->levels == 3)
		return w->state->cr3 & BITS(31, 5);
	return w->state->cr3 & ENTRY_PFN;
}

static unsigned level_shift(const struct walk *w, unsigned level)
{
	return 12 + w->bits * (level - 1);
}

/* The four entries at the top of PAE paging have no permissions and fewer defined bits. */
static bool level_is_pdpte(const struct walk *w, unsigned level)
{
	return w->levels == 3 && level == 3;
}

/* Does an entry of this level with PS set map a page? Elsewhere the bit is ignored or reserved. */
static inline bool entry_is_large(const struct walk *w, unsigned level, u64 entry)
{
	if (level == 1 || !(entry & ENTRY_PS))
		return level == 1;
	if (level == 2)
		return w->pae || w->state->cr4 & CR4_PSE;
	return level == 3 && w->levels >= 4 && w->state->page_1g;
}

/* Bits of an 8-byte entry that must be zero. SDM vol. 3, tables 4-8 to 4-11 and 4-14 to 4-20. */
static inline u64 reserved_8(const struct walk *w, unsigned level, bool large)
{
	u64 r = BITS(51, 12) & ~(BIT(w->state->phys_bits) - 1);

	/* Bit 5 is reserved as well, but QEMU sets Accessed there when it walks under nested paging. */
	if (level_is_pdpte(w, level))
		return r | BITS(63, 52) | BITS(8, 6) | BITS(2, 1);
	if (w->levels == 3)
		r |= BITS(62, 52);
	if (!w->nx)
		r |= ENTRY_NX;
	if (level > 1 && !large)
		r |= ENTRY_PS;
	if (level > 1 && large)
		r |= BITS(level_shift(w, level) - 1, 13);
	return r;
}

/* A 4 MiB page has address bits 39:32 in bits 20:13 as far as the machine has them; bit 21 is reserved. */
static u64 reserved_4(const struct walk *w, unsigned level, bool large)
{
	unsigned high = w->state->phys_bits > 40 ? 8 : w->state->phys_bits - 32u;

	if (level == 1 || !large)
		return 0;
	return BITS(21, 13) & ~BITS(12 + high, 13);
}

static u64 entry_reserved(const struct walk *w, unsigned level, u64 entry, bool large)
{
	return entry & (w->pae ? reserved_8(w, level, large) : reserved_4(w, level, large));
}

/* The physical address of the page: frame from the entry, the rest from the address. */
static inline u64 entry_address(const struct walk *w, unsigned level, u64 entry)
{
	u64 offset = BITS(level_shift(w, level) - 1, 0);
	u64 frame = entry & (w->pae ? ENTRY_PFN : BITS(31, 12)) & ~offset;

	if (!w->pae && level == 2)
		frame |= (entry >> 13 & 0xff) << 32;
	return frame | (w->at & offset);
}

static bool access_allowed(const struct walk *w)
{
	const struct gwalk_state *s = w->state;
	bool user_page = w->allowed & ENTRY_U;

	if (w->access & GWALK_FETCH && w->no_execute)
		return false;
	if (w->access & GWALK_USER)
		return user_page && (!(w->access & GWALK_WRITE) || w->allowed & ENTRY_W);
	if (user_page && w->access & GWALK_FETCH)
		return !(s->cr4 & CR4_SMEP);
	if (user_page && s->cr4 & CR4_SMAP && !s->ac)
		return false;
	return !(w->access & GWALK_WRITE) || w->allowed & ENTRY_W || !(s->cr0 & CR0_WP);
}

/* Bit 4 says "fetch" only where fetches can be forbidden. */
static u32 error_code(const struct walk *w, u64 why)
{
	bool fetch_counts = w->nx || w->state->cr4 & CR4_SMEP;

	if (w->access & GWALK_WRITE)
		why |= ERROR_W;
	if (w->access & GWALK_USER)
		why |= ERROR_U;
	if (w->access & GWALK_FETCH && fetch_counts)
		why |= ERROR_I;
	return (u32)why;
}

static enum gwalk_result fault(const struct walk *w, struct gwalk_out *out, u64 why)
{
	out->error = error_code(w, why);
	return GWALK_FAULT;
}

static enum gwalk_result leaf(const struct walk *w, unsigned level, u64 entry,
                              struct gwalk_out *out)
{
	if (!access_allowed(w))
		return fault(w, out, ERROR_P);
	out->gpa = gpa(entry_address(w, level, entry));
	out->page_bytes = BIT(level_shift(w, level));
	out->write = w->allowed & ENTRY_W;
	out->user = w->allowed & ENTRY_U;
	out->exec = !w->no_execute;
	return GWALK_OK;
}

static enum gwalk_result descend(struct walk *w, gwalk_read_fn read, void *ctx,
                                 struct gwalk_out *out)
{
	u64 table = walk_root(w), entry = 0, index;

	for (unsigned level = w->levels; level; level--) {
		bool large;

		index = w->at >> level_shift(w, level) & (BIT(w->bits) - 1);
		out->gpa = gpa(table + index * w->entry_bytes);
		if (!read(ctx, out->gpa, w->entry_bytes, &entry))
			return GWALK_UNREADABLE;
		if (!(entry & ENTRY_P))
			return fault(w, out, 0);
		large = entry_is_large(w, level, entry);
		if (entry_reserved(w, level, entry, large))
			return fault(w, out, ERROR_P | ERROR_RSVD);
		out->step[out->steps++] = (struct gwalk_step){
		        .at = out->gpa,
		        .entry = entry,
		        .bytes = (u8)w->entry_bytes,
		        .level = (u8)level,
		        .bare = level_is_pdpte(w, level),
		};
		if (!level_is_pdpte(w, level)) {
			w->allowed &= entry;
			w->no_execute |= w->nx && entry & ENTRY_NX;
		}
		if (large)
			return leaf(w, level, entry, out);
		table = entry & (w->pae ? ENTRY_PFN : BITS(31, 12));
	}
	return GWALK_UNREADABLE; /* not reached: level 1 is a leaf */
}

enum gwalk_result gwalk(const struct gwalk_state *state, gva_t at, unsigned access,
                        gwalk_read_fn read, void *ctx, struct gwalk_out *out)
{
	struct walk w = {.state = state, .at = at.v, .access = access};

	out->page_bytes = PAGE_SIZE;
	out->error = 0;
	out->steps = 0;
	out->write = out->user = out->exec = true;
	if (!(state->cr0 & CR0_PG)) {
		out->gpa = gpa((u32)at.v);
		return GWALK_OK;
	}
	walk_mode(&w);
	if (!walk_canonical(&w))
		return GWALK_NONCANONICAL;
	return descend(&w, read, ctx, out);
}

enum gwalk_kind gwalk_entry(const struct gwalk_state *state, unsigned level, u64 entry,
                            u64 *address)
{
	struct walk w = {.state = state};
	bool large;

	walk_mode(&w);
	large = entry_is_large(&w, level, entry);
	*address = large ? entry_address(&w, level, entry)
	                 : entry & (w.pae ? ENTRY_PFN : BITS(31, 12));
	if (!(entry & ENTRY_P))
		return GWALK_ABSENT;
	if (entry_reserved(&w, level, entry, large))
		return GWALK_RESERVED;
	return large ? GWALK_PAGE : GWALK_TABLE;
}

bool gwalk_mark(struct gwalk_out *out, unsigned access, gwalk_set_fn set, void *ctx)
{
	for (unsigned i = 0; i < out->steps; i++) {
		struct gwalk_step *step = &out->step[i];
		u64 want = step->entry | gwalk_marks(out, i, access);

		if (want == step->entry)
			continue;
		if (!set(ctx, step->at, step->bytes, step->entry, want))
			return false;
		step->entry = want;
	}
	return true;
}
