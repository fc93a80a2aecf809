/*
 * compare.c
 *	  What a hub that has gone back in time has lost of what a spoke knows.
 *
 * Called from SQL, by link/resync of the spoke, which knows of each record the row
 * version that it last had.  Up to a row version, the base, both have the same
 * history; what came here after that is news to the spoke, and what the spoke has
 * seen after that is lost here.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "hub/hello.h"
#include "hub/incarnation.h"
#include "hub/section.h"
#include "hub/visibility.h"
#include "model/json.h"
#include "model/json_read.h"
#include "settings.h"
#include "storage/change_log.h"
#include "storage/conflict_log.h"
#include "storage/cursor_set.h"
#include "storage/link.h"
#include "storage/routed.h"

PG_FUNCTION_INFO_V1(syncext_hub_compare);

typedef struct Comparison
{
	const Source *source;
	const char *entity;
	Fields		known;			/* id: row version that the spoke has seen; below zero
								 * where that says nothing, and all is compared */
	TimestampTz since;			/* when the spoke last heard of us */
	Fields		bases;			/* id: base, of records that have news since then */
	Canonical  *canonical;
	ConflictLog *conflicts;
	RowsScan   *served;			/* which records a filtered source was let see */
	ReturnSetInfo *out;
	bool		any;			/* something is lost */
} Comparison;

/* ---------- what is common ---------- */

static int64
number_of(const Field *field)
{
	int64		number;

	if (!json_read_number(&field->value, -PG_INT64_MAX, PG_INT64_MAX, &number))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the row version of record \"%s\" is no number",
						field_name_cstring(field->name)),
				 errhint("Only links call syncext.hub_compare.")));
	return number;
}

/* In SQL, the time and whatever wrote a record after it. */
static char *
news_condition(const Comparison *c)
{
	static const Resolution writes[] = {
		RESOLUTION_NEW_RECORD, RESOLUTION_VERSION_WIN, RESOLUTION_LATEST_WIN,
		RESOLUTION_FIELD_MERGE, RESOLUTION_FIELD_RULE, RESOLUTION_PRIORITY_WIN,
		RESOLUTION_OVERWRITE, RESOLUTION_RESOLVED
	};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "entity = %s AND recorded_at > timestamptz '2000-01-01 00:00:00+00' + "
					 INT64_FORMAT " * interval '1 microsecond' AND resolution IN (",
					 quote_literal_cstr(c->entity), c->since);
	for (int i = 0; i < (int) lengthof(writes); i++)
		appendStringInfo(&sql, "%s'%c'", i > 0 ? ", " : "", (char) writes[i]);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* What was written since the spoke last heard of us was written on this history. */
static void
find_bases(Comparison *c, Jsonb *known)
{
	char	   *condition = news_condition(c);
	char	   *ids = JsonbToCString(NULL, &known->root, VARSIZE(known));
	StringInfoData log;
	char	   *found;

	initStringInfo(&log);
	for (int i = 0; i < LOG_NTABLES; i++)
		appendStringInfo(&log, "%sSELECT external_id, row_version FROM syncext.change_log_%d WHERE %s",
						 i > 0 ? " UNION ALL " : "", i, condition);
	found = section_text(CurrentMemoryContext,
						 "SELECT jsonb_object_agg(n.external_id, n.base) FROM ("
						 "SELECT l.external_id, min(l.row_version) - 1 AS base FROM (%s) l "
						 "WHERE l.external_id IN (SELECT jsonb_object_keys(%s::jsonb)) GROUP BY l.external_id) n",
						 log.data, quote_literal_cstr(ids));
	if (found != NULL)
	{
		Jsonb	   *jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(found)));

		fields_from_container(&jsonb->root, &c->bases);
	}
}

static int64
base_of(const Comparison *c, FieldName id, const Record *record)
{
	const Field *news = fields_find(&c->bases, id);

	if (!record->exists)
		return 0;
	return news == NULL ? record->row_version : Min(record->row_version, number_of(news));
}

/* ---------- what is told ---------- */

/* The fields that the source may not see now; false: it may see none. */
static bool
find_withheld(const Comparison *c, const char *id, FieldNames *withheld)
{
	const Route *route = source_route(c->source, c->entity);
	List	   *conflicts = conflict_log_pending(c->conflicts, c->entity, id, c->source->name);
	ListCell   *lc;

	field_names_init(withheld, 8);
	for (int i = 0; route != NULL && i < route->mask.n; i++)
		field_names_add(withheld, route->mask.name[i]);
	foreach(lc, conflicts)
	{
		const Conflict *conflict = lfirst(lc);

		if (conflict->whole)
			return false;
		for (int i = 0; i < conflict->fields.n; i++)
			field_names_add(withheld, conflict->fields.name[i]);
	}
	return true;
}

static Jsonb *
visible_fields(const Record *record, const FieldNames *withheld)
{
	Fields		fields = {0, palloc(sizeof(Field) * Max(record->nfields, 1))};

	for (int i = 0; !record->deleted && i < record->nfields; i++)
		if (!field_names_has(withheld, record->fields[i].field.name))
			fields.field[fields.n++] = record->fields[i].field;
	return fields_to_jsonb(&fields);
}

