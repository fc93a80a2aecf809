/*
 * filter.c
 *	  Does a record meet a route's filter?
 *
 * The fields are what any source may have sent, so that a filter can fail on a record
 * whatever an administrator tested it with: it compares times without zones with
 * others, or the document is nested too deep.  One such record must not end the feed of
 * the target.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "hub/filter.h"
#include "process/subxact.h"

PG_FUNCTION_INFO_V1(syncext_filter_error);

static bool
evaluate(JsonPath *filter, Jsonb *fields)
{
	static uint32 no_variables[2];	/* the empty object as jsonb */
	LOCAL_FCINFO(fcinfo, 4);
	Datum		met;

	SET_VARSIZE(no_variables, sizeof(no_variables));
	no_variables[1] = JB_FOBJECT;
	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(fields);
	fcinfo->args[1].value = PointerGetDatum(filter);
	fcinfo->args[2].value = PointerGetDatum(no_variables);
	fcinfo->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	met = jsonb_path_match(fcinfo);
	return !fcinfo->isnull && DatumGetBool(met);
}

/*
 * No subtransaction is needed, which would cost more than the filter does: what
 * is evaluated are values in memory.  Both arguments are detoasted before, so that
 * an error finds no buffer, lock or snapshot held.
 */
bool
filter_met(JsonPath *filter, Jsonb *fields, const char **error)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *const plain = (Jsonb *) PG_DETOAST_DATUM(JsonbPGetDatum(fields));
	JsonPath   *const path = (JsonPath *) PG_DETOAST_DATUM(PointerGetDatum(filter));
	volatile bool met = false;

	if (error != NULL)
		*error = NULL;
	PG_TRY();
	{
		met = evaluate(path, plain);
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(context);
		data = CopyErrorData();
		if (subxact_error_passes(data->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		if (error != NULL)
			*error = pstrdup(data->message);
		FreeErrorData(data);
	}
	PG_END_TRY();
	return met;
}

/* For the view syncext.problem: null if the filter can be evaluated. */
Datum
syncext_filter_error(PG_FUNCTION_ARGS)
{
	const char *error;

	(void) filter_met(PG_GETARG_JSONPATH_P(0), PG_GETARG_JSONB_P(1), &error);
	if (error == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(error));
}
