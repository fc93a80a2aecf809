/*
 * notifier.c
 *	  The hub's notifier: tells the sessions that listen, and those that wait in
 *	  sync_wait, that there is something in the feed.
 *
 * One background worker a database, started by the postmaster for
 * sync_listen, which a session calls when it begins to listen, and for sync_wait.  A
 * session that commits a row of the log sets its latch (process/wake).  It sends one
 * NOTIFY and sets the latches of those that wait, and then none for
 * syncext.notify_interval, however many sessions commit: if each writer sent
 * its own, NOTIFY's lock would let only one commit at a time.  A COMMIT PREPARED in a
 * session without the library sets no latch; the notifier finds its rows by looking at
 * the log every second.  It ends when no session has listened for a while.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "link/notifier.h"
#include "process/launch.h"
#include "process/owner.h"
#include "process/worker_process.h"
#include "settings.h"
#include "process/durability.h"
#include "process/wake.h"
#include "storage/listener.h"
#include "storage/registry.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(syncext_hub_listen);

extern PGDLLEXPORT void syncext_notifier_main(Datum arg);

/* How often it looks by itself, and how long it stays when no link listens. */
#define LOOK_MS			1000
#define STAY_MS			60000

typedef struct Notifier
{
	MemoryContext turn;			/* reset each turn */
	MemoryContext memory;		/* of seen */
	char	   *seen;			/* snapshot of the last look, as text; NULL: none */
	TimestampTz notified_at;
	TimestampTz looked_at;
	TimestampTz listened_at;	/* when a link was last seen to listen */
	bool		due;
} Notifier;

/* ---------- what it does in transactions of its own ---------- */

/* Tell writers which process to wake; 0: none. */
static void
publish_pid(int pid)
{
	worker_begin_transaction();
	owner_execute("UPDATE syncext.feed_state SET notifier_pid = %d", pid);
	worker_commit();
}

/*
 * Tell those that listen, and wake those that wait.  The commit need not be durable: a
 * NOTIFY doesn't outlive a crash anyway.
 */
static void
send_notify(Notifier *n)
{
	bool		listens = false;

	worker_report_busy("NOTIFY " FEED_CHANNEL);
	worker_begin_transaction();
	durability_none();
	MemoryContextSwitchTo(n->turn);
	foreach_ptr(const Listener, listener, listener_list())
	{
		listens |= listener->listens;
		if (listener->waits)
			wake_process(listener->pid);
	}
	if (listens)
		Async_Notify(FEED_CHANNEL, "");
	worker_commit();
	n->notified_at = GetCurrentTimestamp();
	n->due = false;
}

/* Forget sessions that have ended; is one left that listens? */
static bool
anybody_listens(void)
{
	owner_execute("DELETE FROM syncext.listener l WHERE NOT EXISTS "
				  "(SELECT FROM pg_stat_get_activity(l.pid) a WHERE a.datid = %u)", MyDatabaseId);
	return owner_true("SELECT EXISTS (SELECT FROM syncext.listener)");
}

/*
 * Has anything been committed to the log since the last look?  True, too, for
 * what the latch has told of already.
 */
static bool
log_has_grown(Notifier *n)
{
	char	   *now = owner_text("SELECT pg_current_snapshot()");
	bool		grown = n->seen == NULL;

	if (n->seen != NULL && strcmp(n->seen, now) != 0)
		grown = owner_true("SELECT syncext.log_grown('%s')", n->seen);
	if (n->seen != NULL)
		pfree(n->seen);
	n->seen = MemoryContextStrdup(n->memory, now);
	return grown;
}

static void
look(Notifier *n)
{
	worker_report_busy("looking");
	n->looked_at = GetCurrentTimestamp();
	worker_begin_transaction();
	if (anybody_listens())
		n->listened_at = n->looked_at;
	if (log_has_grown(n))
		n->due = true;
	worker_commit();
}