/*
 * When the fields were set, of those that were by the base: what the spoke hasn't been
 * delivered of these it can't have lost.
 */
static Jsonb *
common_stamps(const Record *record, const FieldNames *withheld, int64 base)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; !record->deleted && i < record->nfields; i++)
	{
		const RecordField *field = &record->fields[i];

		if (field->stamp.row_version <= base &&
			!field_names_has(withheld, field->field.name))
			json_push_number(&state, field_name_cstring(field->field.name),
							 field->stamp.row_version);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Datum
names_to_array(const FieldNames *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(names->n, 1));

	for (int i = 0; i < names->n; i++)
		elements[i] = CStringGetTextDatum(field_name_cstring(names->name[i]));
	return PointerGetDatum(construct_array(elements, names->n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * A filtered source must not be able to tell a record that is kept from it from one
 * that isn't here.  Returns false if nothing is said of either: we know that it was
 * served it, and so have lost nothing of it that it has seen.
 */
static bool
hide_record(const Comparison *c, const char *id, Record *record)
{
	const Route *route = source_route(c->source, c->entity);

	if (route == NULL || route->filter == NULL ||
		(record->exists && visibility_shows(c->source, c->entity, record)))
		return true;
	MemSet(record, 0, sizeof(Record));
	return !routed_seek(c->served, c->source->name, c->entity, id);
}

static void
compare_record(Comparison *c, const Field *known)
{
	char	   *id = field_name_cstring(known->name);
	Record		record;
	FieldNames	withheld;
	int64		seen = number_of(known);
	int64		base;
	Datum		values[8];
	bool		isnull[8] = {false};

	canonical_find(c->canonical, c->entity, id, &record);
	if (!hide_record(c, id, &record))
		return;
	base = base_of(c, known->name, &record);
	if ((seen >= 0 && seen <= base) || !find_withheld(c, id, &withheld))
		return;
	values[0] = CStringGetTextDatum(id);
	values[1] = BoolGetDatum(record.exists);
	values[2] = BoolGetDatum(record.exists && record.deleted);
	values[3] = Int64GetDatum(record.exists ? record.row_version : 0);
	values[4] = Int64GetDatum(base);
	values[5] = JsonbPGetDatum(visible_fields(&record, &withheld));
	values[6] = JsonbPGetDatum(common_stamps(&record, &withheld, base));
	values[7] = names_to_array(&withheld);
	tuplestore_putvalues(c->out->setResult, c->out->setDesc, values, isnull);
	c->any |= (seen < 0 ? -seen : seen) > base;
}

/* ---------- what follows ---------- */

/*
 * Something is lost: so files were restored, of which nothing here tells.  Others are
 * to know it, and the spoke gets what there is.
 */
static void
note_loss(const Comparison *c)
{
	const Registry *registry = registry_get();
	char	   *since = psprintf("timestamptz '2000-01-01 00:00:00+00' + " INT64_FORMAT
								 " * interval '1 microsecond'", c->since);

	if (!section_true("SELECT EXISTS (SELECT FROM syncext.feed_origin WHERE reason <> 'created' AND began_at > %s)",
					  since))
		incarnation_begin_epoch("behind");
	if (!section_true("SELECT EXISTS (SELECT FROM syncext.cursor WHERE target = %s AND backfill_since > %s)",
					  quote_literal_cstr(c->source->name), since))
		cursor_start(registry, registry_source_required(registry, c->source->name));
}

static void
compare(Comparison *c, Jsonb *known, bool hub_behind)
{
	RoutedTable *routed;
	Section		section;

	SPI_connect();
	section_enter(&section, 0);
	find_bases(c, known);
	routed = routed_open(false);
	c->served = routed_seek_begin(routed);
	c->canonical = canonical_open(false);
	c->conflicts = conflict_log_open(false);
	for (int i = 0; i < c->known.n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		compare_record(c, &c->known.field[i]);
	}
	conflict_log_close(c->conflicts);
	canonical_close(c->canonical);
	rows_scan_end(c->served);
	routed_close(routed);
	if (c->any && hub_behind)
		note_loss(c);
	section_leave(&section);
	SPI_finish();
}

Datum
syncext_hub_compare(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *known = PG_GETARG_JSONB_P(2);
	Comparison	c = {.since = PG_GETARG_TIMESTAMPTZ(3)};

	c.source = registry_source_required(registry_get(), source);
	source_role_check(c.source);
	link_refuse_source(source);
	hello_check(source);
	c.entity = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!JB_ROOT_IS_OBJECT(known) || (int) JB_ROOT_COUNT(known) > setting_max_batch)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("what the spoke knows is no object of at most %d row versions",
						setting_max_batch),
				 errhint("Only links call syncext.hub_compare.")));
	if (TIMESTAMP_NOT_FINITE(c.since))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must be finite")));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	c.out = (ReturnSetInfo *) fcinfo->resultinfo;
	if (!source_gets_entity(c.source, c.entity))
		return (Datum) 0;
	fields_from_container(&known->root, &c.known);
	compare(&c, known, PG_GETARG_BOOL(4));
	return (Datum) 0;
}
