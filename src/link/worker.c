/*
 * worker.c
 *	  A link's background worker: runs exchange for ever.
 *
 * The postmaster starts it when a session commits that makes or enables a link
 * (process/wake), when a session finds it missing, and after a restart (link/launcher).
 * It connects as the link's owner.
 *
 * It exchanges at once when there is something on either side: its latch is set
 * at the commit of a captured edit, and its connection becomes readable when the
 * hub notifies; else every syncext.link_interval.  Between exchanges it has no
 * transaction, and no lock but the one that keeps a second worker away.
 *
 * An error ends an exchange, not the worker: it cleans up as the server's main loop
 * does, and waits longer after each failure in a row.  If the postmaster restarted it
 * instead, attempts would come at the postmaster's pace, and each new process id would
 * have every session read the links again.  After an internal error the process itself
 * may be damaged, and where memory ran out it may be fragmented: then the worker ends, and the
 * postmaster starts a new one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "hub/feed.h"
#include "link/exchange.h"
#include "link/link_state.h"
#include "process/owner.h"
#include "process/stat.h"
#include "process/worker_process.h"
#include "settings.h"
#include "storage/attempt.h"
#include "storage/link.h"

extern PGDLLEXPORT void syncext_link_worker_main(Datum arg);

/* How often it looks whether it is still wanted, and for what no latch told of. */
#define LOOK_MS			1000
/* The second attempt comes after this, later ones after twice as long each. */
#define RETRY_BASE_MS	500
#define RETRY_MAX_MS	60000
/* A new worker waits this long for the one that it takes over from. */
#define TAKE_OVER_MS	3000
/*
 * Any role that may connect to the hub can send its notifications.  So after this many
 * exchanges in a row that moved nothing, the worker heeds notifications only so often,
 * in milliseconds.
 */
#define MAX_FRUITLESS	10
#define FRUITLESS_MS	100
/* A record that was handed back as busy comes again after a second, without a notification. */
#define HANDED_BACK_MS	1100

typedef struct LinkWorker
{
	const char *link;
	char	   *source;			/* in TopMemoryContext */
	Oid			role;
	TimestampTz added_at;		/* of the link: another one of its name isn't ours; 0: not seen yet */
	MemoryContext turn;			/* reset each turn */
	int			failures;		/* in a row */
	char	   *last_error;		/* of the last failure, in TopMemoryContext */
	TimestampTz next_attempt;	/* after a failure */
	TimestampTz exchanged_at;	/* when that went well last; 0: not yet */
	TimestampTz looked_at;
	bool		due;
	int			fruitless;		/* exchanges in a row that moved nothing */
	bool		exchanged;		/* since that was last noted */
	bool		handed_back;	/* the last exchange left something for a better moment */
} LinkWorker;

/* A server or user mapping has changed: perhaps the link works now. */
static bool server_changed = false;

static void
note_server_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	server_changed = true;
}

/* ---------- the state that others can read ---------- */

/*
 * Tell sessions which process to wake, and take over the pause that an earlier worker's
 * failures have led to.
 */
static void
publish(LinkWorker *w)
{
	char	   *name = quote_literal_cstr(w->link);

	worker_begin_transaction();
	owner_execute("UPDATE syncext.link SET worker_pid = %d WHERE name = %s", MyProcPid, name);
	owner_execute("INSERT INTO syncext.link_state (link) SELECT name FROM syncext.link "
				  "WHERE name = %s ON CONFLICT DO NOTHING", name);
	w->failures = (int) owner_number("SELECT failures FROM syncext.link_state WHERE link = %s",
									 name);
	w->next_attempt = owner_time("SELECT next_attempt FROM syncext.link_state WHERE link = %s AND failures > 0",
								 name);
	worker_commit();
}

/* The link works again. */
static void
write_success(LinkWorker *w)
{
	worker_begin_transaction();
	owner_execute("UPDATE syncext.link_state SET failures = 0, next_attempt = NULL WHERE link = %s",
				  quote_literal_cstr(w->link));
	worker_commit();
}

static void
write_failure(LinkWorker *w, const char *error)
{
	worker_begin_transaction();
	owner_execute("SELECT syncext.note_link_failure(%s, %d, %s, %s)", quote_literal_cstr(w->link),
				  w->failures, quote_literal_cstr(error),
				  quote_literal_cstr(timestamptz_to_str(w->next_attempt)));
	worker_commit();
}

/* ---------- after an error ---------- */

/* An error that comes again and again stands in the log once. */
static void
log_failure(LinkWorker *w, const char *text)
{
	if (w->last_error != NULL && strcmp(w->last_error, text) == 0)
		return;
	if (w->last_error != NULL)
		pfree(w->last_error);
	w->last_error = MemoryContextStrdup(TopMemoryContext, text);
	ereport(LOG, (errmsg("exchange of link \"%s\" failed: %s", w->link, text)));
}

