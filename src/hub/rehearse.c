/*
 * rehearse.c
 *	  sync_rehearse: what the golden records would be, had other priorities, rules or
 *	  another ladder been in force.
 *
 * Called from SQL.  The log is read record by record, in the order of the golden records,
 * and both by one snapshot: no more is in memory than a record and the changes at hand.
 * Nothing is written, so that a standby can do it.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "hub/rehearse_args.h"
#include "hub/replay.h"
#include "model/json.h"
#include "process/args.h"
#include "process/for_now.h"
#include "process/owner.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_rehearse);

/* Rows of a query that are fetched at a time: each may be as large as a document. */
#define FETCH_ROWS	64

#define LOG_QUERY \
	"SELECT l.external_id, l.seq, l.recorded_at, l.source, l.version, l.row_version, l.base, l.updated_at, l.resolution, l.fields, l.detail " \
	"FROM syncext.log_row l WHERE l.entity = $1 %s ORDER BY l.external_id, l.seq"
#define RECORDS_QUERY \
	"SELECT l.external_id, l.version, l.row_version, l.deleted, l.fields " \
	"FROM syncext.canonical l WHERE l.entity = $1 %s ORDER BY l.external_id"
#define SINCE \
	"AND l.external_id IN (SELECT s.external_id FROM syncext.log_row s WHERE s.entity = $1 AND s.recorded_at >= $2)"

#define MAX_COLUMNS_READ	11

/* A query whose rows come one after the other. */
typedef struct Stream
{
	Portal		portal;
	SPITupleTable *rows;
	uint64		n;
	uint64		at;
	bool		done;
	text	   *id;				/* of the row that it is at */
	Datum		values[MAX_COLUMNS_READ];
	bool		isnull[MAX_COLUMNS_READ];
} Stream;

typedef struct Rehearsal
{
	ReturnSetInfo *out;
	Replay	   *replay;
	Stream		log;
	Stream		records;
	char	   *external_id;	/* of the record at hand */
} Rehearsal;

/* ---------- reading ---------- */

static void
stream_next(Stream *s)
{
	if (s->rows != NULL && s->at == s->n)
	{
		SPI_freetuptable(s->rows);
		s->rows = NULL;
	}
	if (s->rows == NULL)
	{
		SPI_cursor_fetch(s->portal, true, FETCH_ROWS);
		s->rows = SPI_tuptable;
		s->n = SPI_processed;
		s->at = 0;
		s->done = s->n == 0;
	}
	if (s->done)
		return;
	heap_deform_tuple(s->rows->vals[s->at++], s->rows->tupdesc, s->values, s->isnull);
	s->id = DatumGetTextPP(s->values[0]);
}

static void
stream_begin(Stream *s, const char *query, Datum *params, int nparams)
{
	static Oid	types[2] = {TEXTOID, TIMESTAMPTZOID};
	char	   *sql = psprintf(query, nparams > 1 ? SINCE : "");

	s->portal = SPI_cursor_open_with_args(NULL, sql, nparams, types, params, NULL, true, 0);
	stream_next(s);
}

static void
stream_end(Stream *s)
{
	SPI_cursor_close(s->portal);
}

/* In the order of the queries, which is that of the bytes. */
static int
compare_ids(const text *a, const text *b)
{
	int			len_a = VARSIZE_ANY_EXHDR(a);
	int			len_b = VARSIZE_ANY_EXHDR(b);
	int			cmp = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(len_a, len_b));

	return cmp != 0 ? cmp : len_a - len_b;
}

static int
compare_streams(const Stream *a, const Stream *b)
{
	if (a->done || b->done)
		return a->done - b->done;
	return compare_ids(a->id, b->id);
}

