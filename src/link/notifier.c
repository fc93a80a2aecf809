/*
 * notifier.c
 *	  The hub's notifier: tells the links that listen that there is something
 *	  in the feed.
 *
 * One background worker a database, started by the postmaster for
 * syncext.hub_listen, which a link calls when it begins to listen.  Whoever
 * commits a row of the log sets its latch (storage/wake).  It sends one NOTIFY,
 * and then none for syncext.notify_interval, however many have committed: a
 * NOTIFY of the writer's own would let one commit at a time.  What no latch told
 * of, a COMMIT PREPARED in a session without the library, it finds by looking at
 * the log every second.  It ends when nobody has listened for a while.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "hub/section.h"
#include "link/notifier.h"
#include "link/process.h"
#include "settings.h"
#include "storage/durability.h"
#include "storage/registry.h"
#include "storage/wake.h"

PG_FUNCTION_INFO_V1(syncext_hub_listen);

extern PGDLLEXPORT void syncext_notifier_main(Datum arg);

/* How often it looks by itself, and how long it stays when nobody listens. */
#define LOOK_MS			1000
#define STAY_MS			60000

typedef struct Notifier
{
	MemoryContext turn;			/* reset each turn */
	MemoryContext memory;		/* of seen */
	char	   *seen;			/* snapshot of the last look, as text; NULL: none */
	TimestampTz notified_at;
	TimestampTz looked_at;
	TimestampTz listened_at;	/* when somebody was last seen to listen */
	bool		due;
} Notifier;

/* ---------- what it does in transactions of its own ---------- */

/* Let the writers know whom to wake. */
static void
publish_pid(int pid)
{
	Section		section;

	process_begin_work(&section);
	section_run("UPDATE syncext.feed_state SET notifier_pid = %d", pid);
	process_end_work(&section);
}

/* Nothing is lost with it: a NOTIFY doesn't outlive a crash anyway. */
static void
send_notify(Notifier *n)
{
	process_busy("NOTIFY " FEED_CHANNEL);
	StartTransactionCommand();
	durability_none();
	Async_Notify(FEED_CHANNEL, "");
	CommitTransactionCommand();
	n->notified_at = GetCurrentTimestamp();
	n->due = false;
}

/* Forget who listens no longer; is there anybody left? */
static bool
anybody_listens(void)
{
	section_run("DELETE FROM syncext.listener l WHERE NOT EXISTS "
				"(SELECT FROM pg_stat_get_activity(l.pid) a WHERE a.datid = %u)", MyDatabaseId);
	return section_true("SELECT EXISTS (SELECT FROM syncext.listener)");
}

/*
 * Has anything been committed to the log since the last look?  True, too, for
 * what the latch has told of already.
 */
static bool
log_has_grown(Notifier *n)
{
	char	   *now = section_text(n->turn, "SELECT pg_current_snapshot()");
	bool		grown = n->seen == NULL;

	if (n->seen != NULL && strcmp(n->seen, now) != 0)
		grown = section_true("SELECT syncext.log_grown('%s')", n->seen);
	if (n->seen != NULL)
		pfree(n->seen);
	n->seen = MemoryContextStrdup(n->memory, now);
	return grown;
}

static void
look(Notifier *n)
{
	Section		section;

	process_busy("looking");
	n->looked_at = GetCurrentTimestamp();
	process_begin_work(&section);
	if (anybody_listens())
		n->listened_at = n->looked_at;
	if (log_has_grown(n))
		n->due = true;
	process_end_work(&section);
}

/*
 * Nobody listens.  A link that begins to right now has committed its row before
 * it finds the lock taken: so the row is looked for once more without the lock.
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
		process_leave();
	StartTransactionCommand();
	if (!launch_lock(NULL))
		process_leave();
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
	process_idle();
	(void) WaitLatch(MyLatch, events, milliseconds_until(until), PG_WAIT_EXTENSION);
}

static void
turn(Notifier *n)
{
	const TimestampTz now = GetCurrentTimestamp();

	process_heed();
	if (n->due &&
		now >= TimestampTzPlusMilliseconds(n->notified_at, setting_notify_interval))
	{
		/* who commits from here on sets the latch again */
		ResetLatch(MyLatch);
		send_notify(n);
	}
	if (now >= TimestampTzPlusMilliseconds(n->looked_at, LOOK_MS))
		look(n);
	if (now >= TimestampTzPlusMilliseconds(n->listened_at, STAY_MS))
		leave_unless_needed(n);
	if (!n->due)
	{
		sleep_until_due(n);
		if (MyLatch->is_set)
		{
			ResetLatch(MyLatch);
			n->due = true;
		}
	}
	else
		sleep_until_due(n);
}

void
syncext_notifier_main(Datum arg)
{
	Notifier	n = {.due = true};

	(void) process_begin();
	n.memory = TopMemoryContext;
	n.turn = AllocSetContextCreate(TopMemoryContext, "syncext notifier", ALLOCSET_DEFAULT_SIZES);
	StartTransactionCommand();
	process_check_place();
	if (!launch_lock(NULL))
		process_leave();
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

/* ---------- who listens ---------- */

/*
 * A link says that it listens, on the connection that does: the notifier runs
 * from here on.
 */
Datum
syncext_hub_listen(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		first;
	Section		section;

	source_role_check(registry_source_required(registry_get(), source));
	SPI_connect();
	section_enter(&section, 0);
	first = section_run("INSERT INTO syncext.listener (pid, source) VALUES (%d, %s) ON CONFLICT DO NOTHING",
						MyProcPid, quote_literal_cstr(source)) > 0;
	section_leave(&section);
	SPI_finish();
	/*
	 * Where there is a notifier a second one ends at once: only after the commit can
	 * it tell.  One that has seen this session listen doesn't leave: so who says it
	 * again and again starts no process.
	 */
	if (first || launch_process(registry_get()->notifier_pid) == NULL)
		wake_note_launch_notifier();
	PG_RETURN_VOID();
}
