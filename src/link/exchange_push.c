/*
 * exchange_push.c
 *	  The push half of an exchange: captured changes go to the hub.
 *
 * Called by link/exchange.  A batch stays out until the hub has answered all of
 * it; broken off at any point it is sent again, under its own name, and the hub
 * answers again what it has answered before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "hub/delivery.h"
#include "link/exchange_state.h"
#include "link/relay.h"
#include "local/linked.h"
#include "settings.h"
#include "storage/durability.h"

/* ---------- cutting ---------- */

static void
make_documents(Exchange *x)
{
	Push	   *push = &x->push;
	int			n = push->batch.nchanges;
	Size		bytes = 0;

	push->documents = palloc(sizeof(char *) * n);
	push->outcomes = palloc0(sizeof(PushOutcome) * n);
	for (int i = 0; i < n; i++)
	{
		Jsonb	   *document = captured_document(x->source, &push->batch.changes[i]);

		push->documents[i] = JsonbToCString(NULL, &document->root, VARSIZE(document));
		bytes += strlen(push->documents[i]);
		pfree(document);
	}
	push->max = exchange_next_max(n, bytes);
}

void
push_cut(Exchange *x)
{
	Push	   *push = &x->push;
	MemoryContext old;

	/* who commits from here on, too late for this batch, sets it again */
	ResetLatch(MyLatch);
	MemoryContextReset(push->context);
	MemSet(&push->batch, 0, sizeof(push->batch));
	if (!exchange_may_go_on(x))
		return;
	old = MemoryContextSwitchTo(push->context);
	if (x->relay)
		relay_cut(x->source, push->max, &push->batch);
	else
		captured_cut(x->source, push->max, &push->batch);
	if (push->batch.nchanges > 0)
		make_documents(x);
	MemoryContextSwitchTo(old);
}

/* ---------- sending ---------- */

/* Send changes from .. to - 1 of the batch. */
static void
send_part(Exchange *x, int from, int to)
{
	const char *params[3] = {x->source};
	StringInfoData changes;

	/* our feed's incarnation tells batches from those before a restore */
	params[1] = psprintf("%s/" INT64_FORMAT "/" INT64_FORMAT, x->hub->mark,
						 x->hub->incarnation, x->push.batch.batch);
	initStringInfo(&changes);
	for (int i = from; i < to; i++)
	{
		appendStringInfoChar(&changes, i == from ? '[' : ',');
		appendStringInfoString(&changes, x->push.documents[i]);
	}
	appendStringInfoChar(&changes, ']');
	params[2] = changes.data;
	remote_send_prepared(&x->hub->remote, HUB_PUSH, 3, params);
	remote_sync(&x->hub->remote);
	exchange_sent(x, CALL_PUSH, from, to);
	x->push.parts++;
	pfree(changes.data);
}

void
push_send(Exchange *x)
{
	int			n = x->push.batch.nchanges;
	int			from = 0;

	/*
	 * What the hub will know must not be lost here, nor the batch's number come
	 * again for another batch.
	 */
	if (n > 0)
		durability_wait();
	while (from < n)
	{
		Size		bytes = strlen(x->push.documents[from]);
		int			to = from + 1;

		while (to < n && bytes + strlen(x->push.documents[to]) <= MESSAGE_BYTES)
			bytes += strlen(x->push.documents[to++]);
		send_part(x, from, to);
		from = to;
	}
	if (n > 0)
		x->batches++;
}

/* ---------- answers ---------- */

static const JsonbValue *
member(const JsonbValue *object, const char *key)
{
	return getKeyJsonValueFromContainer(object->val.binary.data, key, strlen(key), NULL);
}

