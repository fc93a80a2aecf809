/*
 * answer.c
 *	  Answers as JSON.
 *
 * Called by hub/apply and hub/resolve; LADDER.md, "The answer", lists the keys.
 */
#include "postgres.h"

#include "hub/answer.h"
#include "model/json.h"

static void
push_number_or_null(JsonbParseState **state, const char *key, bool present, int64 value)
{
	if (present)
		json_push_number(state, key, value);
	else
		json_push_string(state, key, NULL);
}

/* The names in the current context, which outlives the decision's. */
static void
push_names(JsonbParseState **state, const char *key, const FieldNames *names)
{
	FieldNames	copy;

	field_names_init(&copy, names->n);
	for (int i = 0; i < names->n; i++)
	{
		FieldName	name = {pnstrdup(names->name[i].data, names->name[i].len), names->name[i].len};

		field_names_add(&copy, name);
	}
	json_push_key(state, key);
	field_names_push(state, &copy);
}

/*
 * Make an answer, all of it in the current context but what the change itself
 * holds.  Keys are pushed in jsonb's own order, the shorter first, so that they
 * need no sorting.
 */
JsonbValue *
answer_make(const Answer *answer)
{
	const Decision *d = &answer->decision;
	const Record *standing = &d->after;
	JsonbParseState *state = NULL;
	FieldName	all = {"*", 1};
	FieldNames	whole = {1, &all};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_names(&state, "lost", d->lost_all ? &whole : &d->lost);
	json_push_string(&state, "told", told_name(d->told));
	json_push_string(&state, "entity", answer->change->entity);
	json_push_string(&state, "reason", pstrdup(d->reason));
	json_push_number(&state, "status", d->status);
	push_names(&state, "changed", &d->changed);
	push_number_or_null(&state, "version", standing->exists, standing->version);
	push_number_or_null(&state, "conflictId", answer->conflict_id != 0, answer->conflict_id);
	json_push_string(&state, "externalId", answer->change->external_id);
	json_push_string(&state, "lastSource",
					 standing->exists ? pstrdup(standing->last_source) : NULL);
	json_push_string(&state, "resolution", resolution_name(d->resolution));
	push_number_or_null(&state, "rowVersion", standing->exists, standing->row_version);
	return pushJsonbValue(&state, WJB_END_OBJECT, NULL);
}

/* The answer of a bad document in a batch. */
JsonbValue *
answer_refused(const ChangeError *error)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(&state, "reason", error->message);
	json_push_number(&state, "status", 400);
	return pushJsonbValue(&state, WJB_END_OBJECT, NULL);
}

/*
 * The answers of a batch.  The array is put together by hand: pushing each
 * answer into it would take it apart and build it again.
 */
Jsonb *
answer_array(JsonbValue **answers, int n)
{
	JsonbValue	array;

	array.type = jbvArray;
	array.val.array.rawScalar = false;
	array.val.array.nElems = n;
	array.val.array.elems = palloc(sizeof(JsonbValue) * Max(n, 1));
	for (int i = 0; i < n; i++)
		array.val.array.elems[i] = *answers[i];
	return JsonbValueToJsonb(&array);
}
