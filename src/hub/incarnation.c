/*
 * incarnation.c
 *	  Whether the feed's transaction ids are this cluster's, and a new start
 *	  where they aren't.
 *
 * Called by hub/delivery and by hub/maintain.
 *
 * Cursors and the log are told apart by transaction ids, which mean nothing in
 * a cluster that a dump was restored into.  CREATE EXTENSION leaves a row in
 * syncext.feed_origin, and the dump brings the row of where it was taken:
 *
 *	- one row, of this cluster: all is well.  A promoted standby is that, too.
 *	- one row, of another cluster: CREATE EXTENSION never ran here, so the
 *	  files themselves came, by pg_upgrade, or with a copy of the whole cluster
 *	  whose system identifier was changed.  Both keep transaction ids: the feed
 *	  goes on as it is.
 *	- more rows: a dump was restored.
 *	- no row, or a tick that lies in the future: who knows.  As after a restore.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "hub/captured.h"
#include "hub/incarnation.h"
#include "hub/section.h"
#include "storage/change_log.h"
#include "storage/cursor_set.h"
#include "storage/link.h"
#include "storage/rows.h"
#include "storage/tick.h"

typedef enum Origin
{
	ORIGIN_HERE,
	ORIGIN_MOVED,				/* the same transaction ids, another cluster */
	ORIGIN_RESTORED
} Origin;

static bool checked = false;	/* known to be ORIGIN_HERE */
static bool callback_registered = false;
static Oid	watched = InvalidOid;	/* its invalidation makes us look again */

/* The configuration tables' trigger, feed_origin's too, invalidates "source". */
static void
forget_check(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == watched)
		checked = false;
}

/* ---------- looking ---------- */

/* Is the newest tick of a transaction id that this cluster hasn't come to? */
static bool
tick_in_future(void)
{
	Tick		tick;

	return tick_newest(&tick) &&
		tick.snapshot.xmax > U64FromFullTransactionId(ReadNextFullTransactionId());
}

static Origin
find_origin(void)
{
	Rows	   *rows = rows_open_read(registry_relation("feed_origin"));
	int			n = 0;
	int			elsewhere = 0;
	RowsScan   *scan;

	rows_see_latest(rows);
	scan = rows_scan_begin(rows, InvalidOid, 0, NULL, 0, NULL);
	while (rows_scan_next(scan))
	{
		bool		isnull;
		int64		system = DatumGetInt64(rows_value(rows, 2, &isnull));

		n++;
		elsewhere += (uint64) system != GetSystemIdentifier();
	}
	rows_scan_end(scan);
	rows_close(rows);
	if (n != 1 || tick_in_future())
		return ORIGIN_RESTORED;
	return elsewhere == 0 ? ORIGIN_HERE : ORIGIN_MOVED;
}

/* ---------- a new start ---------- */

static void
note_origin(void)
{
	section_run("DELETE FROM syncext.feed_origin");
	section_run("INSERT INTO syncext.feed_origin DEFAULT VALUES");
}

/*
 * Rows of the log keep their order by seq, but lie before every snapshot from
 * now on.  A transaction that is writing to the log here and now isn't seen
 * yet, and comes in the first window.
 */
static void
set_log_aside(void)
{
	for (int i = 0; i < LOG_NTABLES; i++)
		section_run("UPDATE syncext.change_log_%d SET xid = '0' "
					"WHERE xid <> '0' AND xid <> pg_current_xact_id()", i);
}

/* What was captured for a hub behind a link, and not answered, stands nowhere else. */
static void
keep_captured(void)
{
	ListCell   *lc;

	foreach(lc, link_list())
		captured_renew(((const Link *) lfirst(lc))->source);
}

/*
 * The cluster that the dump is of may have handed out batches after it, which
 * must not pass for those to come; nor must those of another one that was
 * restored from the same dump.  Milliseconds go faster than batches: numbers
 * that begin there were never handed out.  A target that was never served stays
 * so, for what it is let see goes by that.
 */
static void
begin_batches(void)
{
	section_run("UPDATE syncext.cursor SET batch = greatest(batch, "
				"(extract(epoch FROM clock_timestamp()) * 1000)::bigint) WHERE batch > 0");
}

/* The list of children isn't dumped: it follows from the records. */
static void
list_children(void)
{
	section_run("INSERT INTO syncext.child (parent_entity, parent_id, entity, external_id, field) "
				"SELECT f.parent, r.fields->>f.field, r.entity, r.external_id, f.field "
				"FROM syncext.reference f JOIN syncext.canonical r ON r.entity = f.entity "
				"WHERE f.on_delete <> 'ignore' AND NOT r.deleted "
				"AND jsonb_typeof(r.fields->f.field) IN ('string', 'number') "
				"AND octet_length(r.fields->>f.field) <= 1024 "
				"ON CONFLICT DO NOTHING");
}

static void
start_targets(void)
{
	int64		newest = section_number("SELECT max(id) FROM syncext.tick");
	List	   *targets = section_texts(CurrentMemoryContext,
										"SELECT DISTINCT target FROM syncext.cursor ORDER BY 1");
	ListCell   *lc;

	foreach(lc, targets)
	{
		const Registry *registry = registry_get();
		const Source *source = registry_source(registry, lfirst(lc));

		/* dropped by now, its cursor with it */
		if (source != NULL)
			cursor_start(registry, source);
	}
	section_run("DELETE FROM syncext.tick WHERE id <= " INT64_FORMAT, newest);
}

static bool
begin_incarnation(void)
{
	Origin		origin;
	Section		section;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("the feed has to begin anew after a restore, which needs transaction isolation level READ COMMITTED"),
				 errhint("Run CALL sync_maintain() first.")));
	SPI_connect();
	section_enter(&section, 0);
	/* two pulls may have found the same: one does it, the other waits here */
	section_run("LOCK TABLE syncext.feed_origin IN SHARE ROW EXCLUSIVE MODE");
	origin = find_origin();
	if (origin == ORIGIN_RESTORED)
	{
		section_run("UPDATE syncext.feed_state SET incarnation = incarnation + 1, switched_at = now()");
		keep_captured();
		set_log_aside();
		list_children();
		begin_batches();
		start_targets();
		ereport(LOG,
				(errmsg("syncext starts a new incarnation of its feed, for the database was restored from a dump"),
				 errdetail("Every target gets all of its records again.")));
	}
	if (origin != ORIGIN_HERE)
		note_origin();
	section_leave(&section);
	SPI_finish();
	return origin == ORIGIN_RESTORED;
}

/* The same as find_origin, but for that it looks only once. */
static Origin
known_origin(void)
{
	Origin		origin;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(forget_check, (Datum) 0);
		callback_registered = true;
	}
	AcceptInvalidationMessages();
	watched = registry_relation("source");
	if (checked)
		return ORIGIN_HERE;
	origin = find_origin();
	checked = origin == ORIGIN_HERE;
	return origin;
}

bool
incarnation_check(void)
{
	return known_origin() != ORIGIN_HERE && begin_incarnation();
}

bool
incarnation_is_over(void)
{
	return known_origin() == ORIGIN_RESTORED;
}
