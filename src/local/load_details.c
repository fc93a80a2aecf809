/*
 * load_details.c
 *	  Which values a load has replaced or kept back.
 *
 * A load that turns out wrong, for an empty column or a rank that nobody thought of, is
 * wrong in many rows: so its answer counts them field by field and source by source,
 * and has the first of each as examples.
 */
#include "postgres.h"

#include "nodes/pg_list.h"

#include "compat.h"
#include "local/load_details.h"
#include "model/json.h"

#define MAX_EXAMPLES	10

typedef struct Example
{
	char	   *external_id;
	Jsonb	   *hub;			/* NULL: none */
	Jsonb	   *relation;
} Example;

typedef struct Group
{
	LoadDetail	kind;
	char	   *field;
	char	   *source;
	int64		n;
	Example		examples[MAX_EXAMPLES];
} Group;

struct LoadDetails
{
	MemoryContext context;
	List	   *groups;			/* of Group * */
	int64		n[DETAIL_NKINDS];
};

LoadDetails *
load_details_make(void)
{
	LoadDetails *details = palloc0(sizeof(LoadDetails));

	details->context = CurrentMemoryContext;
	return details;
}

static Group *
find_group(LoadDetails *details, LoadDetail kind, FieldName name, const char *source)
{
	Group	   *group;

	foreach_ptr(Group, known, details->groups)
	{
		if (known->kind == kind && strcmp(known->source, source) == 0 &&
			field_name_cmp(field_name(known->field), name) == 0)
			return known;
	}
	group = palloc0(sizeof(Group));
	group->kind = kind;
	group->field = field_name_cstring(name);
	group->source = pstrdup(source);
	details->groups = lappend(details->groups, group);
	return group;
}

static Jsonb *
copy_value(const JsonbValue *value)
{
	return value == NULL ? NULL : json_of_value(value);
}

void
load_details_add(LoadDetails *details, LoadDetail kind, FieldName name, const char *source,
				 const char *external_id, const JsonbValue *hub, const JsonbValue *relation)
{
	MemoryContext old = MemoryContextSwitchTo(details->context);
	Group	   *group = find_group(details, kind, name, source);

	details->n[kind]++;
	if (group->n < MAX_EXAMPLES)
	{
		Example    *example = &group->examples[group->n];

		example->external_id = pstrdup(external_id);
		example->hub = copy_value(hub);
		example->relation = copy_value(relation);
	}
	group->n++;
	MemoryContextSwitchTo(old);
}

int64
load_details_count(const LoadDetails *details, LoadDetail kind)
{
	return details->n[kind];
}

static void
push_examples(JsonbParseState **state, const Group *group)
{
	json_push_array(state, "examples");
	for (int i = 0; i < Min(group->n, MAX_EXAMPLES); i++)
	{
		const Example *example = &group->examples[i];

		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		json_push_string(state, "externalId", example->external_id);
		if (example->hub != NULL)
			json_push_jsonb(state, "hub", example->hub);
		if (example->relation != NULL)
			json_push_jsonb(state, "table", example->relation);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_kind(JsonbParseState **state, const LoadDetails *details, LoadDetail kind, const char *key)
{
	json_push_array(state, key);
	foreach_ptr(const Group, group, details->groups)
	{
		if (group->kind != kind)
			continue;
		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		json_push_string(state, "field", group->field);
		json_push_string(state, "source", group->source);
		json_push_number(state, "count", group->n);
		push_examples(state, group);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

void
load_details_push(const LoadDetails *details, JsonbParseState **state)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_kind(state, details, DETAIL_REPLACED, "replaced");
	push_kind(state, details, DETAIL_KEPT_BACK, "kept_back");
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}
