/*
 * maintain.c
 *	  CALL sync_maintain(): keeps the hub the size of its data plus what the
 *	  retention asks for.
 *
 * Called from SQL, by hand or by a scheduler.  Each step is a transaction of
 * its own, holds no lock on the way to the next one, and leaves what is in use
 * for another time; a call that is broken off loses nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "hub/batch.h"
#include "hub/incarnation.h"
#include "hub/listing.h"
#include "hub/maintain.h"
#include "hub/procedure.h"
#include "hub/rotate.h"
#include "hub/section.h"
#include "hub/sweep.h"
#include "storage/hints.h"
#include "storage/locks.h"
#include "model/json.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(sync_maintain);

/* Rows that one transaction removes, parked changes that one tries. */
#define STEP_ROWS	10000
#define STEP_PARKED	1000
/* An idle target's cursor is moved up when its tick is older, in seconds. */
#define IDLE_AGE	3600

/* ---------- steps ---------- */

void
maintain_step_begin(Maintenance *m)
{
	/* each statement has to see what was committed before it */
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	section_enter(&m->section, setting_maintain_lock_timeout);
}

void
maintain_step_end(Maintenance *m)
{
	section_leave(&m->section);
	PopActiveSnapshot();
	SPI_commit();
}

void
maintain_waits(Maintenance *m, const char *format,...)
{
	MemoryContext old = MemoryContextSwitchTo(m->context);
	StringInfoData why;
	va_list		args;
	int			needed;

	initStringInfo(&why);
	do
	{
		va_start(args, format);
		needed = appendStringInfoVA(&why, format, args);
		va_end(args);
		if (needed > 0)
			enlargeStringInfo(&why, needed);
	} while (needed > 0);
	m->waits = lappend(m->waits, why.data);
	MemoryContextSwitchTo(old);
}

/* ---------- parked changes ---------- */

static void
sweep(Maintenance *m)
{
	int			applied;

	do
	{
		maintain_step_begin(m);
		applied = sweep_due(STEP_PARKED);
		maintain_step_end(m);
		m->released += applied;
	} while (applied > 0);
}

/* ---------- references ---------- */

static void
list_children(Maintenance *m)
{
	bool		done;

	maintain_step_begin(m);
	done = listing_try();
	maintain_step_end(m);
	if (!done)
		maintain_waits(m, "references: a transaction that may not know of a new one goes on");
}

/* ---------- cursors ---------- */

static void
start_anew(void *arg)
{
	const Registry *registry = registry_get();
	const Source *source = registry_source(registry, arg);

	if (source != NULL)
		cursor_start(registry, source);
}

bool
maintain_restart(Maintenance *m, const char *target)
{
	bool		done;

	maintain_step_begin(m);
	done = section_try(start_anew, unconstify(char *, target));
	maintain_step_end(m);
	if (done)
	{
		MemoryContext old = MemoryContextSwitchTo(m->context);

		m->restarted = lappend(m->restarted, pstrdup(target));
		MemoryContextSwitchTo(old);
	}
	return done;
}

/* A cursor without its ticks serves nothing any more. */
static void
mend_cursors(Maintenance *m)
{
	List	   *targets;
	ListCell   *lc;

	maintain_step_begin(m);
	targets = section_texts(m->context,
							"SELECT DISTINCT target FROM syncext.cursor c WHERE NOT EXISTS "
							"(SELECT FROM syncext.tick t WHERE t.id = c.lo) OR c.hi IS NOT NULL AND NOT EXISTS "
							"(SELECT FROM syncext.tick t WHERE t.id = c.hi) ORDER BY 1");
	maintain_step_end(m);
	foreach(lc, targets)
	{
		if (!maintain_restart(m, lfirst(lc)))
			maintain_waits(m, "target \"%s\" lacks a tick, and is being served just now",
						   (char *) lfirst(lc));
	}
}

/*
 * Move the slot's cursor to now if there is nothing on the way there.  Returns
 * how many slots the target has.
 */
