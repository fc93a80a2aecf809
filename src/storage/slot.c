/*
 * slot.c
 *	  Which of a target's parallel consumers a record belongs to.
 *
 * Called by whatever chooses records for a target: feed_window, pending, and
 * hub/batch for the backfill; and by hub/lag, which counts them.
 * syncext.record_slot says the same in SQL.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"

#include "compat.h"
#include "storage/slot.h"

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
slot_has_record(Slot slot, const text *entity, const text *external_id)
{
	return slot.of == 1 ||
		slot.number == slot_of(VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity),
							   VARDATA_ANY(external_id), VARSIZE_ANY_EXHDR(external_id),
							   slot.of);
}

bool
slot_has(Slot slot, const char *entity, const char *external_id)
{
	return slot.of == 1 ||
		slot.number == slot_of(entity, strlen(entity), external_id, strlen(external_id),
							   slot.of);
}

void
slot_check(Slot slot)
{
	if (slot.of < 1 || slot.of > MAX_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("slots must be between 1 and %d, not %d", MAX_SLOTS, slot.of)));
	if (slot.number < 0 || slot.number >= slot.of)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("slot %d is out of range", slot.number),
				 slot.of == 1 ?
				 errhint("There is slot 0 alone, unless sync_pull(source, max_records, slot, slots) says how many there are.") :
				 errhint("Of %d slots the first is 0, the last %d.", slot.of, slot.of - 1)));
}

Datum
syncext_record_slot(PG_FUNCTION_ARGS)
{
	text	   *entity = PG_GETARG_TEXT_PP(0);
	text	   *external_id = PG_GETARG_TEXT_PP(1);
	Slot		slot = {0, PG_GETARG_INT32(2)};

	slot_check(slot);
	PG_RETURN_INT32(slot_of(VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity),
							VARDATA_ANY(external_id), VARSIZE_ANY_EXHDR(external_id), slot.of));
}
