/*
 * called_function.c
 *	  Functions of the database's that a row of the configuration names.
 *
 * A function is found by its name each time: it may have been replaced, or dropped, since
 * the row was written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "hub/called_function.h"
#include "process/for_now.h"
#include "process/subxact.h"
#include "storage/names.h"

/* A call that is under way. */
typedef struct FunctionCall
{
	const CalledFunction *called;
	const Datum *args;
	MemoryContext context;		/* of the result */
	void	   *result;			/* NULL: null */
} FunctionCall;

/* What the catalog has. */
typedef struct FoundFunction
{
	Oid			oid;
	Oid			schema;
	Oid			owner;
	bool		definer;		/* SECURITY DEFINER */
	bool		immutable;
} FoundFunction;

static void
raise_no_function(const CalledFunction *called)
{
	const char *type = called->result == TEXTOID ? "text" : "jsonb";

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("there is no function %s(%s) that returns %s", called->name,
					called->nargs == 1 ? "jsonb" : "jsonb, jsonb, jsonb", type)));
}

/*
 * It runs as its owner: then who wrote the rule must be allowed to have it called, and,
 * where its owner hasn't said that whoever may call it gains the owner's rights, to act
 * as the owner.
 */
static void
check_writer(const CalledFunction *called, const FoundFunction *function)
{
	Oid			writer = role_of_name(called->written_by);

	if (!OidIsValid(writer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role %s, which wrote the rule, does not exist",
						quote_identifier(called->written_by))));
	if (!function_callable_compat(function->oid, writer) ||
		!schema_usable_compat(function->schema, writer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role %s, which wrote the rule, may not call function %s",
						quote_identifier(called->written_by), called->name)));
	if (!function->definer && !has_privs_of_role(writer, function->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role %s, which wrote the rule, may not act as the owner of function %s, which is not SECURITY DEFINER",
						quote_identifier(called->written_by), called->name)));
	if (called->immutable && !function->immutable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s is not IMMUTABLE", called->name)));
}

static void
find_function(const CalledFunction *called, FoundFunction *function)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(called->name));
	const Oid	types[CALLED_MAX_ARGS] = {JSONBOID, JSONBOID, JSONBOID};
	HeapTuple	tuple;

	MemSet(function, 0, sizeof(FoundFunction));
	if (list_length(names) == 2)
		function->schema = get_namespace_oid(strVal(linitial(names)), true);
	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(strVal(llast(names))),
							PointerGetDatum(buildoidvector(types, called->nargs)),
							ObjectIdGetDatum(function->schema));
	if (HeapTupleIsValid(tuple))
	{
		const FormData_pg_proc *form = (const FormData_pg_proc *) GETSTRUCT(tuple);

		if (form->prorettype == called->result && !form->proretset &&
			form->prokind == PROKIND_FUNCTION)
			function->oid = form->oid;
		function->owner = form->proowner;
		function->definer = form->prosecdef;
		function->immutable = form->provolatile == PROVOLATILE_IMMUTABLE;
		ReleaseSysCache(tuple);
	}
	if (!OidIsValid(function->oid))
		raise_no_function(called);
	check_writer(called, function);
}

static Datum
call_function(Oid function, const Datum *args, int nargs, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, CALLED_MAX_ARGS);
	FmgrInfo	info;
	Datum		result;

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, nargs, InvalidOid, NULL, NULL);
	for (int i = 0; i < nargs; i++)
	{
		fcinfo->args[i].value = args[i];
		fcinfo->args[i].isnull = false;
	}
	result = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

/* In a subtransaction, with whose end all goes back to what it was. */
static void
run_call(void *arg)
{
	FunctionCall *call = arg;
	FoundFunction function;
	Oid			user;
	int			security;
	MemoryContext old;
	bool		isnull;
	Datum		result;

	find_function(call->called, &function);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(function.owner, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	(void) NewGUCNestLevel();
	set_for_now("search_path", "pg_catalog, pg_temp");
	XactReadOnly = true;
	PushActiveSnapshot(GetTransactionSnapshot());
	result = call_function(function.oid, call->args, call->called->nargs, &isnull);
	old = MemoryContextSwitchTo(call->context);
	call->result = isnull ? NULL : (void *) PG_DETOAST_DATUM_COPY(result);
	MemoryContextSwitchTo(old);
	PopActiveSnapshot();
}

void *
called_function_run(const CalledFunction *called, const Datum *args, char **failed)
{
	FunctionCall call = {.called = called, .args = args, .context = CurrentMemoryContext};
	ErrorData  *error = subxact_probe(run_call, &call);

	if (error == NULL)
		return call.result;
	if (subxact_error_passes(error->sqlerrcode))
		ReThrowError(error);
	*failed = psprintf("%s (%s)", error->message, unpack_sql_state(error->sqlerrcode));
	return NULL;
}