static int64
member_number(const JsonbValue *object, const char *key)
{
	const JsonbValue *value = member(object, key);

	return value == NULL || value->type != jbvNumeric ? 0 :
		DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

static const char *
member_string(const JsonbValue *object, const char *key)
{
	const JsonbValue *value = member(object, key);

	return value == NULL || value->type != jbvString ? "" :
		pnstrdup(value->val.string.val, value->val.string.len);
}

/* Has the answer a list of lost fields that isn't empty? */
static bool
lost_any(const JsonbValue *answer)
{
	const JsonbValue *lost = member(answer, "lost");

	return lost != NULL && lost->type == jbvBinary &&
		JsonContainerIsArray(lost->val.binary.data) &&
		JsonContainerSize(lost->val.binary.data) > 0;
}

/* An answer in full: what the change met there was more than we knew. */
static void
take_full_answer(Exchange *x, const JsonbValue *answer, PushOutcome *outcome)
{
	int			status = (int) member_number(answer, "status");

	if (status == 400 || status == 412)
	{
		outcome->refused = true;
		outcome->error = psprintf("%d: %s", status, member_string(answer, "reason"));
		x->result->rejected++;
		return;
	}
	x->result->pushed++;
	outcome->row_version = member_number(answer, "rowVersion");
	outcome->written = status == 200 && !lost_any(answer);
	if (strcmp(member_string(answer, "resolution"), "DEPENDENCY_WAIT") == 0)
		x->result->waiting++;
	else if (outcome->written)
		x->result->merged++;
	else
		x->result->conflicts++;
}

static void
take_answer(Exchange *x, const JsonbValue *answer, PushOutcome *outcome)
{
	if (answer->type == jbvNumeric)
	{
		outcome->written = outcome->alone = true;
		outcome->row_version =
			DatumGetInt64(DirectFunctionCall1(numeric_int8,
											  NumericGetDatum(answer->val.numeric)));
		x->result->pushed++;
	}
	else if (answer->type == jbvBinary && JsonContainerIsObject(answer->val.binary.data))
		take_full_answer(x, answer, outcome);
	else
		elog(ERROR, "the hub's answer to a change is neither a number nor an object");
}

static void
take_answers(Exchange *x, const Call *call, const char *text)
{
	MemoryContext old = MemoryContextSwitchTo(x->push.context);
	Jsonb	   *answers = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	JsonbIterator *it = JsonbIteratorInit(&answers->root);
	JsonbIteratorToken token;
	JsonbValue	answer;
	int			at = call->from;

	if (!JB_ROOT_IS_ARRAY(answers) || (int) JB_ROOT_COUNT(answers) != call->to - call->from)
		elog(ERROR, "the hub gave %d answers to %d changes", (int) JB_ROOT_COUNT(answers),
			 call->to - call->from);
	while ((token = JsonbIteratorNext(&it, &answer, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			take_answer(x, &answer, &x->push.outcomes[at++]);
	MemoryContextSwitchTo(old);
}

/*
 * Errors that say nothing of a change: of the connection, of a server that is
 * short of something or shuts down, of what others hold there, of rights and
 * of what is installed.  All goes on when that is mended.
 */
static bool
is_about_hub(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return false;
	}
}

/* A call with some changes failed: they are sent one by one, to find which. */
static void
push_failed(Exchange *x, const Call *call, PGresult *result)
{
	if (call->to - call->from == 1)
	{
		const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		x->push.outcomes[call->from].error =
			MemoryContextStrdup(x->push.context,
								psprintf("%s: %s", unpack_sql_state(remote_sqlstate(result)),
										 message != NULL ? message : ""));
		x->result->failed++;
		return;
	}
	for (int i = call->from; i < call->to; i++)
		send_part(x, i, i + 1);
}

/* ---------- what was answered ---------- */

/* Note for all that has been answered what the hub knows now. */
static void
note_answers(Exchange *x)
{
	const CapturedBatch *batch = &x->push.batch;
	LinkedAnswer *answers = palloc0(sizeof(LinkedAnswer) * batch->nchanges);
	int			n = 0;

	for (int i = 0; i < batch->nchanges; i++)
	{
		const PushOutcome *outcome = &x->push.outcomes[i];

		if (outcome->error != NULL)
			continue;
		answers[n].change = &batch->changes[i];
		answers[n].written = outcome->written;
		/* what a relay has agreed on mustn't pass over what others have set */
		answers[n].row_version = !x->relay || outcome->alone ? outcome->row_version : 0;
		n++;
	}
	if (x->relay)
		relay_answered(x->source, answers, n);
	else
		linked_answered(x->source, answers, n);
}

static void
acknowledge(Exchange *x)
{
	const CapturedBatch *batch = &x->push.batch;
	BatchFailure *failures = palloc0(sizeof(BatchFailure) * batch->nchanges);
	int			n = 0;

	for (int i = 0; i < batch->nchanges; i++)
	{
		const PushOutcome *outcome = &x->push.outcomes[i];

		if (outcome->error == NULL)
			continue;
		failures[n].entity = batch->changes[i].entity;
		failures[n].external_id = batch->changes[i].external_id;
		failures[n].error = outcome->error;
		failures[n].busy = !x->relay && !outcome->refused;
		n++;
	}
	if (x->relay)
		delivery_ack(x->source, 0, batch->batch, failures, n);
	else
		captured_ack(x->source, batch->batch, failures, n);
}

/* In one transaction: the batch is done, and the next one is cut. */
static void
finish_batch(Exchange *x)
{
	note_answers(x);
	acknowledge(x);
	push_cut(x);
}

void
push_answered(Exchange *x, const Call *call)
{
	PGresult   *result = remote_result(&x->hub->remote, setting_link_timeout * 1000);

	x->push.parts--;
	if (is_about_hub(remote_sqlstate(result)))
		remote_check(&x->hub->remote, result);
	PG_TRY();
	{
		if (remote_sqlstate(result) != 0)
			push_failed(x, call, result);
		else
			take_answers(x, call, PQgetvalue(result, 0, 0));
	}
	PG_FINALLY();
	{
		PQclear(result);
	}
	PG_END_TRY();
	if (x->push.parts > 0)
		return;
	exchange_step(x, finish_batch);
	push_send(x);
	/* what the hub has made of it may have to be told to us */
	if (!x->pull.asked)
		pull_ask(x);
}
