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
#include "model/json_read.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "hub/delivery.h"
#include "link/exchange_state.h"
#include "link/relay.h"
#include "link/wire.h"
#include "local/linked.h"
#include "model/json_size.h"
#include "settings.h"
#include "storage/durability.h"

/* ---------- cutting ---------- */

/* No hub reads a document of more than this, whatever its syncext.max_document is. */
#define DOCUMENT_BYTES	((Size) 256 * 1024 * 1024)

static const char *
document_text(Jsonb *document, const char **why)
{
	Size		bytes = json_container_bytes(&document->root, JSON_ESCAPED);
	char	   *text;
	const char *told;

	if (bytes > DOCUMENT_BYTES)
	{
		*why = psprintf("54000: the change has %zu bytes as text, more than the %zu that can be sent",
						bytes, DOCUMENT_BYTES);
		return NULL;
	}
	text = JsonbToCString(NULL, &document->root, VARSIZE(document));
	told = wire_out(text, why);
	if (told != text)
		pfree(text);
	return told;
}

/* A change that can't be told to any hub is refused, as if one had done so. */
static const char *
make_document(Exchange *x, const CapturedChange *change, PushOutcome *outcome)
{
	Jsonb	   *document = captured_document(x->source, change);
	const char *why;
	const char *told = document_text(document, &why);

	if (told == NULL)
	{
		outcome->refused = true;
		outcome->error = why;
		x->result->rejected++;
	}
	pfree(document);
	return told;
}

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
		push->documents[i] = make_document(x, &push->batch.changes[i], &push->outcomes[i]);
		if (push->documents[i] != NULL)
			bytes += strlen(push->documents[i]);
	}
	push->max = exchange_next_max(x, n, bytes);
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
		relay_cut(x->source, push->max, x->batch_bytes, &push->batch);
	else
		captured_cut(x->source, push->max, x->batch_bytes, &push->batch);
	push->owed |= push->batch.nowed > 0;
	if (push->batch.nchanges > 0)
		make_documents(x);
	MemoryContextSwitchTo(old);
}

/* ---------- sending ---------- */

