/*
 * hello.c
 *	  The hub's side of a link being opened: who is there, and has either side gone
 *	  back in time?
 *
 * For syncext.hub_hello.  Each side keeps how far the other one had come when they last
 * spoke: the numbers of the last batches that were answered, and acknowledged.  A side
 * that knows of less than the other has seen of it was restored from files, recovered to
 * a point in time, or promoted while it lagged.
 *
 * Numbers can be compared within one history of the hub alone.  A hub that has gone back
 * counts on from where it is, and soon has higher numbers than a spoke has seen in the
 * time that is lost.  So the spoke names the epoch of the hub that it has met last, and
 * the hub keeps, spoke by spoke, the numbers at which each of its epochs ended:
 *
 *	the spoke has met			the hub is behind if	the spoke is behind if
 *	the epoch in which the		the spoke has seen		the hub has seen more of it
 *	hub met it last				more of it
 *	an earlier one of our past	the spoke has seen		anything was exchanged since
 *								more than its end		its end
 *	one that we never had,
 *		later than our meeting	always					the hub has seen more of it
 *		earlier					always					always
 *
 * Where both are behind, all is compared and all is sent again, in both directions.  A
 * hello that the hub has noted and the spoke has not, as the connection broke, exchanges
 * nothing: the next one finds the numbers at the end of that epoch.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "hub/backfill.h"
#include "hub/hello.h"
#include "hub/self.h"
#include "model/fields.h"
#include "model/json.h"
#include "model/json_read.h"
#include "process/owner.h"
#include "process/stat.h"
#include "storage/rights.h"
#include "storage/rows.h"

/* What is known here of the source. */
typedef struct Known
{
	bool		linked;			/* a database is linked as it */
	Identity	identity;
	int64		counter;		/* the last batch of its changes that came */
	int64		batch;			/* the last batch of records that it was handed, */
	int64		acknowledged;	/* and that it has acknowledged */
	int64		met;			/* the epoch of ours in which it last came; 0: none */
	/* the epoch in which the spoke has met us: the numbers that the two had when it was
	 * over here; below zero: it isn't in our past */
	int64		end_counter;
	int64		end_batch;
	int64		next_epoch;		/* the one of ours that came after it; 0: none */
} Known;

typedef struct Verdict
{
	IdentityCase hub;			/* what we are for the spoke, */
	IdentityCase spoke;			/* and it for us */
	bool		hub_behind;		/* it has seen more of us than there is here */
	bool		spoke_behind;	/* we have seen more of it than there is there */
	TimestampTz since;			/* what was recorded later is none that it has seen; 0:
								 * that is not known */
} Verdict;

/* ---------- reading ---------- */

static void
raise_bad_hello(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("what the spoke says of itself has no %s", what),
			 errhint("Only links call syncext.hub_hello. Install the same version of syncext on both sides.")));
}

static int64
read_number(const Fields *fields, const char *key)
{
	int64		number;

	if (!json_read_number(fields_value(fields, key), 0, PG_INT64_MAX, &number))
		raise_bad_hello(psprintf("number \"%s\"", key));
	return number;
}

/* Read an identity; false where there is none. */
static bool
read_identity(const Fields *fields, const char *key, Identity *identity)
{
	const JsonbValue *value = fields_value(fields, key);

	MemSet(identity, 0, sizeof(Identity));
	if (value == NULL || value->type == jbvNull)
		return false;
	if (!identity_from_jsonb(json_of_value(value), identity))
		raise_bad_hello(psprintf("\"%s\" that is one", key));
	return true;
}

static void
check_protocol(const Fields *fields)
{
	int64		protocol;

	if (fields_value(fields, "protocol") == NULL)
		return;
	protocol = read_number(fields, "protocol");
	if (protocol != LINK_PROTOCOL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the spoke speaks link protocol " INT64_FORMAT ", and this hub %d", protocol,
						LINK_PROTOCOL),
				 protocol < LINK_PROTOCOL ?
				 errhint("Install the hub's version of syncext at the spoke, and run ALTER EXTENSION syncext UPDATE there.") :
				 errhint("Install the spoke's version of syncext at the hub, and run ALTER EXTENSION syncext UPDATE there.")));
}

static char *
read_tables(const Fields *fields)
{
	const JsonbValue *tables = fields_value(fields, "tables");

	return json_read_object(tables) == NULL ? NULL :
		JsonbToCString(NULL, tables->val.binary.data, tables->val.binary.len);
}

