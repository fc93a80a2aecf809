/*
 * exchange.c
 *	  sync_exchange: changes go to the hub behind a link, and records come back.
 *
 * Called from SQL and by the link's worker.  Calls to the hub are sent ahead:
 * while it works on a push, a batch that was pulled is placed here, and while it
 * looks for what we lack, the next push is cut.  They are answered in the order
 * they were sent.  Here everything is done in transactions that are committed
 * before anything is waited for.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "link/exchange.h"
#include "link/exchange_keys.h"
#include "link/exchange_pull.h"
#include "link/exchange_push.h"
#include "link/link_state.h"
#include "link/resync.h"
#include "link/spoke_hub.h"
#include "link/upstream_cache.h"
#include "model/json.h"
#include "process/args.h"
#include "process/steps.h"
#include "settings.h"
#include "storage/binding.h"
#include "storage/hints.h"
#include "storage/registry.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_exchange);

/* ---------- beginning ---------- */

static void
begin_push(Exchange *x)
{
	x->side->retry(x->source);
	push_cut(x);
}

/* The link as it is now.  Raises unless the current role may exchange over it. */
static const Link *
find_link(const Exchange *x)
{
	const Link *link = link_of_name(x->link);

	if (link == NULL)
	{
		registry_check_stranger(registry_get(), NULL);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("link \"%s\" does not exist", x->link),
				 errhint_call("Make it with SELECT sync_link(%s, …).", quote_literal_cstr(x->link))));
	}
	source_role_check(registry_source_required(registry_get(), link->source));
	return link;
}

/* Note the kind of the link, which cannot change while we have the lock. */
static void
take_kind(Exchange *x, const Link *link)
{
	const List *bindings = binding_list(link->source, NULL);

	x->side = link->relay ? &spoke_hub_side : &spoke_tables_side;
	x->pulls = x->side->takes_records(x->source);
	keys_begin(x, link->relay);
	if (link->relay && bindings != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("link \"%s\" is a relay, and its source has a relation", link->name),
				 errhint_call("SELECT sync_detach(%s), and attach it to another source.",
						 quote_literal_cstr(((const Binding *) linitial(bindings))->name))));
}

/*
 * Lock the link and read it.  If it is connected already, and the hub knows which tables
 * there are, cut the first batch.
 */
static void
begin(Exchange *x)
{
	const Link *link = find_link(x);

	if (!x->locked)
	{
		exchange_lock(x);
		/* the session that had the lock may have ended the link */
		link = find_link(x);
	}
	x->source = MemoryContextStrdup(x->context, link->source);
	take_kind(x, link);
	x->batch_bytes = link_state_batch_bytes(x->link);
	x->upstream = upstream_cached_prepare(link);
	upstream_note_tables(x->upstream, link);
	if (x->upstream->remote.conn != NULL && upstream_is_outdated(x->upstream))
	{
		x->ask_again = true;
		upstream_greet(x->upstream);
	}
	else if (x->upstream->remote.conn != NULL)
		begin_push(x);
}

/* Check after the handshake that the hub is the one that was linked, and begin. */
static void
begin_connected(Exchange *x)
{
	const Link *link = find_link(x);
	Greeting   *greeting = &x->upstream->greeting;
	MemoryContext old;

	/* an administrator edited the link: sync_unlink would have waited for our lock */
	if (strcmp(link->source, x->source) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("link \"%s\" was given another source in the meantime", x->link),
				 errhint("Try again.")));
	x->refused = greeting_why(greeting);
	greeting_check(greeting, x->link, link->server, x->source);
	upstream_check_entities(x->upstream);
	old = MemoryContextSwitchTo(x->upstream->context);
	x->greet_again = greeting_note(greeting, x->link);
	MemoryContextSwitchTo(old);
	if (x->greet_again)
		upstream_greet(x->upstream);
	else
	{
		x->compare = resync_is_due(x);
		if (!x->compare)
			begin_push(x);
	}
}

/* ---------- exchanging ---------- */

static void
greet(Exchange *x)
{
	upstream_greet(x->upstream);
}

/*
 * Connect, and if one side has gone back in time, bring both to what they have in
 * common.  That side begins a new epoch, and the other has to hear of it: so the
 * handshake is done once more.
 */
static void
connect_hub(Exchange *x)
{
	int			tries = 0;

	do
	{
		if (++tries > 5)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("the hub of link \"%s\" says again and again that this database has gone back in time",
							x->link)));
		upstream_open(x->upstream, true);
		exchange_step(x, begin_connected);
		if (x->greet_again || !x->compare)
			continue;
		resync_run(x);
		x->asks_keys = x->says_keys;
		exchange_step(x, greet);
		x->greet_again = true;
	} while (x->greet_again);
}

static void
run(Exchange *x)
{
	exchange_step(x, begin);
	if (x->upstream->remote.conn == NULL || x->ask_again)
		connect_hub(x);
	keys_pass_over(x);
	push_send(x);
	pull_ask(x);
	while (x->calls != NIL)
	{
		CallKind	kind = linitial_int(x->calls);

		CHECK_FOR_INTERRUPTS();
		push_follow(x);
		x->calls = list_delete_first(x->calls);
		if (kind == CALL_PUSH)
		{
			push_answered(x);
			/* what the hub decided on the batch may have to come back to us */
			if (!x->pull.asked)
				pull_ask(x);
		}
		else
			pull_answered(x, kind);
	}
	keys_say(x);
	x->result->more = !exchange_may_go_on(x);
	/*
	 * The last pull found nothing.  But records that failed come again later, or are
	 * dead: as long as there were any, and once a connection, the hub is asked.
	 */
	if (x->result->more || x->result->failed > 0 || x->upstream->behind != 0)
		x->result->behind = upstream_behind(x->upstream);
}

