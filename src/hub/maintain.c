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
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/timestamp.h"

#include "hub/batch.h"
#include "hub/incarnation.h"
#include "hub/listing.h"
#include "hub/maintenance.h"
#include "hub/release.h"
#include "hub/rematch.h"
#include "hub/repoint.h"
#include "hub/retention.h"
#include "hub/rotate.h"
#include "model/json.h"
#include "process/owner.h"
#include "process/steps.h"
#include "process/subxact.h"
#include "storage/hints.h"
#include "storage/locks.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(sync_maintain);

/* Parked changes that one transaction tries. */
#define STEP_PARKED	1000
/* An idle target's cursor is moved up when its tick is older, in seconds. */
#define IDLE_AGE	3600

/* ---------- parked changes ---------- */

static void
sweep(Maintenance *m)
{
	int			applied;

	do
	{
		maintenance_begin(m);
		applied = release_due(STEP_PARKED);
		maintenance_commit(m);
		m->released += applied;
	} while (applied > 0);
}

/* ---------- references ---------- */

static void
list_children(Maintenance *m)
{
	bool		done;

	maintenance_begin(m);
	done = listing_try(false);
	maintenance_commit(m);
	if (!done)
		maintenance_waits(m, "references: a transaction that may not know of a new one goes on");
}

/* ---------- cursors ---------- */

/* A cursor without its ticks serves nothing any more. */
static void
mend_cursors(Maintenance *m)
{
	List	   *targets;

	maintenance_begin(m);
	targets = owner_texts("SELECT DISTINCT target FROM syncext.cursor c WHERE NOT EXISTS "
						  "(SELECT FROM syncext.tick t WHERE t.id = c.lo) OR c.hi IS NOT NULL AND NOT EXISTS "
						  "(SELECT FROM syncext.tick t WHERE t.id = c.hi) ORDER BY 1");
	maintenance_commit(m);
	foreach_ptr(char, target, targets)
	{
		if (!maintenance_restart(m, target))
			maintenance_waits(m, "target \"%s\" lacks a tick, and is being served just now",
							  target);
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
	const Consumer any_number = {slot, 0};
	Feed	   *feed = feed_open(target, any_number, true);
	int			slots;
	FeedWindow *window;
	FeedRow		row;
	Tick		tick;

	feed_lock(feed);
	if (feed->cursor.lease_until == 0 && feed->cursor.to_tick == 0 && feed->cursor.backfill_entity == NULL)
	{
		tick_take(&tick);
		window = feed_window_begin(feed->log, feed->target, feed->consumer, &feed->lo.snapshot,
								   &tick.snapshot, start);
		if (!feed_window_next(window, &row))
		{
			feed->cursor.from_tick = tick.id;
			feed_save(feed);
		}
		feed_window_end(window);
	}
	slots = feed->consumer.count;
	feed_close(feed);
	return slots;
}

static void
advance_if_idle(void *arg)
{
	int			slots = 1;

	/* the slot's cursor, once locked, tells how many there are */
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

	maintenance_begin(m);
	targets = owner_texts("SELECT target FROM syncext.idle_targets('%d s') target",
						  Min(setting_retention / 3, IDLE_AGE));
	maintenance_commit(m);
	foreach_ptr(char, target, targets)
	{
		maintenance_begin(m);
		(void) subxact_try_lock(advance_if_idle, target);
		maintenance_commit(m);
	}
}

/* ---------- ticks ---------- */

typedef struct OldTicks
{
	char	   *ids;			/* an array's text; NULL: none */
	VirtualTransactionId *users;	/* transactions that may have read a cursor that had one */
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
 * under way now have ended, the ticks can go.  No session waits for that.
 */
static void
note_old_ticks(Maintenance *m, OldTicks *old)
{
	maintenance_begin(m);
	old->ids = owner_text("SELECT array_agg(id) FROM syncext.tick t WHERE id < (SELECT max(id) FROM syncext.tick) "
						  "AND NOT EXISTS (SELECT FROM syncext.cursor c WHERE c.lo = t.id OR c.hi = t.id)");
	old->users = cursor_users();
	maintenance_commit(m);
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
			maintenance_waits(m, "ticks: a transaction that has looked at the feed goes on");
			return;
		}
		pg_usleep(10 * 1000);
	}
	maintenance_begin(m);
	m->ticks = owner_execute("DELETE FROM syncext.tick t WHERE id = ANY ('%s') "
							 "AND NOT EXISTS (SELECT FROM syncext.cursor c WHERE c.lo = t.id OR c.hi = t.id)",
							 old->ids);
	maintenance_commit(m);
}

/* ---------- names ---------- */

/* A relation that was renamed is to be known by its name when it is dropped. */
static void
note_names(Maintenance *m)
{
	maintenance_begin(m);
	(void) owner_execute("SELECT syncext.note_names()");
	(void) owner_execute("SELECT syncext.fold_stat()");
	maintenance_commit(m);
}

/* ---------- the procedure ---------- */

static void
refuse_where_impossible(FunctionCallInfo fcinfo)
{
	steps_refuse_atomic(fcinfo, "sync_maintain()", "It commits between its steps.");
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby cannot be maintained"),
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
	repoint_go_on(m);
	rematch_go_on(m);
	rematch_sweep(m);
	mend_cursors(m);
	note_old_ticks(m, &ticks);
	rotate_truncate(m);
	rotate_switch(m);
	advance_idle_cursors(m);
	m->conflicts = retention_remove(m, "remove_conflicts");
	note_names(m);
	m->runs = retention_remove(m, "remove_runs");
	m->change_ids = retention_remove(m, "remove_change_ids");
	retention_remove_tombstones(m);
	/* behind a link there is no golden record whose tombstone tells that a key is gone */
	m->gone = retention_remove(m, "remove_gone");
	remove_old_ticks(m, &ticks);
}

static void
push_names(JsonbParseState **state, const char *key, const List *names)
{
	json_push_array(state, key);
	foreach_ptr(const char, name, names)
		json_add_string(state, name);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static Jsonb *
maintenance_jsonb(const Maintenance *m)
{
	JsonbParseState *state = json_begin_object();

	if (m->incarnation)
		json_push_bool(&state, "incarnation", true);
	if (m->rotated_from >= 0)
	{
		json_push_object(&state, "rotated");
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
	if (m->repointed > 0)
		json_push_number(&state, "repointed", m->repointed);
	if (m->candidates > 0)
		json_push_number(&state, "candidates", m->candidates);
	if (m->gone > 0)
		json_push_number(&state, "gone", m->gone);
	if (m->change_ids > 0)
		json_push_number(&state, "changeIds", m->change_ids);
	if (m->runs > 0)
		json_push_number(&state, "runs", m->runs);
	push_names(&state, "waits", m->waits);
	return json_end_object(&state);
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
	return steps_result(fcinfo, result);
}
