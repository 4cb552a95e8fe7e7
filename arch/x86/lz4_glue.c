/*
 * What liblz4 names besides the string functions. Its functions that take a state of the caller's,
 * the only ones used here, never allocate; but the others are in the same object file, so the
 * linker wants malloc, calloc and free. There is no memory to be had from them: liblz4 takes that
 * for an answer.
 */
#include "lib/types.h"

void *malloc(size_t bytes);
void *calloc(size_t n, size_t bytes);
void free(void *ptr);

void *malloc(size_t bytes)
{
	(void)bytes;
	return NULL;
}

void *calloc(size_t n, size_t bytes)
{
	(void)n;
	(void)bytes;
	return NULL;
}

void free(void *ptr)
{
	(void)ptr;
}
