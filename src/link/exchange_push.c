/*
 * exchange_push.c
 *	  The push half of an exchange: captured changes go to the hub.
 *
 * A batch stays out until the hub has answered all of it.  If the exchange breaks off,
 * the batch is sent again under its own name, and the hub repeats the answers that it
 * has given.
 */
#include "postgres.h"

#include <limits.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "model/json_read.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "link/exchange_push.h"
#include "link/wire.h"
#include "model/json_size.h"
#include "process/durability.h"
#include "process/stat.h"

/* ---------- messages ---------- */

/* No hub reads a document of more than this, whatever its syncext.max_document is. */
#define DOCUMENT_BYTES	((Size) 256 * 1024 * 1024)

/* What a document has beside its fields, mostly. */
#define TEXT_AROUND		500

/* How many bytes the change's fields have, as that measure has it. */
static Size
fields_bytes(const OutboxChange *change, JsonMeasure measure)
{
	Size		bytes = 0;

	for (int i = 0; i < change->fields.n; i++)
	{
		const JsonbValue name = {.type = jbvString, .val.string = {
			.val = unconstify(char *, change->fields.field[i].name.data),
			.len = change->fields.field[i].name.len
		}};

		bytes += json_value_bytes(&name, measure) +
			json_value_bytes(&change->fields.field[i].value, measure);
	}
	return bytes;
}

/* A hub's record comes with what is known of each of its fields: only jsonb tells how much that is. */
static void
append_state(const Exchange *x, const OutboxChange *change, StringInfo text, Size *bytes)
{
	Jsonb	   *document = outbox_document(x->source, change);

	*bytes = json_container_bytes(&document->root, JSON_ESCAPED);
	if (*bytes <= DOCUMENT_BYTES)
		(void) JsonbToCString(text, &document->root, VARSIZE(document));
	pfree(document);
}

/*
 * The change as a document, and how many bytes it has, here or at the hub; NULL, and why,
 * if it can't be sent.
 */
static char *
document_text(const Exchange *x, const OutboxChange *change, Size *bytes, const char **why)
{
	StringInfoData text;
	const char *told;

	initStringInfo(&text);
	*bytes = fields_bytes(change, JSON_ESCAPED);
	if (change->state != NULL)
		append_state(x, change, &text, bytes);
	else if (*bytes <= DOCUMENT_BYTES)
	{
		/* where memory is short, a large one must not grow by and by and leave holes */
		enlargeStringInfo(&text, (int) *bytes + TEXT_AROUND);
		outbox_text(x->source, change, &text);
	}
	if (*bytes > DOCUMENT_BYTES)
	{
		*why = psprintf("54000: the change has %zu bytes as text, more than the %zu that can be sent",
						*bytes, DOCUMENT_BYTES);
		return NULL;
	}
	told = wire_out(text.data, why);
	if (told != text.data)
		pfree(text.data);
	if (told != NULL)
		*bytes = Max(*bytes, strlen(told));
	return unconstify(char *, told);
}

/*
 * Add the batch's next change to the message; false if there is no room for it.  One
 * that the wire can't carry is noted as refused, as if the hub had refused it.
 */
static bool
add_change(Exchange *x, Push *push, Size max_bytes)
{
	PushMessage *message = &push->message;
	PushedAnswer *taken = &push->answers[push->to];
	char	   *told;
	Size		bytes;
	bool		fits;

	/* it was left out before */
	if (taken->error != NULL)
		return true;
	told = document_text(x, &push->batch.changes[push->to], &bytes, &taken->error);
	fits = told == NULL || message->n == 0 || message->bytes + bytes <= max_bytes;
	if (told == NULL)
	{
		taken->refused = true;
		push->unsent++;
	}
	else if (fits)
	{
		appendStringInfoChar(&message->changes, message->n++ == 0 ? '[' : ',');
		appendStringInfoString(&message->changes, told);
		message->bytes += bytes;
	}
	if (told != NULL)
		pfree(told);
	return fits;
}

/*
 * Put the batch's next changes into a message: all of them, where it was cut by as many
 * bytes as are sent now.  It may be from before memory was short, or be much longer as
 * text.
 */
static void
make_message(Exchange *x, Push *push)
{
	push->from = push->to;
	push->message.n = 0;
	push->message.bytes = 0;
	if (push->to == push->batch.nchanges)
		return;
	initStringInfo(&push->message.changes);
	while (push->to < push->batch.nchanges && push->message.n < push->room &&
		   add_change(x, push, (Size) x->batch_bytes * 2))
		push->to++;
	appendStringInfoChar(&push->message.changes, ']');
	push->bytes += push->message.bytes;
}

/* ---------- cutting ---------- */

static void
clear_batch(Push *push)
{
	MemoryContextReset(push->context);
	MemSet(&push->batch, 0, sizeof(push->batch));
	push->message.n = 0;
	push->from = push->to = 0;
	push->unsent = 0;
	push->bytes = 0;
	push->room = INT_MAX;
	push->followed = false;
}

