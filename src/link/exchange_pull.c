/*
 * exchange_pull.c
 *	  The pull half of an exchange: the hub's records come here.
 *
 * Called by link/exchange.  A batch is placed in one transaction and only then
 * acknowledged at the hub, together with asking for the next one; broken off
 * between the two it comes again, and finds its records placed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "link/exchange_state.h"
#include "link/relay.h"
#include "local/linked.h"
#include "model/json.h"
#include "settings.h"
#include "storage/durability.h"

/* ---------- asking ---------- */

static void
send_pull(Exchange *x)
{
	const char *params[2] = {x->source};

	params[1] = psprintf("%d", x->pull.max);
	remote_send_prepared(&x->hub->remote, HUB_PULL, 2, params);
	x->pull.asked = true;
}

void
pull_ask(Exchange *x)
{
	if (!exchange_may_go_on(x))
		return;
	send_pull(x);
	remote_sync(&x->hub->remote);
	exchange_sent(x, CALL_PULL, 0, 0);
}

/* Those of the batch that could not be placed, as sync_ack wants them. */
static char *
make_failed(const Pull *pull)
{
	JsonbParseState *state = NULL;
	Jsonb	   *failed;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < pull->nrecords; i++)
	{
		const LinkedRecord *record = &pull->records[i];

		if (record->error == NULL && !record->busy)
			continue;
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		json_push_string(&state, "entity", record->entity);
		json_push_string(&state, "externalId", record->external_id);
		json_push_string(&state, "error", record->error != NULL ? record->error : "it is busy");
		json_push_bool(&state, "busy", record->busy);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	failed = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
	return JsonbToCString(NULL, &failed->root, VARSIZE(failed));
}

/* Acknowledge the batch and ask for the next one: one transaction there. */
static void
acknowledge(Exchange *x)
{
	const char *params[3] = {x->source};
	bool		more = exchange_may_go_on(x);

	/* what the hub takes for placed must not be lost here */
	durability_wait();
	params[1] = psprintf(INT64_FORMAT, x->pull.batch);
	params[2] = make_failed(&x->pull);
	remote_send_prepared(&x->hub->remote, HUB_ACK, 3, params);
	if (more)
		send_pull(x);
	remote_sync(&x->hub->remote);
	exchange_sent(x, more ? CALL_ACK_AND_PULL : CALL_ACK, 0, 0);
}

/* ---------- placing ---------- */

static Jsonb *
read_jsonb(char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/* Read a row of the answer; returns its size. */
static Size
read_record(PGresult *result, int row, LinkedRecord *record)
{
	char	   *fields = PQgetvalue(result, row, 6);

	MemSet(record, 0, sizeof(LinkedRecord));
	record->entity = pstrdup(PQgetvalue(result, row, 1));
	record->external_id = pstrdup(PQgetvalue(result, row, 2));
	record->version = strtoi64(PQgetvalue(result, row, 3), NULL, 10);
	record->row_version = strtoi64(PQgetvalue(result, row, 4), NULL, 10);
	record->deleted = PQgetvalue(result, row, 5)[0] == 't';
	record->fields = read_jsonb(fields);
	record->correction = PQgetvalue(result, row, 7)[0] == 't';
	record->whole = true;
	if (!PQgetisnull(result, row, 8))
		fields_from_container(&read_jsonb(PQgetvalue(result, row, 8))->root, &record->withheld);
	return PQgetlength(result, row, 6);
}

static void
read_records(Exchange *x, PGresult *result)
{
	Pull	   *pull = &x->pull;
	MemoryContext old;
	Size		bytes = 0;

	MemoryContextReset(pull->context);
	old = MemoryContextSwitchTo(pull->context);
	pull->nrecords = PQntuples(result);
	pull->records = palloc_extended(sizeof(LinkedRecord) * Max(pull->nrecords, 1),
									MCXT_ALLOC_HUGE);
	for (int i = 0; i < pull->nrecords; i++)
		bytes += read_record(result, i, &pull->records[i]);
	if (pull->nrecords > 0)
	{
		pull->batch = strtoi64(PQgetvalue(result, 0, 0), NULL, 10);
		pull->max = exchange_next_max(pull->nrecords, bytes);
	}
	MemoryContextSwitchTo(old);
}

/* In one transaction. */
static void
place_records(Exchange *x)
{
	Pull	   *pull = &x->pull;
	MemoryContext old = MemoryContextSwitchTo(pull->context);

	if (x->relay)
		relay_place(x->source, pull->records, pull->nrecords);
	else
		linked_place(x->source, pull->records, pull->nrecords);
	MemoryContextSwitchTo(old);
}

static void
count_records(Exchange *x)
{
	for (int i = 0; i < x->pull.nrecords; i++)
	{
		if (x->pull.records[i].error == NULL && !x->pull.records[i].busy)
			x->result->pulled++;
		else
			x->result->failed++;
	}
}

/* ---------- answers ---------- */

static void
take_records(Exchange *x, PGresult *result)
{
	remote_check(&x->hub->remote, result);
	PG_TRY();
	{
		read_records(x, result);
	}
	PG_FINALLY();
	{
		PQclear(result);
	}
	PG_END_TRY();
	if (x->pull.nrecords == 0)
		return;
	x->batches++;
	exchange_step(x, place_records);
	count_records(x);
	acknowledge(x);
}

/*
 * See what became of an acknowledgement.  A batch whose lease had ended is out
 * again, or another one is: it comes again, and does no harm.  Returns false
 * then; what was asked for with it has not been done.
 */
static bool
is_acknowledged(Exchange *x, PGresult *result)
{
	return remote_sqlstate(result) != ERRCODE_SYNC_STALE_BATCH || x->pull.refused_acks++ >= 3;
}

void
pull_answered(Exchange *x, const Call *call)
{
	int			n = call->kind == CALL_ACK_AND_PULL ? 2 : 1;
	PGresult   *results[2];

	if (call->kind == CALL_ACK)
		remote_results(&x->hub->remote, n, results, setting_link_timeout * 1000);
	else
		remote_results_of_all(&x->hub->remote, n, results, setting_link_timeout * 1000);
	x->pull.asked = false;
	if (call->kind == CALL_PULL)
	{
		take_records(x, results[0]);
		return;
	}
	if (!is_acknowledged(x, results[0]))
	{
		for (int i = 0; i < n; i++)
			PQclear(results[i]);
		pull_ask(x);
		return;
	}
	if (n == 2 && remote_sqlstate(results[0]) != 0)
		PQclear(results[1]);
	remote_check(&x->hub->remote, results[0]);
	PQclear(results[0]);
	x->pull.refused_acks = 0;
	if (n == 2)
		take_records(x, results[1]);
}
