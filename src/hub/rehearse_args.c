/*
 * rehearse_args.c
 *	  What sync_rehearse is asked to suppose: rows as they would stand in the tables.
 *
 * They are held to what the tables' constraints and triggers ask for.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "hub/rehearse_args.h"
#include "model/clip.h"
#include "model/json.h"
#include "model/json_read.h"
#include "process/owner.h"
#include "storage/names.h"

#define PRIORITIES_HINT	"Give rows as those of syncext.source_priority: [{\"source\": \"CRM\", \"priority\": 1}, …], with \"entity\" and \"field\" where they are not \"*\"."
#define RULES_HINT		"Give rows as those of syncext.field_rule: [{\"entity\": \"*\", \"field\": \"tags\", \"rule\": \"union\"}, …], with \"args\" where the rule has some."

/* An argument that is an array of objects, each with members of these names alone. */
typedef struct RowsArgument
{
	const char *name;
	const char *hint;
	const char *const *columns;
	int			ncolumns;
} RowsArgument;

/* A row of one, while it is read. */
typedef struct ArgumentRow
{
	const RowsArgument *of;
	int			number;			/* from 1 */
	Fields		members;
} ArgumentRow;

static const char *const priority_columns[] = {"source", "entity", "field", "priority"};
/* who supposes a rule is taken for its writer, whoever wrote the row that it is like */
static const char *const rule_columns[] = {"entity", "field", "rule", "args", "written_by"};

static const RowsArgument priorities_argument = {
	"priorities", PRIORITIES_HINT, priority_columns, lengthof(priority_columns)
};
static const RowsArgument rules_argument = {
	"rules", RULES_HINT, rule_columns, lengthof(rule_columns)
};

/* ---------- rows ---------- */

pg_noreturn static void
raise_row(const ArgumentRow *row, const char *wrong)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("row %d of %s %s", row->number, row->of->name, wrong),
			 errhint("%s", row->of->hint)));
}

static bool
is_column(const RowsArgument *argument, FieldName name)
{
	for (int i = 0; i < argument->ncolumns; i++)
		if (field_name_cmp(name, field_name(argument->columns[i])) == 0)
			return true;
	return false;
}

static JsonbContainer *
rows_of(const RowsArgument *argument, Jsonb *jsonb, int *n)
{
	if (!JB_ROOT_IS_ARRAY(jsonb) || JB_ROOT_IS_SCALAR(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be an array of objects, not %s", argument->name, jsonb_type_name(jsonb)),
				 errhint("%s", argument->hint)));
	*n = JB_ROOT_COUNT(jsonb);
	return &jsonb->root;
}

static ArgumentRow
row_of(const RowsArgument *argument, JsonbContainer *array, int i)
{
	const JsonbValue *value = getIthJsonbValueFromContainer(array, i);
	JsonbContainer *object = json_read_object(value);
	ArgumentRow row = {.of = argument, .number = i + 1};

	if (object == NULL)
		raise_row(&row, psprintf("is %s, not an object", json_type_name(value)));
	fields_from_container(object, &row.members);
	for (int k = 0; k < row.members.n; k++)
	{
		FieldName	name = row.members.field[k].name;

		if (!is_column(argument, name))
			raise_row(&row, psprintf("has a key \"%s\", which is not known",
									 clip_text(name.data, name.len, CLIP_QUOTE)));
	}
	return row;
}

/* A member; NULL where it isn't there, or null. */
static const JsonbValue *
member_of(const ArgumentRow *row, const char *name)
{
	const JsonbValue *value = fields_value(&row->members, name);

	return value == NULL || value->type == jbvNull ? NULL : value;
}

/* A member that is a string; without it, otherwise, or an error if that is NULL. */
static char *
string_of(const ArgumentRow *row, const char *name, const char *otherwise)
{
	const JsonbValue *value = member_of(row, name);

	if (value == NULL && otherwise != NULL)
		return pstrdup(otherwise);
	if (value == NULL)
		raise_row(row, psprintf("has no \"%s\"", name));
	if (value->type != jbvString || value->val.string.len == 0)
		raise_row(row, psprintf("has a \"%s\" that is no name", name));
	return json_read_string(value);
}

/* ---------- priorities ---------- */

static bool
same_rank(const SupposedRank *a, const SupposedRank *b)
{
	return strcmp(a->source, b->source) == 0 && strcmp(a->rank.entity, b->rank.entity) == 0 &&
		strcmp(a->rank.field, b->rank.field) == 0;
}

static void
read_rank(const ArgumentRow *row, const Registry *registry, SupposedRank *rank)
{
	const JsonbValue *priority = member_of(row, "priority");

	rank->source = string_of(row, "source", NULL);
	rank->rank.entity = string_of(row, "entity", "*");
	rank->rank.field = string_of(row, "field", "*");
	if (registry_source(registry, rank->source) == NULL)
		raise_row(row, psprintf("is of source \"%s\", which does not exist",
								clip_string(rank->source, CLIP_QUOTE)));
	if (priority == NULL)
		raise_row(row, "has no \"priority\"");
	if (!json_read_number(priority, PG_INT32_MIN, PG_INT32_MAX, &rank->rank.rank))
		raise_row(row, "has a \"priority\" that is no whole number");
}

