/*
 * change_id.c
 *	  Change documents that bear an id of their own, and how they were answered:
 *	  table syncext.change_id.
 *
 * Called by hub/redelivery.  A claim is the row itself, inserted before anything
 * else is done for the change: whoever sends the same id meanwhile waits at the
 * primary key for the end of the transaction, and where that, or a
 * subtransaction, is rolled back, the id is free again.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "storage/change_id.h"
#include "storage/registry.h"
#include "storage/rows.h"
#include "storage/stored.h"

enum
{
	COL_SOURCE = 1,
	COL_CHANGE_ID,
	COL_DIGEST,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_ANSWER,
	COL_ANSWERED_AT,
	NCOLUMNS = COL_ANSWERED_AT
};

struct ChangeIds
{
	Rows	   *rows;
};

ChangeIds *
change_ids_open(bool write)
{
	ChangeIds  *ids = palloc0(sizeof(ChangeIds));
	Oid			relid = registry_relation("change_id");

	ids->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return ids;
}

void
change_ids_close(ChangeIds *ids)
{
	rows_close(ids->rows);
	pfree(ids);
}

static bytea *
digest_bytea(const ChangeDigest *digest)
{
	bytea	   *bytes = palloc(VARHDRSZ + sizeof(digest->bytes));

	SET_VARSIZE(bytes, VARHDRSZ + sizeof(digest->bytes));
	memcpy(VARDATA(bytes), digest->bytes, sizeof(digest->bytes));
	return bytes;
}

bool
change_ids_claim(ChangeIds *ids, const Change *change, const ChangeDigest *digest)
{
	Datum		values[NCOLUMNS] = {0};
	bool		isnull[NCOLUMNS] = {false};

	values[COL_SOURCE - 1] = CStringGetTextDatum(change->source);
	values[COL_CHANGE_ID - 1] = CStringGetTextDatum(change->change_id);
	values[COL_DIGEST - 1] = PointerGetDatum(digest_bytea(digest));
	values[COL_ENTITY - 1] = CStringGetTextDatum(change->entity);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(change->external_id);
	isnull[COL_ANSWER - 1] = true;
	values[COL_ANSWERED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	return rows_insert_new(ids->rows, values, isnull);
}

static bool
find_row(ChangeIds *ids, const Change *change)
{
	Datum		keys[2] = {CStringGetTextDatum(change->source),
	CStringGetTextDatum(change->change_id)};

	return rows_find(ids->rows, 2, keys);
}

bool
change_ids_find(ChangeIds *ids, const Change *change, const ChangeDigest *digest,
				KeptChange *kept)
{
	bool		isnull;
	bytea	   *known;

	if (!find_row(ids, change))
		return false;
	known = DatumGetByteaPP(rows_value(ids->rows, COL_DIGEST, &isnull));
	kept->same_document = VARSIZE_ANY_EXHDR(known) == sizeof(digest->bytes) &&
		memcmp(VARDATA_ANY(known), digest->bytes, sizeof(digest->bytes)) == 0;
	kept->problem = stored_object_problem(ids->rows, COL_ANSWER, &kept->answer);
	return true;
}

void
change_ids_release(ChangeIds *ids, const Change *change)
{
	if (find_row(ids, change))
		(void) rows_delete(ids->rows);
}

void
change_ids_keep(ChangeIds *ids, const Change *change, Jsonb *answer)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];

	if (!find_row(ids, change))
		elog(ERROR, "change id \"%s\" is not claimed", change->change_id);
	for (int i = 0; i < NCOLUMNS; i++)
		values[i] = rows_value(ids->rows, i + 1, &isnull[i]);
	values[COL_ANSWER - 1] = JsonbPGetDatum(answer);
	isnull[COL_ANSWER - 1] = false;
	values[COL_ANSWERED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (rows_update(ids->rows, values, isnull) != ROWS_DONE)
		elog(ERROR, "the claim of change id \"%s\" was changed by somebody else",
			 change->change_id);
}
