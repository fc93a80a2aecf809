/*
 * steps.c
 *	  What procedures that commit between their steps have in common.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "tcop/pquery.h"

#include "process/steps.h"

bool
steps_is_atomic(FunctionCallInfo fcinfo)
{
	return fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
}

void
steps_refuse_atomic(FunctionCallInfo fcinfo, const char *name, const char *why)
{
	if (steps_is_atomic(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("%s cannot run inside a transaction block", name),
				 errdetail_internal("%s", why),
				 errhint("Run CALL %s by itself.", name)));
}

void
steps_commit(void)
{
	SPI_commit();
	EnsurePortalSnapshotExists();
}

Datum
steps_result(FunctionCallInfo fcinfo, Jsonb *result)
{
	return steps_row(fcinfo, JsonbPGetDatum(result));
}

Datum
steps_row(FunctionCallInfo fcinfo, Datum value)
{
	TupleDesc	desc;
	bool		isnull = false;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull));
}
