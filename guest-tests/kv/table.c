#include "guest-tests/kv/table.h"

#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/mem.h"
#include "guest-tests/lib/rng.h"
#include "guest-tests/lib/smp.h"
#include "guest-tests/lib/verdict.h"

struct bucket {
	u32 lock;
	u32 head; /* place of the first entry + 1 */
};

struct entry {
	u64 key;
	u32 version;
	u32 next; /* place + 1 */
	u64 value[];
};

static struct perm places;

u64 table_bytes_per_key(u64 value_words)
{
	return sizeof(struct entry) + value_words * sizeof(u64) + sizeof(struct bucket) / 2 +
	       sizeof(u32);
}

static void *alloc_bytes(u64 bytes)
{
	return mem_alloc((bytes + PAGE_SIZE - 1) / PAGE_SIZE, 1);
}

void table_create(struct table *table)
{
	table->entry_bytes = sizeof(struct entry) + table->value_words * sizeof(u64);
	table->bucket_count = table->keys / 2 + 1;
	table->entries = alloc_bytes(table->keys * table->entry_bytes);
	table->buckets = alloc_bytes(table->bucket_count * sizeof(struct bucket));
	table->versions = alloc_bytes(table->keys * sizeof(u32));
	perm_init(&places, ORDER_RANDOM, table->keys, 1, table->seed);
}

static struct entry *entry_at(const struct table *table, u64 place)
{
	return (struct entry *)(table->entries + place * table->entry_bytes);
}

static struct bucket *bucket_lock(struct table *table, u64 key)
{
	u64 hash = rng_mix(key + table->seed);
	struct bucket *bucket = &table->buckets[((u128)hash * table->bucket_count) >> 64];

	while (__atomic_exchange_n(&bucket->lock, 1, __ATOMIC_ACQUIRE))
		cpu_pause();
	return bucket;
}

static void bucket_unlock(struct bucket *bucket)
{
	__atomic_store_n(&bucket->lock, 0, __ATOMIC_RELEASE);
}

/* The first words do not compress, the others repeat two at a time. */
static u64 value_word(const struct table *table, u64 key, u32 version, u64 i)
{
	u64 base = rng_mix(key ^ rng_mix((u64)version + table->seed));

	return i < table->noise_words ? rng_mix(base + i) : base + (i & 1);
}

static void value_write(const struct table *table, struct entry *entry)
{
	for (u64 i = 0; i < table->value_words; i++)
		entry->value[i] = value_word(table, entry->key, entry->version, i);
}

static void value_check(const struct table *table, const struct entry *entry)
{
	const volatile u64 *value = entry->value;

	for (u64 i = 0; i < table->value_words; i++) {
		u64 expected = value_word(table, entry->key, entry->version, i), found = value[i];

		VERDICT_CHECK(
		        found == expected,
		        "wrong word at 0x%lx expected 0x%lx found 0x%lx cpu %u key %lu version %u",
		        (u64)&value[i], expected, found, cpu_self()->id, entry->key,
		        entry->version);
	}
}

void table_insert(struct table *table, u64 key)
{
	u64 place = perm_at(&places, key);
	struct entry *entry = entry_at(table, place);
	struct bucket *bucket;

	entry->key = key;
	entry->version = 0;
	value_write(table, entry);
	bucket = bucket_lock(table, key);
	entry->next = bucket->head;
	bucket->head = (u32)place + 1;
	bucket_unlock(bucket);
}

/* The verified entry; its bucket is locked. */
static struct entry *find(struct table *table, const struct bucket *bucket, u64 key)
{
	u64 steps = 0;

	for (u64 at = bucket->head; at; at = entry_at(table, at - 1)->next) {
		struct entry *entry;

		VERDICT_CHECK(at <= table->keys && steps++ < table->keys,
		              "broken chain at bucket of key %lu: link %lu cpu %u", key, at,
		              cpu_self()->id);
		entry = entry_at(table, at - 1);
		if (entry->key != key)
			continue;
		VERDICT_CHECK(entry->version == table->versions[key],
		              "key %lu at 0x%lx has version %u instead of %u cpu %u", key,
		              (u64)entry, entry->version, table->versions[key], cpu_self()->id);
		value_check(table, entry);
		return entry;
	}
	verdict_fail("key %lu is missing cpu %u", key, cpu_self()->id);
}

void table_get(struct table *table, u64 key)
{
	struct bucket *bucket = bucket_lock(table, key);

	(void)find(table, bucket, key);
	bucket_unlock(bucket);
}

bool table_has(struct table *table, u64 key)
{
	struct bucket *bucket = bucket_lock(table, key);
	u64 at = bucket->head;

	while (at && entry_at(table, at - 1)->key != key)
		at = entry_at(table, at - 1)->next;
	bucket_unlock(bucket);
	return at != 0;
}

void table_set(struct table *table, u64 key)
{
	struct bucket *bucket = bucket_lock(table, key);
	struct entry *entry = find(table, bucket, key);

	entry->version = ++table->versions[key];
	value_write(table, entry);
	bucket_unlock(bucket);
}

u64 table_version_sum(const struct table *table)
{
	u64 sum = 0;

	for (u64 key = 0; key < table->keys; key++)
		sum += table->versions[key];
	return sum;
}
