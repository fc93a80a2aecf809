/*
 * record_set.c
 *	  A set of records by (entity, external id), each with a number, a flag and a place
 *	  in the log.
 *
 * Used for the records of a batch and for those that a window has.  Keys are kept whole: if
 * two records that only hash alike passed for one, the other would never be delivered.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "storage/record_set.h"

#define SH_PREFIX record_table
#define SH_ELEMENT_TYPE RecordSetEntry
#define SH_KEY_TYPE RecordSetKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) (key).hash
#define SH_EQUAL(table, a, b) ((a).len == (b).len && memcmp((a).data, (b).data, (a).len) == 0)
/* the hash comes with the key */
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->key.hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct RecordSet
{
	MemoryContext context;
	record_table_hash *table;
};

RecordSet *
record_set_create(MemoryContext parent, int expected)
{
	MemoryContext context = GenerationContextCreate(parent, "syncext record set",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RecordSet  *set = palloc(sizeof(RecordSet));

	set->context = context;
	set->table = record_table_create(context, expected, NULL);
	MemoryContextSwitchTo(old);
	return set;
}

void
record_set_free(RecordSet *set)
{
	MemoryContextDelete(set->context);
}

uint32
record_set_size(const RecordSet *set)
{
	return set->table->members;
}

RecordSetKey
record_set_key(StringInfo buffer, const text *entity, const text *external_id)
{
	RecordSetKey key;

	resetStringInfo(buffer);
	appendBinaryStringInfo(buffer, VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity));
	appendStringInfoChar(buffer, '\0');
	appendBinaryStringInfo(buffer, VARDATA_ANY(external_id), VARSIZE_ANY_EXHDR(external_id));
	key.data = buffer->data;
	key.len = buffer->len;
	key.hash = hash_bytes((const unsigned char *) buffer->data, buffer->len);
	return key;
}

RecordSetEntry *
record_set_find(RecordSet *set, RecordSetKey key)
{
	return record_table_lookup_hash(set->table, key, key.hash);
}

/* In a buffer that is made for it. */
static RecordSetKey
make_key(StringInfo buffer, const char *entity, const char *external_id)
{
	initStringInfo(buffer);
	return record_set_key(buffer, cstring_to_text(entity), cstring_to_text(external_id));
}

RecordSetEntry *
record_set_find_named(RecordSet *set, const char *entity, const char *external_id)
{
	StringInfoData buffer;
	RecordSetEntry *entry = record_set_find(set, make_key(&buffer, entity, external_id));

	pfree(buffer.data);
	return entry;
}

RecordSetEntry *
record_set_add(RecordSet *set, RecordSetKey key)
{
	RecordSetEntry *entry;
	bool		found;

	entry = record_table_insert_hash(set->table, key, key.hash, &found);
	if (!found)
	{
		char	   *data = MemoryContextAlloc(set->context, key.len);

		entry->key.data = memcpy(data, key.data, key.len);
		entry->flag = false;
		entry->number = 0;
		entry->at = (LogPosition) {0, 0};
	}
	return entry;
}

RecordSetEntry *
record_set_add_named(RecordSet *set, const char *entity, const char *external_id)
{
	StringInfoData buffer;
	RecordSetEntry *entry = record_set_add(set, make_key(&buffer, entity, external_id));

	pfree(buffer.data);
	return entry;
}
