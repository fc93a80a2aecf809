/*
 * answer.c
 *	  Answers as JSON.
 *
 * doc/ladder.md, "The answer", lists the keys.
 */
#include "postgres.h"

#include "utils/numeric.h"

#include "hub/answer.h"
#include "model/json.h"
#include "model/json_pack.h"

AnswerOutcome
answer_outcome(const Answer *answer)
{
	const Decision *d = &answer->decision;

	if (answer->hidden)
		return OUTCOME_NOT_SHOWN;
	if (d->resolution == RESOLUTION_DEPENDENCY_WAIT)
		return OUTCOME_WAITING;
	if (d->status == 409 || d->lost_all || d->lost.n > 0)
		return OUTCOME_CONFLICT;
	switch (d->resolution)
	{
		case RESOLUTION_NO_CHANGE:
			return OUTCOME_UNCHANGED;
		case RESOLUTION_NEW_RECORD:
			return OUTCOME_NEW;
		case RESOLUTION_FIELD_MERGE:
		case RESOLUTION_FIELD_RULE:
		case RESOLUTION_FIELD_WIN:
			return OUTCOME_MERGED;
		default:
			return OUTCOME_WRITTEN;
	}
}

/*
 * Answers are put together by hand, with room for just their members: a batch
 * makes thousands of them.  Members have to come in jsonb's own order, the shorter
 * key first, as nothing sorts them afterwards.
 */
static JsonbValue *
object_make(int members)
{
	JsonbValue *object = palloc(sizeof(JsonbValue));

	object->type = jbvObject;
	object->val.object.nPairs = 0;
	object->val.object.pairs = palloc(sizeof(JsonbPair) * members);
	return object;
}

/* Add a member; the caller sets its value. */
static JsonbValue *
object_add(JsonbValue *object, const char *key)
{
	JsonbPair  *pair = &object->val.object.pairs[object->val.object.nPairs];

	pair->order = object->val.object.nPairs++;
	json_set_string(&pair->key, key, strlen(key));
	return &pair->value;
}

/* A string that is kept elsewhere; NULL becomes JSON null. */
static void
add_string(JsonbValue *object, const char *key, const char *string)
{
	JsonbValue *value = object_add(object, key);

	if (string == NULL)
		value->type = jbvNull;
	else
		json_set_string(value, string, strlen(string));
}

/* A spoke has all of the record that it sent a part of, and sends that. */
static void
add_unheard(JsonbValue *object, const Answer *answer)
{
	JsonbValue *value;

	if (!answer->unheard || !answer->change->from_link)
		return;
	value = object_add(object, "unheardOf");
	value->type = jbvBool;
	value->val.boolean = true;
}

/* The keys by which the record is known: its source's own is answered where one was sent. */
static void
add_source_id(JsonbValue *object, const Change *change)
{
	if (change->source_id != NULL)
		add_string(object, "sourceId", change->source_id);
}

static void
add_external_id(JsonbValue *object, const Change *change)
{
	add_string(object, "externalId", change->external_id[0] != '\0' ? change->external_id : NULL);
}

static void
add_number(JsonbValue *object, const char *key, bool present, int64 number)
{
	JsonbValue *value = object_add(object, key);

	value->type = present ? jbvNumeric : jbvNull;
	if (present)
		value->val.numeric = int64_to_numeric(number);
}

static void
add_names(JsonbValue *object, const char *key, const FieldNames *names)
{
	JsonbValue *value = object_add(object, key);

	value->type = jbvArray;
	value->val.array.rawScalar = false;
	value->val.array.nElems = names->n;
	value->val.array.elems = palloc(sizeof(JsonbValue) * Max(names->n, 1));
	for (int i = 0; i < names->n; i++)
		json_set_string(&value->val.array.elems[i], names->name[i].data, names->name[i].len);
}

/*
 * What a source is told that may not see what its change met: the same, whatever
 * became of the change.
 */