void
hello_read(const char *source, const Jsonb *said, Hello *hello)
{
	Fields		fields;

	MemSet(hello, 0, sizeof(Hello));
	hello->source = source;
	if (!JB_ROOT_IS_OBJECT(said))
		raise_bad_hello("fields");
	fields = fields_of(said);
	check_protocol(&fields);
	hello->claim = json_read_true(fields_value(&fields, "claim"));
	hello->relay = json_read_true(fields_value(&fields, "relay"));
	hello->tables = read_tables(&fields);
	if (!read_identity(&fields, "identity", &hello->said))
	{
		if (hello->claim)
			raise_bad_hello("\"identity\"");
		return;
	}
	if (!read_identity(&fields, "hub", &hello->hub))
		return;
	hello->sent = read_number(&fields, "sent");
	hello->answered = read_number(&fields, "answered");
	hello->pulled = read_number(&fields, "pulled");
}

/* The numbers at which the epoch ended in which the spoke has met us. */
static int64
read_end(const char *source, int64 epoch, int which)
{
	return owner_number("SELECT coalesce((SELECT (past->'" INT64_FORMAT "'->>%d)::bigint "
						"FROM syncext.spoke WHERE source = %s), -1)",
						epoch, which, quote_literal_cstr(source));
}

static void
read_known(const char *source, const Hello *hello, Known *known)
{
	CursorTable *cursors = mapped_open(&cursor_def, false);
	char	   *identity;
	Cursor		cursor;

	MemSet(known, 0, sizeof(Known));
	known->linked = owner_true("SELECT EXISTS (SELECT FROM syncext.spoke WHERE source = %s AND mark IS NOT NULL)",
							   quote_literal_cstr(source));
	/* two that come at once are heard one by one */
	identity = owner_text(  "SELECT identity FROM syncext.spoke WHERE source = %s FOR UPDATE",
						  quote_literal_cstr(source));
	if (identity != NULL)
		(void) identity_from_jsonb(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																	  CStringGetDatum(identity))),
								   &known->identity);
	known->counter = owner_number("SELECT coalesce(max(counter), 0) FROM syncext.spoke WHERE source = %s",
								  quote_literal_cstr(source));
	known->met = owner_number("SELECT coalesce(max(met), 0) FROM syncext.spoke WHERE source = %s",
							  quote_literal_cstr(source));
	if (hello->hub.known)
	{
		known->end_counter = read_end(source, hello->hub.epoch, 0);
		known->end_batch = read_end(source, hello->hub.epoch, 1);
		known->next_epoch = owner_number("SELECT syncext.epoch_after(%s, " INT64_FORMAT ")",
										 quote_literal_cstr(source), hello->hub.epoch);
	}
	if (cursor_find(cursors, source, 0, &cursor))
	{
		known->batch = cursor.batch;
		known->acknowledged = cursor.acknowledged;
	}
	mapped_close(cursors);
}

/* ---------- deciding ---------- */

/*
 * When did the epoch begin that followed the one in which the spoke has met us?  Epochs
 * are numbered by the clock, in milliseconds; some less, for it is read twice.
 */
static TimestampTz
next_epoch_began(const Hello *hello, const Identity *self, const Known *known)
{
	const int64 unix_epoch_ms = INT64CONST(946684800000);

	if (!hello->hub.known || hello->hub.epoch == self->epoch || known->next_epoch <= unix_epoch_ms)
		return 0;
	return (known->next_epoch - unix_epoch_ms - 2) * 1000;
}

/* By numbers that were counted in the same history. */
static void
compare_numbers(const Hello *hello, const Known *known, Verdict *verdict)
{
	verdict->hub_behind = known->counter < hello->answered || known->batch < hello->pulled;
	verdict->spoke_behind = known->counter > hello->sent || known->acknowledged > hello->pulled;
}

/* The spoke has met us in another epoch than the one in which we met it last. */
static void
compare_epochs(const Hello *hello, const Known *known, Verdict *verdict)
{
	if (known->end_counter < 0)
	{
		compare_numbers(hello, known, verdict);
		verdict->hub_behind = true;
		verdict->spoke_behind |= hello->hub.epoch < known->met;
	}
	else
	{
		verdict->hub_behind = known->end_counter < hello->answered ||
			known->end_batch < hello->pulled;
		verdict->spoke_behind = known->counter != known->end_counter ||
			known->acknowledged > known->end_batch;
	}
}