static void
note_failure(LinkWorker *w, const char *text, bool smaller)
{
	w->failures++;
	/* what had no room need not wait for others to make some: the next batch is smaller */
	w->next_attempt = attempt_backoff_between(GetCurrentTimestamp(), smaller ? 1 : w->failures,
											  RETRY_BASE_MS, RETRY_MAX_MS);
	log_failure(w, text);
	PG_TRY();
	{
		write_failure(w, text);
	}
	PG_CATCH();
	{
		/* a full disk, perhaps: the state can't be written, the log has it */
		MemoryContextSwitchTo(w->turn);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(w->turn);
	}
	PG_END_TRY();
}

/*
 * Is this process no good any more?  After an internal error it may be damaged.  Where it
 * ran out of memory, what the C library keeps of what was freed leaves none for anything
 * but such blocks again: not for libpq, nor for shared memory.
 */
static bool
is_spent(const ErrorData *error)
{
	return !reply_raised(error) &&
		(ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR ||
		 error->sqlerrcode == ERRCODE_OUT_OF_MEMORY);
}

/* Called in PG_CATCH: clean up as after an error at a session's top level. */
static void
recover(LinkWorker *w, bool smaller)
{
	ErrorData  *error;
	char	   *text;

	MemoryContextSwitchTo(w->turn);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(w->turn);
	text = reply_error_text(error);
	/* the lock is gone with the transaction: take it again before anything else */
	w->looked_at = 0;
	note_failure(w, text, smaller);
	if (is_spent(error))
		worker_restart();
}

/* ---------- an exchange ---------- */

/*
 * Have the hub tell us of changes, once a connection.  What came in before it did
 * is exchanged once more.
 */
static void
listen_once(LinkWorker *w)
{
	if (exchange_listen(w->link))
		w->due = true;
}

/* Has the hub notified us since we last looked, or hung up? */
static bool
take_notifications(const LinkWorker *w)
{
	Remote	   *remote = exchange_connection(w->link);

	return remote != NULL && remote_take_notified(remote);
}

static bool
try_exchange(LinkWorker *w, ExchangeResult *result)
{
	volatile bool done = false;

	PG_TRY();
	{
		worker_report_busy("exchanging");
		/* the exchange sees what they are about */
		(void) take_notifications(w);
		exchange_run(w->link, result);
		w->due = result->more;
		listen_once(w);
		done = true;
	}
	PG_CATCH();
	{
		recover(w, result->smaller);
	}
	PG_END_TRY();
	return done;
}

static void
exchange(LinkWorker *w)
{
	ExchangeResult result = {0};

	w->due = false;
	server_changed = false;
	if (!try_exchange(w, &result))
		return;
	MemoryContextSwitchTo(w->turn);
	if (w->failures > 0)
	{
		ereport(LOG, (errmsg("link \"%s\" works again", w->link)));
		write_success(w);
	}
	w->exchanged = true;
	w->handed_back = result.failed > 0;
	w->fruitless = result.pushed + result.pulled > 0 ? 0 : Min(w->fruitless + 1, MAX_FRUITLESS);
	w->failures = 0;
	if (w->last_error != NULL)
		pfree(w->last_error);
	w->last_error = NULL;
	w->exchanged_at = GetCurrentTimestamp();
}

/* ---------- between exchanges ---------- */

/* Is there anything to send?  True, too, for what failed and is due again. */
static bool
anything_captured(const char *source)
{
	const Consumer all = {0, 1};
	Feed	   *feed;
	bool		idle;

	if (feed_known_idle(source, all))
		return false;
	feed = feed_open(source, all, false);
	idle = feed_idle(feed);
	feed_close(feed);
	return !idle;
}

/* An exchange of a moment ago left it to the next one, which may be far away. */
static void
note_exchanges(LinkWorker *w)
{
	if (!w->exchanged || w->failures > 0)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	link_state_note(w->link, NULL, false);
	PopActiveSnapshot();
	w->exchanged = false;
}