void
push_cut(Exchange *x)
{
	Push	   *push = &x->push;
	MemoryContext old;

	/* a session that commits from here on, too late for this batch, sets it again */
	ResetLatch(MyLatch);
	clear_batch(push);
	clear_batch(&x->ahead);
	if (!exchange_may_go_on(x))
		return;
	old = MemoryContextSwitchTo(push->context);
	x->side->cut(x->source, push->max, x->batch_bytes, &push->batch);
	push->owed |= push->batch.nowed > 0;
	push->answers = palloc0(sizeof(PushedAnswer) * Max(push->batch.nchanges, 1));
	/* with too little memory for the message the batch isn't out, and the next one is smaller */
	make_message(x, push);
	MemoryContextSwitchTo(old);
}

/* In a step. */
static void
cut_ahead(Exchange *x)
{
	Push	   *ahead = &x->ahead;
	MemoryContext old;

	clear_batch(ahead);
	old = MemoryContextSwitchTo(ahead->context);
	if (x->side->cut_ahead(x->source, x->push.max, x->batch_bytes / 2, &ahead->batch))
	{
		ahead->answers = palloc0(sizeof(PushedAnswer) * ahead->batch.nchanges);
		make_message(x, ahead);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Two batches have the room of one: where the one that is out is large, the next is cut
 * when that is done.  So it is while a part of it has yet to be sent, or to reach the hub,
 * which would wait for us.
 */
void
push_follow(Exchange *x)
{
	const Push *push = &x->push;

	if (push->followed || !push->batch.more || x->side->cut_ahead == NULL ||
		push->to < push->batch.nchanges || push->bytes > (Size) x->batch_bytes / 2 ||
		!exchange_may_go_on(x) || !remote_flush(&x->upstream->remote, upstream_deadline()))
		return;
	x->push.followed = true;
	exchange_step(x, cut_ahead);
	if (x->ahead.batch.nchanges > 0)
		elog(DEBUG1, "link \"%s\": a batch of %d changes is ready, to follow batch " INT64_FORMAT, x->link,
			 x->ahead.batch.nchanges, x->push.batch.batch);
}

/* The batch that was cut ahead is out. */
static void
take_up(Exchange *x)
{
	const Push	done = x->push;

	x->push = x->ahead;
	x->push.max = done.max;
	x->push.noted = done.noted;
	x->push.owed = done.owed || x->push.batch.nowed > 0;
	x->ahead = done;
	clear_batch(&x->ahead);
}

/* ---------- sending ---------- */

/* Send the message; false if there is nothing in it. */
static bool
send_message(Exchange *x)
{
	PushMessage *message = &x->push.message;
	const char *params[3] = {x->upstream->wire_source};

	if (message->n == 0)
		return false;
	/* the epoch keeps our batches apart from those before we went back in time */
	params[1] = psprintf("%s/" INT64_FORMAT "/" INT64_FORMAT, x->upstream->greeting.self.mark,
						 x->upstream->greeting.self.epoch, x->push.batch.batch);
	params[2] = message->changes.data;
	remote_send_prepared(&x->upstream->remote, UPSTREAM_PUSH, 3, params);
	remote_sync(&x->upstream->remote);
	exchange_sent(x, CALL_PUSH);
	stat_link(x->link, STAT_BATCHES, 1);
	stat_link(x->link, STAT_BYTES, message->changes.len);
	/* it may be large */
	pfree(message->changes.data);
	return true;
}

static bool
send_batch(Exchange *x)
{
	/*
	 * A crash here must not lose what the hub will know, nor give the batch's number
	 * to another batch.
	 */
	durability_wait();
	x->batches++;
	return send_message(x);
}

/* ---------- answers ---------- */

static const char *const push_call = "sync_push";

/* A hub that keeps to the protocol answers with less than this. */
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
		!json_read_number(value, 0, CHANGE_MAX_VERSION, &row_version))
		reply_violation(x->link, push_call, "has a row version that cannot be one");
	return row_version;
}

/* What a change was refused with, or has failed with: its status, or the code of the error. */
static const char *
describe_answer(const JsonbValue *answer, int status)
{
	const char *sqlstate = member_string(answer, "sqlstate");

	return psprintf("%s: %s", sqlstate[0] != '\0' ? sqlstate : psprintf("%d", status),
					member_string(answer, "reason"));
}

/* Read an answer in full: the change met more at the hub than we knew of, or failed there. */
static void
take_full_answer(Exchange *x, const JsonbValue *answer, PushedAnswer *taken)
{
	int64		status;

	if (!json_read_number(member(answer, "status"), 200, 599, &status))
		reply_violation(x->link, push_call, "has no status of a change");
	taken->unheard = json_read_true(member(answer, "unheardOf"));
	if (taken->unheard)
	{
		x->result->failed++;
		return;
	}
	pushed_answer_take(taken, status, lost_any(answer),
					   read_row_version(x, member(answer, "rowVersion")),
					   describe_answer(answer, (int) status));
	if (taken->error != NULL)
	{
		x->result->rejected += taken->refused;
		x->result->failed += !taken->refused;
		return;
	}
	x->result->pushed++;
	if (strcmp(member_string(answer, "resolution"), "DEPENDENCY_WAIT") == 0)
		x->result->waiting++;
	else if (taken->written)
		x->result->merged++;
	else
		x->result->conflicts++;
}

