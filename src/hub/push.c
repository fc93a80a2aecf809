/*
 * push.c
 *	  The hub's side of a link: saying who it is, and taking what a spoke has
 *	  captured, exactly once.
 *
 * Called from SQL, by link/ of the spoke.  A spoke that has had no answer sends
 * its batch again, and can't tell whether the first one came.  So the answers to
 * the last batch are kept with it (syncext.spoke, syncext.push), change by
 * change, as a batch may come in parts, and in others the second time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/answer.h"
#include "hub/documents.h"
#include "hub/hello.h"
#include "hub/incarnation.h"
#include "hub/section.h"
#include "settings.h"
#include "model/clip.h"
#include "model/json_read.h"
#include "storage/durability.h"
#include "storage/hints.h"
#include "storage/registry.h"
#include "storage/rows.h"
#include "storage/stored.h"

PG_FUNCTION_INFO_V1(sync_push);
PG_FUNCTION_INFO_V1(syncext_hub_hello);
PG_FUNCTION_INFO_V1(syncext_hub_behind);

/* Columns of syncext.spoke and of syncext.push. */
enum
{
	SPOKE_SOURCE = 1,
	SPOKE_MARK,
	SPOKE_LINKED_AT,
	SPOKE_BATCH,
	SPOKE_PARTS,
	SPOKE_PUSHED_AT,
	SPOKE_IDENTITY,
	SPOKE_COUNTER,
	SPOKE_EPOCH,
	SPOKE_REFUSED,
	SPOKE_REFUSED_AT,
	SPOKE_TURNED_AT,
	SPOKE_NCOLUMNS = SPOKE_TURNED_AT
};

enum
{
	PUSH_SOURCE = 1,
	PUSH_PART,
	PUSH_HASHES,
	PUSH_ANSWERS,
	PUSH_NCOLUMNS = PUSH_ANSWERS
};

/* What a batch's name may have, in bytes, and a batch in parts: a spoke needs fewer. */
#define MAX_BATCH_NAME	200
#define MAX_PARTS		10000

/* The changes of a call. */
typedef struct Push
{
	const char *source;
	const char *batch;
	int			part;			/* of the batch, from 0 */
	int			parts_before;	/* of the batch before, if it is a new one */
	int			n;
	JsonbValue *changes;		/* binary objects mostly */
	uint64	   *hashes;
	JsonbValue **answers;		/* NULL: not given yet */
} Push;

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

/* Does the record have a value where a birth sent null? */
static bool
holds_more_than_birth(const Answer *answer)
{
	const Change *change = answer->change;

	if (!change_is_birth(change))
		return false;
	for (int i = 0; i < change->fields.n; i++)
		if (change->fields.field[i].value.type == jbvNull &&
			record_find(&answer->decision.after, change->fields.field[i].name) != NULL)
			return true;
	return false;
}

/*
 * Nothing but the row version, where the record now holds what the spoke knew
 * of it and has sent, as nearly always; else the whole answer.
 */
static JsonbValue *
short_answer(const Answer *answer)
{
	const Decision *d = &answer->decision;
	JsonbValue *number;

	if (answer->hidden || d->status != 200 || d->lost_all || d->lost.n > 0 || d->combined || !d->after.exists ||
		holds_more_than_birth(answer) || beside_others(answer))
		return answer_make(answer);
	number = palloc(sizeof(JsonbValue));
	number->type = jbvNumeric;
	number->val.numeric = int64_to_numeric(d->after.row_version);
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
raise_many_parts(const Push *push)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("batch \"%s\" of source \"%s\" has come in %d parts already", push->batch,
					push->source, MAX_PARTS),
			 errhint("What comes next has to come as another batch.")));
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
 * Note that a part of the batch has come.  Whoever sends the same batch at the
 * same time waits here for the other.
 */
