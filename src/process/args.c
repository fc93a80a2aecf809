/*
 * args.c
 *	  The arguments of SQL functions.
 *
 * Our functions aren't STRICT: a null that is passed by mistake is an error that
 * names the argument, not a null result.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "process/args.h"

void
arg_refuse_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

char *
arg_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	arg_refuse_null(fcinfo, n, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

int32
arg_int(FunctionCallInfo fcinfo, int n, const char *name)
{
	arg_refuse_null(fcinfo, n, name);
	return PG_GETARG_INT32(n);
}

bool
arg_bool(FunctionCallInfo fcinfo, int n, const char *name)
{
	arg_refuse_null(fcinfo, n, name);
	return PG_GETARG_BOOL(n);
}

Jsonb *
arg_jsonb(FunctionCallInfo fcinfo, int n, const char *name)
{
	arg_refuse_null(fcinfo, n, name);
	return PG_GETARG_JSONB_P(n);
}

Oid
arg_relation(FunctionCallInfo fcinfo, int n)
{
	arg_refuse_null(fcinfo, n, "relation");
	return PG_GETARG_OID(n);
}

char *
arg_text_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

Jsonb *
arg_jsonb_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);
}
