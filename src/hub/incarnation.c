/*
 * incarnation.c
 *	  Whether the feed's transaction ids are this cluster's, and a new start
 *	  where they aren't.
 *
 * Cursors and the log are told apart by transaction ids, which mean nothing in
 * a cluster that a dump was restored into.  CREATE EXTENSION leaves a row in
 * syncext.feed_origin, and the dump brings the row of where it was taken:
 *
 *	- one row, of this cluster: all is well.
 *	- one row, of this cluster, with another timeline: a standby was promoted,
 *	  or the files were recovered to a point in time.  What the feed stores is exact; but what came
 *	  after that point may have been told to others.  It goes on in a new epoch.
 *	- one row, of this cluster, with another database: a copy by CREATE DATABASE …
 *	  TEMPLATE, of a database that may have gone on since.  A new epoch, too.
 *	- one row, of another cluster: CREATE EXTENSION never ran here, so the
 *	  files themselves came, by pg_upgrade, or with a copy of the whole cluster
 *	  whose system identifier was changed.  Both keep transaction ids: the feed
 *	  goes on as it is.
 *	- more rows: a dump was restored.  It is another database then, of a mark of
 *	  its own, that names the one before as its ancestor.
 *	- no row, or a tick that lies in the future: it isn't known.  As after a restore.
 *
 * That files were restored without recovery nothing here tells: the other end of a
 * link does, if it has seen more.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "compat.h"
#include "hub/backfill.h"
#include "hub/incarnation.h"
#include "hub/self.h"
#include "process/owner.h"
#include "storage/change_log.h"
#include "storage/hints.h"
#include "storage/link.h"
#include "storage/rows.h"
#include "storage/tick.h"

typedef enum Origin
{
	ORIGIN_HERE,
	ORIGIN_MOVED,				/* the same transaction ids, another cluster */
	ORIGIN_PROMOTED,			/* a time of ours may be lost */
	ORIGIN_COPIED,				/* of the database that we are a copy of, too */
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
	int			copied = 0;
	int			promoted = 0;
	RowsScan   *scan;

	rows_see_latest(rows);
	scan = rows_scan_begin(rows, NULL, 0, NULL, 0, NULL);
	while (rows_scan_next(scan))
	{
		int64		system = DatumGetInt64(rows_datum(rows, COL_FEED_ORIGIN_SYSTEM_IDENTIFIER));

		n++;
		elsewhere += (uint64) system != GetSystemIdentifier();
		copied += DatumGetObjectId(rows_datum(rows, COL_FEED_ORIGIN_DATABASE)) != MyDatabaseId;
		promoted += DatumGetInt64(rows_datum(rows, COL_FEED_ORIGIN_TIMELINE)) != self_timeline();
	}
	rows_scan_end(scan);
	rows_close(rows);
	if (n != 1 || tick_in_future())
		return ORIGIN_RESTORED;
	if (elsewhere > 0)
		return ORIGIN_MOVED;
	/* a standby notes nothing */
	if (RecoveryInProgress())
		return ORIGIN_HERE;
	return copied > 0 ? ORIGIN_COPIED : promoted > 0 ? ORIGIN_PROMOTED : ORIGIN_HERE;
}

/* Like find_origin(), but looks only once. */
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
	checked = origin == ORIGIN_HERE && !RecoveryInProgress();
	return origin;
}

/* ---------- a new start ---------- */

void
incarnation_begin_epoch(const char *reason)
{
	owner_execute("UPDATE syncext.feed_origin SET database = syncext.this_database(), timeline = syncext.this_timeline(), began_at = clock_timestamp(), reason = %s, "
				  "epoch = (SELECT syncext.next_epoch())", quote_literal_cstr(reason));
	ereport(LOG,
			(errmsg("syncext begins a new epoch, as the database may have gone back in time"),
			 errdetail_internal("Why: %s.", reason)));
}

static void
note_origin(Origin origin)
{
	if (origin == ORIGIN_MOVED)
		owner_execute("UPDATE syncext.feed_origin SET system_identifier = syncext.system_identifier(), "
					  "timeline = syncext.this_timeline()");
	else if (origin == ORIGIN_PROMOTED)
		incarnation_begin_epoch("promoted");
	else if (origin == ORIGIN_COPIED)
		incarnation_begin_epoch("copied");
	else if (origin == ORIGIN_RESTORED)
		owner_execute("SELECT syncext.begin_restored(%d)", IDENTITY_MAX_ANCESTORS);
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
		owner_execute("UPDATE syncext.change_log_%d SET xid = '0' "
					  "WHERE xid <> '0' AND xid <> pg_current_xact_id()", i);
}

/* What was captured for a hub behind a link, and not answered, stands nowhere else. */
static void
keep_captured(void)
{
	foreach_ptr(const Link, link, link_list())
		owner_execute("SELECT syncext.renew_captured(%s)",
					  quote_literal_cstr(link->source));
}

static void
start_targets(void)
{
	int64		newest = owner_number("SELECT max(id) FROM syncext.tick");
	List	   *targets = owner_texts("SELECT DISTINCT target FROM syncext.cursor ORDER BY 1");

	foreach_ptr(char, target, targets)
	{
		/* dropped by now, its cursor with it */
		if (registry_source(registry_get(), target) != NULL)
			cursor_start(target);
	}
	owner_execute("DELETE FROM syncext.tick WHERE id <= " INT64_FORMAT, newest);
}

/* Does the feed go on as it is, in a new epoch? */
static bool
begins_epoch(Origin origin)
{
	return origin == ORIGIN_PROMOTED || origin == ORIGIN_COPIED;
}

static bool
begin_incarnation(void)
{
	Origin		origin;

	if (IsolationUsesXactSnapshot() && begins_epoch(known_origin()))
		return false;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("the feed has to begin anew after a restore, which needs transaction isolation level READ COMMITTED"),
				 errhint_call("Run CALL sync_maintain() first.")));
	/* of two pulls that have found it one does it, the other waits here */
	owner_execute("LOCK TABLE syncext.feed_origin IN SHARE ROW EXCLUSIVE MODE");
	origin = find_origin();
	if (origin == ORIGIN_RESTORED)
	{
		owner_execute("UPDATE syncext.feed_state SET incarnation = incarnation + 1, switched_at = now()");
		keep_captured();
		set_log_aside();
		owner_execute("SELECT syncext.list_children_anew()");
		start_targets();
		ereport(LOG,
				(errmsg("syncext starts a new incarnation of its feed, for the database was restored from a dump"),
				 errdetail("Every target gets all of its records again.")));
	}
	note_origin(origin);
	return origin == ORIGIN_RESTORED;
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
