/* hv/elf: what is loaded, and every way in which an image is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hv/elf.h"

#define AT       0x100000u
#define BODY     64u
#define HEADER32 52u
#define PHDR32   32u

/* An ELF32 file with one segment whose body begins with a multiboot header. */
struct file {
	u8 data[4096];
	u64 bytes;
};

static void put16(u8 *p, u16 v)
{
	memcpy(p, &v, 2);
}
static void put32(u8 *p, u32 v)
{
	memcpy(p, &v, 4);
}
static void put64(u8 *p, u64 v)
{
	memcpy(p, &v, 8);
}

static void put_multiboot(u8 *p, u32 flags)
{
	put32(p, 0x1badb002);
	put32(p + 4, flags);
	put32(p + 8, 0u - 0x1badb002u - flags);
}

static void put_segment(struct file *f, unsigned i, u32 at, u32 file_bytes, u32 bytes)
{
	u8 *p = f->data + HEADER32 + i * PHDR32;

	put32(p, 1);
	put32(p + 4, 256);
	put32(p + 12, at);
	put32(p + 16, file_bytes);
	put32(p + 20, bytes);
}

static struct file make(unsigned segments)
{
	struct file f = {.bytes = 256 + BODY};

	memcpy(f.data, "\177ELF\1\1\1", 7);
	put16(f.data + 16, 2);
	put16(f.data + 18, 3);
	put32(f.data + 24, AT + 16);
	put32(f.data + 28, HEADER32);
	put16(f.data + 42, PHDR32);
	put16(f.data + 44, (u16)segments);
	for (unsigned i = 0; i < segments; i++)
		put_segment(&f, i, AT + i * 0x2000, BODY, 0x1000);
	put_multiboot(f.data + 256, 3);
	return f;
}

/* On the heap in its exact size, so that a read past the end is found. */
static const char *parse(const struct file *f, struct elf_image *out)
{
	u8 *copy = malloc(f->bytes ? f->bytes : 1);
	const char *why;

	memcpy(copy, f->data, f->bytes);
	why = elf_parse(copy, f->bytes, out);
	free(copy);
	return why;
}

static void refused(const struct file *f, const char *word)
{
	struct elf_image image;
	const char *why = parse(f, &image);

	assert_non_null(why);
	assert_non_null(strstr(why, word));
}

static void test_elf_good(void **state)
{
	struct file f = make(2);
	struct elf_image image;

	(void)state;
	assert_null(parse(&f, &image));
	assert_int_equal(image.entry, AT + 16);
	assert_int_equal(image.nr_segments, 2);
	assert_int_equal(image.segment[1].gpa, AT + 0x2000);
	assert_int_equal(image.segment[1].file_offset, 256);
	assert_int_equal(image.segment[1].file_bytes, BODY);
	assert_int_equal(image.segment[1].bytes, 0x1000);
	assert_int_equal(image.end, AT + 0x3000);
}

static void test_elf_64(void **state)
{
	struct file f = {.bytes = 256 + BODY};
	struct elf_image image;

	(void)state;
	memcpy(f.data, "\177ELF\2\1\1", 7);
	put16(f.data + 16, 2);
	put16(f.data + 18, 62);
	put64(f.data + 24, AT + 12);
	put64(f.data + 32, 64);
	put16(f.data + 54, 56);
	put16(f.data + 56, 1);
	put32(f.data + 64, 1);
	put64(f.data + 64 + 8, 256);
	put64(f.data + 64 + 24, AT);
	put64(f.data + 64 + 32, BODY);
	put64(f.data + 64 + 40, 0x1000);
	put_multiboot(f.data + 256, 3);
	assert_null(parse(&f, &image));
	assert_int_equal(image.segment[0].bytes, 0x1000);
	put64(f.data + 24, 1ull << 46);
	refused(&f, "above 4 GiB");
	put64(f.data + 24, AT);
	put64(f.data + 64 + 24, ~0ull - 0xfff);
	put64(f.data + 64 + 40, 0x2000);
	refused(&f, "wraps");
}

static void test_elf_flat(void **state)
{
	struct file f = {.bytes = 128};
	struct elf_image image;

	(void)state;
	put_multiboot(f.data + 16, 1u << 16);
	put32(f.data + 28, AT + 16); /* header_addr */
	put32(f.data + 32, AT);
	put32(f.data + 36, AT + 100);
	put32(f.data + 40, AT + 0x5000);
	put32(f.data + 44, AT + 64);
	assert_null(parse(&f, &image));
	assert_int_equal(image.entry, AT + 64);
	assert_int_equal(image.segment[0].gpa, AT);
	assert_int_equal(image.segment[0].file_offset, 0);
	assert_int_equal(image.segment[0].file_bytes, 100);
	assert_int_equal(image.segment[0].bytes, 0x5000);
	put32(f.data + 36, AT + 4096); /* more than there is */
	refused(&f, "truncated");
	put32(f.data + 36, 0); /* all of the file */
	assert_null(parse(&f, &image));
	assert_int_equal(image.segment[0].file_bytes, 128);
	put32(f.data + 28, AT - 4);
	refused(&f, "impossible");
	put32(f.data + 28, AT + 64); /* would begin before the file */
	refused(&f, "impossible");
}

static void test_elf_truncated(void **state)
{
	struct file whole = make(1), f;

	(void)state;
	for (u64 n = 0; n < whole.bytes; n++) {
		struct elf_image image;

		f = whole;
		f.bytes = n;
		assert_non_null(parse(&f, &image));
	}
}

static void test_elf_refused(void **state)
{
	struct file f = make(1);

	(void)state;
	f.bytes = 0;
	refused(&f, "empty");
	f = make(1);
	memcpy(f.data, "text", 4);
	refused(&f, "neither");
	f = make(1);
	put32(f.data + 256, 0);
	refused(&f, "multiboot");
	f = make(1);
	put16(f.data + 18, 8);
	refused(&f, "i386");
	f = make(1);
	f.data[5] = 2;
	refused(&f, "big-endian");
	refused(&(struct file){.data = "\177ELF", .bytes = 4}, "truncated");
	f = make(0);
	refused(&f, "nothing to load");
	f = make(17);
	f.bytes = sizeof(f.data);
	put_multiboot(f.data + 1024, 3);
	refused(&f, "too many");
}

static void test_elf_segments(void **state)
{
	struct file f = make(1);

	(void)state;
	put_segment(&f, 0, AT, BODY, BODY - 4);
	refused(&f, "larger in the file");
	f = make(1);
	put_segment(&f, 0, AT, BODY + 1, 0x1000);
	refused(&f, "truncated");
	f = make(2);
	put_segment(&f, 1, AT + 0xfff, BODY, 0x1000);
	refused(&f, "overlap");
	f = make(2);
	put_segment(&f, 1, 0xfff, BODY, 0x1000);
	refused(&f, "page 0");
	f = make(1);
	put32(f.data + 24, AT + 0x800); /* in the zeroes behind the file's bytes */
	refused(&f, "entry point");
	f = make(1);
	put32(f.data + 28, 0xfffffff0);
	refused(&f, "truncated");
	f = make(1);
	put16(f.data + 42, 16);
	refused(&f, "too small");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_elf_good),    cmocka_unit_test(test_elf_64),
	        cmocka_unit_test(test_elf_flat),    cmocka_unit_test(test_elf_truncated),
	        cmocka_unit_test(test_elf_refused), cmocka_unit_test(test_elf_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