static void
decide(const Hello *hello, const Identity *self, const Known *known, Verdict *verdict)
{
	MemSet(verdict, 0, sizeof(Verdict));
	if (hello->hub.known && known->met != 0 && known->met != hello->hub.epoch)
		compare_epochs(hello, known, verdict);
	else if (hello->hub.known)
		compare_numbers(hello, known, verdict);
	/* after syncext.release_spoke() another database may come, of which nothing was counted */
	verdict->spoke_behind |= hello->hub.known && !known->linked;
	verdict->since = next_epoch_began(hello, self, known);
	verdict->hub = identity_judge(&hello->hub, self, !verdict->hub_behind, true);
	verdict->hub_behind |= verdict->hub == IDENTITY_BEHIND;
	verdict->spoke = identity_judge(&known->identity, &hello->said, !verdict->spoke_behind, false);
}

/* ---------- sessions ---------- */

/* Of whom this session is, if a link has opened it. */
typedef struct Session
{
	char		source[NAMEDATALEN];	/* empty: of nobody */
	int64		epoch;
	uint64		counters;		/* what it was told of them, as a hash */
	bool		relay;
} Session;

static Session session;

/* {entity: [field, …]}: what is a counter of the records that the source gets. */
static Jsonb *
counters_for(const char *source)
{
	const Registry *registry = registry_get();
	const Source *target = registry_source_required(registry, source);
	JsonbParseState *state = json_begin_object();

	for (int i = 0; i < registry->nentities; i++)
	{
		const Entity *entity = &registry->entities[i];

		if (entity->field_rules.nsums == 0 || !(entity->ladder & RUNG_MERGE) ||
			!source_gets_entity(target, entity->name))
			continue;
		json_push_key(&state, entity->name);
		field_rules_push_sums(&state, &entity->field_rules);
	}
	return json_end_object(&state);
}

/* {entity: {field: parent}}: what the records that the source gets refer to, of what it gets. */
static Jsonb *
references_for(const char *source)
{
	const Registry *registry = registry_get();
	const Source *target = registry_source_required(registry, source);
	JsonbParseState *state = json_begin_object();

	for (int i = 0; i < registry->nentities; i++)
	{
		const Entity *entity = &registry->entities[i];

		if (entity->nreferences == 0 || !source_gets_entity(target, entity->name))
			continue;
		json_push_object(&state, entity->name);
		for (int j = 0; j < entity->nreferences; j++)
			if (source_gets_entity(target, entity->references[j].parent))
				json_push_string(&state, entity->references[j].field, entity->references[j].parent);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return json_end_object(&state);
}

static uint64
hash_counters(const char *source)
{
	Jsonb	   *counters = counters_for(source);

	return hash_bytes_extended((const unsigned char *) &counters->root,
							   VARSIZE(counters) - VARHDRSZ, 0);
}

static void
begin_session(const Hello *hello)
{
	stat_attach();
	strlcpy(session.source, hello->source, sizeof(session.source));
	session.epoch = hello->said.epoch;
	session.counters = hash_counters(hello->source);
	session.relay = hello->relay;
}

void
hello_check_epoch(const char *source, int64 epoch)
{
	if (strcmp(session.source, source) != 0)
		return;
	if (session.relay)
		source_relay_check(registry_source_required(registry_get(), source));
	if (session.counters != hash_counters(source))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this session of source \"%s\" is over", source),
				 errdetail("Other fields have the rule sum than when it was opened."),
				 errhint("The link connects anew, and is told which.")));
	if (session.epoch != epoch)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this session of source \"%s\" is over", source),
				 errdetail("Another database has taken the place of the one that has opened it, or it has gone back in time."),
				 errhint("The link connects anew, and is told what to do.")));
}

void
hello_check(const char *source)
{
	Rows	   *rows;
	Datum		key;
	int64		epoch = 0;

	if (strcmp(session.source, source) != 0)
		return;
	rows = rows_open_read(registry_relation("spoke"));
	key = CStringGetTextDatum(source);
	if (rows_find(rows, 1, &key))
		epoch = DatumGetInt64(rows_datum(rows, rows_column(rows, "epoch")));
	rows_close(rows);
	hello_check_epoch(source, epoch);
}

void
hello_require(const char *source)
{
	if (strcmp(session.source, source) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this session was not opened by the database that is linked as source \"%s\"",
						source),
				 errhint("Only links call this.")));
}

/* ---------- noting ---------- */

/* It retries for as long as nobody decides. */
static void
note_refusal(const Hello *hello, IdentityCase which)
{
	owner_execute("UPDATE syncext.spoke SET refused = %s, refused_at = clock_timestamp() WHERE source = %s "
				  "AND (refused IS DISTINCT FROM %s OR refused_at < clock_timestamp() - interval '1 min')",
				  quote_literal_cstr(identity_case_name(which)), quote_literal_cstr(hello->source),
				  quote_literal_cstr(identity_case_name(which)));
}

