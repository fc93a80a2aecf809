/*
 * peer.c
 *	  What each link knows of its hub (table syncext.peer).
 *
 * Called by link/.  Whoever exchanges over the link is alone in writing its row, but
 * for syncext.release_hub.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "storage/peer.h"
#include "storage/registry.h"
#include "storage/rows.h"

enum
{
	COL_LINK = 1,
	COL_IDENTITY,
	COL_ANSWERED,
	COL_PULLED,
	COL_HEARD_AT,
	COL_RESYNC_SINCE,
	COL_RESYNC_ENTITY,
	COL_RESYNC_ID,
	COL_RESENT,
	COL_STRANDED,
	COL_TURNED,
	COL_TURNED_AT,
	COL_REFUSED,
	COL_REFUSED_AT,
	NCOLUMNS = COL_REFUSED_AT
};

static TimestampTz
read_time(Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

static char *
read_text(Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

bool
peer_find(const char *link, Peer *peer)
{
	Rows	   *rows = rows_open_read(registry_relation("peer"));
	Datum		key = CStringGetTextDatum(link);
	bool		found = rows_find(rows, 1, &key);
	bool		isnull;
	Datum		identity;

	MemSet(peer, 0, sizeof(Peer));
	if (found)
	{
		identity = rows_value(rows, COL_IDENTITY, &isnull);
		peer->identity = isnull ? NULL : DatumGetJsonbPCopy(identity);
		peer->answered = DatumGetInt64(rows_value(rows, COL_ANSWERED, &isnull));
		peer->pulled = DatumGetInt64(rows_value(rows, COL_PULLED, &isnull));
		peer->heard_at = read_time(rows, COL_HEARD_AT);
		peer->resync_since = read_time(rows, COL_RESYNC_SINCE);
		peer->resync_entity = read_text(rows, COL_RESYNC_ENTITY);
		peer->resync_id = read_text(rows, COL_RESYNC_ID);
		peer->resent = DatumGetInt64(rows_value(rows, COL_RESENT, &isnull));
		peer->stranded = DatumGetInt64(rows_value(rows, COL_STRANDED, &isnull));
		peer->turned = read_text(rows, COL_TURNED);
		peer->turned_at = read_time(rows, COL_TURNED_AT);
		peer->refused = read_text(rows, COL_REFUSED);
		peer->refused_at = read_time(rows, COL_REFUSED_AT);
	}
	rows_close(rows);
	return found;
}

static void
put_time(Datum *values, bool *isnull, int column, TimestampTz time)
{
	values[column - 1] = TimestampTzGetDatum(time);
	isnull[column - 1] = time == 0;
}

static void
put_text(Datum *values, bool *isnull, int column, const char *text)
{
	values[column - 1] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
	isnull[column - 1] = text == NULL;
}

void
peer_save(const char *link, const Peer *peer)
{
	Rows	   *rows = rows_open_write(registry_relation("peer"));
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS] = {false};
	bool		done;

	put_text(values, isnull, COL_LINK, link);
	values[COL_IDENTITY - 1] = JsonbPGetDatum(peer->identity);
	isnull[COL_IDENTITY - 1] = peer->identity == NULL;
	values[COL_ANSWERED - 1] = Int64GetDatum(peer->answered);
	values[COL_PULLED - 1] = Int64GetDatum(peer->pulled);
	put_time(values, isnull, COL_HEARD_AT, peer->heard_at);
	put_time(values, isnull, COL_RESYNC_SINCE, peer->resync_since);
	put_text(values, isnull, COL_RESYNC_ENTITY, peer->resync_entity);
	put_text(values, isnull, COL_RESYNC_ID, peer->resync_id);
	values[COL_RESENT - 1] = Int64GetDatum(peer->resent);
	values[COL_STRANDED - 1] = Int64GetDatum(peer->stranded);
	put_text(values, isnull, COL_TURNED, peer->turned);
	put_time(values, isnull, COL_TURNED_AT, peer->turned_at);
	put_text(values, isnull, COL_REFUSED, peer->refused);
	put_time(values, isnull, COL_REFUSED_AT, peer->refused_at);
	do
	{
		if (rows_find(rows, 1, values))
			done = rows_update(rows, values, isnull) == ROWS_DONE;
		else
			done = rows_insert_new(rows, values, isnull);
	} while (!done);
	rows_close(rows);
}

void
peer_note(const char *link, int64 pulled, int64 answered, TimestampTz heard_at)
{
	Rows	   *rows = rows_open_write(registry_relation("peer"));
	Datum		key = CStringGetTextDatum(link);
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];

	while (rows_find(rows, 1, &key))
	{
		rows_values(rows, values, isnull);
		if (pulled != 0)
			values[COL_PULLED - 1] = Int64GetDatum(pulled);
		if (answered != 0)
			values[COL_ANSWERED - 1] = Int64GetDatum(answered);
		values[COL_HEARD_AT - 1] = TimestampTzGetDatum(heard_at);
		isnull[COL_HEARD_AT - 1] = false;
		if (rows_update(rows, values, isnull) == ROWS_DONE)
			break;
	}
	rows_close(rows);
}
