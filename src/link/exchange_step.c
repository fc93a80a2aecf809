/*
 * exchange_step.c
 *	  The steps of an exchange, each a transaction, and the lock that keeps two
 *	  sessions from exchanging over one link.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "link/exchange_step.h"
#include "settings.h"
#include "process/durability.h"
#include "process/subxact.h"
#include "storage/locks.h"

/* ---------- steps ---------- */

static void
commit(const Exchange *x)
{
	if (x->procedure)
		SPI_commit();
	else
		CommitTransactionCommand();
}

typedef struct Step
{
	Exchange   *x;
	void		(*function) (Exchange *x);
} Step;

static void
run_step(void *arg)
{
	const Step *step = arg;

	step->function(step->x);
}

void
exchange_step(Exchange *x, void (*function) (Exchange *x))
{
	Step		step = {x, function};
	ErrorData  *error;

	if (!x->procedure)
		StartTransactionCommand();
	/* each step has to see what was committed before it */
	XactIsoLevel = XACT_READ_COMMITTED;
	/* steps lost in a crash are repeated; what the hub is told is flushed before it is sent */
	durability_none();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(x->step);
	/* ending a subtransaction closes what an error leaves open, SPI for one */
	error = subxact_try(run_step, &step);
	PopActiveSnapshot();
	commit(x);
	MemoryContextSwitchTo(x->context);
	if (error != NULL)
		ReThrowError(error);
	MemoryContextReset(x->step);
}

void
exchange_sent(Exchange *x, CallKind kind)
{
	MemoryContext old = MemoryContextSwitchTo(x->context);

	x->calls = lappend_int(x->calls, kind);
	MemoryContextSwitchTo(old);
}

bool
exchange_may_go_on(const Exchange *x)
{
	return x->batches < MAX_BATCHES;
}

int
exchange_next_max(const Exchange *x, int n, Size bytes)
{
	Size		each = Max(bytes / n, 1);
	Size		room = x->batch_bytes / each;

	return room < 1 ? 1 : room < (Size) setting_link_batch ? (int) room : setting_link_batch;
}

TimestampTz
exchange_hub_time(const Exchange *x)
{
	return GetCurrentTimestamp() + x->upstream->greeting.offset;
}

/* ---------- one session a link ---------- */

void
exchange_lock(Exchange *x)
{
	(void) lock_session(LOCK_EXCHANGE, lock_key(x->link), true);
	x->locked = true;
}

void
exchange_unlock(Exchange *x)
{
	if (x->locked)
		lock_release(LOCK_EXCHANGE, lock_key(x->link));
	x->locked = false;
}

void
exchange_hold(const char *link)
{
	(void) lock_transaction(LOCK_EXCHANGE, lock_key(link), true);
}
