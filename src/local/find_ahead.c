/*
 * find_ahead.c
 *	  Records of a run, and what is remembered of their rows, found ahead.
 *
 * The records of a delivery are neighbours as a rule, and to walk from one to the next is
 * cheaper than to search for each.  A record must be read after its row is held, but a row
 * that isn't there can't be held: those that are new one after the other are found ahead, and
 * row_together.c looks at them again when it has inserted the rows.  So are those of rows
 * that are brought to the hub one after the other, which decides upon what is there.
 */
#include "postgres.h"

#include "hub/apply_call.h"
#include "local/find_ahead.h"
#include "local/row_together.h"

/* Rows that have to be new before the next ones are expected to be. */
#define MIN_STREAK		4
/* Fewer are not worth it. */
#define MIN_AHEAD		8

/* Items by relation and external id, as indexes have them. */
static int
compare_items(const void *a, const void *b, void *arg)
{
	BatchItem **items = arg;
	const BatchItem *one = items[*(const int *) a];
	const BatchItem *other = items[*(const int *) b];

	if (one->relation != other->relation)
		return one->relation < other->relation ? -1 : 1;
	return strcmp(one->external_id, other->external_id);
}

static void
look_ahead(RowWriter *writer, BatchItem **items, int n)
{
	RecordKey  *records = palloc(sizeof(RecordKey) * n);
	ReplicaKey *rows = palloc(sizeof(ReplicaKey) * n);
	int		   *order = palloc(sizeof(int) * n);
	bool		worth;

	row_together_note_reading(writer);
	for (int i = 0; i < n; i++)
	{
		records[i].entity = items[i]->entity;
		rows[i].relation = items[i]->relation;
		records[i].external_id = rows[i].external_id = items[i]->external_id;
		order[i] = i;
	}
	qsort_arg(order, n, sizeof(int), compare_items, items);
	worth = replica_look_ahead(writer->replica, n, rows, order);
	if (!writer->polls)
		worth &= canonical_look_ahead(writer->canonical, n, records, order);
	/* what this transaction writes it writes through the call's own */
	if (writer->loads && writer->call != NULL)
		apply_look_ahead(writer->call, n, records, order);
	if (!worth)
		writer->pause = writer->next_pause = Max(writer->next_pause, ROWS_AHEAD) * 4;
	writer->ahead = true;
	writer->nahead = n;
}

void
find_ahead(RowWriter *writer, BatchItem **items, int n)
{
	if (writer->nahead > 0 || writer->pause > 0)
	{
		writer->nahead = Max(writer->nahead - 1, 0);
		writer->pause = Max(writer->pause - 1, 0);
		if (writer->nahead > 0 || writer->pause > 0)
			return;
	}
	n = Min(n, ROWS_AHEAD);
	if (writer->together != NULL && writer->streak >= MIN_STREAK && n >= MIN_AHEAD &&
		!items[0]->linked)
		look_ahead(writer, items, n);
}
