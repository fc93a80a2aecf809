/*
 * worker.c
 *	  A link's background worker: runs exchange for ever.
 *
 * Started by the postmaster for storage/wake at the commit of who makes or
 * enables a link, for a session that finds it missing, and for link/launcher
 * after a restart.  It connects as the link's owner.
 *
 * It exchanges at once when there is something on either side: its latch is set
 * at the commit of a captured edit, and its connection becomes readable when the
 * hub notifies; else every syncext.link_interval.  Between exchanges it has no
 * transaction, and no lock but the one that keeps a second worker away.
 *
 * An error ends an exchange, not the worker: what the server's main loop does
 * after an error is done here, too, and the next attempt waits for as long as
 * they have failed often.  Leaving it to the postmaster would make attempts come
 * at its pace, and have every session read the links again each time, for the new
 * process's id.  An internal error is another matter: then this process may be
 * what is wrong, and it is the postmaster's to start a new one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "hub/feed.h"
#include "hub/section.h"
#include "link/exchange.h"
#include "link/link_state.h"
#include "link/process.h"
#include "settings.h"
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
 * Who may connect to the hub can notify as it does.  After so many exchanges in a
 * row that moved nothing, being told of something is heeded this often, in
 * milliseconds.
 */
#define MAX_FRUITLESS	10
#define FRUITLESS_MS	100
/* A record that was handed back as busy comes again after a second: nobody says so. */
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
 * Let sessions know whom to wake, and go on where an earlier worker was: with
 * the pause that its failures have earned.
 */
static void
publish(LinkWorker *w)
{
	Section		section;
	char	   *name = quote_literal_cstr(w->link);
	char	   *next;

	process_begin_work(&section);
	section_run("UPDATE syncext.link SET worker_pid = %d WHERE name = %s", MyProcPid, name);
	section_run("INSERT INTO syncext.link_state (link) SELECT name FROM syncext.link "
				"WHERE name = %s ON CONFLICT DO NOTHING", name);
	w->failures = (int) section_number("SELECT failures FROM syncext.link_state WHERE link = %s",
									   name);
	next = section_text(w->turn, "SELECT next_attempt FROM syncext.link_state "
						"WHERE link = %s AND failures > 0", name);
	if (next != NULL)
		w->next_attempt = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																   CStringGetDatum(next),
																   ObjectIdGetDatum(InvalidOid),
																   Int32GetDatum(-1)));
	process_end_work(&section);
}

/* The link works again. */
static void
write_success(LinkWorker *w)
{
	Section		section;

	process_begin_work(&section);
	section_run("UPDATE syncext.link_state SET failures = 0, next_attempt = NULL WHERE link = %s",
				quote_literal_cstr(w->link));
	process_end_work(&section);
}

static void
write_failure(LinkWorker *w, const char *error)
{
	Section		section;

	process_begin_work(&section);
	section_run("INSERT INTO syncext.link_state (link, failures, last_error, last_error_at, next_attempt) "
				"SELECT name, %d, %s, clock_timestamp(), %s FROM syncext.link WHERE name = %s "
				"ON CONFLICT (link) DO UPDATE SET failures = excluded.failures, "
				"last_error = excluded.last_error, last_error_at = excluded.last_error_at, "
				"hub_behind = NULL, next_attempt = excluded.next_attempt",
				w->failures, quote_literal_cstr(error),
				quote_literal_cstr(timestamptz_to_str(w->next_attempt)),
				quote_literal_cstr(w->link));
	process_end_work(&section);
}

/* ---------- after an error ---------- */

/* Twice as long after each failure, and spread, lest all spokes come at once. */
static TimestampTz
next_attempt(int failures)
{
	double		ms = RETRY_BASE_MS * (double) (1 << Min(failures - 1, 20));

	ms = Min(ms, RETRY_MAX_MS) * (0.5 + pg_prng_double(&pg_global_prng_state));
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) ms);
}

/* What a reader of link_status needs to know of the error. */
static char *
error_text(const ErrorData *error)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	if (error->detail != NULL)
		appendStringInfo(&text, ": %s", error->detail);
	return text.data;
}

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
note_failure(LinkWorker *w, const char *text)
{
	w->failures++;
	w->next_attempt = next_attempt(w->failures);
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

/* Called in PG_CATCH: clean up as after an error at a session's top level. */
static void
recover(LinkWorker *w)
{
	ErrorData  *error;
	char	   *text;

	MemoryContextSwitchTo(w->turn);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(w->turn);
	text = error_text(error);
	/* the lock is gone with the transaction: take it again before anything else */
	w->looked_at = 0;
	note_failure(w, text);
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR && !reply_raised(error))
		process_restart();
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
		process_busy("exchanging");
		/* the exchange sees what they are about */
		(void) take_notifications(w);
		exchange_run(w->link, result);
		w->due = result->more;
		listen_once(w);
		done = true;
	}
	PG_CATCH();
	{
		recover(w);
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
	const Slot	all = {0, 1};
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
	process_check_place();
	/* a transaction that failed has released it */
	if (!launch_lock(w->link))
		process_leave();
	link = link_of_name(w->link);
	/* whose role is gone rests until there is one: syncext.link's trigger, or whoever looks next */
	if (link == NULL || !link->enabled || !OidIsValid(link->owner))
		process_leave();
	if (w->added_at == 0)
		w->added_at = link->added_at;
	/* ended and made anew, perhaps all in one transaction, it begins anew */
	if (link->owner != w->role || link->added_at != w->added_at)
	{
		(void) launch_link_worker(link->name, link->owner, true);
		process_leave();
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
		recover(w);
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

/* Was it told of something so soon after others that came to nothing? */
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
	process_idle();
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
	process_idle();
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
	process_heed();
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
take_lock(const char *link, bool takes_over)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  takes_over ? TAKE_OVER_MS : 0);

	for (;;)
	{
		bool		taken;

		CHECK_FOR_INTERRUPTS();
		StartTransactionCommand();
		process_check_place();
		taken = launch_lock(link);
		CommitTransactionCommand();
		if (taken)
			return;
		if (GetCurrentTimestamp() >= give_up)
			process_leave();
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
	}
}

void
syncext_link_worker_main(Datum arg)
{
	const WorkerPlace *place = process_begin();
	LinkWorker	w = {.link = place->link, .role = place->role};

	w.turn = AllocSetContextCreate(TopMemoryContext, "syncext link", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(w.turn);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_server_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, note_server_changed, (Datum) 0);
	take_lock(w.link, place->takes_over);
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