static void
note_part(Push *push)
{
	Rows	   *rows = rows_open_write(registry_relation("spoke"));
	Datum		key = CStringGetTextDatum(push->source);
	Datum		values[SPOKE_NCOLUMNS];
	bool		isnull[SPOKE_NCOLUMNS];

	do
	{
		bool		found = rows_find(rows, 1, &key);

		if (found)
			for (int i = 0; i < SPOKE_NCOLUMNS; i++)
				values[i] = rows_value(rows, i + 1, &isnull[i]);
		if (!found || isnull[SPOKE_MARK - 1])
			raise_no_spoke(push);
		check_spoke(push, values[SPOKE_MARK - 1]);
		hello_check_epoch(push->source, DatumGetInt64(values[SPOKE_EPOCH - 1]));
		push->part = DatumGetInt32(values[SPOKE_PARTS - 1]);
		push->parts_before = 0;
		if (isnull[SPOKE_BATCH - 1] ||
			strcmp(TextDatumGetCString(values[SPOKE_BATCH - 1]), push->batch) != 0)
		{
			push->parts_before = push->part;
			push->part = 0;
		}
		if (push->part >= MAX_PARTS)
			raise_many_parts(push);
		values[SPOKE_BATCH - 1] = CStringGetTextDatum(push->batch);
		values[SPOKE_PARTS - 1] = Int32GetDatum(push->part + 1);
		values[SPOKE_PUSHED_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		values[SPOKE_COUNTER - 1] = Int64GetDatum(batch_number(push));
		isnull[SPOKE_BATCH - 1] = isnull[SPOKE_PUSHED_AT - 1] = false;
	} while (rows_update(rows, values, isnull) != ROWS_DONE);
	rows_close(rows);
}

/* The changes of the call, sorted by hash; several may have the same. */
typedef struct SentChange
{
	uint64		hash;
	int			at;
} SentChange;

static int
compare_sent(const void *a, const void *b)
{
	const uint64 ha = ((const SentChange *) a)->hash;
	const uint64 hb = ((const SentChange *) b)->hash;

	return ha < hb ? -1 : ha > hb;
}

static SentChange *
sort_sent(const Push *push)
{
	SentChange *sent = palloc(sizeof(SentChange) * Max(push->n, 1));

	for (int i = 0; i < push->n; i++)
	{
		sent[i].hash = push->hashes[i];
		sent[i].at = i;
	}
	qsort(sent, push->n, sizeof(SentChange), compare_sent);
	return sent;
}

/* The first of those with the hash; push->n if there is none. */
static int
find_sent(const Push *push, const SentChange *sent, uint64 hash)
{
	int			low = 0;
	int			high = push->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (sent[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low < push->n && sent[low].hash == hash ? low : push->n;
}

/* Take from the found row of the table what it says of the call's changes. */
static void
take_given(Push *push, const SentChange *sent, Rows *rows)
{
	bool		isnull;
	bytea	   *hashes = DatumGetByteaPCopy(rows_value(rows, PUSH_HASHES, &isnull));
	int			n = VARSIZE_ANY_EXHDR(hashes) / sizeof(uint64);
	Jsonb	   *answers = NULL;

	for (int i = 0; i < n; i++)
	{
		JsonbValue *given;
		uint64		hash;
		int			k;

		memcpy(&hash, VARDATA_ANY(hashes) + i * sizeof(uint64), sizeof(uint64));
		for (k = find_sent(push, sent, hash); k < push->n && sent[k].hash == hash; k++)
		{
			if (answers == NULL)
				answers = stored_array(rows, PUSH_ANSWERS);
			given = getIthJsonbValueFromContainer(&answers->root, i);
			if (given != NULL && given->type != jbvNumeric && json_read_object(given) == NULL)
				stored_raise(rows, PUSH_ANSWERS, "has something else than an answer");
			push->answers[sent[k].at] = given;
		}
	}
	pfree(hashes);
}

/* Give the changes that were answered before the same answers again. */
static void
answer_again(Push *push)
{
	SentChange *sent = sort_sent(push);
	Rows	   *rows = rows_open_read(registry_relation("push"));

	rows_see_latest(rows);
	for (int part = 0; part < push->part; part++)
	{
		Datum		key[2] = {CStringGetTextDatum(push->source), Int32GetDatum(part)};

		CHECK_FOR_INTERRUPTS();
		if (rows_find(rows, 2, key))
			take_given(push, sent, rows);
	}
	rows_close(rows);
	pfree(sent);
}

/* Forget the answers to a batch before; its first part is written over. */
static void
forget_parts(const Push *push, int parts)
{
	Rows	   *rows = rows_open_write(registry_relation("push"));

	for (int part = 1; part < parts; part++)
	{
		Datum		key[2] = {CStringGetTextDatum(push->source), Int32GetDatum(part)};

		/* nobody else writes the source's rows while we hold its row of spoke */
		if (rows_find(rows, 2, key) && rows_delete(rows) != ROWS_DONE)
			elog(ERROR, "answers of source \"%s\" were written by somebody else", push->source);
	}
	rows_close(rows);
}

static void
keep_answers(const Push *push, Jsonb *answers)
{
	Rows	   *rows = rows_open_write(registry_relation("push"));
	Datum		values[PUSH_NCOLUMNS];
	bool		isnull[PUSH_NCOLUMNS] = {false};
	Size		size = sizeof(uint64) * push->n;
	bytea	   *hashes = palloc(VARHDRSZ + size);

	SET_VARSIZE(hashes, VARHDRSZ + size);
	memcpy(VARDATA(hashes), push->hashes, size);
	values[PUSH_SOURCE - 1] = CStringGetTextDatum(push->source);
	values[PUSH_PART - 1] = Int32GetDatum(push->part);
	values[PUSH_HASHES - 1] = PointerGetDatum(hashes);
	values[PUSH_ANSWERS - 1] = JsonbPGetDatum(answers);
	/* nobody else writes the source's rows while we hold its row of spoke */
	if (!rows_find(rows, 2, values))
		rows_insert(rows, values, isnull);
	else if (rows_update(rows, values, isnull) != ROWS_DONE)
		elog(ERROR, "answers of source \"%s\" were written by somebody else", push->source);
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

/* Apply what has not been answered, and put the answers where they belong. */
static void
apply_unanswered(Push *push, Jsonb *changes)
{
	JsonbValue **answers;
	int			next = 0;
	int			n;

	if (push->part > 0)
		changes = unanswered(push);
	n = documents_apply(changes, push->source, short_answer, &answers);
	for (int i = 0; i < push->n; i++)
		if (push->answers[i] == NULL)
			push->answers[i] = answers[next++];
	Assert(next == n);
	(void) n;
}

/* Those that were given before are as they were stored, and have to be taken apart. */
static Jsonb *
all_answers(const Push *push)
{
	JsonbParseState *state = NULL;

	if (push->part == 0)
		return answer_array(push->answers, push->n);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < push->n; i++)
		pushJsonbValue(&state, WJB_ELEM, push->answers[i]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

static void
refuse_nulls(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"source", "batch", "changes"};

	for (int i = 0; i < 3; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
}

Datum
sync_push(PG_FUNCTION_ARGS)
{
	Push		push = {0};
	Jsonb	   *answers;

	refuse_nulls(fcinfo);
	push.source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	push.batch = text_to_cstring(PG_GETARG_TEXT_PP(1));
	source_role_check(registry_source_required(registry_get(), push.source));
	read_changes(&push, PG_GETARG_JSONB_P(2));
	check_batch(&push);
	note_part(&push);
	if (push.part > 0)
		answer_again(&push);
	else if (push.parts_before > 1)
		forget_parts(&push, push.parts_before);
	check_entities(&push);
	apply_unanswered(&push, PG_GETARG_JSONB_P(2));
	answers = all_answers(&push);
	keep_answers(&push, answers);
	/* the spoke forgets what is answered, and not before */
	durability_after_commit();
	PG_RETURN_JSONB_P(answers);
}

/* ---------- who is there ---------- */

/* Whoever may act as the source is told what a spoke has to know. */
Datum
syncext_hub_hello(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Hello		hello;
	char	   *source;
	Jsonb	   *answer;
	Section		section;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "source" : "spoke")));
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	source_role_check(registry_source_required(registry_get(), source));
	hello_read(source, PG_GETARG_JSONB_P(1), &hello);
	(void) incarnation_check();
	SPI_connect();
	section_enter(&section, 0);
	answer = hello_answer(&hello);
	/* what SPI has left us in goes with it */
	MemoryContextSwitchTo(context);
	answer = (Jsonb *) DatumGetPointer(datumCopy(JsonbPGetDatum(answer), false, -1));
	section_leave(&section);
	SPI_finish();
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
	const bool	filtered = known->filtered;
	int64		behind;
	Section		section;

	source_role_check(known);
	SPI_connect();
	section_enter(&section, 0);
	behind = section_number("SELECT count(*) FROM (SELECT FROM syncext.%s "
							"WHERE target = %s LIMIT 100000) lacking",
							filtered ? "pending" : "outbound_change", quote_literal_cstr(source));
	section_leave(&section);
	SPI_finish();
	PG_RETURN_INT64(behind);
}