static void
take_answer(Exchange *x, const JsonbValue *answer, PushedAnswer *taken)
{
	if (answer->type == jbvNumeric)
	{
		taken->written = taken->unchallenged = true;
		taken->row_version = read_row_version(x, answer);
		x->result->pushed++;
	}
	else if (answer->type == jbvBinary && JsonContainerIsObject(answer->val.binary.data))
		take_full_answer(x, answer, taken);
	else
		reply_violation(x->link, push_call, "is neither a number nor an object for a change");
}

static void
take_answers(Exchange *x, const Reply *reply)
{
	MemoryContext old = MemoryContextSwitchTo(x->push.context);
	Push	   *push = &x->push;
	Jsonb	   *answers = reply_jsonb(reply, 0, 0);
	JsonbIterator *it = JsonbIteratorInit(&answers->root);
	JsonbIteratorToken token;
	JsonbValue	answer;
	int			at = push->from - 1;

	if (!JB_ROOT_IS_ARRAY(answers) || JB_ROOT_IS_SCALAR(answers) ||
		(int) JB_ROOT_COUNT(answers) != push->message.n)
		reply_violation(x->link, push_call, "is no array of %d answers to as many changes",
						push->message.n);
	while ((token = JsonbIteratorNext(&it, &answer, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		/* those that were not sent have theirs */
		while (push->answers[++at].error != NULL)
			;
		take_answer(x, &answer, &push->answers[at]);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Does the error say that the hub couldn't read the message, of which it can't tell then
 * which change it was?  It has a character that isn't in the hub's encoding, say, or there
 * is too much of it.
 */
static bool
is_about_message(const Push *push, int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION ||
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		(sqlstate == ERRCODE_OUT_OF_MEMORY && push->message.n > 1);
}

/* Send half of the message; or note that its one change has failed. */
static void
push_failed(Exchange *x, const Reply *reply)
{
	Push	   *push = &x->push;
	int			at = push->from;

	if (push->message.n > 1)
	{
		push->room = push->message.n / 2;
		push->bytes -= push->message.bytes;
		push->to = push->from;
		return;
	}
	while (push->answers[at].error != NULL)
		at++;
	push->answers[at].error = MemoryContextStrdup(push->context,
												  psprintf("%s: %s", unpack_sql_state(reply->sqlstate),
														   reply->message));
	x->result->failed++;
}

/* ---------- what was answered ---------- */

/* In one transaction: the batch is done, and the next one is cut. */
static void
finish_batch(Exchange *x)
{
	const OutboxBatch *next = x->ahead.batch.nchanges > 0 ? &x->ahead.batch : NULL;
	bool		goes_on = x->side->answered(x->source, &x->push.batch, x->push.answers, next);

	x->result->rejected += x->push.unsent;
	x->push.max = exchange_next_max(x, x->push.batch.nchanges, x->push.bytes);
	peer_note(x->link, 0, x->push.batch.batch, exchange_hub_time(x));
	if (goes_on)
		take_up(x);
	else
		push_cut(x);
}

static void
note_owed(Exchange *x)
{
	x->push.owed = false;
	x->push.noted = true;
	x->side->retry(x->source);
}

void
push_send(Exchange *x)
{
	for (;;)
	{
		if (x->push.batch.nchanges > 0)
		{
			x->push.noted = false;
			if (send_batch(x))
				return;
			/* the wire can carry none of its changes */
			exchange_step(x, finish_batch);
		}
		else if (x->push.owed && !x->push.noted)
		{
			/*
			 * What is noted is in no window before it is committed.  What is owed
			 * again though nothing has been sent since would be so for ever: it
			 * waits for its next attempt.
			 */
			exchange_step(x, note_owed);
			exchange_step(x, push_cut);
		}
		else
			return;
	}
}

/* Put what is left of the batch into a message. */
static void
make_rest(Exchange *x)
{
	MemoryContext old = MemoryContextSwitchTo(x->push.context);

	make_message(x, &x->push);
	MemoryContextSwitchTo(old);
}

void
push_answered(Exchange *x)
{
	static const ReplyShape answers = {"sync_push", 1, 1, 1, ANSWER_BYTES};
	Reply	   *reply = remote_reply(&x->upstream->remote, &answers, upstream_deadline());

	if (is_about_message(&x->push, reply->sqlstate))
		push_failed(x, reply);
	else
	{
		/* a change that failed is answered: an error is about the batch, which comes again */
		reply_check(reply);
		take_answers(x, reply);
		x->push.room = Min(x->push.room, INT_MAX / 2) * 2;
	}
	reply_free(reply);
	make_rest(x);
	if (send_message(x))
		return;
	exchange_step(x, finish_batch);
	push_send(x);
}