static int
advance_slot_if_idle(const char *target, int slot)
{
	const LogPosition start = {0, 0};
	const Slot	any_number = {slot, 0};
	Feed	   *feed = feed_open(target, any_number, true);
	int			slots;
	FeedWindow *window;
	FeedRow		row;
	Tick		tick;

	feed_lock(feed);
	if (!feed->cursor.leased && feed->cursor.hi == 0 && feed->cursor.backfill_entity == NULL)
	{
		tick_take(&tick);
		window = feed_window_begin(feed->log, feed->target, feed->slot, &feed->lo.snapshot,
								   &tick.snapshot, start);
		if (!feed_window_next(window, &row))
		{
			feed->cursor.lo = tick.id;
			feed_save(feed);
		}
		feed_window_end(window);
	}
	slots = feed->slot.of;
	feed_close(feed);
	return slots;
}

static void
advance_if_idle(void *arg)
{
	int			slots = 1;

	/* who holds the first knows how many there are */
	for (int slot = 0; slot < slots; slot++)
		slots = advance_slot_if_idle(arg, slot);
}

/*
 * A pull that finds nothing writes nothing, so the cursor of a target that is
 * told of nothing stays, with its tick, where the last change for it was.
 */
static void
advance_idle_cursors(Maintenance *m)
{
	List	   *targets;
	ListCell   *lc;

	maintain_step_begin(m);
	targets = section_texts(m->context,
							"SELECT DISTINCT c.target FROM syncext.cursor c JOIN syncext.tick t ON t.id = c.lo "
							"WHERE c.hi IS NULL AND c.lease_until IS NULL AND c.backfill_entity IS NULL "
							"AND t.taken_at < clock_timestamp() - interval '%d s' "
							"AND t.id < (SELECT max(id) FROM syncext.tick) ORDER BY 1",
							Min(setting_retention / 3, IDLE_AGE));
	maintain_step_end(m);
	foreach(lc, targets)
	{
		maintain_step_begin(m);
		(void) section_try(advance_if_idle, lfirst(lc));
		maintain_step_end(m);
	}
}

/* ---------- ticks ---------- */

typedef struct OldTicks
{
	char	   *ids;			/* an array's text; NULL: none */
	VirtualTransactionId *users;	/* who may have read a cursor that had one */
} OldTicks;

/* The transactions, prepared ones too, that have a lock on the cursors' table. */
static VirtualTransactionId *
cursor_users(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, registry_relation("cursor"));
	return GetLockConflicts(&tag, AccessExclusiveLock, NULL);
}

/*
 * Note the ticks that no cursor names.  A pull under way may have read a cursor
 * that has moved since, and look for its tick next.  It holds a lock on the
 * table, and what begins later finds none of these ticks: when those that are
 * under way now have ended, the ticks can go.  Nobody is kept waiting for that.
 */
static void
note_old_ticks(Maintenance *m, OldTicks *old)
{
	MemoryContext context;

	maintain_step_begin(m);
	old->ids = section_text(m->context,
							"SELECT array_agg(id) FROM syncext.tick t WHERE id < (SELECT max(id) FROM syncext.tick) "
							"AND NOT EXISTS (SELECT FROM syncext.cursor c WHERE c.lo = t.id OR c.hi = t.id)");
	context = MemoryContextSwitchTo(m->context);
	old->users = cursor_users();
	MemoryContextSwitchTo(context);
	maintain_step_end(m);
}

/* Have they all ended? */
static bool
have_ended(VirtualTransactionId *users)
{
	for (; VirtualTransactionIdIsValid(*users); users++)
	{
		if (!VirtualXactLock(*users, false))
			return false;
	}
	return true;
}