/* Is the worker still wanted, and is there something to send? */
static void
look(LinkWorker *w)
{
	const Link *link;

	w->looked_at = GetCurrentTimestamp();
	StartTransactionCommand();
	exit_unless_needed();
	/* a transaction that failed has released it */
	if (!launch_lock(w->link))
		worker_exit();
	link = link_of_name(w->link);
	/* a link without its role rests: syncext.link's trigger or the next session that looks starts it */
	if (link == NULL || !link->enabled || !OidIsValid(link->owner))
		worker_exit();
	if (w->added_at == 0)
		w->added_at = link->added_at;
	/* if the link was ended and made anew, perhaps in one transaction, so is its worker */
	if (link->owner != w->role || link->added_at != w->added_at)
	{
		(void) launch_link_worker(link->name, link->owner, true, DEBUG1);
		worker_exit();
	}
	if (w->source == NULL || strcmp(w->source, link->source) != 0)
		w->source = MemoryContextStrdup(TopMemoryContext, link->source);
	if (w->failures == 0 && !w->due)
		w->due = anything_captured(w->source);
	note_exchanges(w);
	CommitTransactionCommand();
}

static bool
try_look(LinkWorker *w)
{
	volatile bool done = false;

	PG_TRY();
	{
		look(w);
		done = true;
	}
	PG_CATCH();
	{
		recover(w, false);
	}
	PG_END_TRY();
	return done;
}

/* When it exchanges whatever happens. */
static TimestampTz
next_exchange(const LinkWorker *w)
{
	if (w->failures > 0)
		return w->next_attempt;
	return TimestampTzPlusMilliseconds(w->exchanged_at, w->handed_back ? HANDED_BACK_MS :
									   setting_link_interval * INT64CONST(1000));
}

/* Was it notified too soon after exchanges that moved nothing? */
static bool
is_pestered(const LinkWorker *w)
{
	return w->due && w->failures == 0 && w->fruitless >= MAX_FRUITLESS &&
		GetCurrentTimestamp() < TimestampTzPlusMilliseconds(w->exchanged_at, FRUITLESS_MS);
}

/* Is it time to exchange?  After a failure nothing but time, or a mended server, helps. */
static bool
is_time(const LinkWorker *w)
{
	if (server_changed || GetCurrentTimestamp() >= next_exchange(w))
		return true;
	return w->due && w->failures == 0 && !is_pestered(w);
}

/* Sleep for a moment, whatever the hub says; an edit here ends that. */
static void
sleep_pestered(LinkWorker *w)
{
	worker_report_idle();
	if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, FRUITLESS_MS,
				  PG_WAIT_EXTENSION) & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		w->fruitless = 0;
	}
}

/* Sleep until there may be something to do. */
static void
sleep_until_woken(LinkWorker *w)
{
	Remote	   *remote = w->failures == 0 ? exchange_connection(w->link) : NULL;
	pgsocket	socket = remote != NULL ? remote_socket(remote) : PGINVALID_SOCKET;
	int			events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	TimestampTz until = TimestampTzPlusMilliseconds(w->looked_at, LOOK_MS);
	int			rc;

	/* what came while the exchange read its answers makes no socket readable */
	if (remote != NULL && take_notifications(w))
	{
		w->due = true;
		return;
	}
	until = Min(until, next_exchange(w));
	if (socket != PGINVALID_SOCKET)
		events |= WL_SOCKET_READABLE;
	worker_report_idle();
	rc = WaitLatchOrSocket(MyLatch, events, socket,
						   TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until),
						   PG_WAIT_EXTENSION);
	if (rc & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		w->due = true;
	}
	if ((rc & WL_SOCKET_READABLE) && take_notifications(w))
		w->due = true;
}

static void
turn(LinkWorker *w)
{
	handle_interrupts();
	if (TimestampDifferenceExceeds(w->looked_at, GetCurrentTimestamp(), LOOK_MS) &&
		!try_look(w))
		return;
	if (is_time(w))
		exchange(w);
	else if (is_pestered(w))
		sleep_pestered(w);
	else
		sleep_until_woken(w);
}

/* ---------- the process ---------- */

/* Be the link's only worker; the one before may be about to leave. */
static void
take_lock(const char *link, bool wait_for_predecessor)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  wait_for_predecessor ? TAKE_OVER_MS : 0);

	for (;;)
	{
		bool		taken;

		CHECK_FOR_INTERRUPTS();
		StartTransactionCommand();
		exit_unless_needed();
		taken = launch_lock(link);
		CommitTransactionCommand();
		if (taken)
			return;
		if (GetCurrentTimestamp() >= give_up)
			worker_exit();
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
	}
}

void
syncext_link_worker_main(Datum arg)
{
	const WorkerArgs *args = worker_begin();
	LinkWorker	w = {.link = args->link, .role = args->role};

	w.turn = AllocSetContextCreate(TopMemoryContext, "syncext link", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(w.turn);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_server_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, note_server_changed, (Datum) 0);
	take_lock(w.link, args->wait_for_predecessor);
	stat_attach();
	look(&w);
	publish(&w);
	server_changed = false;
	for (;;)
	{
		MemoryContextReset(w.turn);
		MemoryContextSwitchTo(w.turn);
		turn(&w);
	}
}
