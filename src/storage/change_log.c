/*
 * change_log.c
 *	  Appending to the change log (tables syncext.change_log_0 … _3).
 *
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

void		(*change_log_hook) (const LogEntry *entry) = NULL;

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
	/* where pages are summarized for sync_history, a row among them changes the summary */
	rows_append_only(log->rows);
	log->sequence = registry_relation("change_seq");
	return log;
}

void
change_log_close(ChangeLog *log)
{
	rows_close(log->rows);
	pfree(log);
}

int64
change_log_draw_seq(Oid sequence)
{
	return nextval_internal(sequence, false);
}

void
change_log_append_drawn(ChangeLog *log, const LogEntry *entry, int64 seq)
{
	Datum		values[LOG_NCOLUMNS];
	bool		isnull[LOG_NCOLUMNS] = {false};

	/* the top level's id: what snapshots list and cursors compare with */
	values[LOG_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[LOG_SEQ - 1] = Int64GetDatum(seq);
	values[LOG_RECORDED_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[LOG_VERSION - 1] = Int64GetDatum(entry->version);
	isnull[LOG_VERSION - 1] = entry->version == entry->row_version;
	values[LOG_ROW_VERSION - 1] = Int64GetDatum(entry->row_version);
	values[LOG_BASE - 1] = Int64GetDatum(entry->base);
	isnull[LOG_BASE - 1] = !entry->has_base;
	values[LOG_UPDATED_AT - 1] = TimestampTzGetDatum(entry->updated_at);
	isnull[LOG_UPDATED_AT - 1] = !entry->has_updated_at;
	values[LOG_RESOLUTION - 1] = CharGetDatum((char) entry->resolution);
	values[LOG_TOLD - 1] = CharGetDatum((char) entry->audience);
	values[LOG_ENTITY - 1] = CStringGetTextDatum(entry->entity);
	values[LOG_EXTERNAL_ID - 1] = CStringGetTextDatum(entry->external_id);
	values[LOG_SOURCE - 1] = CStringGetTextDatum(entry->source);
	values[LOG_FIELDS - 1] = JsonbPGetDatum(entry->fields);
	values[LOG_DETAIL - 1] = JsonbPGetDatum(entry->detail);
	isnull[LOG_DETAIL - 1] = entry->detail == NULL;
	change_log_hook(entry);
	rows_insert_later(log->rows, values, isnull);
}

int64
change_log_append(ChangeLog *log, const LogEntry *entry)
{
	int64		seq = change_log_draw_seq(log->sequence);

	change_log_append_drawn(log, entry, seq);
	return seq;
}
