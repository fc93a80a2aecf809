/*
 * change_id.c
 *	  Change documents that bear an id of their own, and how they were answered:
 *	  table syncext.change_id.
 *
 * A claim is the row itself, inserted before anything else is done for the change.
 * A backend that is sent the same id meanwhile waits at the primary key for the end
 * of the transaction.  Where that, or a subtransaction, is rolled back, the id is
 * free again.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "storage/change_id.h"

typedef struct ChangeIdRow
{
	const char *source;
	const char *change_id;
	bytea	   *digest;
	const char *entity;
	const char *external_id;
	Jsonb	   *answer;			/* NULL: there is none yet */
	TimestampTz answered_at;
} ChangeIdRow;

const MappedDef change_id_def = {
	.relation = "change_id",
	.column = {
		[COL_CHANGE_ID_SOURCE] = {MAP_TEXT, offsetof(ChangeIdRow, source)},
		[COL_CHANGE_ID_CHANGE_ID] = {MAP_TEXT, offsetof(ChangeIdRow, change_id)},
		[COL_CHANGE_ID_DIGEST] = {MAP_BYTEA, offsetof(ChangeIdRow, digest)},
		[COL_CHANGE_ID_ENTITY] = {MAP_TEXT, offsetof(ChangeIdRow, entity)},
		[COL_CHANGE_ID_EXTERNAL_ID] = {MAP_TEXT, offsetof(ChangeIdRow, external_id)},
		[COL_CHANGE_ID_ANSWER] = {MAP_OBJECT, offsetof(ChangeIdRow, answer)},
		[COL_CHANGE_ID_ANSWERED_AT] = {MAP_TIME, offsetof(ChangeIdRow, answered_at)},
	}
};

static bytea *
digest_bytea(const ChangeDigest *digest)
{
	bytea	   *bytes = palloc(VARHDRSZ + sizeof(digest->bytes));

	SET_VARSIZE(bytes, VARHDRSZ + sizeof(digest->bytes));
	memcpy(VARDATA(bytes), digest->bytes, sizeof(digest->bytes));
	return bytes;
}

/* The row of a change as of now, without digest and answer. */
static ChangeIdRow
row_of(const Change *change)
{
	const ChangeIdRow row = {
		.source = change->source,
		.change_id = change->change_id,
		.entity = change->entity,
		.external_id = change->external_id,
		.answered_at = GetCurrentTimestamp()
	};

	return row;
}

bool
change_ids_claim(ChangeIds *ids, const Change *change, const ChangeDigest *digest)
{
	ChangeIdRow row = row_of(change);

	row.digest = digest_bytea(digest);
	return mapped_insert_new(ids, &row);
}

bool
change_ids_find(ChangeIds *ids, const Change *change, const ChangeDigest *digest,
				KeptChange *kept)
{
	ChangeIdRow row = row_of(change);

	if (!mapped_seek(ids, 2, &row))
		return false;
	kept->problem = mapped_try(ids, MAP_ALL_COLUMNS, &row);
	kept->answer = row.answer;
	kept->same_document = VARSIZE_ANY_EXHDR(row.digest) == sizeof(digest->bytes) &&
		memcmp(VARDATA_ANY(row.digest), digest->bytes, sizeof(digest->bytes)) == 0;
	return true;
}

void
change_ids_release(ChangeIds *ids, const Change *change)
{
	const ChangeIdRow row = row_of(change);

	if (mapped_seek(ids, 2, &row))
		(void) rows_delete(ids->rows);
}

void
change_ids_keep(ChangeIds *ids, const Change *change, Jsonb *answer)
{
	ChangeIdRow row = row_of(change);

	if (!mapped_seek(ids, 2, &row))
		elog(ERROR, "change id \"%s\" is not claimed", change->change_id);
	row.answer = answer;
	/* a record that is named by sourceId was found after the claim */
	if (mapped_update(ids, MAP_COLUMN(COL_CHANGE_ID_EXTERNAL_ID) | MAP_COLUMN(COL_CHANGE_ID_ANSWER) |
					  MAP_COLUMN(COL_CHANGE_ID_ANSWERED_AT),
					  &row) != ROWS_DONE)
		elog(ERROR, "the claim of change id \"%s\" was changed by another transaction",
			 change->change_id);
}
