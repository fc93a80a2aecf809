/*
 * hello.c
 *	  The hub's side of a link being opened: who is there, and has either side gone
 *	  back in time?
 *
 * Called by hub/push, for syncext.hub_hello.  Each side keeps how far the other one
 * had come when they last spoke: the numbers of the last batches that were answered,
 * and acknowledged.  Who knows of less than the other has seen of it was restored
 * from files, recovered to a point in time, or promoted while it lagged.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "hub/hello.h"
#include "hub/incarnation.h"
#include "hub/section.h"
#include "hub/self.h"
#include "model/fields.h"
#include "model/json.h"
#include "model/json_read.h"
#include "storage/cursor_set.h"
#include "storage/rows.h"

/* What this side and a spoke have to agree on to understand each other. */
#define PROTOCOL	1

/* What is known here of the source. */
typedef struct Known
{
	bool		linked;			/* a database is linked as it */
	Identity	identity;
	int64		counter;		/* the last batch of its changes that came */
	int64		batch;			/* the last batch of records that it was handed, */
	int64		acknowledged;	/* and that it has acknowledged */
} Known;

typedef struct Verdict
{
	IdentityCase hub;			/* what we are for the spoke, */
	IdentityCase spoke;			/* and it for us */
	bool		hub_behind;		/* it has seen more of us than there is here */
	bool		spoke_behind;	/* we have seen more of it than there is there */
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

static bool
read_flag(const Fields *fields, const char *key)
{
	const Field *field = fields_find(fields, field_name(key));

	return field != NULL && field->value.type == jbvBool && field->value.val.boolean;
}

static int64
read_number(const Fields *fields, const char *key)
{
	const Field *field = fields_find(fields, field_name(key));
	int64		number;

	if (field == NULL || !json_read_number(&field->value, 0, PG_INT64_MAX, &number))
		raise_bad_hello(psprintf("number \"%s\"", key));
	return number;
}

/* Read an identity; false where there is none. */
static bool
read_identity(const Fields *fields, const char *key, Identity *identity)
{
	const Field *field = fields_find(fields, field_name(key));
	JsonbValue	value;

	MemSet(identity, 0, sizeof(Identity));
	if (field == NULL || field->value.type == jbvNull)
		return false;
	value = field->value;
	if (!identity_from_jsonb(JsonbValueToJsonb(&value), identity))
		raise_bad_hello(psprintf("\"%s\" that is one", key));
	return true;
}

static char *
read_tables(const Fields *fields)
{
	const Field *field = fields_find(fields, field_name("tables"));

	if (field == NULL || field->value.type != jbvBinary ||
		!JsonContainerIsObject(field->value.val.binary.data))
		return NULL;
	return JsonbToCString(NULL, field->value.val.binary.data, field->value.val.binary.len);
}

void
hello_read(const char *source, const Jsonb *said, Hello *hello)
{
	Fields		fields;

	MemSet(hello, 0, sizeof(Hello));
	hello->source = source;
	if (!JB_ROOT_IS_OBJECT(said))
		raise_bad_hello("fields");
	fields_from_container(unconstify(JsonbContainer *, &said->root), &fields);
	hello->claim = read_flag(&fields, "claim");
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

static void
read_known(const char *source, Known *known)
{
	CursorTable *cursors = cursor_open(false);
	char	   *identity;
	Cursor		cursor;

	MemSet(known, 0, sizeof(Known));
	known->linked = section_true("SELECT EXISTS (SELECT FROM syncext.spoke WHERE source = %s AND mark IS NOT NULL)",
								 quote_literal_cstr(source));
	/* two that come at once are heard one by one */
	identity = section_text(CurrentMemoryContext,
							"SELECT identity FROM syncext.spoke WHERE source = %s FOR UPDATE",
							quote_literal_cstr(source));
	if (identity != NULL)
		(void) identity_from_jsonb(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																	  CStringGetDatum(identity))),
								   &known->identity);
	known->counter = section_number("SELECT coalesce(max(counter), 0) FROM syncext.spoke WHERE source = %s",
									quote_literal_cstr(source));
	if (cursor_find(cursors, source, 0, &cursor))
	{
		known->batch = cursor.batch;
		known->acknowledged = cursor.acknowledged;
	}
	cursor_close(cursors);
}

/* ---------- deciding ---------- */

static void
decide(const Hello *hello, const Identity *self, const Known *known, Verdict *verdict)
{
	MemSet(verdict, 0, sizeof(Verdict));
	if (hello->hub.known)
	{
		verdict->hub_behind = known->counter < hello->answered || known->batch < hello->pulled;
		/* of who was let go, what was counted says nothing of who comes now */
		verdict->spoke_behind = !known->linked || known->counter > hello->sent ||
			known->acknowledged > hello->pulled;
	}
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
} Session;

static Session session;

static void
begin_session(const Hello *hello)
{
	strlcpy(session.source, hello->source, sizeof(session.source));
	session.epoch = hello->said.epoch;
}

