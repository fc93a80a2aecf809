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
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "hub/procedure.h"
#include "link/exchange_state.h"
#include "link/link_state.h"
#include "link/relay.h"
#include "local/linked.h"
#include "model/json.h"
#include "settings.h"
#include "storage/binding.h"
#include "storage/durability.h"
#include "storage/hints.h"
#include "storage/locks.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(sync_exchange);

/* ---------- steps ---------- */

static void
commit(const Exchange *x)
{
	if (x->procedure)
		SPI_commit();
	else
		CommitTransactionCommand();
}

typedef struct Step
{
	Exchange   *x;
	void		(*function) (Exchange *x);
} Step;

static void
run_step(void *arg)
{
	const Step *step = arg;

	step->function(step->x);
}

void
exchange_step(Exchange *x, void (*function) (Exchange *x))
{
	Step		step = {x, function};
	ErrorData  *error;

	if (!x->procedure)
		StartTransactionCommand();
	/* each step has to see what was committed before it */
	XactIsoLevel = XACT_READ_COMMITTED;
	/* lost in a crash, all of it comes again, but for what the hub was told */
	durability_none();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* a subtransaction takes with it whatever an error leaves open, SPI for one */
	error = procedure_try(x->step, x->context, run_step, &step);
	PopActiveSnapshot();
	commit(x);
	MemoryContextSwitchTo(x->context);
	MemoryContextReset(x->step);
	if (error != NULL)
		ReThrowError(error);
}

void
exchange_sent(Exchange *x, CallKind kind, int from, int to)
{
	MemoryContext old = MemoryContextSwitchTo(x->context);
	Call	   *call = palloc(sizeof(Call));

	call->kind = kind;
	call->from = from;
	call->to = to;
	x->calls = lappend(x->calls, call);
	MemoryContextSwitchTo(old);
}

bool
exchange_may_go_on(const Exchange *x)
{
	return x->batches < MAX_BATCHES;
}

int
exchange_next_max(const Exchange *x, int n, Size bytes)
{
	Size		each = Max(bytes / n, 1);
	Size		room = x->batch_bytes / each;

	return room < 1 ? 1 : room < (Size) setting_link_batch ? (int) room : setting_link_batch;
}

/* ---------- beginning ---------- */

/* One at a time. */
static void
lock_link(Exchange *x)
{
	(void) lock_session(LOCK_EXCHANGE, lock_key(x->link), true);
	x->locked = true;
}

static void
unlock_link(Exchange *x)
{
	if (x->locked)
		lock_release(LOCK_EXCHANGE, lock_key(x->link));
	x->locked = false;
}

TimestampTz
exchange_hub_time(const Exchange *x)
{
	return GetCurrentTimestamp() + x->hub->greeting.offset;
}

void
exchange_hold(const char *link)
{
	(void) lock_transaction(LOCK_EXCHANGE, lock_key(link), true);
}

static void
begin_push(Exchange *x)
{
	if (!x->relay)
		(void) linked_retry(x->source);
	push_cut(x);
}

/* The link as it is now, for one who may exchange over it. */
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

/* What kind of link it is holds as long as we have the lock. */
static void
take_kind(Exchange *x, const Link *link)
{
	const List *bindings = binding_list(link->source, NULL);

	x->relay = link->relay;
	x->pulls = link->relay || bindings != NIL;
	if (link->relay && bindings != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("link \"%s\" is a relay, and its source has a relation", link->name),
				 errhint_call("SELECT sync_detach(%s), and attach it to another source.",
						 quote_literal_cstr(((const Binding *) linitial(bindings))->name))));
}

/*
 * See to the link; where it is connected already, and the hub knows which tables
 * there are, cut what is to be sent.
 */
static void
begin(Exchange *x)
{
	const Link *link = find_link(x);

	if (!x->locked)
	{
		lock_link(x);
		/* who had the lock may have ended the link */
		link = find_link(x);
	}
	x->source = MemoryContextStrdup(x->context, link->source);
	take_kind(x, link);
	x->batch_bytes = link_state_batch_bytes(x->link);
	x->hub = hub_kept_prepare(link);
	hub_note_tables(x->hub, link);
	if (x->hub->remote.conn != NULL && hub_is_outdated(x->hub))
	{
		x->ask_again = true;
		hub_greet(x->hub);
	}
	else if (x->hub->remote.conn != NULL)
		begin_push(x);
}

/* The hub is as it has just said: is it the one that was linked? */
static void
begin_connected(Exchange *x)
{
	const Link *link = find_link(x);
	Greeting   *greeting = &x->hub->greeting;
	MemoryContext old;

	/* by hand: sync_unlink would wait for us */
	if (strcmp(link->source, x->source) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("link \"%s\" was given another source in the meantime", x->link),
				 errhint("Try again.")));
	x->refused = greeting_why(greeting);
	greeting_check(greeting, x->link, link->server, x->source);
	hub_check_entities(x->hub);
	old = MemoryContextSwitchTo(x->hub->context);
	x->greet_again = greeting_note(greeting, x->link);
	MemoryContextSwitchTo(old);
	if (x->greet_again)
		hub_greet(x->hub);
	else if (greeting->peer.resync_since == 0)
		begin_push(x);
}