static JsonbValue *
answer_hidden(const Change *change)
{
	JsonbValue *object = object_make(13);
	FieldNames	none = {0};

	add_names(object, "lost", &none);
	add_string(object, "told", NULL);
	add_string(object, "entity", change->entity);
	add_string(object, "reason", "the source is not shown the record, a field that it sent or a record that it referred to: what became of the change is not told");
	add_number(object, "status", true, 200);
	add_names(object, "changed", &none);
	add_number(object, "version", false, 0);
	add_source_id(object, change);
	add_number(object, "conflictId", false, 0);
	/* into which record its own was merged is no matter of the source's either */
	if (change->alias_merge != 0)
		add_string(object, "externalId", change->alias);
	else
		add_external_id(object, change);
	add_string(object, "lastSource", NULL);
	add_string(object, "resolution", "NOT_SHOWN");
	add_number(object, "rowVersion", false, 0);
	return object;
}

/* An answer that points to the decision's own memory, which goes before the answer is sent. */
static JsonbValue *
answer_outline(const Answer *answer)
{
	const Decision *d = &answer->decision;
	const Record *standing = &d->after;
	FieldName	all = {"*", 1};
	FieldNames	whole = {.n = 1, .name = &all};
	JsonbValue *object;

	if (answer->hidden)
		return answer_hidden(answer->change);
	object = object_make(14);
	add_names(object, "lost", d->lost_all ? &whole : &d->lost);
	add_string(object, "told", audience_name(d->audience));
	add_string(object, "entity", answer->change->entity);
	add_string(object, "reason", d->reason);
	add_number(object, "status", true, d->status);
	add_names(object, "changed", &d->changed);
	add_number(object, "version", standing->exists, standing->version);
	add_source_id(object, answer->change);
	add_unheard(object, answer);
	add_number(object, "conflictId", answer->conflict_id != 0, answer->conflict_id);
	add_external_id(object, answer->change);
	add_string(object, "lastSource", standing->exists ? standing->last_source : NULL);
	add_string(object, "resolution", resolution_name(d->resolution));
	add_number(object, "rowVersion", standing->exists, standing->row_version);
	return object;
}

/*
 * In one piece: a batch has thousands of answers, which are kept until all are given, and as
 * trees they would take four times as much memory.
 */
JsonbValue *
answer_make(const Answer *answer, MemoryContext context)
{
	return json_pack_value(answer_outline(answer), context);
}

/* Leave what was decided, and nothing of the record. */
void
answer_cut(Answer *answer)
{
	answer->decision.after.exists = false;
	answer->decision.changed.n = 0;
	answer->decision.lost.n = 0;
	answer->decision.lost_all = false;
}

/* The answer of a bad document in a batch. */
JsonbValue *
answer_refused(const ChangeError *error)
{
	JsonbValue *object = object_make(2);

	add_string(object, "reason", error->message);
	add_number(object, "status", true, 400);
	return object;
}

/* The answer of one that has raised an error in a batch. */
JsonbValue *
answer_failed(const ErrorData *error)
{
	JsonbValue *object = object_make(3);

	add_string(object, "reason", error->message);
	add_number(object, "status", true, 500);
	add_string(object, "sqlstate", pstrdup(unpack_sql_state(error->sqlerrcode)));
	return object;
}

/* ---------- many of them ---------- */

Jsonb *
answer_array(JsonbValue **answers, int n)
{
	JsonbValue	array = {.type = jbvArray};
	JsonbValue *elements = palloc(sizeof(JsonbValue) * Max(n, 1));
	Size		bytes = 0;
	Jsonb	   *packed;

	for (int i = 0; i < n; i++)
	{
		elements[i] = *answers[i];
		bytes += elements[i].type == jbvBinary ? elements[i].val.binary.len : 0;
	}
	if (bytes > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answers take more than %u bytes", JENTRY_OFFLENMASK),
				 errhint("Send smaller batches.")));
	array.val.array.nElems = n;
	array.val.array.elems = elements;
	packed = json_pack(&array);
	pfree(elements);
	return packed;
}
