/*
 * change_log.c
 *	  Appending to the change log (tables syncext.change_log_0 … _3).
 *
 * Called by hub/apply and hub/resolve, once a change that is worth telling.
 * Reading it back as a queue is feed_window's job.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "storage/change_log.h"
#include "storage/registry.h"
#include "storage/wake.h"

struct ChangeLog
{
	Rows	   *rows;
	Oid			sequence;
};

ChangeLog *
change_log_open(int current_log)
{
	ChangeLog  *log = palloc0(sizeof(ChangeLog));
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "change_log_%d", current_log);
	log->rows = rows_open_write(registry_relation(name));
	log->sequence = registry_relation("change_seq");
	return log;
}

void
change_log_close(ChangeLog *log)
{
	rows_close(log->rows);
	pfree(log);
}

/* Whoever is told of it is woken when the transaction has committed. */
static void
note_readers(const LogEntry *entry)
{
	if (entry->resolution == RESOLUTION_CAPTURED)
		wake_note_captured(entry->source);
	else if (entry->told != TOLD_NONE)
		wake_note_log_written();
}

static void
fill_row(const LogEntry *entry, int64 seq, Datum *values, bool *isnull)
{
	MemSet(isnull, 0, sizeof(bool) * LOG_NCOLUMNS);
	/* the top level's id: what snapshots list and cursors compare with */
	values[LOG_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[LOG_SEQ - 1] = Int64GetDatum(seq);
	values[LOG_RECORDED_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[LOG_VERSION - 1] = Int64GetDatum(entry->version);
	values[LOG_ROW_VERSION - 1] = Int64GetDatum(entry->row_version);
	values[LOG_RESOLUTION - 1] = CharGetDatum((char) entry->resolution);
	values[LOG_TOLD - 1] = CharGetDatum((char) entry->told);
	values[LOG_ENTITY - 1] = CStringGetTextDatum(entry->entity);
	values[LOG_EXTERNAL_ID - 1] = CStringGetTextDatum(entry->external_id);
	values[LOG_SOURCE - 1] = CStringGetTextDatum(entry->source);
	values[LOG_FIELDS - 1] = JsonbPGetDatum(entry->fields);
	values[LOG_DETAIL - 1] = JsonbPGetDatum(entry->detail);
	isnull[LOG_DETAIL - 1] = entry->detail == NULL;
	note_readers(entry);
}

int64
change_log_append(ChangeLog *log, const LogEntry *entry)
{
	Datum		values[LOG_NCOLUMNS];
	bool		isnull[LOG_NCOLUMNS];
	int64		seq = change_log_draw_seq(log->sequence);

	fill_row(entry, seq, values, isnull);
	rows_insert(log->rows, values, isnull);
	return seq;
}

/* ---------- many at once ---------- */

int64
change_log_draw_seq(Oid sequence)
{
	return nextval_internal(sequence, false);
}

typedef struct ManyRows
{
	const LogEntry *entries;
	const int64 *seqs;
} ManyRows;

static void
fill_one_of_many(void *arg, int i, Datum *values, bool *isnull)
{
	const ManyRows *many = arg;

	fill_row(&many->entries[i], many->seqs[i], values, isnull);
}

void
change_log_append_many(ChangeLog *log, int n, const LogEntry *entries, const int64 *seqs)
{
	ManyRows	many = {entries, seqs};

	rows_insert_many(log->rows, n, fill_one_of_many, &many);
}
