/*
 * The hash table: chained entries of fixed size, a lock per bucket. Every key 0 .. keys - 1 is in
 * it from the start. An entry carries key, version and a value in which every word follows from
 * key, version and place; the version every key must have stands in a list of its own, so that a
 * page that came back old betrays itself.
 */
#pragma once

#include "guest-tests/lib/types.h"

struct table {
	u64 keys, value_words, noise_words, seed;
	u64 entry_bytes;
	u8 *entries; /* the entry of key k stands at place perm(k) */
	struct bucket *buckets;
	u64 bucket_count;
	u32 *versions;
};

/* Bytes of memory per key, for sizing. */
u64 table_bytes_per_key(u64 value_words);
/* Allocates for table->keys keys; value_words, noise_words and seed are set. */
void table_create(struct table *table);
/* Inserts `key`, version 0. Any CPU, each key once. */
void table_insert(struct table *table, u64 key);
/* Looks the key up and verifies it; FAILs if it is missing or wrong. */
void table_get(struct table *table, u64 key);
/* Looks for a key of any number, without a look at its value: is it there? */
bool table_has(struct table *table, u64 key);
/* Verifies the key and writes its next version. */
void table_set(struct table *table, u64 key);
/* Sum of all versions: the number of table_set() calls so far. */
u64 table_version_sum(const struct table *table);
