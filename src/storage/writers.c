/*
 * writers.c
 *	  Waiting for transactions that change golden records, without holding
 *	  others up.
 *
 * For configuration that was edited and is to come into force.  A lock on the table
 * would do the same, but every writer would queue up behind it.  Writers open the table,
 * and so lock it, before they read the configuration.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "storage/registry.h"
#include "storage/writers.h"

/* Between two looks at a transaction that goes on, in milliseconds. */
#define PAUSE	5

PG_FUNCTION_INFO_V1(syncext_writers_done);

static void
pause_briefly(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PAUSE,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Those that there are now, up to one that isn't valid. */
static VirtualTransactionId *
find_writers(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, registry_relation("canonical"));
	return GetLockConflicts(&tag, ShareLock, NULL);
}

bool
writers_wait_out(void)
{
	VirtualTransactionId *writer;
	bool		waited = false;

	for (writer = find_writers(); VirtualTransactionIdIsValid(*writer); writer++)
		if (!VirtualXactLock(*writer, false))
		{
			waited = true;
			(void) VirtualXactLock(*writer, true);
		}
	/* what they have changed of the configuration is known from here on */
	AcceptInvalidationMessages();
	return waited;
}

bool
writers_wait(int timeout)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout);
	VirtualTransactionId *writer;

	for (writer = find_writers(); VirtualTransactionIdIsValid(*writer); writer++)
	{
		/* only looked at: no deadlock can come of it */
		while (!VirtualXactLock(*writer, false))
		{
			if (GetCurrentTimestamp() >= until)
				return false;
			pause_briefly();
		}
	}
	return true;
}

uint64
writers_ended(void)
{
	return GetLatestSnapshot()->snapXactCompletionCount;
}

Datum
syncext_writers_done(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(writers_wait(setting_maintain_lock_timeout));
}