static void
read_priorities(Jsonb *jsonb, const Registry *registry, Supposed *supposed)
{
	int			n;
	JsonbContainer *array = rows_of(&priorities_argument, jsonb, &n);

	supposed->has_ranks = true;
	supposed->ranks = palloc(sizeof(SupposedRank) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		ArgumentRow row = row_of(&priorities_argument, array, i);

		CHECK_FOR_INTERRUPTS();
		read_rank(&row, registry, &supposed->ranks[i]);
		for (int k = 0; k < i; k++)
			if (same_rank(&supposed->ranks[k], &supposed->ranks[i]))
				raise_row(&row, psprintf("says the same source, entity and field as row %d", k + 1));
		supposed->nranks++;
	}
}

/* ---------- rules ---------- */

/* As whoever writes a rule needs it: the right to call its function. */
static void
check_function(const ArgumentRow *row, const char *function)
{
	if (owner_number("SELECT syncext.rule_function('field', %s)::bigint", quote_literal_cstr(function)) == 0)
		raise_row(row, psprintf("names %s: there is no such function(jsonb, jsonb, jsonb) that returns jsonb, with its schema",
								clip_string(function, CLIP_QUOTE)));
	if (owner_text("SELECT syncext.rule_function_error('field', %s, %s)", quote_literal_cstr(function),
				   quote_literal_cstr(GetUserNameFromId(GetUserId(), false))) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", function),
				 errhint("Whoever supposes a rule has to be allowed to call its function.")));
}

static void
read_rule(const ArgumentRow *row, SupposedRule *supposed)
{
	FieldRule  *rule = &supposed->rule;
	const JsonbValue *args = member_of(row, "args");
	char	   *field = string_of(row, "field", NULL);
	char	   *name = string_of(row, "rule", NULL);
	const char *wrong;

	MemSet(rule, 0, sizeof(FieldRule));
	supposed->entity = string_of(row, "entity", "*");
	rule->field = field_name(field);
	rule->written_by = GetUserNameFromId(GetUserId(), false);
	if (!field_name_valid(rule->field))
		raise_row(row, "has a \"field\" that is none: rules are of one field each");
	if (!field_rule_by_name(name, &rule->kind))
		raise_row(row, psprintf("has the rule \"%s\", which is not known", clip_string(name, CLIP_QUOTE)));
	wrong = field_rule_read_args(rule, args == NULL ? NULL : json_of_value(args));
	if (wrong != NULL)
		raise_row(row, psprintf("has \"args\" that cannot be: %s", wrong));
	if (rule->function != NULL)
		check_function(row, rule->function);
}

static bool
same_rule(const SupposedRule *a, const SupposedRule *b)
{
	return strcmp(a->entity, b->entity) == 0 && field_name_cmp(a->rule.field, b->rule.field) == 0;
}

static void
read_rules(Jsonb *jsonb, Supposed *supposed)
{
	int			n;
	JsonbContainer *array = rows_of(&rules_argument, jsonb, &n);

	supposed->has_rules = true;
	supposed->rules = palloc(sizeof(SupposedRule) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		ArgumentRow row = row_of(&rules_argument, array, i);

		CHECK_FOR_INTERRUPTS();
		read_rule(&row, &supposed->rules[i]);
		for (int k = 0; k < i; k++)
			if (same_rule(&supposed->rules[k], &supposed->rules[i]))
				raise_row(&row, psprintf("says the same entity and field as row %d", k + 1));
		supposed->nrules++;
	}
}

/* ---------- the ladder ---------- */

static void
read_ladder(Datum array, Supposed *supposed)
{
	int			n;
	char	  **rungs = names_of_array(array, "ladder", &n);
	const char *why;

	supposed->has_ladder = true;
	if (!ladder_parse(rungs, n, &supposed->ladder, &why))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ladder is none: %s", why),
				 errhint("The default is {version,merge,priority,manual}.")));
}

/* In a field ladder fields have no rules; those that are in force for every entity don't count. */
static void
refuse_rules(const Entity *entity, const Supposed *supposed)
{
	Ladder		ladder = supposed->has_ladder ? supposed->ladder : entity->ladder;

	for (int i = 0; (ladder & RUNG_FIELD) && i < supposed->nrules; i++)
		if (strcmp(supposed->rules[i].entity, entity->name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("row %d of rules is of entity \"%s\", whose ladder is a field ladder", i + 1, entity->name),
					 errhint("A rule needs the rung \"merge\"; in a field ladder the greatest stamp of a field decides.")));
}

void
rehearse_arguments(FunctionCallInfo fcinfo, const Registry *registry, const Entity *entity,
				   Supposed *supposed)
{
	MemSet(supposed, 0, sizeof(Supposed));
	supposed->entity = entity->name;
	if (!PG_ARGISNULL(1))
		read_priorities(PG_GETARG_JSONB_P(1), registry, supposed);
	if (!PG_ARGISNULL(2))
		read_rules(PG_GETARG_JSONB_P(2), supposed);
	if (!PG_ARGISNULL(3))
		read_ladder(PG_GETARG_DATUM(3), supposed);
	refuse_rules(entity, supposed);
}
