/*
 * inbox.c
 *	  The hub's side of a link: saying who it is, and taking what a spoke has
 *	  captured, exactly once.
 *
 * Called from SQL, by link/ of the spoke.  A spoke that has had no answer sends
 * its batch again, and can't tell whether the first one came.  So the answers to
 * the last batch are kept (syncext.push), and given again.
 *
 * A batch is named by the mark of the spoke's database, the spoke's epoch, and a number
 * that grows and is on disk there before the batch is sent.  What is in it is cut anew,
 * though, and may be another thing when it comes again: a table was detached meanwhile,
 * say.  So the answers are kept with a hash of each change, and what is new is applied.
 * That settles, too, what else could give a name to two batches: a spoke that has gone
 * back without noticing, and a hub that has, too.  A hash takes less than 0.4 us of a
 * change's time (200 bytes, PostgreSQL 15).
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/answer.h"
#include "hub/apply.h"
#include "hub/hello.h"
#include "hub/incarnation.h"
#include "process/args.h"
#include "process/owner.h"
#include "settings.h"
#include "model/clip.h"
#include "model/json_read.h"
#include "process/durability.h"
#include "storage/hints.h"
#include "storage/registry.h"
#include "storage/rights.h"
#include "storage/rows.h"
#include "storage/stored.h"

PG_FUNCTION_INFO_V1(sync_push);
PG_FUNCTION_INFO_V1(syncext_hub_hello);
PG_FUNCTION_INFO_V1(syncext_hub_behind);

/* What a batch's name may have, in bytes: a spoke needs fewer. */
#define MAX_BATCH_NAME	200
/* Answers that are kept of a batch, in whatever forms it comes, for each that it may have. */
#define MAX_FORMS	10

/* The changes of a call. */
typedef struct Push
{
	const char *source;
	const char *batch;
	bool		again;			/* the batch has come before */
	int			n;
	JsonbValue *changes;		/* binary objects mostly */
	uint64	   *hashes;
	JsonbValue **answers;		/* NULL: not given yet */
} Push;

/* What was answered to a batch before. */
typedef struct Given
{
	int			n;
	uint64	   *hashes;			/* of the changes */
	Jsonb	   *answers;		/* in their order; NULL: it has not come before */
} Given;

/* ---------- answers ---------- */

/* Does the record have a value of others that came after the change's base? */
static bool
beside_others(const Answer *answer)
{
	const Change *change = answer->change;
	const Record *record = &answer->decision.after;

	for (int i = 0; i < record->nfields; i++)
	{
		const Stamp *stamp = &record->fields[i].stamp;

		if ((!change->has_base || stamp->row_version > change->base) &&
			strcmp(stamp->set_by, change->source) != 0)
			return true;
	}
	return false;
}

/* Does the record have another value than a birth sent, where that was empty? */
static bool
holds_more_than_birth(const Answer *answer)
{
	const Change *change = answer->change;

	if (!change_is_birth(change))
		return false;
	for (int i = 0; i < change->fields.n; i++)
	{
		const Field *sent = &change->fields.field[i];
		const RecordField *field = record_find(&answer->decision.after, sent->name);

		if (field != NULL && !json_value_equal(&field->field.value, &sent->value))
			return true;
	}
	return false;
}

/*
 * Nothing but the row version, where the record now holds what the spoke knew
 * of it and has sent, as nearly always; else the whole answer.
 */
static JsonbValue *
short_answer(const Answer *answer, MemoryContext context)
{
	const Decision *d = &answer->decision;
	MemoryContext old;
	JsonbValue *number;

	if (answer->hidden || d->status != 200 || d->lost_all || d->lost.n > 0 || d->combined || !d->after.exists ||
		holds_more_than_birth(answer) || beside_others(answer))
		return answer_make(answer, context);
	old = MemoryContextSwitchTo(context);
	number = palloc(sizeof(JsonbValue));
	number->type = jbvNumeric;
	number->val.numeric = int64_to_numeric(d->after.row_version);
	MemoryContextSwitchTo(old);
	return number;
}

/* ---------- what was answered before ---------- */

