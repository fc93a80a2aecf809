/*
 * rule_function.c
 *	  Field rules that ask a function of the database's.
 *
 * The function is found by its name each time: it may have been replaced, or dropped, since
 * the rule was written.
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
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "hub/limits.h"
#include "hub/rule_function.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "process/subxact.h"
#include "storage/role.h"

/* A call of a rule's function. */
typedef struct RuleCall
{
	const FieldRule *rule;
	Datum		args[3];		/* the record's value, the change's, the context */
	MemoryContext context;		/* of the result */
	Jsonb	   *result;			/* NULL: it doesn't decide */
} RuleCall;

/* ---------- the function ---------- */

typedef struct RuleFunction
{
	Oid			oid;
	Oid			schema;
	Oid			owner;
	bool		definer;		/* SECURITY DEFINER */
} RuleFunction;

static void
raise_no_function(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("there is no function %s(jsonb, jsonb, jsonb) that returns jsonb", name)));
}

/*
 * It runs as its owner: then who wrote the rule must be allowed to have it called, and,
 * where its owner hasn't said that whoever may call it gains the owner's rights, to act
 * as the owner.
 */
static void
check_writer(const FieldRule *rule, const RuleFunction *function)
{
	Oid			writer = role_of_name(rule->written_by);

	if (!OidIsValid(writer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role %s, which wrote the rule, does not exist",
						quote_identifier(rule->written_by))));
	if (!function_callable_compat(function->oid, writer) ||
		!schema_usable_compat(function->schema, writer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role %s, which wrote the rule, may not call function %s",
						quote_identifier(rule->written_by), rule->function)));
	if (!function->definer && !has_privs_of_role(writer, function->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role %s, which wrote the rule, may not act as the owner of function %s, which is not SECURITY DEFINER",
						quote_identifier(rule->written_by), rule->function)));
}

static void
find_function(const FieldRule *rule, RuleFunction *function)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(rule->function));
	const Oid	types[3] = {JSONBOID, JSONBOID, JSONBOID};
	HeapTuple	tuple;

	MemSet(function, 0, sizeof(RuleFunction));
	if (list_length(names) == 2)
		function->schema = get_namespace_oid(strVal(linitial(names)), true);
	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(strVal(llast(names))),
							PointerGetDatum(buildoidvector(types, 3)),
							ObjectIdGetDatum(function->schema));
	if (HeapTupleIsValid(tuple))
	{
		const FormData_pg_proc *form = (const FormData_pg_proc *) GETSTRUCT(tuple);

		if (form->prorettype == JSONBOID && !form->proretset && form->prokind == PROKIND_FUNCTION)
			function->oid = form->oid;
		function->owner = form->proowner;
		function->definer = form->prosecdef;
		ReleaseSysCache(tuple);
	}
	if (!OidIsValid(function->oid))
		raise_no_function(rule->function);
	check_writer(rule, function);
}

static Datum
call_function(Oid function, const Datum *args, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 3);
	FmgrInfo	info;
	Datum		result;

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, 3, InvalidOid, NULL, NULL);
	for (int i = 0; i < 3; i++)
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
	RuleCall   *call = arg;
	RuleFunction function;
	Oid			user;
	int			security;
	MemoryContext old;
	bool		isnull;
	Datum		result;

	find_function(call->rule, &function);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(function.owner, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	(void) NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	XactReadOnly = true;
	PushActiveSnapshot(GetTransactionSnapshot());
	result = call_function(function.oid, call->args, &isnull);
	old = MemoryContextSwitchTo(call->context);
	call->result = isnull ? NULL : DatumGetJsonbPCopy(result);
	MemoryContextSwitchTo(old);
	PopActiveSnapshot();
}

/* ---------- what it is told ---------- */

static Jsonb *
value_jsonb(const JsonbValue *value)
{
	JsonbValue	copy = *value;

	return JsonbValueToJsonb(&copy);
}

static int64
rank_of(const RuleScope *scope, const FieldRule *rule, const char *source)
{
	if (rule->group >= 0)
		return ladder_group_rank(&scope->entity->field_rules.groups[rule->group], scope->rank,
								 scope->rank_arg, source);
	return scope->rank(scope->rank_arg, source, rule->field);
}

/* One of the sides: who says it, at which version and time, and the source's rank. */
static void
push_side(JsonbParseState **state, const RuleScope *scope, const char *key, const Stamp *stamp,
		  const Change *change, const FieldRule *rule)
{
	const char *source = stamp != NULL ? stamp->source : change->source;
	bool		has_time = stamp != NULL ? stamp->has_updated_at : change->has_updated_at;
	int64		rank = rank_of(scope, rule, source);

	json_push_key(state, key);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(state, "source", source);
	if (stamp != NULL || change->has_version)
		json_push_number(state, "version", stamp != NULL ? stamp->version : change->version);
	if (stamp == NULL && change->has_base)
		json_push_number(state, "base", change->base);
	if (has_time)
		json_push_string(state, "updatedAt",
						 rfc3339_format(stamp != NULL ? stamp->updated_at : change->updated_at));
	if (rank != RANK_NONE)
		json_push_number(state, "rank", rank);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static Jsonb *
make_context(const RuleScope *scope, const Change *change, const FieldRule *rule,
			 const RecordField *current)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(&state, "entity", change->entity);
	json_push_string(&state, "externalId", change->external_id);
	if (rule->group >= 0)
		json_push_string(&state, "group", rule->group_name);
	else
		json_push_string(&state, "field", field_name_cstring(rule->field));
	push_side(&state, scope, "current", &current->stamp, change, rule);
	push_side(&state, scope, "incoming", NULL, change, rule);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---------- deciding ---------- */

static const JsonbValue *
jsonb_value(Jsonb *jsonb)
{
	JsonbValue *value = palloc(sizeof(JsonbValue));

	if (JB_ROOT_IS_SCALAR(jsonb))
	{
		(void) JsonbExtractScalar(&jsonb->root, value);
		return value;
	}
	value->type = jbvBinary;
	value->val.binary.data = &jsonb->root;
	value->val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	return value;
}

FieldVerdict
rule_function_decide(void *arg, const Change *change, const FieldRule *rule,
					 const RecordField *current, const JsonbValue *sent,
					 const JsonbValue **result, char **failed)
{
	RuleCall	call = {.rule = rule, .context = CurrentMemoryContext};
	ChangeError too_deep;
	ErrorData  *error;

	*result = NULL;
	call.args[0] = JsonbPGetDatum(value_jsonb(&current->field.value));
	call.args[1] = JsonbPGetDatum(value_jsonb(sent));
	call.args[2] = JsonbPGetDatum(make_context(arg, change, rule, current));
	error = subxact_probe(run_call, &call);
	if (error != NULL)
	{
		if (subxact_error_passes(error->sqlerrcode))
			ReThrowError(error);
		*failed = psprintf("%s (%s)", error->message, unpack_sql_state(error->sqlerrcode));
		return FIELD_UNDECIDED;
	}
	if (call.result == NULL)
		return FIELD_UNDECIDED;
	if (!limits_depth(&call.result->root, VARSIZE(call.result) - VARHDRSZ, &too_deep))
	{
		*failed = too_deep.message;
		return FIELD_UNDECIDED;
	}
	return field_rule_verdict(jsonb_value(call.result), &current->field.value, sent, result);
}
