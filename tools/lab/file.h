/*
 * Trace files, compressed by zlib. Version 1, little-endian:
 *
 *   "VARVELAB"            8 bytes
 *   version               u32, 1
 *   pages, n, filter      u32 each, as in struct lab_trace
 *   flags                 u32, 0: recorded
 *   name                  48 bytes, 0 at the end
 *   n accesses            each a variable-length number, 7 bits a byte, the lowest first, top bit: more follow.
 *                         Its bit 0: write; the rest: page minus the page before, sign in the lowest bit
 *                         (0 0, 1 -1, 2 1, ...); page 0 comes before the first
 */
#pragma once

#include "tools/lab/lab.h"

#define LAB_FILE_VERSION 1u

/* Both end the program, and say why, if it cannot be done. */
void lab_file_write(const char *path, const struct lab_trace *t);
void lab_file_read(const char *path, struct lab_trace *t);

/* What a converter reads; see lab_convert(). */
enum lab_text {
	LAB_TEXT_PLAIN, /* lines "PAGE" or "PAGE w", numbers as in C */
	LAB_TEXT_LACKEY, /* of valgrind --tool=lackey --trace-mem=yes: instructions, loads and stores */
};
struct lab_convert {
	enum lab_text text;
	u32 filter;    /* leave out accesses to one of so many pages used last: 0, 1 or 2 */
	u64 skip, max; /* accesses of the text left out first, accesses kept at most (0: all) */
};
/*
 * Pages get dense numbers in the order of their addresses. A write that the filter leaves out makes the
 * access it is hidden by a write. More than 2 is not offered: such a filter ruins a trace (README).
 */
void lab_convert(FILE *in, const struct lab_convert *c, struct lab_trace *t);