/* A batch's name begins with the mark of the database that it comes from. */
static void
check_spoke(const Push *push, Datum mark)
{
	char	   *known = DatumGetCString(DirectFunctionCall1(uuid_out, mark));

	if (strncmp(push->batch, known, strlen(known)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another database is linked to this hub as source \"%s\"", push->source),
				 errhint_call("Let it be a source of its own: SELECT sync_add_source(…).")));
}

static void
check_batch(const Push *push)
{
	if (strlen(push->batch) > MAX_BATCH_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the batch's name has %zu bytes, more than %d", strlen(push->batch),
						MAX_BATCH_NAME),
				 errhint("A link names its batches itself: only links call sync_push.")));
	if (push->n > setting_max_batch)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the batch has %d documents, more than %d", push->n, setting_max_batch),
				 errhint("Raise syncext.max_batch here, or lower syncext.link_batch at the spoke.")));
}

static void
raise_no_spoke(const Push *push)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no link to this hub is known for source \"%s\"", push->source),
			 errhint("Make it where the changes come from: SELECT sync_link(…).")));
}

/* The batch's number, by which both sides count: its name ends in it. */
static int64
batch_number(const Push *push)
{
	const char *number = strrchr(push->batch, '/');

	return number == NULL ? 0 : Max(strtoi64(number + 1, NULL, 10), 0);
}

/*
 * Note that the batch has come.  Another session that sends it at the same time waits
 * here for us.
 */
static void
note_batch(Push *push)
{
	Rows	   *rows = rows_open_write(registry_relation("spoke"));
	Datum		key = CStringGetTextDatum(push->source);
	Datum		values[NCOLUMNS_SPOKE];
	bool		isnull[NCOLUMNS_SPOKE];

	do
	{
		bool		found = rows_find(rows, 1, &key);

		if (found)
			rows_values(rows, values, isnull);
		if (!found || isnull[COL_SPOKE_MARK - 1])
			raise_no_spoke(push);
		check_spoke(push, values[COL_SPOKE_MARK - 1]);
		hello_check_epoch(push->source, DatumGetInt64(values[COL_SPOKE_EPOCH - 1]));
		push->again = !isnull[COL_SPOKE_BATCH - 1] &&
			strcmp(TextDatumGetCString(values[COL_SPOKE_BATCH - 1]), push->batch) == 0;
		values[COL_SPOKE_BATCH - 1] = CStringGetTextDatum(push->batch);
		values[COL_SPOKE_PUSHED_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		values[COL_SPOKE_COUNTER - 1] = Int64GetDatum(batch_number(push));
		isnull[COL_SPOKE_BATCH - 1] = isnull[COL_SPOKE_PUSHED_AT - 1] = false;
	} while (rows_update(rows, values, isnull) != ROWS_DONE);
	rows_close(rows);
}

static void
read_given(const Push *push, Given *given)
{
	Rows	   *rows = rows_open_read(registry_relation("push"));
	Datum		key = CStringGetTextDatum(push->source);

	rows_see_latest(rows);
	if (rows_find(rows, 1, &key))
	{
		bytea	   *hashes = DatumGetByteaPCopy(rows_datum(rows, COL_PUSH_HASHES));

		given->n = VARSIZE_ANY_EXHDR(hashes) / sizeof(uint64);
		given->hashes = palloc(sizeof(uint64) * Max(given->n, 1));
		memcpy(given->hashes, VARDATA_ANY(hashes), sizeof(uint64) * given->n);
		given->answers = stored_array(rows, COL_PUSH_ANSWERS);
		if ((int) JB_ROOT_COUNT(given->answers) != given->n)
			stored_raise(rows, COL_PUSH_ANSWERS, "has not as many answers as there are hashes");
		for (int i = 0; i < given->n; i++)
		{
			const JsonbValue *answer = getIthJsonbValueFromContainer(&given->answers->root, i);

			if (answer->type != jbvNumeric && json_read_object(answer) == NULL)
				stored_raise(rows, COL_PUSH_ANSWERS, "has something else than an answer");
		}
	}
	rows_close(rows);
}

/* Find an answer that was given to a change, after the one found last; -1: none. */
static int
find_given(const Given *given, uint64 hash, int last)
{
	CHECK_FOR_INTERRUPTS();
	for (int i = 1; i <= given->n; i++)
		if (given->hashes[(last + i) % given->n] == hash)
			return (last + i) % given->n;
	return -1;
}

/*
 * Give the changes that were answered before the same answers again.  Returns true if the
 * batch has come as it did before.
 */
static bool
answer_again(Push *push, Given *given)
{
	bool		same = true;
	int			last = -1;

	read_given(push, given);
	for (int i = 0; i < push->n; i++)
	{
		int			at = find_given(given, push->hashes[i], last);

		same &= at == i;
		if (at < 0)
			continue;
		push->answers[i] = getIthJsonbValueFromContainer(&given->answers->root, at);
		last = at;
	}
	return same && given->answers != NULL && given->n == push->n;
}

/* Keep the batch's answers: those that were given before, and those after them. */
static void
keep_answers(const Push *push, const Given *given)
{
	Rows	   *rows = rows_open_write(registry_relation("push"));
	Datum		values[NCOLUMNS_PUSH];
	bool		isnull[NCOLUMNS_PUSH] = {false};
	Size		size = sizeof(uint64) * given->n;
	bytea	   *hashes = palloc(VARHDRSZ + size);

	SET_VARSIZE(hashes, VARHDRSZ + size);
	memcpy(VARDATA(hashes), given->hashes, size);
	values[COL_PUSH_SOURCE - 1] = CStringGetTextDatum(push->source);
	values[COL_PUSH_HASHES - 1] = PointerGetDatum(hashes);
	values[COL_PUSH_ANSWERS - 1] = JsonbPGetDatum(given->answers);
	/* nobody else writes the source's rows while we hold its row of spoke */
	if (!rows_find(rows, 1, values))
		rows_insert(rows, values, isnull);
	else if (rows_update(rows, values, isnull) != ROWS_DONE)
		elog(ERROR, "answers of source \"%s\" were written by another session", push->source);
	rows_close(rows);
}

/* ---------- taking changes ---------- */

static void
read_changes(Push *push, Jsonb *changes)
{
	JsonbIterator *it = JsonbIteratorInit(&changes->root);
	JsonbIteratorToken token;
	JsonbValue	v;

	if (!JB_ROOT_IS_ARRAY(changes) || JB_ROOT_IS_SCALAR(changes))
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
				 errmsg("the changes are not an array")));
	push->changes = palloc(sizeof(JsonbValue) * Max(JB_ROOT_COUNT(changes), 1));
	push->hashes = palloc(sizeof(uint64) * Max(JB_ROOT_COUNT(changes), 1));
	push->answers = palloc0(sizeof(JsonbValue *) * Max(JB_ROOT_COUNT(changes), 1));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		/* equal objects are equal byte by byte */
		push->hashes[push->n] = v.type != jbvBinary ? 0 :
			DatumGetUInt64(hash_any_extended((unsigned char *) v.val.binary.data,
											 v.val.binary.len, 0));
		push->changes[push->n++] = v;
	}
}

