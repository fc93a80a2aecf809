/*
 * outbox_flight.c
 *	  Which records' edits are on their way to the hub behind a link.
 *
 * Nothing is placed in a row while the hub has yet to answer an edit of it.  That is
 * so from when the edit is put into a batch: what is sent says on which row version it
 * was made.
 */
#include "postgres.h"

#include "hub/outbox_flight.h"
#include "storage/cursor.h"

/* The records of the batch that this backend has cut last, and of the one cut ahead. */
typedef struct LastCut
{
	char		target[NAMEDATALEN];	/* empty: not known */
	int64		batch;
	RecordSet  *records;
	RecordSet  *ahead;			/* NULL: none was */
} LastCut;

static LastCut last_cut;

static void
forget(RecordSet **records)
{
	if (*records != NULL)
		record_set_free(*records);
	*records = NULL;
}

static bool
has(RecordSet *records, const char *entity, const char *external_id)
{
	return records != NULL && record_set_find_named(records, entity, external_id) != NULL;
}

void
outbox_flight_note(const char *source, int64 batch, RecordSet *records)
{
	forget(&last_cut.records);
	forget(&last_cut.ahead);
	last_cut.records = records;
	last_cut.batch = batch;
	strlcpy(last_cut.target, source, sizeof(last_cut.target));
}

void
outbox_flight_note_ahead(RecordSet *records)
{
	forget(&last_cut.ahead);
	last_cut.ahead = records;
}

void
outbox_flight_take_up(int64 batch)
{
	forget(&last_cut.records);
	last_cut.records = last_cut.ahead;
	last_cut.ahead = NULL;
	last_cut.batch = batch;
}

/* A table's own code may have cut another batch since it was asked for. */
bool
outbox_flight_is_of(const char *source, int64 batch)
{
	return last_cut.records != NULL && last_cut.batch == batch &&
		strcmp(last_cut.target, source) == 0;
}

bool
outbox_flight_has(const char *entity, const char *external_id)
{
	return has(last_cut.records, entity, external_id);
}

InFlight
outbox_in_flight(const char *source)
{
	InFlight	out = {.source = source};
	CursorTable *cursors = mapped_open(&cursor_def, false);
	Cursor		cursor;

	out.any = cursor_find(cursors, source, 0, &cursor) && cursor.lease_until != 0;
	if (out.any)
		out.batch = cursor.batch;
	mapped_close(cursors);
	return out;
}

bool
outbox_is_in_flight(const InFlight *out, const char *entity, const char *external_id)
{
	if (!out->any || !outbox_flight_is_of(out->source, out->batch))
		return out->any;
	return has(last_cut.records, entity, external_id) || has(last_cut.ahead, entity, external_id);
}