static void
remove_old_ticks(Maintenance *m, const OldTicks *old)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													setting_maintain_lock_timeout);

	if (old->ids == NULL)
		return;
	while (!have_ended(old->users))
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= until)
		{
			maintain_waits(m, "ticks: a transaction that has looked at the feed goes on");
			return;
		}
		pg_usleep(10 * 1000);
	}
	maintain_step_begin(m);
	m->ticks = section_run("DELETE FROM syncext.tick t WHERE id = ANY ('%s') "
						   "AND NOT EXISTS (SELECT FROM syncext.cursor c WHERE c.lo = t.id OR c.hi = t.id)",
						   old->ids);
	maintain_step_end(m);
}

/* ---------- conflicts and tombstones ---------- */

static void
remove_conflicts(Maintenance *m)
{
	uint64		removed;

	do
	{
		maintain_step_begin(m);
		removed = section_run("DELETE FROM syncext.conflict_log WHERE status <> 'pending' AND id IN "
							  "(SELECT id FROM syncext.conflict_log WHERE status <> 'pending' "
							  "AND coalesce(decided_at, recorded_at) < clock_timestamp() - interval '%d s' "
							  "LIMIT %d)",
							  setting_retention, STEP_ROWS);
		maintain_step_end(m);
		m->conflicts += removed;
	} while (removed == STEP_ROWS);
}

/* A relation that was renamed is to be known by its name when it is dropped. */
static void
note_names(Maintenance *m)
{
	maintain_step_begin(m);
	(void) section_run("UPDATE syncext.binding b SET name = n.name FROM (SELECT c.oid, c.reltype, "
					   "format('%%I.%%I', s.nspname, c.relname) AS name FROM pg_class c "
					   "JOIN pg_namespace s ON s.oid = c.relnamespace) n "
					   "WHERE n.oid = b.relation AND n.reltype = b.row_type AND n.name <> b.name");
	maintain_step_end(m);
}

/*
 * The transaction id before which a tombstone is older than the retention and
 * seen by all: its delete isn't in the log any more, nor yet to be delivered to
 * anyone.  NULL where a target is walking through the golden records, for it
 * may have to learn from the tombstone that its own record is to go.
 */
static char *
tombstone_horizon(const Maintenance *m)
{
	return section_text(m->context,
						"SELECT least((SELECT min(xid) FROM ("
						"(SELECT xid FROM syncext.change_log_0 ORDER BY xid, seq LIMIT 1) UNION ALL "
						"(SELECT xid FROM syncext.change_log_1 ORDER BY xid, seq LIMIT 1) UNION ALL "
						"(SELECT xid FROM syncext.change_log_2 ORDER BY xid, seq LIMIT 1) UNION ALL "
						"(SELECT xid FROM syncext.change_log_3 ORDER BY xid, seq LIMIT 1)) oldest), "
						"(SELECT min(pg_snapshot_xmin(t.snapshot)) "
						"FROM syncext.cursor c JOIN syncext.tick t ON t.id = c.lo), "
						"pg_snapshot_xmin(pg_current_snapshot())) "
						"WHERE NOT EXISTS (SELECT FROM syncext.cursor WHERE backfill_entity IS NOT NULL)");
}

/*
 * xmin is widened by what the current transaction id is; a row older than that
 * can tell looks younger, and stays.  What something still speaks of stays, too.
 */
