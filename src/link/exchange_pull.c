/*
 * exchange_pull.c
 *	  The pull half of an exchange: the hub's records come here.
 *
 * A batch is placed in one transaction and only then acknowledged at the hub, together
 * with asking for the next one.  If the exchange breaks off between the two, the hub
 * sends the batch again, which finds its records placed.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "hub/pull.h"
#include "link/exchange_pull.h"
#include "link/wire.h"
#include "model/json_read.h"
#include "process/durability.h"

/* ---------- asking ---------- */

static void
send_pull(Exchange *x)
{
	const char *params[3] = {x->upstream->wire_source};

	params[1] = psprintf("%d", x->pull.max);
	params[2] = psprintf("%d", x->batch_bytes);
	remote_send_prepared(&x->upstream->remote, UPSTREAM_PULL, 3, params);
	x->pull.asked = true;
}

void
pull_ask(Exchange *x)
{
	/* without a table the records would be acknowledged, and passed over */
	if (!x->pulls || !exchange_may_go_on(x))
		return;
	send_pull(x);
	remote_sync(&x->upstream->remote);
	exchange_sent(x, CALL_PULL);
}

/* ---------- what failed ---------- */

/*
 * A record of the answer that this database can't hold.  Its names stay in the wire's
 * encoding, because the database may not be able to hold these either.
 */
typedef struct UnreadRecord
{
	const char *entity;
	const char *external_id;
	const char *error;
} UnreadRecord;

static void
add_failed(StringInfo failed, const char *entity, const char *external_id, const char *error,
		   bool busy, bool waits)
{
	const char *why;
	const char *told = wire_out(error, &why);

	appendStringInfoString(failed, failed->len > 1 ? ", {\"entity\": " : "{\"entity\": ");
	escape_json(failed, entity);
	appendStringInfoString(failed, ", \"externalId\": ");
	escape_json(failed, external_id);
	appendStringInfoString(failed, ", \"error\": ");
	escape_json(failed, told != NULL ? told : "it failed");
	appendStringInfo(failed, ", \"busy\": %s%s}", busy ? "true" : "false",
					 waits ? ", \"waits\": true" : "");
}

/* The records that could not be placed, as sync_ack takes them, in the wire's encoding. */
static const char *
make_failed(const Pull *pull)
{
	StringInfoData failed;

	initStringInfo(&failed);
	appendStringInfoChar(&failed, '[');
	for (int i = 0; i < pull->nrecords; i++)
	{
		const PulledRecord *record = &pull->records[i];

		if (record->error != NULL || record->busy)
			add_failed(&failed, wire_out_required(record->entity),
					   wire_out_required(record->external_id),
					   record->error != NULL ? record->error : "it is busy", record->busy,
					   record->waits);
	}
	for (int i = 0; i < pull->nunread; i++)
		add_failed(&failed, pull->unread[i].entity, pull->unread[i].external_id,
				   pull->unread[i].error, false, false);
	appendStringInfoChar(&failed, ']');
	return failed.data;
}

/* Acknowledge the batch and ask for the next one: one transaction there. */
static void
acknowledge(Exchange *x)
{
	const char *params[3] = {x->upstream->wire_source};
	bool		more = exchange_may_go_on(x);

	/* a crash here must not lose what the hub takes for placed */
	durability_wait();
	params[1] = psprintf(INT64_FORMAT, x->pull.batch);
	params[2] = make_failed(&x->pull);
	remote_send_prepared(&x->upstream->remote, UPSTREAM_ACK, 3, params);
	if (more)
		send_pull(x);
	remote_sync(&x->upstream->remote);
	exchange_sent(x, more ? CALL_ACK_AND_PULL : CALL_ACK);
}

/* ---------- reading ---------- */

/* The columns of the answer. */
enum
{
	PULL_BATCH,
	PULL_ENTITY,
	PULL_EXTERNAL_ID,
	PULL_VERSION,
	PULL_ROW_VERSION,
	PULL_DELETED,
	PULL_FIELDS,
	PULL_CORRECTION,
	PULL_WITHHELD,
	PULL_UPDATED_AT,			/* in microseconds since 1970 */
	PULL_STATE,
	PULL_COUNTED,
	PULL_MERGED_FROM,
	PULL_NCOLUMNS
};

