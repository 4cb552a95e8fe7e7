#include "tools/lab/file.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char magic[8] = {'V', 'A', 'R', 'V', 'E', 'L', 'A', 'B'};

struct head {
	char magic[8];
	u32 version, pages, n, filter, flags;
	char name[LAB_NAME];
};
#define FLAG_REAL    BIT(0)
#define VARINT_BYTES 5u

static u32 zigzag(s32 v)
{
	return v < 0 ? ~((u32)v << 1) : (u32)v << 1;
}

static s32 unzigzag(u32 v)
{
	return v & 1 ? (s32) ~(v >> 1) : (s32)(v >> 1);
}

static unsigned put_varint(u8 *to, u64 v)
{
	unsigned n = 0;

	for (; v >= 128; v >>= 7)
		to[n++] = (u8)(v | 128);
	to[n++] = (u8)v;
	return n;
}

static void must_write(gzFile f, const void *data, unsigned n)
{
	if (n && gzwrite(f, data, n) != (int)n)
		lab_die("cannot write the trace");
}

void lab_file_write(const char *path, const struct lab_trace *t)
{
	struct head h = {.version = LAB_FILE_VERSION,
	                 .pages = t->pages,
	                 .n = t->n,
	                 .filter = t->filter,
	                 .flags = t->real ? FLAG_REAL : 0};
	gzFile f = gzopen(path, "wb9");
	u32 before = 0;

	if (!f)
		lab_die("cannot write %s", path);
	memcpy(h.magic, magic, sizeof(magic));
	memcpy(h.name, t->name, sizeof(h.name));
	must_write(f, &h, sizeof(h));
	for (u32 i = 0; i < t->n; i++) {
		u32 page = lab_page(t->access[i]);
		u64 v = (u64)zigzag((s32)(page - before)) << 1 | lab_write(t->access[i]);
		u8 bytes[VARINT_BYTES];

		must_write(f, bytes, put_varint(bytes, v));
		before = page;
	}
	if (gzclose(f) != Z_OK)
		lab_die("cannot write %s", path);
}

static u64 get_varint(gzFile f, const char *path)
{
	u64 v = 0;

	for (unsigned i = 0; i < VARINT_BYTES; i++) {
		int byte = gzgetc(f);

		if (byte < 0)
			lab_die("%s ends too early", path);
		v |= (u64)(byte & 127) << (7 * i);
		if (!(byte & 128))
			return v;
	}
	lab_die("%s is damaged", path);
}

void lab_file_read(const char *path, struct lab_trace *t)
{
	gzFile f = gzopen(path, "rb");
	struct head h;
	u32 page = 0;

	if (!f)
		lab_die("cannot read %s", path);
	gzbuffer(f, 1 << 18);
	if (gzread(f, &h, sizeof(h)) != sizeof(h) || memcmp(h.magic, magic, sizeof(magic)) != 0)
		lab_die("%s is no trace", path);
	if (h.version != LAB_FILE_VERSION)
		lab_die("%s has version %u, this program knows %u", path, h.version,
		        LAB_FILE_VERSION);
	*t = (struct lab_trace){
	        .pages = h.pages, .n = h.n, .filter = h.filter, .real = h.flags & FLAG_REAL};
	memcpy(t->name, h.name, sizeof(t->name));
	t->name[LAB_NAME - 1] = 0;
	t->access = lab_alloc(t->n, sizeof(u32));
	for (u32 i = 0; i < t->n; i++) {
		u64 v = get_varint(f, path);

		page += (u32)unzigzag((u32)(v >> 1));
		if (page >= t->pages)
			lab_die("%s is damaged: page %u of %u", path, page, t->pages);
		t->access[i] = page << 1 | (v & 1);
	}
	if (gzgetc(f) >= 0)
		lab_die("%s goes on after its last access", path);
	gzclose(f);
}