static uint64
remove_some_tombstones(const char *horizon)
{
	return section_number("WITH now AS (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric AS xid), "
						  "gone AS (DELETE FROM syncext.canonical WHERE deleted AND ctid = ANY (ARRAY("
						  "SELECT r.ctid FROM syncext.canonical r, now, "
						  "LATERAL (SELECT now.xid - mod(now.xid, 4294967296) + r.xmin::text::numeric AS xid) same_epoch, "
						  "LATERAL (SELECT same_epoch.xid - CASE WHEN same_epoch.xid >= now.xid THEN 4294967296 ELSE 0 END AS xid) written "
						  "WHERE r.deleted AND written.xid < %s "
						  "AND NOT EXISTS (SELECT FROM syncext.pending p WHERE p.entity = r.entity AND p.external_id = r.external_id) "
						  "AND NOT EXISTS (SELECT FROM syncext.waiting w WHERE w.entity = r.entity AND w.external_id = r.external_id) "
						  "AND NOT EXISTS (SELECT FROM syncext.child c WHERE c.parent_entity = r.entity AND c.parent_id = r.external_id) "
						  "AND NOT EXISTS (SELECT FROM syncext.conflict_log l WHERE l.status = 'pending' "
						  "AND l.entity = r.entity AND l.external_id = r.external_id) "
						  "LIMIT %d FOR UPDATE OF r SKIP LOCKED)) RETURNING entity, external_id), "
						  "forgotten AS (DELETE FROM syncext.replica p USING gone, syncext.binding b "
						  "WHERE b.entity = gone.entity AND p.relation = b.relation AND p.external_id = gone.external_id), "
						  "unrouted AS (DELETE FROM syncext.routed h USING gone "
						  "WHERE h.entity = gone.entity AND h.external_id = gone.external_id), "
						  "unagreed AS (DELETE FROM syncext.agreed a USING gone "
						  "WHERE a.entity = gone.entity AND a.external_id = gone.external_id) "
						  "SELECT count(*) FROM gone", horizon, STEP_ROWS);
}

/*
 * Keys that are used again go on above what receivers may have of them.  That is
 * told before the tombstones go: what removes them then waits for nobody.  All of
 * those were there before; the deletes of newer ones are in the log.
 */
static void
raise_floors(void *arg)
{
	(void) section_run("SELECT syncext.raise_floor(m.entity, m.row_version) "
					   "FROM (SELECT entity, max(row_version) AS row_version FROM syncext.canonical "
					   "WHERE deleted GROUP BY entity ORDER BY entity) m");
}

static bool
try_to_raise_floors(Maintenance *m)
{
	bool		done;

	maintain_step_begin(m);
	done = section_try(raise_floors, NULL);
	maintain_step_end(m);
	if (!done)
		maintain_waits(m, "tombstones: a transaction that forgets records goes on");
	return done;
}

/*
 * Finding tombstones takes a walk through all records.  They become old as
 * log tables are truncated, so it is done then.
 */
static void
remove_tombstones(Maintenance *m)
{
	char	   *horizon;
	uint64		removed;

	if (m->truncated == NIL || !try_to_raise_floors(m))
		return;
	do
	{
		maintain_step_begin(m);
		horizon = tombstone_horizon(m);
		removed = horizon == NULL ? 0 : remove_some_tombstones(horizon);
		maintain_step_end(m);
		m->tombstones += removed;
	} while (removed == STEP_ROWS);
	if (horizon == NULL)
		maintain_waits(m, "tombstones: a target is walking through the golden records");
}

/*
 * Behind a link there is no golden record whose tombstone tells that a key is gone:
 * what was agreed on with the hub there does.
 */
static void
remove_gone(Maintenance *m)
{
	uint64		removed;

	do
	{
		maintain_step_begin(m);
		removed = section_run("DELETE FROM syncext.replica WHERE ctid = ANY (ARRAY("
							  "SELECT r.ctid FROM syncext.replica r "
							  "WHERE r.gone_at < clock_timestamp() - interval '%d s' "
							  "LIMIT %d FOR UPDATE SKIP LOCKED))",
							  setting_retention, STEP_ROWS);
		maintain_step_end(m);
		m->gone += removed;
	} while (removed == STEP_ROWS);
}

/* ---------- runs of jobs ---------- */

/* The last run of each job stays, however old it is. */
static void
remove_runs(Maintenance *m)
{
	uint64		removed;

	do
	{
		maintain_step_begin(m);
		removed = section_run("DELETE FROM syncext.job_run WHERE id IN "
							  "(SELECT r.id FROM syncext.job_run r "
							  "WHERE r.ended_at < clock_timestamp() - interval '%d s' "
							  "AND EXISTS (SELECT FROM syncext.job_run n WHERE n.relation = r.relation "
							  "AND n.job = r.job AND n.id > r.id AND n.status <> 'skipped') LIMIT %d)",
							  setting_retention, STEP_ROWS);
		maintain_step_end(m);
		m->runs += removed;
	} while (removed == STEP_ROWS);
}