static LoggedRow
read_row(const Stream *log)
{
	LoggedRow	row = {
		.seq = DatumGetInt64(log->values[1]),
		.recorded_at = DatumGetTimestampTz(log->values[2]),
		.source = TextDatumGetCString(log->values[3]),
		.version = DatumGetInt64(log->values[4]),
		.row_version = DatumGetInt64(log->values[5]),
		.has_base = !log->isnull[6],
		.base = DatumGetInt64(log->values[6]),
		.has_updated_at = !log->isnull[7],
		.updated_at = DatumGetTimestampTz(log->values[7]),
		.resolution = (Resolution) DatumGetChar(log->values[8]),
		.fields = DatumGetJsonbPCopy(log->values[9]),
		.detail = log->isnull[10] ? NULL : DatumGetJsonbPCopy(log->values[10])
	};

	return row;
}

/* The golden record, as far as it is compared; without fields, where they are none. */
static Record
read_record(const Stream *records)
{
	Jsonb	   *jsonb = DatumGetJsonbPCopy(records->values[4]);
	Fields		fields = fields_of(JB_ROOT_IS_OBJECT(jsonb) ? jsonb : NULL);
	Record		record = {
		.exists = true,
		.version = DatumGetInt64(records->values[1]),
		.row_version = DatumGetInt64(records->values[2]),
		.deleted = DatumGetBool(records->values[3])
	};

	record_take_fields(&record, &fields);
	return record;
}

/* ---------- comparing ---------- */

static Datum
value_datum(const Field *field)
{
	return JsonbPGetDatum(json_of_value(&field->value));
}

/* field, now, then: NULL where there is none. */
static void
put(const Rehearsal *rehearsal, const char *field, Datum now, Datum then, ReplayNote note)
{
	Datum		values[6] = {CStringGetTextDatum(rehearsal->external_id)};
	bool		isnull[6] = {false, field == NULL, now == 0, then == 0, note.resolution == NULL};

	values[1] = isnull[1] ? (Datum) 0 : CStringGetTextDatum(field);
	values[2] = now;
	values[3] = then;
	values[4] = isnull[4] ? (Datum) 0 : CStringGetTextDatum(note.resolution);
	isnull[5] = note.reason == NULL;
	values[5] = isnull[5] ? (Datum) 0 : CStringGetTextDatum(note.reason);
	tuplestore_putvalues(rehearsal->out->setResult, rehearsal->out->setDesc, values, isnull);
}

static bool
lives(const Record *record)
{
	return record->exists && !record->deleted;
}

/* It is there in one, and not in the other. */
static void
put_whole(const Rehearsal *rehearsal, const Record *now, const Record *then)
{
	FieldName	whole = {NULL, 0};

	put(rehearsal, "*", lives(now) ? JsonbPGetDatum(record_fields_jsonb(now)) : 0,
		lives(then) ? JsonbPGetDatum(record_fields_jsonb(then)) : 0,
		replay_note(rehearsal->replay, whole));
}

static void
put_differences(const Rehearsal *rehearsal, const Record *now, const Record *then)
{
	Fields		fields_now = fields_of(record_fields_jsonb(now));
	Fields		fields_then = fields_of(record_fields_jsonb(then));
	FieldsAlign align = {&fields_now, &fields_then, 0, 0};
	const Field *a;
	const Field *b;

	while (fields_align(&align, &a, &b))
	{
		const Field *either = a != NULL ? a : b;

		if (a != NULL && b != NULL && json_value_equal(&a->value, &b->value))
			continue;
		put(rehearsal, field_name_cstring(either->name), a == NULL ? 0 : value_datum(a),
			b == NULL ? 0 : value_datum(b), replay_note(rehearsal->replay, either->name));
	}
}

static void
compare(const Rehearsal *rehearsal, const Record *now)
{
	Record		then;
	ReplayNote	incomplete = {NULL, replay_result(rehearsal->replay, now, &then)};

	if (incomplete.reason != NULL)
		put(rehearsal, NULL, 0, 0, incomplete);
	else if (lives(now) != lives(&then))
		put_whole(rehearsal, now, &then);
	else if (lives(now))
		put_differences(rehearsal, now, &then);
}

/* ---------- record by record ---------- */

