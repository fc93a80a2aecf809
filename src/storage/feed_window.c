/*
 * feed_window.c
 *	  The change log as a queue: what of it a target is due between two
 *	  snapshots.
 *
 * A window (lo, hi] holds the rows of transactions that hi sees and lo doesn't: those
 * that were in progress at lo, and those that began after it.  In (xid, seq) order that
 * is a row of runs, ranges of xids with no gap that hi doesn't see.  A run has its
 * upper bound in the index scan, so that a big transaction in progress is passed over,
 * not read.
 *
 * Each run is read from the four log tables and merged.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "storage/change_log.h"
#include "storage/feed_window.h"
#include "storage/stored.h"

typedef struct LogTable
{
	int			number;
	Rows	   *rows;
	char		index[NAMEDATALEN];
} LogTable;

struct FeedLog
{
	LogTable	tables[LOG_NTABLES];
};

/* Transactions first … last, all of which are in the window if they exist. */
typedef struct Run
{
	uint64		first;
	uint64		last;
} Run;

/* One log table within the present run. */
typedef struct Branch
{
	const LogTable *table;
	RowsScan   *scan;			/* NULL: no more rows */
	LogPosition at;				/* of the row at hand */
} Branch;

struct FeedWindow
{
	const Source *target;
	Consumer	consumer;
	text	   *target_name;
	const FeedSnapshot *lo;
	const FeedSnapshot *hi;
	LogPosition after;
	int			lo_next;		/* of lo's xip, to make a run of */
	int			hi_next;		/* of hi's xip, to end a run at */
	uint64		tail;			/* where the runs from lo's xmax on have got */
	bool		in_run;
	int			nbranches;		/* log tables that aren't empty */
	Branch		branches[LOG_NTABLES];
	Branch	   *returned;		/* whose row was handed out last */
	int64		walked;
	int64		limit;			/* of walked; 0: none */
};

int
log_position_cmp(LogPosition a, LogPosition b)
{
	if (a.xid != b.xid)
		return a.xid < b.xid ? -1 : 1;
	return a.seq < b.seq ? -1 : a.seq > b.seq ? 1 : 0;
}

LogPosition
log_position_end(const FeedSnapshot *hi)
{
	LogPosition end = {hi->xmax, 0};

	return end;
}

FeedLog *
feed_log_open(void)
{
	FeedLog    *log = palloc(sizeof(FeedLog));

	for (int i = 0; i < LOG_NTABLES; i++)
	{
		char		name[NAMEDATALEN];

		log->tables[i].number = i;
		snprintf(name, sizeof(name), "change_log_%d", i);
		log->tables[i].rows = rows_open_read(registry_relation(name));
		snprintf(log->tables[i].index, NAMEDATALEN, "change_log_%d_position", i);
	}
	return log;
}

void
feed_log_close(FeedLog *log)
{
	for (int i = 0; i < LOG_NTABLES; i++)
		rows_close(log->tables[i].rows);
	pfree(log);
}

FeedWindow *
feed_window_begin(FeedLog *log, const Source *target, Consumer consumer, const FeedSnapshot *lo,
				  const FeedSnapshot *hi, LogPosition after)
{
	FeedWindow *window = palloc0(sizeof(FeedWindow));

	window->target = target;
	window->consumer = consumer;
	window->target_name = cstring_to_text(target->name);
	window->lo = lo;
	window->hi = hi;
	window->after = after;
	window->tail = lo->xmax;
	/* a table that is empty now, after hi was taken, holds nothing that hi sees */
	for (int i = 0; i < LOG_NTABLES; i++)
		if (!rows_empty(log->tables[i].rows))
			window->branches[window->nbranches++].table = &log->tables[i];
	return window;
}

int64
feed_window_walked(const FeedWindow *window)
{
	return window->walked;
}

void
feed_window_limit(FeedWindow *window, int64 rows)
{
	window->limit = rows;
}

bool
feed_window_cut_short(const FeedWindow *window)
{
	return window->limit > 0 && window->walked > window->limit;
}

static void
branch_end(Branch *branch)
{
	if (branch->scan != NULL)
		rows_scan_end(branch->scan);
	branch->scan = NULL;
}