/* The changes without those that were answered before. */
static Jsonb *
unanswered(const Push *push)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < push->n; i++)
		if (push->answers[i] == NULL)
			pushJsonbValue(&state, WJB_ELEM, &push->changes[i]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/*
 * An entity may have been dropped since the link was opened, to be added again: what
 * is refused would be given up.  So the whole push fails, and the link waits for it.
 */
static void
check_entities(const Push *push)
{
	const Registry *registry = registry_get();

	for (int i = 0; i < push->n; i++)
	{
		JsonbValue	value;
		char	   *name;

		if (push->changes[i].type != jbvBinary ||
			!JsonContainerIsObject(push->changes[i].val.binary.data) ||
			getKeyJsonValueFromContainer(push->changes[i].val.binary.data, "entity", 6, &value) == NULL ||
			value.type != jbvString)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		if (registry_entity(registry, name) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("the hub has no entity \"%s\"", clip_string(name, CLIP_QUOTE)),
					 errhint_call("Add it there with SELECT sync_add_entity(%s), or detach the relation at the spoke.",
								  quote_literal_cstr(clip_string(name, CLIP_QUOTE)))));
		pfree(name);
	}
}

/* The batch has come for the first time. */
static Jsonb *
apply_batch(const Push *push, Jsonb *changes)
{
	Given		given = {.hashes = push->hashes};
	JsonbValue **answers;

	given.n = documents_apply(changes, push->source, NULL, short_answer, &answers);
	given.answers = answer_array(answers, given.n);
	keep_answers(push, &given);
	return given.answers;
}

