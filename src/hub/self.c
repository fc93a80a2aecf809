/*
 * self.c
 *	  Who this database is, for the other end of a link to tell it from others.
 *
 * Table syncext.feed_origin has what a copy of the database takes along; the rest is
 * looked at here.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "hub/self.h"
#include "storage/hints.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/rows.h"

PG_FUNCTION_INFO_V1(syncext_identity);
PG_FUNCTION_INFO_V1(syncext_this_timeline);

uint32
self_timeline(void)
{
	TimeLineID	timeline;

	if (!RecoveryInProgress())
		return GetWALInsertionTimeLine();
	(void) GetXLogReplayRecPtr(&timeline);
	return timeline;
}

/*
 * A copy by CREATE DATABASE … TEMPLATE, and what a dump is restored to, may be served by the
 * server that runs already: then the OID of the database, or of our tables, is another one.
 */
int64
self_run(void)
{
	uint32		place = hash_combine(murmurhash32(MyDatabaseId),
									 murmurhash32(registry_relation("feed_origin")));

	/* no more than a second: later runs are greater */
	return PgStartTime + place % USECS_PER_SEC;
}

/* They are compared and no more: nobody is told where the server stands. */
static int64
hash_text(const char *text)
{
	return (int64) hash_bytes_extended((const unsigned char *) text, strlen(text), 0);
}

static void
look_around(Identity *self)
{
	char		host[256] = "";
	struct stat control;

	(void) gethostname(host, sizeof(host) - 1);
	self->host = hash_text(host);
	self->directory = hash_text(DataDir);
	/* it is written in place as long as the cluster lives, and a copy has another */
	if (stat("global/pg_control", &control) == 0)
		self->inode = hash_text(psprintf("%llu", (unsigned long long) control.st_ino));
}

/* Read what is stored; after incarnation_check() there is one row. */
static void
read_origin(Identity *self)
{
	Rows	   *rows = rows_open_read(registry_relation("feed_origin"));
	RowsScan   *scan;

	rows_see_latest(rows);
	scan = rows_scan_begin(rows, NULL, 0, NULL, 0, NULL);
	if (!rows_scan_next(scan))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"syncext.feed_origin\" is empty"),
				 errhint_call("Run CALL sync_maintain().")));
	self->mark = DatumGetCString(DirectFunctionCall1(uuid_out,
													 rows_datum(rows, COL_FEED_ORIGIN_MARK)));
	self->epoch = DatumGetInt64(rows_datum(rows, COL_FEED_ORIGIN_EPOCH));
	self->ancestors = (const char **) names_of_array(rows_datum(rows, COL_FEED_ORIGIN_ANCESTORS),
													 NULL, &self->nancestors);
	self->nancestors = Min(self->nancestors, IDENTITY_MAX_ANCESTORS);
	rows_scan_end(scan);
	rows_close(rows);
}

void
self_identity(Identity *self)
{
	MemSet(self, 0, sizeof(Identity));
	read_origin(self);
	self->known = true;
	self->system = GetSystemIdentifier();
	/* not the one that is stored: a copy has that, too */
	self->database = MyDatabaseId;
	self->timeline = self_timeline();
	look_around(self);
}

/* ---------- for SQL ---------- */

Datum
syncext_identity(PG_FUNCTION_ARGS)
{
	Identity	self;

	self_identity(&self);
	PG_RETURN_JSONB_P(identity_to_jsonb(&self));
}

Datum
syncext_this_timeline(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) self_timeline());
}
