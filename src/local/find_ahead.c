/*
 * find_ahead.c
 *	  Records of a run, and what is remembered of their rows, found ahead.
 *
 * The records of a delivery are neighbours as a rule, and to walk from one to the next is
 * cheaper than to search for each.  A record must be read after its row is held, but a row
 * that isn't there can't be held: those that are new one after the other are found ahead, and
 * row_together.c looks at them again when it has inserted the rows.
 */
#include "postgres.h"

#include "local/find_ahead.h"

/* Rows that have to be new before the next ones are expected to be. */
#define MIN_STREAK		4
/* Fewer are not worth it. */
#define MIN_AHEAD		8

void
find_ahead(RowWriter *writer, BatchItem **items, int n)
{
	RecordKey  *records;
	ReplicaKey *rows;

	if (writer->nahead > 0 || writer->pause > 0)
	{
		writer->nahead = Max(writer->nahead - 1, 0);
		writer->pause = Max(writer->pause - 1, 0);
		if (writer->nahead > 0 || writer->pause > 0)
			return;
	}
	n = Min(n, ROWS_AHEAD);
	if (writer->together == NULL || writer->streak < MIN_STREAK || n < MIN_AHEAD || items[0]->linked)
		return;
	records = palloc(sizeof(RecordKey) * n);
	rows = palloc(sizeof(ReplicaKey) * n);
	for (int i = 0; i < n; i++)
	{
		records[i].entity = items[i]->entity;
		records[i].external_id = items[i]->external_id;
		rows[i].relation = items[i]->relation;
		rows[i].external_id = items[i]->external_id;
	}
	if (!canonical_look_ahead(writer->canonical, n, records) ||
		!replica_look_ahead(writer->replica, n, rows))
		writer->next_pause = Max(writer->next_pause, ROWS_AHEAD) * 4;
	writer->ahead = true;
	writer->nahead = n;
}
