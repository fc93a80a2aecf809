/*
 * subxact.c
 *	  Trying something in a subtransaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/resowner.h"

#include "process/subxact.h"

static int	dry = 0;

bool
subxact_is_dry(void)
{
	return dry > 0;
}

static ErrorData *
run(void (*function) (void *arg), void *arg, bool keep)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	if (!keep)
		dry++;
	PG_TRY();
	{
		function(arg);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		/* before the caller raises it: left open, it would outlive the statement */
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	if (!keep)
		dry--;
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

ErrorData *
subxact_try(void (*function) (void *arg), void *arg)
{
	return run(function, arg, true);
}

bool
subxact_try_lock(void (*function) (void *arg), void *arg)
{
	ErrorData  *error = run(function, arg, true);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

ErrorData *
subxact_probe(void (*function) (void *arg), void *arg)
{
	return run(function, arg, false);
}

void
subxact_dry(void (*function) (void *arg), void *arg)
{
	ErrorData  *error = run(function, arg, false);

	if (error != NULL)
		ReThrowError(error);
}

bool
subxact_error_passes(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}