static void
raise_many_forms(const Push *push)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("batch \"%s\" of source \"%s\" has come with more than %d changes in all",
					push->batch, push->source, MAX_FORMS * setting_max_batch),
			 errhint("What comes next has to come as another batch.")));
}

/* Add to what was given before the changes that have no answer yet, and their answers. */
static void
add_given(const Push *push, Given *given, JsonbValue **answers, int n)
{
	uint64	   *hashes = palloc(sizeof(uint64) * (given->n + n));
	Jsonb	   *added = answer_array(answers, n);

	memcpy(hashes, given->hashes, sizeof(uint64) * given->n);
	for (int i = 0; i < push->n; i++)
		if (push->answers[i] == NULL)
			hashes[given->n++] = push->hashes[i];
	given->hashes = hashes;
	given->answers = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(given->answers),
														JsonbPGetDatum(added)));
}

/* The batch has come before, in another form: apply what is new in it. */
static Jsonb *
apply_rest(Push *push, Given *given)
{
	JsonbParseState *state = NULL;
	JsonbValue **answers;
	int			n = documents_apply(unanswered(push), push->source, NULL, short_answer, &answers);
	int			next = 0;

	if (given->n + n > MAX_FORMS * setting_max_batch)
		raise_many_forms(push);
	add_given(push, given, answers, n);
	keep_answers(push, given);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < push->n; i++)
		pushJsonbValue(&state, WJB_ELEM, push->answers[i] != NULL ? push->answers[i] : answers[next++]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

Datum
sync_push(PG_FUNCTION_ARGS)
{
	Push		push = {0};
	Given		given = {0};
	Jsonb	   *changes;
	Jsonb	   *answers;

	push.source = arg_text(fcinfo, 0, "source");
	push.batch = arg_text(fcinfo, 1, "batch");
	changes = arg_jsonb(fcinfo, 2, "changes");
	source_role_check(registry_source_required(registry_get(), push.source));
	read_changes(&push, changes);
	check_batch(&push);
	note_batch(&push);
	if (push.again && answer_again(&push, &given))
		answers = given.answers;
	else
	{
		check_entities(&push);
		answers = given.answers != NULL ? apply_rest(&push, &given) : apply_batch(&push, changes);
	}
	/* the spoke forgets what is answered, and not before */
	durability_after_commit();
	PG_RETURN_JSONB_P(answers);
}

/* ---------- who is there ---------- */

/* Whoever may act as the source is told what a spoke has to know. */
/* A link speaks of records by their external ids. */
static void
check_keys(const char *source)
{
	if (registry_source_required(registry_get(), source)->nkeyed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("source \"%s\" has keys of its own, which links cannot use", source),
				 errhint("Let the spoke be a source of its own.")));
}

Datum
syncext_hub_hello(PG_FUNCTION_ARGS)
{
	Hello		hello;
	char	   *source = arg_text(fcinfo, 0, "source");
	Jsonb	   *spoke = arg_jsonb(fcinfo, 1, "spoke");
	Jsonb	   *answer;

	source_role_check(registry_source_required(registry_get(), source));
	check_keys(source);
	hello_read(source, spoke, &hello);
	if (hello.relay)
		source_relay_check(registry_source_required(registry_get(), source));
	(void) incarnation_check();
	answer = hello_answer(&hello);
	/* what the spoke relies on from now on must not be forgotten in a crash */
	ForceSyncCommit();
	PG_RETURN_JSONB_P(answer);
}

/*
 * What the spoke lacks, counted as syncext.outbound_change counts.  That counts
 * records that a filter will keep back, of which nothing may be told: a filtered
 * source hears of those alone that it was served, and that failed.
 */
Datum
syncext_hub_behind(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const Source *known = registry_source_required(registry_get(), source);

	source_role_check(known);
	PG_RETURN_INT64(owner_number("SELECT count(*) FROM (SELECT FROM syncext.%s "
								 "WHERE target = %s LIMIT 100000) lacking",
								 known->filtered ? "pending" : "outbound_change",
								 quote_literal_cstr(source)));
}