/* The next record that the log or the golden records have. */
static void
rehearse_record(Rehearsal *rehearsal)
{
	Replay	   *replay = rehearsal->replay;
	Stream	   *log = &rehearsal->log;
	Stream	   *records = &rehearsal->records;
	int			cmp = compare_streams(log, records);
	MemoryContext caller;
	text	   *id = cmp <= 0 ? log->id : records->id;
	Record		now = {0};

	rehearsal->external_id = text_to_cstring(id);
	replay_record(replay, rehearsal->external_id);
	while (!log->done && strlen(rehearsal->external_id) == VARSIZE_ANY_EXHDR(log->id) &&
		   memcmp(rehearsal->external_id, VARDATA_ANY(log->id), VARSIZE_ANY_EXHDR(log->id)) == 0)
	{
		LoggedRow	row;

		CHECK_FOR_INTERRUPTS();
		caller = MemoryContextSwitchTo(replay_context(replay));
		row = read_row(log);
		MemoryContextSwitchTo(caller);
		replay_row(replay, &row);
		stream_next(log);
	}
	caller = MemoryContextSwitchTo(replay_context(replay));
	if (cmp >= 0)
		now = read_record(records);
	compare(rehearsal, &now);
	MemoryContextSwitchTo(caller);
	if (cmp >= 0)
		stream_next(records);
}

static void
rehearse(Rehearsal *rehearsal, const char *entity, bool has_since, TimestampTz since)
{
	Datum		params[2] = {CStringGetTextDatum(entity), TimestampTzGetDatum(since)};
	MemoryContext one = AllocSetContextCreate(CurrentMemoryContext, "syncext rehearsal",
											  ALLOCSET_DEFAULT_SIZES);
	OwnerContext as_owner;

	SPI_connect();
	owner_enter(&as_owner, 0);
	/* the log is sorted as an index is made */
	set_for_now("work_mem", psprintf("%dkB", Max(work_mem, maintenance_work_mem)));
	stream_begin(&rehearsal->log, LOG_QUERY, params, has_since ? 2 : 1);
	stream_begin(&rehearsal->records, RECORDS_QUERY, params, has_since ? 2 : 1);
	while (!rehearsal->log.done || !rehearsal->records.done)
	{
		MemoryContext caller = MemoryContextSwitchTo(one);

		CHECK_FOR_INTERRUPTS();
		rehearse_record(rehearsal);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(one);
	}
	stream_end(&rehearsal->records);
	stream_end(&rehearsal->log);
	owner_leave(&as_owner);
	SPI_finish();
}

/* It shows all of the records, and what the log has of them. */
static void
check_rights(const char *entity)
{
	if (role_is_steward(entity) ||
		(role_reads_records(entity) && pg_class_aclcheck(registry_relation("change_log"), GetUserId(),
														 ACL_SELECT) == ACLCHECK_OK))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to rehearse records of entity \"%s\"", entity),
			 errhint("Be a steward of the entity or an admin, or have SELECT on syncext.canonical and syncext.change_log.")));
}

Datum
sync_rehearse(PG_FUNCTION_ARGS)
{
	const Registry *registry = registry_get();
	char	   *name = arg_text(fcinfo, 0, "entity");
	const Entity *entity;
	bool		has_since = !PG_ARGISNULL(4);
	TimestampTz since = has_since ? PG_GETARG_TIMESTAMPTZ(4) : DT_NOBEGIN;
	Rehearsal	rehearsal = {0};
	Supposed	supposed;

	/* before it is told if there is such an entity */
	check_rights(name);
	entity = registry_entity_required(registry, name);
	rehearse_arguments(fcinfo, registry, entity, &supposed);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	rehearsal.out = (ReturnSetInfo *) fcinfo->resultinfo;
	rehearsal.replay = replay_begin(registry_supposed(registry, &supposed), registry, entity->name, since);
	rehearse(&rehearsal, entity->name, has_since, since);
	replay_end(rehearsal.replay);
	return (Datum) 0;
}
