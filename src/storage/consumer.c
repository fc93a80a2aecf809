/*
 * consumer.c
 *	  Which of a target's parallel consumers a record belongs to.
 *
 * In SQL and in messages a consumer is a slot; syncext.record_slot() tells which one
 * a record belongs to.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"

#include "compat.h"
#include "storage/consumer.h"

PG_FUNCTION_INFO_V1(syncext_record_slot);

/* Modulo the number of slots it is the record's. */
static uint64
slot_hash(const char *entity, int entity_length, const char *id, int id_length)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) entity, entity_length, 0);

	return hash_bytes_extended((const unsigned char *) id, id_length, hash);
}

static int
slot_of(const char *entity, int entity_length, const char *id, int id_length, int slots)
{
	return (int) (slot_hash(entity, entity_length, id, id_length) % slots);
}

bool
consumer_has_record(Consumer consumer, const text *entity, const text *external_id)
{
	return consumer.count == 1 ||
		consumer.number == slot_of(VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity),
								   VARDATA_ANY(external_id), VARSIZE_ANY_EXHDR(external_id),
								   consumer.count);
}

bool
consumer_has(Consumer consumer, const char *entity, const char *external_id)
{
	return consumer.count == 1 ||
		consumer.number == slot_of(entity, strlen(entity), external_id, strlen(external_id),
								   consumer.count);
}

void
consumer_check(Consumer consumer)
{
	if (consumer.count < 1 || consumer.count > MAX_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("slots must be between 1 and %d, not %d", MAX_SLOTS, consumer.count)));
	if (consumer.number < 0 || consumer.number >= consumer.count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("slot %d is out of range", consumer.number),
				 consumer.count == 1 ?
				 errhint("There is slot 0 alone, unless sync_pull(source, max_records, slot, slots) says how many there are.") :
				 errhint("Of %d slots the first is 0, the last %d.", consumer.count, consumer.count - 1)));
}

Datum
syncext_record_slot(PG_FUNCTION_ARGS)
{
	text	   *entity = PG_GETARG_TEXT_PP(0);
	text	   *external_id = PG_GETARG_TEXT_PP(1);
	Consumer	consumer = {0, PG_GETARG_INT32(2)};

	consumer_check(consumer);
	PG_RETURN_INT32(slot_of(VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity),
							VARDATA_ANY(external_id), VARSIZE_ANY_EXHDR(external_id), consumer.count));
}
