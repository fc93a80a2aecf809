/*
 * durability.c
 *	  When a transaction is flushed, where it isn't the session's to say.
 *
 * A commit flushes its WAL and only then lets others see what it did.  Where what
 * they see is passed on to another server with a flush of its own (pull.c
 * waits for what it reads) the order may be the other one, and the two flushes
 * are one.  The server runs the callbacks of a commit between letting it be seen
 * and answering the client.
 *
 * What that gains in latency was within the noise of test/bench/link (link.latency):
 * measure it before anything is built upon it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "utils/guc.h"

#include "process/durability.h"

static bool flush_after_commit = false;

void
durability_none(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

void
durability_after_commit(void)
{
	/* standbys that it waits for are waited for by the commit itself */
	if (SyncRepRequested() && SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0')
		ForceSyncCommit();
	else
	{
		durability_none();
		flush_after_commit = true;
	}
}

void
durability_wait(void)
{
	XLogFlush(XactLastCommitEnd);
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(XactLastCommitEnd, true);
	RESUME_INTERRUPTS();
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && flush_after_commit)
		XLogFlush(XactLastCommitEnd);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		flush_after_commit = false;
}

void
durability_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
}