/* Send changes from .. to - 1 of the batch, which can all be told. */
static void
send_part(Exchange *x, int from, int to)
{
	const char *params[3] = {x->hub->wire_source};
	StringInfoData changes;

	/* our epoch tells batches from those of a time that is lost */
	params[1] = psprintf("%s/" INT64_FORMAT "/" INT64_FORMAT, x->hub->greeting.self.mark,
						 x->hub->greeting.self.epoch, x->push.batch.batch);
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

/* Changes from that one on that make a message; those that can't be told are no part of one. */
static int
find_part(const Push *push, int from)
{
	Size		bytes = strlen(push->documents[from]);
	int			to = from + 1;

	while (to < push->batch.nchanges && push->documents[to] != NULL &&
		   bytes + strlen(push->documents[to]) <= MESSAGE_BYTES)
		bytes += strlen(push->documents[to++]);
	return to;
}

/* Send what of the batch can be told. */
static void
send_batch(Exchange *x)
{
	const Push *push = &x->push;
	int			to;

	/*
	 * What the hub will know must not be lost here, nor the batch's number come
	 * again for another batch.
	 */
	durability_wait();
	for (int from = 0; from < push->batch.nchanges; from = to)
	{
		to = from + 1;
		if (push->documents[from] == NULL)
			continue;
		to = find_part(push, from);
		send_part(x, from, to);
	}
	x->batches++;
}

/* ---------- answers ---------- */

static const char *const push_call = "sync_push";

/* Who keeps to the protocol answers with less than this. */
#define ANSWER_BYTES	(64 * 1024 * 1024)

static const JsonbValue *
member(const JsonbValue *object, const char *key)
{
	return getKeyJsonValueFromContainer(object->val.binary.data, key, strlen(key), NULL);
}

static const char *
member_string(const JsonbValue *object, const char *key)
{
	const char *string = json_read_string(member(object, key));

	return string != NULL ? string : "";
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

/* The row version of the hub's record; 0: it has none. */
static int64
read_row_version(const Exchange *x, const JsonbValue *value)
{
	int64		row_version = 0;

	if (value != NULL && value->type != jbvNull &&
		!json_read_number(value, 0, HUB_MAX_VERSION, &row_version))
		reply_violation(x->link, push_call, "has a row version that can't be one");
	return row_version;
}

/* An answer in full: what the change met there was more than we knew. */
static void
take_full_answer(Exchange *x, const JsonbValue *answer, PushOutcome *outcome)
{
	int64		status;

	if (!json_read_number(member(answer, "status"), 200, 599, &status))
		reply_violation(x->link, push_call, "has no status of a change");
	if (status == 400 || status == 412)
	{
		outcome->refused = true;
		outcome->error = psprintf("%d: %s", (int) status, member_string(answer, "reason"));
		x->result->rejected++;
		return;
	}
	x->result->pushed++;
	outcome->row_version = read_row_version(x, member(answer, "rowVersion"));
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
		outcome->row_version = read_row_version(x, answer);
		x->result->pushed++;
	}
	else if (answer->type == jbvBinary && JsonContainerIsObject(answer->val.binary.data))
		take_full_answer(x, answer, outcome);
	else
		reply_violation(x->link, push_call, "is neither a number nor an object for a change");
}

static void
take_answers(Exchange *x, const Call *call, const Reply *reply)
{
	MemoryContext old = MemoryContextSwitchTo(x->push.context);
	Jsonb	   *answers = reply_jsonb(reply, 0, 0);
	JsonbIterator *it = JsonbIteratorInit(&answers->root);
	JsonbIteratorToken token;
	JsonbValue	answer;
	int			at = call->from;

	if (!JB_ROOT_IS_ARRAY(answers) || JB_ROOT_IS_SCALAR(answers) ||
		(int) JB_ROOT_COUNT(answers) != call->to - call->from)
		reply_violation(x->link, push_call, "is no array of %d answers to as many changes",
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

/* A call with some changes failed: they are sent in halves, to find which. */
static void
push_failed(Exchange *x, const Call *call, const Reply *reply)
{
	const int	half = call->from + (call->to - call->from) / 2;

	if (half == call->from)
	{
		x->push.outcomes[call->from].error =
			MemoryContextStrdup(x->push.context,
								psprintf("%s: %s", unpack_sql_state(reply->sqlstate),
										 reply->message));
		x->result->failed++;
		return;
	}
	send_part(x, call->from, half);
	send_part(x, half, call->to);
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
		answers[n].alone = outcome->alone;
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
	peer_note(x->link, 0, x->push.batch.batch, exchange_hub_time(x));
	push_cut(x);
}

static void
note_owed(Exchange *x)
{
	x->push.owed = false;
	(void) linked_retry(x->source);
}

void
push_send(Exchange *x)
{
	for (;;)
	{
		if (x->push.batch.nchanges > 0)
		{
			send_batch(x);
			if (x->push.parts > 0)
				return;
			/* nothing of it can be told */
			exchange_step(x, finish_batch);
		}
		else if (x->push.owed)
		{
			/* what is noted is in no window before it is committed */
			exchange_step(x, note_owed);
			exchange_step(x, push_cut);
		}
		else
			return;
	}
}

void
push_answered(Exchange *x, const Call *call)
{
	static const ReplyShape answers = {"sync_push", 1, 1, 1, ANSWER_BYTES};
	Reply	   *reply = remote_reply(&x->hub->remote, &answers, hub_deadline());

	x->push.parts--;
	if (is_about_hub(reply->sqlstate))
		reply_check(reply);
	if (reply->sqlstate != 0)
		push_failed(x, call, reply);
	else
		take_answers(x, call, reply);
	reply_free(reply);
	if (x->push.parts > 0)
		return;
	exchange_step(x, finish_batch);
	push_send(x);
	/* what the hub has made of it may have to be told to us */
	if (!x->pull.asked)
		pull_ask(x);
}
