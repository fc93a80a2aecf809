/*
 * wait.c
 *	  sync_wait: a consumer waits until there is something to pull.
 *
 * Who commits something that its source may have to hear of sets its latch
 * (process/waiters); it looks, and sleeps.  It looks in transactions of their own, so that
 * it has neither a snapshot nor a lock while it sleeps.  Where the server hasn't loaded the
 * library for all sessions, it registers with the notifier, too, which finds what those
 * commit that haven't.  Where no notifier runs, as the server has no room for another process, it
 * looks every second.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "hub/feed.h"
#include "hub/incarnation.h"
#include "link/notifier.h"
#include "process/args.h"
#include "process/launch.h"
#include "process/steps.h"
#include "process/waiters.h"
#include "storage/link.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_wait);

/* It looks by itself so often where it is told of each commit, and where it isn't. */
#define LOOK_MS		10000
#define LOOK_ALONE_MS	1000

/* It pauses so long, twice as long each time, if it is woken again and again for nothing. */
#define PAUSE_MIN_MS	2
#define PAUSE_MAX_MS	64

#define MAX_TIMEOUT	USECS_PER_HOUR

typedef struct Wait
{
	char	   *source;
	MemoryContext look;			/* reset after each */
	TimestampTz until;			/* it gives up */
	TimestampTz looked_at;
	TimestampTz next_look;
	int			pause;			/* in milliseconds */
	bool		ready;			/* what it has come to */
} Wait;

/* The time from now on at which to give up. */
static TimestampTz
timeout_of(const Interval *timeout)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz then = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
															   TimestampTzGetDatum(now),
															   IntervalPGetDatum(timeout)));

	if (then < now || then - now > MAX_TIMEOUT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be from 0 to 1 hour"),
				 errhint("To wait for longer, call sync_wait again.")));
	return then;
}

static void
check_source(const char *source)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby does not serve targets"),
				 errhint("Wait on the primary; pg_is_in_recovery() tells them apart.")));
	source_role_check(registry_source_required(registry_get(), source));
	link_refuse_source(source);
}

/*
 * Have this session told of what is committed from here on.  Returns whether it will hear of
 * all of it.
 */
static bool
register_here(const Wait *w)
{
	if (shared_area_try(&waiters_area))
		waiters_enter(registry_source_required(registry_get(), w->source));
	if (shared_area_preloaded())
		return true;
	notifier_register(w->source, true);
	return launch_process(registry_get()->notifier_pid) != NULL;
}

/* Would a pull find something?  If not, note when to look again. */
static bool
look(Wait *w, bool is_told)
{
	const Source *source = registry_source_required(registry_get(), w->source);
	TimestampTz due = DT_NOEND;
	bool		ready;

	ready = incarnation_is_over() || !feed_source_idle(w->source, &due);
	/* a pull is what brings an edited route into force, if nothing holds that up */
	if (!ready && !source->armed)
		due = Min(due, TimestampTzPlusMilliseconds(w->looked_at, LOOK_ALONE_MS));
	w->next_look = TimestampTzPlusMilliseconds(w->looked_at, is_told ? LOOK_MS : LOOK_ALONE_MS);
	w->next_look = Min(w->next_look, Min(due, w->until));
	return ready || due <= w->looked_at;
}

/* In a transaction that ends with it. */
static bool
look_once(Wait *w)
{
	MemoryContext old = MemoryContextSwitchTo(w->look);
	bool		is_told;
	bool		ready;

	w->looked_at = GetCurrentTimestamp();
	/* each look has to see what was committed before it */
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	check_source(w->source);
	is_told = register_here(w);
	PopActiveSnapshot();
	/* a snapshot that is taken now has all that it will not be told of */
	PushActiveSnapshot(GetTransactionSnapshot());
	ready = look(w, is_told);
	PopActiveSnapshot();
	SPI_commit();
	MemoryContextSwitchTo(old);
	MemoryContextReset(w->look);
	return ready;
}

/* It was woken, and the look before was for nothing: how soon was that? */
static void
hold_back(Wait *w)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = TimestampTzPlusMilliseconds(w->looked_at, w->pause);

	if (now >= until)
	{
		w->pause = Max(w->pause / 2, PAUSE_MIN_MS);
		return;
	}
	(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 TimestampDifferenceMilliseconds(now, until), PG_WAIT_EXTENSION);
	w->pause = Min(w->pause * 2, PAUSE_MAX_MS);
}

static bool
wait_until_ready(Wait *w)
{
	for (;;)
	{
		TimestampTz now;

		/* what is committed from here on sets it again */
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (look_once(w))
			return true;
		now = GetCurrentTimestamp();
		if (now < w->until &&
			(WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   TimestampDifferenceMilliseconds(now, w->next_look), PG_WAIT_EXTENSION) & WL_LATCH_SET))
			hold_back(w);
		else if (GetCurrentTimestamp() >= w->until)
			return false;
	}
}

/* Nobody need tell the session any longer, however it ends. */
static void
wait_registered(Wait *w)
{
	PG_TRY();
	{
		w->ready = wait_until_ready(w);
	}
	PG_CATCH();
	{
		waiters_leave();
		PG_RE_THROW();
	}
	PG_END_TRY();
	waiters_leave();
}

Datum
sync_wait(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Wait		w = {.pause = PAUSE_MIN_MS};

	steps_refuse_atomic(fcinfo, "sync_wait(…)", "It holds no snapshot while it waits.");
	w.source = arg_text(fcinfo, 0, "source");
	arg_refuse_null(fcinfo, 1, "timeout");
	w.until = timeout_of(PG_GETARG_INTERVAL_P(1));
	w.look = AllocSetContextCreate(caller, "syncext wait", ALLOCSET_SMALL_SIZES);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* drop the caller's snapshot: each look takes one of its own */
	SPI_commit();
	wait_registered(&w);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_DATUM(steps_row(fcinfo, BoolGetDatum(w.ready)));
}