void
hello_check_epoch(const char *source, int64 epoch)
{
	if (strcmp(session.source, source) == 0 && session.epoch != epoch)
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
	bool		isnull;
	int64		epoch = 0;

	if (strcmp(session.source, source) != 0)
		return;
	rows = rows_open_read(registry_relation("spoke"));
	key = CStringGetTextDatum(source);
	if (rows_find(rows, 1, &key))
		epoch = DatumGetInt64(rows_value(rows, rows_column(rows, "epoch"), &isnull));
	rows_close(rows);
	hello_check_epoch(source, epoch);
}

/* ---------- noting ---------- */

/* It retries for as long as nobody decides. */
static void
note_refusal(const Hello *hello, IdentityCase which)
{
	section_run("UPDATE syncext.spoke SET refused = %s, refused_at = clock_timestamp() WHERE source = %s "
				"AND (refused IS DISTINCT FROM %s OR refused_at < clock_timestamp() - interval '1 min')",
				quote_literal_cstr(identity_case_name(which)), quote_literal_cstr(hello->source),
				quote_literal_cstr(identity_case_name(which)));
}

/* All records again: it lacks what others did, or what we had told it once. */
static void
restart_cursor(const char *source)
{
	const Registry *registry = registry_get();

	cursor_start(registry, registry_source_required(registry, source));
}

/*
 * From here on both sides count from what the spoke says.  It gets all there is; of
 * what was never served nothing need be served again.
 */
static void
begin_counting(const Hello *hello, const Verdict *verdict, Known *known)
{
	section_run("UPDATE syncext.spoke SET counter = " INT64_FORMAT ", turned_at = %s WHERE source = %s",
				hello->sent, verdict->spoke_behind ? "clock_timestamp()" : "turned_at",
				quote_literal_cstr(hello->source));
	known->counter = hello->sent;
	if (known->batch > 0)
		restart_cursor(hello->source);
}

/* The source is this database's now; *known is brought up to date. */
static void
note_spoke(const Hello *hello, const Verdict *verdict, Known *known)
{
	const char *source = quote_literal_cstr(hello->source);
	Jsonb	   *identity = identity_to_jsonb(&hello->said);
	bool		begins = verdict->spoke == IDENTITY_NEW || !hello->hub.known ||
		verdict->spoke_behind;

	section_run("INSERT INTO syncext.spoke AS s (source, mark, identity, epoch) VALUES (%s, %s, %s, " INT64_FORMAT ") "
				"ON CONFLICT (source) DO UPDATE SET mark = excluded.mark, identity = excluded.identity, epoch = excluded.epoch, "
				"linked_at = CASE WHEN s.mark IS NULL THEN now() ELSE s.linked_at END",
				source, quote_literal_cstr(hello->said.mark),
				quote_literal_cstr(JsonbToCString(NULL, &identity->root, VARSIZE(identity))),
				hello->said.epoch);
	begin_session(hello);
	section_run("UPDATE syncext.source SET single_writer = true WHERE name = %s AND NOT single_writer",
				source);
	if (begins)
		begin_counting(hello, verdict, known);
	if (hello->tables != NULL)
		(void) section_true("SELECT true FROM syncext.hub_note_tables(%s, %s)", source,
							quote_literal_cstr(hello->tables));
}
/* ---------- answering ---------- */

/* Of others it isn't told. */
static void
push_entities(JsonbParseState **state, const char *source)
{
	const Registry *registry = registry_get();
	const Source *target = registry_source_required(registry, source);

	json_push_key(state, "entities");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < registry->nentities; i++)
	{
		JsonbValue	name = {.type = jbvString};

		if (!source_gets_entity(target, registry->entities[i].name))
			continue;
		name.val.string.val = unconstify(char *, registry->entities[i].name);
		name.val.string.len = strlen(registry->entities[i].name);
		pushJsonbValue(state, WJB_ELEM, &name);
	}
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
	json_push_number(state, "now", GetCurrentTimestamp());
}

Jsonb *
hello_answer(const Hello *hello)
{
	JsonbParseState *state = NULL;
	Identity	self;
	Known		known;
	Verdict		verdict;

	self_identity(&self);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "protocol", PROTOCOL);
	json_push_string(&state, "version",
					 section_text(CurrentMemoryContext,
								  "SELECT extversion FROM pg_extension WHERE extname = 'syncext'"));
	json_push_string(&state, "hub", self.mark);
	push_entities(&state, hello->source);
	if (hello->said.known)
	{
		read_known(hello->source, &known);
		decide(hello, &self, &known, &verdict);
		/* one that isn't the hub that is meant writes nothing of it */
		if (identity_is_refused(verdict.spoke) && !identity_is_refused(verdict.hub))
			note_refusal(hello, verdict.spoke);
		else if (hello->claim && !identity_is_refused(verdict.hub))
			note_spoke(hello, &verdict, &known);
		push_verdict(&state, &self, &verdict, &known);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