void
feed_window_end(FeedWindow *window)
{
	for (int i = 0; i < window->nbranches; i++)
		branch_end(&window->branches[i]);
	pfree(window->target_name);
	pfree(window);
}

/* ---------- runs ---------- */

/* The next run of transactions after lo's xmax: up to one that hi doesn't see. */
static bool
next_tail_run(FeedWindow *window, Run *run)
{
	const FeedSnapshot *hi = window->hi;

	while (window->tail < hi->xmax)
	{
		while (window->hi_next < hi->nxip && hi->xip[window->hi_next] < window->tail)
			window->hi_next++;
		run->first = window->tail;
		run->last = (window->hi_next < hi->nxip ? hi->xip[window->hi_next] : hi->xmax) - 1;
		window->tail = run->last + 2;
		if (run->first <= run->last)
			return true;
	}
	return false;
}

/* The next run of the window, of those that aren't wholly behind us. */
static bool
next_run(FeedWindow *window, Run *run)
{
	const FeedSnapshot *lo = window->lo;

	while (window->lo_next < lo->nxip)
	{
		run->first = run->last = lo->xip[window->lo_next++];
		if (run->last >= window->after.xid && feed_snapshot_sees(window->hi, run->last))
			return true;
	}
	while (next_tail_run(window, run))
	{
		if (run->last >= window->after.xid)
			return true;
	}
	return false;
}

/* Go to the branch's next row, or end it. */
static void
branch_advance(Branch *branch)
{
	Rows	   *rows = branch->table->rows;
	FullTransactionId xid;
	bool		isnull;

	if (!rows_scan_next(branch->scan))
	{
		branch_end(branch);
		return;
	}
	xid = DatumGetFullTransactionId(rows_value(rows, LOG_XID, &isnull));
	branch->at.xid = U64FromFullTransactionId(xid);
	branch->at.seq = DatumGetInt64(rows_value(rows, LOG_SEQ, &isnull));
}

static void
begin_run(FeedWindow *window, const Run *run)
{
	Datum		after[2];
	RowsRange	range = {
		.nafter = 2,
		.after = after,
		.has_last = true,
		.last = FullTransactionIdGetDatum(FullTransactionIdFromU64(run->last))
	};
	LogPosition from = {run->first - 1, PG_INT64_MAX};

	if (log_position_cmp(window->after, from) > 0)
		from = window->after;
	after[0] = FullTransactionIdGetDatum(FullTransactionIdFromU64(from.xid));
	after[1] = Int64GetDatum(from.seq);
	for (int i = 0; i < window->nbranches; i++)
	{
		Branch	   *branch = &window->branches[i];

		branch->scan = rows_scan_range(branch->table->rows, branch->table->index, &range);
		branch_advance(branch);
	}
	window->returned = NULL;
	window->in_run = true;
}

/* ---------- rows ---------- */

/* The branch whose row comes next in the run; NULL: the run is at its end. */
static Branch *
next_branch(FeedWindow *window)
{
	Branch	   *first = NULL;

	if (window->returned != NULL)
		branch_advance(window->returned);
	for (int i = 0; i < window->nbranches; i++)
	{
		Branch	   *branch = &window->branches[i];

		if (branch->scan != NULL &&
			(first == NULL || log_position_cmp(branch->at, first->at) < 0))
			first = branch;
	}
	window->returned = first;
	return first;
}