/* From 1970, where other systems begin to count, to 2000, where PostgreSQL does. */
#define EPOCHS_APART \
	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static const char *const pull_call = "syncext.hub_pull";

/* An object in a column; NULL, and why, if this database can't hold it. */
static Jsonb *
read_object(const Reply *reply, int row, int column, const char **why)
{
	Jsonb	   *jsonb = reply_try_jsonb(reply, row, column, why);

	if (jsonb == NULL || JB_ROOT_IS_OBJECT(jsonb))
		return jsonb;
	*why = "08P01: its fields are no JSON object";
	return NULL;
}

/* Raise where the row cannot be a hub's record at all. */
static void
read_numbers(const Reply *reply, int row, PulledRecord *record)
{
	record->version = reply_int64(reply, row, PULL_VERSION, 0, CHANGE_MAX_VERSION);
	record->row_version = reply_int64(reply, row, PULL_ROW_VERSION, 1, CHANGE_MAX_VERSION);
	record->deleted = reply_bool(reply, row, PULL_DELETED);
	record->correction = reply_bool(reply, row, PULL_CORRECTION);
	record->whole = true;
	record->has_updated_at = !reply_is_null(reply, row, PULL_UPDATED_AT);
	if (record->has_updated_at)
		record->updated_at = reply_int64(reply, row, PULL_UPDATED_AT, MIN_TIMESTAMP + EPOCHS_APART,
										 END_TIMESTAMP - 1) - EPOCHS_APART;
	if (reply_int64(reply, row, PULL_BATCH, 0, PG_INT64_MAX) !=
		reply_int64(reply, 0, PULL_BATCH, 0, PG_INT64_MAX))
		reply_violation(reply->link, pull_call, "has records of two batches");
}

/* Like read_object(), of what need not be there; a reason that there is already stays. */
static Jsonb *
read_optional(const Reply *reply, int row, int column, const char **why)
{
	return *why != NULL || reply_is_null(reply, row, column) ? NULL :
		read_object(reply, row, column, why);
}

/* Ids in a column, likewise. */
static List *
read_ids(const Reply *reply, int row, int column, const char **why)
{
	Jsonb	   *jsonb = *why != NULL || reply_is_null(reply, row, column) ? NULL :
		reply_try_jsonb(reply, row, column, why);
	List	   *ids = NIL;

	if (jsonb != NULL && (!JB_ROOT_IS_ARRAY(jsonb) || JB_ROOT_IS_SCALAR(jsonb) ||
						  !json_read_strings(&jsonb->root, &ids)))
		*why = "08P01: the records that were merged into it are no array of ids";
	return ids;
}

/* Read a row of the answer; returns why this database can't hold it, NULL if it can. */
static const char *
read_record(const Reply *reply, int row, PulledRecord *record)
{
	const char *why = NULL;
	const char *entity = reply_try_string(reply, row, PULL_ENTITY, &why);
	const char *external_id = reply_try_string(reply, row, PULL_EXTERNAL_ID, &why);
	Jsonb	   *withheld;

	MemSet(record, 0, sizeof(PulledRecord));
	read_numbers(reply, row, record);
	if (entity == NULL || external_id == NULL)
		return why;
	record->entity = pstrdup(entity);
	record->external_id = pstrdup(external_id);
	record->fields = read_object(reply, row, PULL_FIELDS, &why);
	record->state = read_optional(reply, row, PULL_STATE, &why);
	record->counted = read_optional(reply, row, PULL_COUNTED, &why);
	record->merged_from = read_ids(reply, row, PULL_MERGED_FROM, &why);
	withheld = read_optional(reply, row, PULL_WITHHELD, &why);
	if (withheld != NULL)
		fields_from_container(&withheld->root, &record->withheld);
	return why;
}

static void
add_unread(Pull *pull, const Reply *reply, int row, const char *why)
{
	UnreadRecord *unread;

	if (pull->nunread == 0)
		pull->unread = palloc(sizeof(UnreadRecord) * reply->nrows);
	unread = &pull->unread[pull->nunread++];
	unread->entity = pstrdup(reply_text(reply, row, PULL_ENTITY));
	unread->external_id = pstrdup(reply_text(reply, row, PULL_EXTERNAL_ID));
	unread->error = why;
}