/* ---------- answers to changes that were sent with an id ---------- */

static void
remove_change_ids(Maintenance *m)
{
	uint64		removed;

	do
	{
		maintain_step_begin(m);
		removed = section_run("DELETE FROM syncext.change_id WHERE (source, change_id) IN "
							  "(SELECT source, change_id FROM syncext.change_id "
							  "WHERE answered_at < clock_timestamp() - interval '%d s' "
							  "ORDER BY answered_at LIMIT %d)",
							  setting_retention, STEP_ROWS);
		maintain_step_end(m);
		m->change_ids += removed;
	} while (removed == STEP_ROWS);
}

/* ---------- the procedure ---------- */

static void
refuse_where_impossible(FunctionCallInfo fcinfo)
{
	procedure_refuse_atomic(fcinfo, "sync_maintain()", "It commits between its steps.");
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby can't be maintained"),
				 errhint_call("Run CALL sync_maintain() on the primary.")));
}

static void
run_steps(Maintenance *m)
{
	OldTicks	ticks;

	/* this transaction may have another isolation level, and an old snapshot */
	SPI_commit();
	XactIsoLevel = XACT_READ_COMMITTED;
	m->incarnation = incarnation_check();
	SPI_commit();
	list_children(m);
	sweep(m);
	mend_cursors(m);
	note_old_ticks(m, &ticks);
	rotate_truncate(m);
	rotate_switch(m);
	advance_idle_cursors(m);
	remove_conflicts(m);
	note_names(m);
	remove_runs(m);
	remove_change_ids(m);
	remove_tombstones(m);
	remove_gone(m);
	remove_old_ticks(m, &ticks);
}

static void
push_names(JsonbParseState **state, const char *key, const List *names)
{
	ListCell   *lc;

	json_push_key(state, key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, names)
	{
		JsonbValue	value = {.type = jbvString};

		value.val.string.val = lfirst(lc);
		value.val.string.len = strlen(lfirst(lc));
		pushJsonbValue(state, WJB_ELEM, &value);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static Jsonb *
maintenance_jsonb(const Maintenance *m)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (m->incarnation)
		json_push_bool(&state, "incarnation", true);
	if (m->rotated_from >= 0)
	{
		json_push_key(&state, "rotated");
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		json_push_string(&state, "from", psprintf("change_log_%d", m->rotated_from));
		json_push_string(&state, "to", psprintf("change_log_%d", m->rotated_to));
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	push_names(&state, "truncated", m->truncated);
	push_names(&state, "restarted", m->restarted);
	json_push_number(&state, "released", m->released);
	json_push_number(&state, "conflicts", m->conflicts);
	json_push_number(&state, "tombstones", m->tombstones);
	json_push_number(&state, "ticks", m->ticks);
	if (m->gone > 0)
		json_push_number(&state, "gone", m->gone);
	if (m->change_ids > 0)
		json_push_number(&state, "changeIds", m->change_ids);
	if (m->runs > 0)
		json_push_number(&state, "runs", m->runs);
	push_names(&state, "waits", m->waits);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Datum
sync_maintain(PG_FUNCTION_ARGS)
{
	MemoryContext outer = CurrentMemoryContext;
	Maintenance m = {.rotated_from = -1};
	Jsonb	   *result;

	refuse_where_impossible(fcinfo);
	/* one at a time; an error releases it, too */
	if (lock_session(LOCK_MAINTENANCE, 0, false) != LOCK_TAKEN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another sync_maintain is running"),
				 errhint("There is nothing to do: it does the work.")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	m.context = CurrentMemoryContext;
	run_steps(&m);
	MemoryContextSwitchTo(outer);
	result = maintenance_jsonb(&m);
	SPI_finish();
	lock_release(LOCK_MAINTENANCE, 0);
	return procedure_result(fcinfo, result);
}