static bool
text_equal(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* Is the target told of the row, does it get the entity, and in this slot? */
static bool
row_is_due(const FeedWindow *window, Rows *rows, FeedRow *row)
{
	bool		isnull;
	Audience	audience = DatumGetChar(rows_value(rows, LOG_TOLD, &isnull));
	bool		own = text_equal(DatumGetTextPP(rows_value(rows, LOG_SOURCE, &isnull)),
								 window->target_name);
	char	   *entity;
	bool		gets;

	if (audience == AUDIENCE_NONE || (audience == AUDIENCE_OTHERS && own) || (audience == AUDIENCE_ORIGIN && !own))
		return false;
	row->audience = audience;
	row->correction = own;
	row->captured = own &&
		DatumGetChar(rows_value(rows, LOG_RESOLUTION, &isnull)) == RESOLUTION_CAPTURED;
	row->entity = DatumGetTextPP(rows_value(rows, LOG_ENTITY, &isnull));
	row->external_id = DatumGetTextPP(rows_value(rows, LOG_EXTERNAL_ID, &isnull));
	row->row_version = DatumGetInt64(rows_value(rows, LOG_ROW_VERSION, &isnull));
	if (!consumer_has_record(window->consumer, row->entity, row->external_id))
		return false;
	if (window->target->nentities < 0)
		return true;
	entity = text_to_cstring(row->entity);
	gets = source_gets_entity(window->target, entity);
	pfree(entity);
	return gets;
}

bool
feed_window_next(FeedWindow *window, FeedRow *row)
{
	for (;;)
	{
		Branch	   *branch;
		Run			run;

		CHECK_FOR_INTERRUPTS();
		if (!window->in_run)
		{
			if (!next_run(window, &run))
				return false;
			begin_run(window, &run);
		}
		branch = next_branch(window);
		if (branch == NULL)
		{
			window->in_run = false;
			continue;
		}
		window->walked++;
		if (feed_window_cut_short(window))
			return false;
		row->at = branch->at;
		row->table = branch->table->number;
		if (row_is_due(window, branch->table->rows, row))
			return true;
	}
}

const char *
feed_window_fields(const FeedWindow *window, Jsonb **fields)
{
	return stored_object_problem(window->returned->table->rows, LOG_FIELDS, fields);
}

const char *
feed_window_detail(const FeedWindow *window, Jsonb **detail)
{
	return stored_object_problem(window->returned->table->rows, LOG_DETAIL, detail);
}

bool
feed_window_on_none(const FeedWindow *window)
{
	bool		isnull;
	Datum		base = rows_value(window->returned->table->rows, LOG_BASE, &isnull);

	return !isnull && DatumGetInt64(base) == 0;
}

/* ---------- rows by their place ---------- */

struct FeedSeek
{
	FeedLog    *log;
	RowsScan   *scans[LOG_NTABLES]; /* NULL: not used yet */
};

FeedSeek *
feed_seek_begin(FeedLog *log)
{
	FeedSeek   *seek = palloc0(sizeof(FeedSeek));

	seek->log = log;
	return seek;
}

static void
read_log_row(const Rows *rows, LogRow *row)
{
	bool		isnull;

	row->recorded_at = DatumGetTimestampTz(rows_value(rows, LOG_RECORDED_AT, &isnull));
	row->row_version = DatumGetInt64(rows_value(rows, LOG_ROW_VERSION, &isnull));
	row->version = DatumGetInt64(rows_value(rows, LOG_VERSION, &isnull));
	if (isnull)
		row->version = row->row_version;
	row->updated_at = DatumGetTimestampTz(rows_value(rows, LOG_UPDATED_AT, &isnull));
	row->has_updated_at = !isnull;
	row->resolution = DatumGetChar(rows_value(rows, LOG_RESOLUTION, &isnull));
	row->audience = DatumGetChar(rows_value(rows, LOG_TOLD, &isnull));
	row->detail = NULL;
	row->problem = stored_object_problem(rows, LOG_FIELDS, &row->fields);
	if (row->problem == NULL)
		row->problem = stored_object_problem(rows, LOG_DETAIL, &row->detail);
}

/* Returns false if the row isn't there any more: the record was erased. */
bool
feed_seek(FeedSeek *seek, int table, LogPosition at, LogRow *row)
{
	const LogTable *log_table = &seek->log->tables[table];
	Rows	   *rows = log_table->rows;
	Datum		keys[2] = {
		FullTransactionIdGetDatum(FullTransactionIdFromU64(at.xid)),
		Int64GetDatum(at.seq)
	};

	if (seek->scans[table] == NULL)
		seek->scans[table] = rows_seek_begin(rows, log_table->index, 2);
	if (!rows_seek(seek->scans[table], keys))
		return false;
	read_log_row(rows, row);
	return true;
}

void
feed_seek_end(FeedSeek *seek)
{
	for (int i = 0; i < LOG_NTABLES; i++)
		if (seek->scans[i] != NULL)
			rows_scan_end(seek->scans[i]);
	pfree(seek);
}
