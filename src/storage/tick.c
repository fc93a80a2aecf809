/*
 * tick.c
 *	  Snapshots that the change feed is cut by, and their table syncext.tick.
 *
 * Nothing is locked to take a tick.  Their order is not that of their ids but
 * that of the snapshots, and feed_snapshot_reaches() tells it: a tick of a
 * transaction that goes on for long keeps nobody from taking a later one.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "storage/registry.h"
#include "storage/rows.h"
#include "storage/tick.h"

/* ---------- snapshots ---------- */

/* Widen a 32-bit xid, given the next full xid. */
static uint64
widen_xid(TransactionId xid, FullTransactionId next)
{
	uint64		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return (epoch << 32) | xid;
}

static int
compare_xids(const void *a, const void *b)
{
	uint64		xa = *(const uint64 *) a;
	uint64		xb = *(const uint64 *) b;

	return xa < xb ? -1 : xa > xb ? 1 : 0;
}

/* Sort and drop doubles: a transaction being prepared is listed twice. */
static void
sort_xip(FeedSnapshot *snapshot)
{
	int			kept = 0;

	qsort(snapshot->xip, snapshot->nxip, sizeof(uint64), compare_xids);
	for (int i = 0; i < snapshot->nxip; i++)
		if (kept == 0 || snapshot->xip[kept - 1] != snapshot->xip[i])
			snapshot->xip[kept++] = snapshot->xip[i];
	snapshot->nxip = kept;
}

/*
 * Take a snapshot as of this instant, whatever the isolation level.  The xip
 * array is allocated in the current memory context.
 */
void
feed_snapshot_now(FeedSnapshot *snapshot)
{
	Snapshot	latest = GetLatestSnapshot();
	FullTransactionId next = ReadNextFullTransactionId();
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	snapshot->xmin = widen_xid(latest->xmin, next);
	snapshot->xmax = widen_xid(latest->xmax, next);
	snapshot->xip = palloc(sizeof(uint64) * (latest->xcnt + 1));
	snapshot->nxip = latest->xcnt;
	for (uint32 i = 0; i < latest->xcnt; i++)
		snapshot->xip[i] = widen_xid(latest->xip[i], next);
	/* the server leaves the transaction that asks out of the list */
	if (FullTransactionIdIsValid(own) && U64FromFullTransactionId(own) < snapshot->xmax)
		snapshot->xip[snapshot->nxip++] = U64FromFullTransactionId(own);
	sort_xip(snapshot);
}

static bool
in_progress(const FeedSnapshot *snapshot, uint64 xid)
{
	return bsearch(&xid, snapshot->xip, snapshot->nxip, sizeof(uint64), compare_xids) != NULL;
}

/* Had the transaction ended when the snapshot was taken? */
bool
feed_snapshot_sees(const FeedSnapshot *snapshot, uint64 xid)
{
	if (xid < snapshot->xmin)
		return true;
	return xid < snapshot->xmax && !in_progress(snapshot, xid);
}

bool
feed_snapshot_reaches(const FeedSnapshot *snapshot, const FeedSnapshot *other)
{
	if (snapshot->xmax < other->xmax)
		return false;
	for (int i = 0; i < snapshot->nxip && snapshot->xip[i] < other->xmax; i++)
		if (!in_progress(other, snapshot->xip[i]))
			return false;
	return true;
}

/* As SQL's pg_snapshot, whose inside is the server's own: by its text form. */
static Datum
snapshot_datum(const FeedSnapshot *snapshot)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", snapshot->xmin, snapshot->xmax);
	for (int i = 0; i < snapshot->nxip; i++)
		appendStringInfo(&text, "%s" UINT64_FORMAT, i > 0 ? "," : "", snapshot->xip[i]);
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text.data));
}

/* Read a pg_snapshot; the xip array is allocated in the current memory context. */
static void
read_snapshot(Datum datum, FeedSnapshot *snapshot)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(pg_snapshot_out, datum));
	char	   *end;
	int			room = 1;

	for (char *p = text; *p != '\0'; p++)
		room += (*p == ',');
	snapshot->xmin = strtou64(text, &end, 10);
	snapshot->xmax = strtou64(end + 1, &end, 10);
	snapshot->nxip = 0;
	snapshot->xip = palloc(sizeof(uint64) * room);
	while (*end != '\0' && end[1] != '\0')
		snapshot->xip[snapshot->nxip++] = strtou64(end + 1, &end, 10);
	pfree(text);
}

/* ---------- the table ---------- */

static void
read_tick(const Rows *rows, Tick *tick)
{
	tick->id = DatumGetInt64(rows_datum(rows, COL_TICK_ID));
	tick->taken_at = DatumGetTimestampTz(rows_datum(rows, COL_TICK_TAKEN_AT));
	read_snapshot(rows_datum(rows, COL_TICK_SNAPSHOT), &tick->snapshot);
}

bool
tick_find(int64 id, Tick *tick)
{
	Rows	   *rows = rows_open_read(registry_relation("tick"));
	Datum		key = Int64GetDatum(id);
	bool		found = rows_find(rows, 1, &key);

	if (found)
		read_tick(rows, tick);
	rows_close(rows);
	return found;
}

/* The committed tick, or our own, with the highest id; false if there is none. */
bool
tick_newest(Tick *tick)
{
	Rows	   *rows = rows_open_read(registry_relation("tick"));
	RowsRange	all = {.backward = true};
	RowsScan   *scan = rows_scan_range(rows, NULL, &all);
	bool		found = rows_scan_next(scan);

	if (found)
		read_tick(rows, tick);
	rows_scan_end(scan);
	rows_close(rows);
	return found;
}

/* Take a tick now and store it. */
void
tick_take(Tick *tick)
{
	Rows	   *rows = rows_open_write(registry_relation("tick"));
	Datum		values[NCOLUMNS_TICK];
	bool		isnull[NCOLUMNS_TICK] = {false};

	tick->id = nextval_internal(registry_relation("tick_id_seq"), false);
	tick->taken_at = GetCurrentTimestamp();
	feed_snapshot_now(&tick->snapshot);
	values[COL_TICK_ID - 1] = Int64GetDatum(tick->id);
	values[COL_TICK_TAKEN_AT - 1] = TimestampTzGetDatum(tick->taken_at);
	values[COL_TICK_SNAPSHOT - 1] = snapshot_datum(&tick->snapshot);
	rows_insert(rows, values, isnull);
	rows_close(rows);
}