/* ---------- exchanging ---------- */

/*
 * Connect, and bring both sides to what they have in common, if one of them has gone
 * back in time.  Who has done so begins an epoch of its own, and says so.
 */
static void
connect_hub(Exchange *x)
{
	int			tries = 0;

	do
	{
		if (++tries > 3)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("the hub of link \"%s\" says again and again that this database has gone back in time",
							x->link)));
		hub_open(x->hub, true);
		exchange_step(x, begin_connected);
	} while (x->greet_again);
	if (x->hub->greeting.peer.resync_since == 0)
		return;
	resync_run(x);
	exchange_step(x, begin_push);
}

static void
run(Exchange *x)
{
	exchange_step(x, begin);
	if (x->hub->remote.conn == NULL || x->ask_again)
		connect_hub(x);
	push_send(x);
	pull_ask(x);
	while (x->calls != NIL)
	{
		Call	   *call = linitial(x->calls);

		CHECK_FOR_INTERRUPTS();
		x->calls = list_delete_first(x->calls);
		if (call->kind == CALL_PUSH)
			push_answered(x, call);
		else
			pull_answered(x, call);
		pfree(call);
	}
	x->result->more = !exchange_may_go_on(x);
	/*
	 * The last pull found nothing.  But records that failed come again later, or are
	 * dead: as long as there were any, and once a connection, the hub is asked.
	 */
	if (x->result->more || x->result->failed > 0 || x->hub->behind != 0)
		x->result->behind = hub_behind(x->hub);
}

static void
note_result(Exchange *x)
{
	link_state_note(x->link, x->result, x->procedure);
}

static void
note_error(Exchange *x)
{
	link_state_note_error(x->link, x->error, x->out_of_memory);
	if (x->refused != NULL)
		greeting_note_refusal(x->link, x->refused);
}

/*
 * After an error: the connection is in the middle of something, and the link's
 * state has to tell.  What goes wrong in here must not hide the error.
 */
static void
clean_up(Exchange *x, const ErrorData *error)
{
	/* here, not at the hub, where a statement may have been cancelled, too */
	bool		interrupted = !reply_raised(error) &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION;

	if (!x->procedure)
		AbortCurrentTransaction();
	MemoryContextSwitchTo(x->context);
	PG_TRY();
	{
		/* it goes with the hub */
		if (x->refused != NULL)
			x->refused = MemoryContextStrdup(x->context, x->refused);
		hub_kept_drop(x->link);
		MemoryContextReset(x->push.context);
		MemoryContextReset(x->pull.context);
		/* there, or here */
		x->out_of_memory = error->sqlerrcode == ERRCODE_OUT_OF_MEMORY;
		/* one who may not exchange hasn't come that far, and isn't noted */
		if (x->locked && !interrupted)
		{
			x->error = psprintf("%s: %s%s%s", unpack_sql_state(error->sqlerrcode),
								error->message, error->detail != NULL ? ": " : "",
								error->detail != NULL ? error->detail : "");
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
	x.pull.context = AllocSetContextCreate(x.context, "syncext pull", ALLOCSET_DEFAULT_SIZES);
	x.push.max = x.pull.max = setting_link_batch;
	PG_TRY();
	{
		run(&x);
		exchange_step(&x, note_result);
		unlock_link(&x);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		clean_up(&x, error);
		unlock_link(&x);
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
	Hub		   *hub = hub_kept(link);

	return hub == NULL || hub->remote.conn == NULL ? NULL : &hub->remote;
}

bool
exchange_listen(const char *link)
{
	Hub		   *hub = hub_kept(link);
	volatile bool listens = false;

	if (hub == NULL || hub->remote.conn == NULL || hub->remote.listens)
		return false;
	PG_TRY();
	{
		listens = hub_listen(hub);
	}
	PG_CATCH();
	{
		/* an answer may be outstanding */
		hub_kept_drop(link);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return listens;
}

/* ---------- the procedure ---------- */

static Jsonb *
make_result(const ExchangeResult *result, TimestampTz begin)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
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
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Datum
sync_exchange(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz begin = GetCurrentTimestamp();
	ExchangeResult result;
	char	   *link;

	procedure_refuse_atomic(fcinfo, "sync_exchange(…)", "It commits before it waits for the hub.");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("link must not be null")));
	link = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* what the caller's statement sees goes; the steps see what is now */
	SPI_commit();
	exchange(link, true, &result);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_DATUM(procedure_result(fcinfo, make_result(&result, begin)));
}