static void
note_result(Exchange *x)
{
	link_state_note(x->link, x->result, x->procedure);
}

static void
note_error(Exchange *x)
{
	link_state_note_error(x->link, x->error, x->result->smaller);
	if (x->refused != NULL)
		greeting_note_refusal(x->link, x->refused);
}

/*
 * Can it have been that a batch was too large?  There was not enough memory, here or at the
 * hub; or the connection was lost, or nothing came in time, while an answer was waited for:
 * so libpq fails that has no room for one, and so a hub whose session the system has ended.
 */
static bool
was_too_large(const Exchange *x, const ErrorData *error)
{
	if (x->batch_bytes <= LINK_BATCH_BYTES_MIN)
		return false;
	return error->sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
		(error->sqlerrcode == ERRCODE_CONNECTION_FAILURE &&
		 (x->batches > 0 || x->pull.asked));
}

/*
 * After an error: close the connection, which is in an unknown state, and note the
 * error in the link's state.  A second error in here must not hide the first one.
 */
static void
clean_up(Exchange *x, const ErrorData *error)
{
	/* this session was; a statement cancelled at the hub is an error like others */
	bool		interrupted = !reply_raised(error) &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION;

	if (!x->procedure)
		AbortCurrentTransaction();
	MemoryContextSwitchTo(x->context);
	PG_TRY();
	{
		/* it is in the memory of the connection, which is closed below */
		if (x->refused != NULL)
			x->refused = MemoryContextStrdup(x->context, x->refused);
		upstream_cached_drop(x->link);
		MemoryContextReset(x->push.context);
		MemoryContextReset(x->ahead.context);
		MemoryContextReset(x->pull.context);
		x->result->smaller = was_too_large(x, error);
		/* a caller without the right to exchange has failed before the lock: don't note that */
		if (x->locked && !interrupted)
		{
			x->error = reply_error_text(error);
			exchange_step(x, note_error);
		}
	}
	PG_CATCH();
	{
		FlushErrorState();
		if (!x->procedure)
			AbortCurrentTransaction();
	}
	PG_END_TRY();
}

static void
exchange(const char *link, bool procedure, ExchangeResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	Exchange	x = {.procedure = procedure, .result = result};

	MemSet(result, 0, sizeof(ExchangeResult));
	x.context = AllocSetContextCreate(procedure ? caller : TopMemoryContext,
									  "syncext exchange", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(x.context);
	x.link = pstrdup(link);
	x.step = AllocSetContextCreate(x.context, "syncext exchange step", ALLOCSET_DEFAULT_SIZES);
	x.push.context = AllocSetContextCreate(x.context, "syncext push", ALLOCSET_DEFAULT_SIZES);
	x.ahead.context = AllocSetContextCreate(x.context, "syncext push ahead", ALLOCSET_DEFAULT_SIZES);
	x.pull.context = AllocSetContextCreate(x.context, "syncext pull", ALLOCSET_DEFAULT_SIZES);
	x.push.max = x.pull.max = setting_link_batch;
	PG_TRY();
	{
		run(&x);
		exchange_step(&x, note_result);
		exchange_unlock(&x);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		clean_up(&x, error);
		exchange_unlock(&x);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(x.context);
		ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(x.context);
}

/* ---------- for the worker ---------- */

void
exchange_run(const char *link, ExchangeResult *result)
{
	exchange(link, false, result);
}

Remote *
exchange_connection(const char *link)
{
	Upstream   *upstream = upstream_cached(link);

	return upstream == NULL || upstream->remote.conn == NULL ? NULL : &upstream->remote;
}

bool
exchange_listen(const char *link)
{
	Upstream   *upstream = upstream_cached(link);

	if (upstream == NULL || upstream->remote.conn == NULL || upstream->remote.listens)
		return false;
	PG_TRY();
	{
		upstream_listen(upstream);
	}
	PG_CATCH();
	{
		/* an answer may be outstanding, which a later call would take for its own */
		upstream_cached_drop(link);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return true;
}

/* ---------- the procedure ---------- */

static Jsonb *
make_result(const ExchangeResult *result, TimestampTz begin)
{
	JsonbParseState *state = json_begin_object();

	json_push_number(&state, "pushed", result->pushed);
	json_push_number(&state, "merged", result->merged);
	json_push_number(&state, "conflicts", result->conflicts);
	json_push_number(&state, "waiting", result->waiting);
	json_push_number(&state, "rejected", result->rejected);
	json_push_number(&state, "pulled", result->pulled);
	json_push_number(&state, "failed", result->failed);
	if (result->more)
		json_push_bool(&state, "more", true);
	json_push_seconds(&state, "seconds", GetCurrentTimestamp() - begin);
	return json_end_object(&state);
}

Datum
sync_exchange(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz begin = GetCurrentTimestamp();
	ExchangeResult result;
	char	   *link;

	steps_refuse_atomic(fcinfo, "sync_exchange(…)", "It commits before it waits for the hub.");
	link = arg_text(fcinfo, 0, "link");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* drop the caller's snapshot: each step takes one of its own */
	SPI_commit();
	exchange(link, true, &result);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_DATUM(steps_result(fcinfo, make_result(&result, begin)));
}
