/*
 * rule_function.c
 *	  Field rules that ask a function of the database's.
 *
 * hub/called_function finds and calls it.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"

#include "hub/called_function.h"
#include "hub/limits.h"
#include "hub/rule_function.h"
#include "model/json.h"
#include "model/rfc3339.h"

/* ---------- what it is told ---------- */

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

	json_push_object(state, key);
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
	JsonbParseState *state = json_begin_object();

	json_push_string(&state, "entity", change->entity);
	json_push_string(&state, "externalId", change->external_id);
	if (rule->group >= 0)
		json_push_string(&state, "group", rule->group_name);
	else
		json_push_string(&state, "field", field_name_cstring(rule->field));
	push_side(&state, scope, "current", &current->stamp, change, rule);
	push_side(&state, scope, "incoming", NULL, change, rule);
	return json_end_object(&state);
}

/* ---------- deciding ---------- */

static const JsonbValue *
jsonb_value(Jsonb *jsonb)
{
	JsonbValue *value = palloc(sizeof(JsonbValue));

	*value = json_to_value(jsonb);
	return value;
}

FieldVerdict
rule_function_decide(void *arg, const Change *change, const FieldRule *rule,
					 const RecordField *current, const JsonbValue *sent,
					 const JsonbValue **result, char **failed)
{
	const CalledFunction function = {
		.name = rule->function,
		.written_by = rule->written_by,
		.nargs = 3,
		.result = JSONBOID
	};
	Datum		args[3];
	ChangeError too_deep;
	Jsonb	   *made;

	*result = NULL;
	args[0] = JsonbPGetDatum(json_of_value(&current->field.value));
	args[1] = JsonbPGetDatum(json_of_value(sent));
	args[2] = JsonbPGetDatum(make_context(arg, change, rule, current));
	made = (Jsonb *) called_function_run(&function, args, failed);
	if (made == NULL)
		return FIELD_UNDECIDED;
	if (!limits_depth(&made->root, VARSIZE(made) - VARHDRSZ, &too_deep))
	{
		*failed = too_deep.message;
		return FIELD_UNDECIDED;
	}
	return field_rule_verdict(jsonb_value(made), &current->field.value, sent, result);
}
