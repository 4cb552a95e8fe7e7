/*
 * The guest page walk on arbitrary control registers and tables, against a second walk written straight
 * down, one mode after the other. Guest memory is the input itself, repeated.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/gwalk.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct input {
	u64 cr0, cr3, cr4, efer, at;
	u8 phys_bits, flags, access, pad;
};

static struct {
	const u8 *bytes;
	size_t n;
	unsigned reads;
} memory;

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Entries are built to be mostly sound: noise alone would hardly ever get below the root. */
static u64 entry_at(u64 at, unsigned bytes)
{
	u64 h = (at ^ at >> 17) * 0x9e3779b97f4a7c15ull, entry = 0;

	for (unsigned i = 0; i < bytes; i++)
		entry |= (u64)memory.bytes[(h >> 20) % memory.n + i] << 8 * i;
	/* The last byte of memory says how much of the entry is let through. */
	switch (memory.bytes[memory.n - 1] & 3) {
	case 0:
		return entry;
	case 1:
		return (entry | 1) & BITS(38, 0);
	case 2:
		return (entry | 7) & (BITS(38, 0) | BIT(63)) & ~0x80ull;
	default:
		return (entry | 1) & ~BITS(20, 13) & BITS(31, 0);
	}
}

static bool read_entry(void *ctx, gpa_t at, unsigned bytes, u64 *entry)
{
	check(ctx == &memory && (bytes == 4 || bytes == 8) && !(at.v % bytes));
	check(++memory.reads <= 5);
	*entry = entry_at(at.v, bytes);
	return at.v % 61 != 0;
}

/* What the second walk knows of the path so far. */
struct path {
	bool write, user, execute;
	u64 page, bytes;
	bool faulted, reserved, unreadable;
};

static bool step(struct path *p, u64 at, unsigned bytes, u64 *entry)
{
	*entry = entry_at(at, bytes);
	p->unreadable = at % 61 == 0;
	p->faulted = !(*entry & 1);
	return !p->unreadable && !p->faulted;
}

static void allow(struct path *p, u64 entry)
{
	p->write &= entry >> 1 & 1;
	p->user &= entry >> 2 & 1;
}

static void second_32(const struct input *in, struct path *p)
{
	u32 at = (u32)in->at;
	unsigned m = in->phys_bits < 40 ? in->phys_bits : 40;
	u64 e;

	if (!step(p, (in->cr3 & 0xfffff000) + (at >> 22) * 4, 4, &e))
		return;
	allow(p, e);
	if (in->cr4 >> 4 & 1 && e & 0x80) {
		/* (m - 32) bits of address from 13 up, the rest below 22 reserved */
		u64 high = (e >> 13) & ((1u << (m - 32)) - 1);

		p->reserved = (e >> 13 & 0x1ff) != high;
		p->page = (e & 0xffc00000) | high << 32 | (at & 0x3fffff);
		p->bytes = 4u << 20;
		return;
	}
	if (!step(p, (e & 0xfffff000) + (at >> 12 & 0x3ff) * 4, 4, &e))
		return;
	allow(p, e);
	p->page = (e & 0xfffff000) | (at & 0xfff);
	p->bytes = 4096;
}

/* From a page directory (level 2), page-directory-pointer table (3) and so on down to the page. */
static void second_64(const struct input *in, struct path *p, u64 table, int level, u64 at,
                      bool pae32)
{
	u64 too_high = BITS(51, 0) >> in->phys_bits << in->phys_bits, e;
	bool nxe = in->efer >> 11 & 1;

	for (; level >= 1; level--) {
		unsigned shift = 3 + 9 * (unsigned)level;
		bool large = level == 1;

		if (!step(p, table + (at >> shift & 0x1ff) * 8, 8, &e))
			return;
		if (level == 2 || (level == 3 && in->flags & 1))
			large |= e >> 7 & 1;
		if (e & too_high || (!nxe && e >> 63) || (pae32 && e >> 52 & 0x7ff))
			p->reserved = true;
		if (!large && level > 2 && e & 0x80)
			p->reserved = true;
		if (large && level > 1 && e & ((1ull << shift) - 1) & ~0x1fffull)
			p->reserved = true;
		if (p->reserved)
			return;
		allow(p, e);
		p->execute &= !(nxe && e >> 63);
		table = e & BITS(51, 12);
		if (large) {
			p->page = (table >> shift << shift) | (at & ((1ull << shift) - 1));
			p->bytes = 1ull << shift;
			return;
		}
	}
}

static void second_pae(const struct input *in, struct path *p)
{
	u64 too_high = BITS(63, 0) >> in->phys_bits << in->phys_bits, e;
	u32 at = (u32)in->at;

	if (!step(p, (in->cr3 & 0xffffffe0) + (at >> 30) * 8, 8, &e))
		return;
	p->reserved = e & (too_high | 0x1c6); /* but bit 5, see hv/gwalk.c */
	if (!p->reserved)
		second_64(in, p, e & BITS(51, 12), 2, at, true);
}