/*
 * From here on both sides count from what the spoke says.  It gets all there is, also where
 * it was never served: what it has sent itself is told to others alone.
 */
static void
begin_counting(const Hello *hello, const Verdict *verdict, Known *known)
{
	owner_execute("UPDATE syncext.spoke SET counter = " INT64_FORMAT ", turned_at = %s WHERE source = %s",
				  hello->sent, verdict->spoke_behind ? "clock_timestamp()" : "turned_at",
				  quote_literal_cstr(hello->source));
	known->counter = hello->sent;
	cursor_start(hello->source);
}

/* How many epochs that are over are kept of a spoke. */
#define MAX_PAST	100

/* Wherever the epoch that it had met is over, note at which numbers that ended. */
void
hello_meet_epoch(const char *source)
{
	owner_execute("SELECT syncext.meet_epoch(%s, %d)", quote_literal_cstr(source), MAX_PAST);
}

/* The source is this database's now; *known is brought up to date. */
static void
note_spoke(const Hello *hello, const Verdict *verdict, Known *known)
{
	const char *source = quote_literal_cstr(hello->source);
	Jsonb	   *identity = identity_to_jsonb(&hello->said);
	bool		begins = verdict->spoke == IDENTITY_NEW || !hello->hub.known ||
		verdict->spoke_behind;

	owner_execute("SELECT syncext.note_spoke(%s, %s, %s, " INT64_FORMAT ")", source,
				  quote_literal_cstr(hello->said.mark),
				  quote_literal_cstr(JsonbToCString(NULL, &identity->root, VARSIZE(identity))),
				  hello->said.epoch);
	begin_session(hello);
	owner_execute("UPDATE syncext.source SET single_writer = true WHERE name = %s AND NOT single_writer",
				  source);
	hello_meet_epoch(hello->source);
	if (begins)
		begin_counting(hello, verdict, known);
	if (hello->tables != NULL)
		(void) owner_true("SELECT true FROM syncext.hub_note_tables(%s, %s)", source,
						  quote_literal_cstr(hello->tables));
}

/* ---------- answering ---------- */

/* Of others it isn't told. */
static void
push_entities(JsonbParseState **state, const char *source)
{
	const Registry *registry = registry_get();
	const Source *target = registry_source_required(registry, source);

	json_push_array(state, "entities");
	for (int i = 0; i < registry->nentities; i++)
		if (source_gets_entity(target, registry->entities[i].name))
			json_add_string(state, registry->entities[i].name);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* What was decided, for a spoke that has said who it is. */
static void
push_verdict(JsonbParseState **state, const Identity *self, const Verdict *verdict,
			 const Known *known)
{
	json_push_jsonb(state, "identity", identity_to_jsonb(self));
	json_push_string(state, "hub_is", identity_case_name(verdict->hub));
	json_push_string(state, "spoke_is", identity_case_name(verdict->spoke));
	json_push_bool(state, "refused",
				   identity_is_refused(verdict->hub) || identity_is_refused(verdict->spoke));
	json_push_bool(state, "hub_behind", verdict->hub_behind);
	json_push_bool(state, "spoke_behind", verdict->spoke_behind);
	json_push_number(state, "answered", known->counter);
	json_push_number(state, "pulled", known->batch);
	/* by our clock, to tell edits before from those after */
	json_push_number(state, "since", verdict->since);
	json_push_number(state, "now", GetCurrentTimestamp());
}

Jsonb *
hello_answer(const Hello *hello)
{
	JsonbParseState *state = json_begin_object();
	Identity	self;
	Known		known;
	Verdict		verdict;

	self_identity(&self);
	json_push_number(&state, "protocol", LINK_PROTOCOL);
	json_push_string(&state, "version",
					 owner_text("SELECT extversion FROM pg_extension WHERE extname = 'syncext'"));
	json_push_string(&state, "hub", self.mark);
	push_entities(&state, hello->source);
	json_push_jsonb(&state, "counters", counters_for(hello->source));
	json_push_jsonb(&state, "references", references_for(hello->source));
	if (hello->said.known)
	{
		read_known(hello->source, hello, &known);
		decide(hello, &self, &known, &verdict);
		/* one that isn't the hub that is meant writes nothing of it */
		if (identity_is_refused(verdict.spoke) && !identity_is_refused(verdict.hub))
			note_refusal(hello, verdict.spoke);
		else if (hello->claim && !identity_is_refused(verdict.hub))
			note_spoke(hello, &verdict, &known);
		push_verdict(&state, &self, &verdict, &known);
	}
	return json_end_object(&state);
}
