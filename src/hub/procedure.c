/*
 * procedure.c
 *	  What procedures that commit between their steps have in common.
 *
 * Called by hub/maintain, by local/load, local/poll and local/run_job, and by
 * link/exchange and link/relay.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "utils/resowner.h"

#include "hub/procedure.h"

bool
procedure_is_atomic(FunctionCallInfo fcinfo)
{
	return fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
}

void
procedure_refuse_atomic(FunctionCallInfo fcinfo, const char *name, const char *why)
{
	if (procedure_is_atomic(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("%s cannot run inside a transaction block", name),
				 errdetail_internal("%s", why),
				 errhint("Run CALL %s by itself.", name)));
}

Datum
procedure_result(FunctionCallInfo fcinfo, Jsonb *result)
{
	TupleDesc	desc;
	Datum		value = JsonbPGetDatum(result);
	bool		isnull = false;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull));
}

ErrorData *
procedure_try(MemoryContext work, MemoryContext keep, void (*function) (void *arg), void *arg)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(work);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(keep);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return error;
}