/*
 * No link listens: end.  A link that begins to listen right now commits its row before
 * it finds our lock taken and starts no notifier.  So give up the lock first, and look
 * for rows once more.
 */
static void
leave_unless_needed(Notifier *n)
{
	publish_pid(0);
	StartTransactionCommand();
	launch_unlock(NULL);
	CommitTransactionCommand();
	look(n);
	if (n->listened_at < n->looked_at)
		worker_exit();
	StartTransactionCommand();
	if (!launch_lock(NULL))
		worker_exit();
	CommitTransactionCommand();
	publish_pid(MyProcPid);
}

/* ---------- the process ---------- */

static long
milliseconds_until(TimestampTz then)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), then);
}

/* Sleep until something is due, or may be. */
static void
sleep_until_due(const Notifier *n)
{
	TimestampTz until = TimestampTzPlusMilliseconds(n->looked_at, LOOK_MS);
	int			events = WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;

	/* more that is committed meanwhile goes with the same NOTIFY */
	if (n->due)
		until = TimestampTzPlusMilliseconds(n->notified_at, setting_notify_interval);
	else
		events |= WL_LATCH_SET;
	worker_report_idle();
	(void) WaitLatch(MyLatch, events, milliseconds_until(until), PG_WAIT_EXTENSION);
}

static void
turn(Notifier *n)
{
	const TimestampTz now = GetCurrentTimestamp();
	bool		was_due;

	handle_interrupts();
	if (n->due &&
		now >= TimestampTzPlusMilliseconds(n->notified_at, setting_notify_interval))
	{
		/* a session that commits from here on sets the latch again */
		ResetLatch(MyLatch);
		send_notify(n);
	}
	if (now >= TimestampTzPlusMilliseconds(n->looked_at, LOOK_MS))
		look(n);
	if (now >= TimestampTzPlusMilliseconds(n->listened_at, STAY_MS))
		leave_unless_needed(n);
	was_due = n->due;
	sleep_until_due(n);
	if (!was_due && MyLatch->is_set)
	{
		ResetLatch(MyLatch);
		n->due = true;
	}
}

void
syncext_notifier_main(Datum arg)
{
	Notifier	n = {.due = true};

	(void) worker_begin();
	n.memory = TopMemoryContext;
	n.turn = AllocSetContextCreate(TopMemoryContext, "syncext notifier", ALLOCSET_DEFAULT_SIZES);
	StartTransactionCommand();
	exit_unless_needed();
	if (!launch_lock(NULL))
		worker_exit();
	CommitTransactionCommand();
	publish_pid(MyProcPid);
	n.listened_at = GetCurrentTimestamp();
	for (;;)
	{
		MemoryContextReset(n.turn);
		MemoryContextSwitchTo(n.turn);
		turn(&n);
	}
}

/* ---------- listeners ---------- */

/*
 * Start a notifier even where there seems to be one, for that may be about to leave;
 * a second one ends at once.  But a notifier that has seen our row doesn't leave: so
 * a session that calls this again and again starts no more processes.
 */
void
notifier_register(const char *source, bool waits)
{
	const char *how = waits ? "waits" : "listens";
	Listener	own;
	bool		first = !listener_find(MyProcPid, &own) || !(waits ? own.waits : own.listens);

	if (first)
	{
		/* what waits does so in a transaction of its own */
		if (waits)
			durability_none();
		(void) owner_execute("INSERT INTO syncext.listener (pid, source, %s) VALUES (%d, %s, true) "
							 "ON CONFLICT (pid) DO UPDATE SET %s = true", how, MyProcPid,
							 quote_literal_cstr(source), how);
	}
	if (first || launch_process(registry_get()->notifier_pid) == NULL)
		wake_note_launch_notifier();
}

/* Register the calling session, which listens; the notifier runs from here on. */
Datum
syncext_hub_listen(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));

	source_role_check(registry_source_required(registry_get(), source));
	notifier_register(source, false);
	PG_RETURN_VOID();
}