static void
read_records(Exchange *x, const Reply *reply)
{
	Pull	   *pull = &x->pull;
	MemoryContext old;
	Size		bytes = 0;

	MemoryContextReset(pull->context);
	old = MemoryContextSwitchTo(pull->context);
	pull->nrecords = pull->nunread = 0;
	pull->records = palloc_extended(sizeof(PulledRecord) * Max(reply->nrows, 1),
									MCXT_ALLOC_HUGE);
	for (int i = 0; i < reply->nrows; i++)
	{
		const char *why = read_record(reply, i, &pull->records[pull->nrecords]);

		CHECK_FOR_INTERRUPTS();
		if (why == NULL)
			pull->nrecords++;
		else
			add_unread(pull, reply, i, why);
		bytes += reply_length(reply, i, PULL_FIELDS);
	}
	if (reply->nrows > 0)
	{
		pull->batch = reply_int64(reply, 0, PULL_BATCH, 0, PG_INT64_MAX);
		pull->max = exchange_next_max(x, reply->nrows, bytes);
	}
	MemoryContextSwitchTo(old);
}

/* ---------- placing ---------- */

/* In one transaction, as is placing them then. */
static void
take_rows(Exchange *x)
{
	MemoryContext old = MemoryContextSwitchTo(x->pull.context);

	x->side->take_rows(x->source, x->pull.records, x->pull.nrecords);
	MemoryContextSwitchTo(old);
}

static bool
any_merged(const Pull *pull)
{
	for (int i = 0; i < pull->nrecords; i++)
		if (pull->records[i].merged_from != NIL)
			return true;
	return false;
}

static void
place_records(Exchange *x)
{
	Pull	   *pull = &x->pull;
	MemoryContext old = MemoryContextSwitchTo(pull->context);

	x->side->place(x->source, pull->records, pull->nrecords);
	peer_note(x->link, pull->batch, 0, exchange_hub_time(x));
	MemoryContextSwitchTo(old);
}

static void
count_records(Exchange *x)
{
	for (int i = 0; i < x->pull.nrecords; i++)
	{
		if (x->pull.records[i].known)
			continue;
		if (x->pull.records[i].error == NULL && !x->pull.records[i].busy)
			x->result->pulled++;
		else
			x->result->failed++;
	}
	x->result->failed += x->pull.nunread;
}

/* ---------- answers ---------- */

static void
take_records(Exchange *x, Reply *reply)
{
	reply_check(reply);
	read_records(x, reply);
	reply_free(reply);
	if (x->pull.nrecords + x->pull.nunread == 0)
		return;
	x->batches++;
	if (x->side->take_rows != NULL && any_merged(&x->pull))
		exchange_step(x, take_rows);
	exchange_step(x, place_records);
	count_records(x);
	acknowledge(x);
}

/*
 * Has the hub taken the acknowledgement?  It refuses one for a batch whose lease had
 * ended, and then hasn't done what the call asked for with it.  It sends the records
 * again, which does no harm as they are placed.  After three refusals in a row the
 * caller takes the next one for an error.
 */
static bool
is_acknowledged(Exchange *x, const Reply *reply)
{
	return reply->sqlstate != ERRCODE_SYNC_STALE_BATCH || x->pull.refused_acks++ >= 3;
}

void
pull_answered(Exchange *x, CallKind kind)
{
	static const ReplyShape acknowledged = {"syncext.hub_ack", 1, 1, 1, 100};
	/* what a hub that keeps to the protocol answers at most */
	const ReplyShape records = {pull_call, PULL_NCOLUMNS, 0, x->pull.max, LINK_ANSWER_BYTES};
	const ReplyShape *shapes[2] = {&acknowledged, &records};
	Reply	   *replies[2] = {NULL, NULL};
	const int	first = kind == CALL_PULL ? 1 : 0;

	remote_replies(&x->upstream->remote, kind == CALL_ACK_AND_PULL ? 2 : 1, kind != CALL_ACK,
				   &shapes[first], &replies[first], upstream_deadline());
	x->pull.asked = false;
	if (replies[0] != NULL && !is_acknowledged(x, replies[0]))
	{
		reply_free(replies[0]);
		reply_free(replies[1]);
		pull_ask(x);
		return;
	}
	if (replies[0] != NULL)
	{
		reply_check(replies[0]);
		reply_free(replies[0]);
		x->pull.refused_acks = 0;
	}
	if (replies[1] != NULL)
		take_records(x, replies[1]);
}