static bool allowed(const struct input *in, const struct path *p)
{
	bool write = in->access & GWALK_WRITE, fetch = in->access & GWALK_FETCH;

	if (fetch && !p->execute)
		return false;
	if (in->access & GWALK_USER)
		return p->user && (p->write || !write);
	if (p->user && fetch && in->cr4 >> 20 & 1)
		return false;
	if (p->user && !fetch && in->cr4 >> 21 & 1 && !(in->flags & 2))
		return false;
	/* A fetch that is also a write is none that hardware makes. */
	if (p->user && fetch)
		return true;
	return p->write || !write || !(in->cr0 >> 16 & 1);
}

struct marks {
	const struct gwalk_out *out;
	unsigned access, next;
};

/* Accessed in each entry once, from the root down; Dirty with the last of a write. */
static bool set_entry(void *ctx, gpa_t at, unsigned bytes, u64 expected, u64 want)
{
	struct marks *m = ctx;
	u64 bits = 0x20;

	/* Those that need nothing are left out. */
	while (!gwalk_marks(m->out, m->next, m->access))
		check(++m->next < m->out->steps);
	check(m->out->step[m->next].at.v == at.v);
	if (m->next + 1 == m->out->steps && m->access & GWALK_WRITE)
		bits |= 0x40;
	check(entry_at(at.v, bytes) == expected && want == (expected | bits) && want != expected);
	check(!m->out->step[m->next++].bare);
	return true;
}

static void mark(const struct input *in, const struct gwalk_out *found)
{
	struct gwalk_out out = *found;
	struct marks m = {.out = found, .access = in->access};

	check(out.steps && out.steps <= GWALK_LEVELS);
	check(gwalk_mark(&out, in->access, set_entry, &m));
	for (unsigned i = 0; i < out.steps; i++)
		check(!gwalk_marks(&out, i, in->access));
}

static void compare(const struct input *in, enum gwalk_result r, const struct gwalk_out *out)
{
	bool nx = in->cr4 >> 5 & 1 && in->efer >> 11 & 1, smep = in->cr4 >> 20 & 1;
	struct path p = {.write = true, .user = true, .execute = true};
	u32 error;

	if (in->efer >> 10 & 1)
		second_64(in, &p, in->cr3 & BITS(51, 12), in->cr4 >> 12 & 1 ? 5 : 4, in->at, false);
	else if (in->cr4 >> 5 & 1)
		second_pae(in, &p);
	else
		second_32(in, &p);
	if (p.unreadable) {
		check(r == GWALK_UNREADABLE);
	} else if (p.faulted || p.reserved || !allowed(in, &p)) {
		error = (p.faulted ? 0 : 1) | (in->access & GWALK_WRITE ? 2 : 0) |
		        (in->access & GWALK_USER ? 4 : 0) | (p.reserved ? 8 : 0) |
		        (in->access & GWALK_FETCH && (nx || smep) ? 16 : 0);
		check(r == GWALK_FAULT && out->error == error);
	} else {
		check(r == GWALK_OK && out->gpa.v == p.page && out->page_bytes == p.bytes);
		check(out->write == p.write && out->user == p.user && out->exec == p.execute);
		mark(in, out);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct gwalk_state s;
	struct gwalk_out out;
	enum gwalk_result r;
	struct input in;
	unsigned width;
	s64 top;

	if (size < sizeof(in) + 16)
		return 0;
	memcpy(&in, data, sizeof(in));
	in.phys_bits = (u8)(32 + in.phys_bits % 21);
	in.access &= 7;
	/* Long mode has PAE. */
	if (in.efer >> 10 & 1)
		in.cr4 |= BIT(5);
	memory.bytes = data + sizeof(in);
	memory.n = size - sizeof(in) - 8;
	memory.reads = 0;
	s = (struct gwalk_state){
	        .cr0 = in.cr0,
	        .cr3 = in.cr3,
	        .cr4 = in.cr4,
	        .efer = in.efer,
	        .phys_bits = in.phys_bits,
	        .page_1g = in.flags & 1,
	        .ac = in.flags & 2,
	};
	r = gwalk(&s, gva(in.at), in.access, read_entry, &memory, &out);
	width = in.cr4 >> 12 & 1 ? 57 : 48;
	top = (s64)in.at >> (width - 1);
	if (!(in.cr0 >> 31 & 1))
		check(r == GWALK_OK && out.gpa.v == (u32)in.at && !memory.reads);
	else if (in.efer >> 10 & 1 && top != 0 && top != -1)
		check(r == GWALK_NONCANONICAL && !memory.reads);
	else
		compare(&in, r, &out);
	return 0;
}
