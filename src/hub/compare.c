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

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "hub/apply.h"
#include "hub/hello.h"
#include "hub/incarnation.h"
#include "hub/visibility.h"
#include "model/json.h"
#include "model/json_read.h"
#include "process/owner.h"
#include "settings.h"
#include "hub/backfill.h"
#include "storage/change_log.h"
#include "storage/conflict_log.h"
#include "storage/link.h"
#include "storage/names.h"
#include "storage/rights.h"
#include "storage/routed.h"

PG_FUNCTION_INFO_V1(syncext_hub_compare);

typedef struct Comparison
{
	const Source *source;
	const char *entity;
	Fields		known;			/* id: row version that the spoke has seen; below zero
								 * where that says nothing, and all is compared */
	TimestampTz since;			/* when the spoke last heard of us, */
	int64		epoch;			/* and our epoch then; 0: it doesn't know */
	Fields		news;			/* id: what was written since then, see news_of in SQL */
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

/* The codes of resolutions that write a record. */
static const char *
writing_codes(void)
{
	static const Resolution writes[] = {
		RESOLUTION_NEW_RECORD, RESOLUTION_VERSION_WIN, RESOLUTION_LATEST_WIN,
		RESOLUTION_FIELD_MERGE, RESOLUTION_FIELD_RULE, RESOLUTION_PRIORITY_WIN,
		RESOLUTION_OVERWRITE, RESOLUTION_RESOLVED, RESOLUTION_FIELD_WIN
	};
	char	   *codes = palloc0(lengthof(writes) + 1);

	for (int i = 0; i < (int) lengthof(writes); i++)
		codes[i] = (char) writes[i];
	return codes;
}

/* A time in SQL. */
static const char *
time_text(TimestampTz time)
{
	return psprintf("timestamptz '2000-01-01 00:00:00+00' + " INT64_FORMAT " * interval '1 microsecond'",
					time);
}

/* Find what was written since the spoke last heard of us to n of the records, from the first on. */
static void
find_news(Comparison *c, int first, int n)
{
	const Fields some = {n, c->known.field + first};
	Jsonb	   *known = fields_to_jsonb(&some);
	char	   *ids = JsonbToCString(NULL, &known->root, VARSIZE(known));
	char	   *found;

	c->news.n = 0;
	found = owner_text("SELECT syncext.news_of(%s, %s, %s, " INT64_FORMAT ", %s, '%c', %s)",
					   quote_literal_cstr(c->entity), quote_literal_cstr(ids), time_text(c->since),
					   c->epoch, quote_literal_cstr(writing_codes()), (char) RESOLUTION_NEW_RECORD,
					   quote_literal_cstr(c->source->name));
	if (found != NULL)
	{
		Jsonb	   *jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(found)));

		fields_from_container(&jsonb->root, &c->news);
	}
}

/* A number of the pair that is known of a record's news; -1: there is none. */
static int64
news_number(const Field *news, int which)
{
	JsonbContainer *pair = news == NULL ? NULL : json_read_array(&news->value);
	JsonbValue *number = pair == NULL ? NULL : getIthJsonbValueFromContainer(pair, which);
	int64		result;

	return number != NULL && json_read_number(number, 0, PG_INT64_MAX, &result) ? result : -1;
}

/*
 * The last row version that the record here and the spoke's, which has come to seen,
 * have in common.  *recovered: up to which one it was sent to us again by others that
 * have seen the same as the spoke; 0: it wasn't.
 */
static int64
base_of(const Comparison *c, FieldName id, const Record *record, int64 seen, int64 *recovered)
{
	const Field *news = fields_find(&c->news, id);
	int64		before = news_number(news, 0);
	int64		base = record->exists ? record->row_version : 0;

	*recovered = record->exists ? Max(news_number(news, 1), 0) : 0;
	if (before >= 0)
		base = Min(base, before);
	/* of what came after that the others knew nothing */
	return *recovered > 0 && seen > *recovered ? Min(base, *recovered) : base;
}

/* ---------- what is told ---------- */

/* The fields that the source may not see now; false: it may see none. */
static bool
find_withheld(const Comparison *c, const char *id, FieldNames *withheld)
{
	return visibility_withheld(source_route(c->source, c->entity),
							   conflict_log_pending(c->conflicts, c->entity, id, c->source->name),
							   withheld);
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
	JsonbParseState *state = json_begin_object();

	for (int i = 0; !record->deleted && i < record->nfields; i++)
	{
		const RecordField *field = &record->fields[i];

		if (field->stamp.row_version <= base &&
			!field_names_has(withheld, field->field.name))
			json_push_number(&state, field_name_cstring(field->field.name),
							 field->stamp.row_version);
	}
	return json_end_object(&state);
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

/* The record is as it was before the news of it was looked for. */
static void
compare_record(Comparison *c, const Field *known, Record record)
{
	char	   *id = field_name_cstring(known->name);
	FieldNames	withheld;
	int64		told = number_of(known);
	int64		seen = told < 0 ? -told : told;
	int64		recovered;
	int64		base;
	Datum		values[9];
	bool		isnull[9] = {false};

	if (!hide_record(c, id, &record))
		return;
	base = base_of(c, known->name, &record, seen, &recovered);
	/* who has sent it to us again needn't have all of its fields */
	if ((told >= 0 && seen <= base && recovered == 0) || !find_withheld(c, id, &withheld))
		return;
	values[0] = CStringGetTextDatum(id);
	values[1] = BoolGetDatum(record.exists);
	values[2] = BoolGetDatum(record.exists && record.deleted);
	values[3] = Int64GetDatum(record.exists ? record.row_version : 0);
	values[4] = Int64GetDatum(base);
	values[5] = JsonbPGetDatum(visible_fields(&record, &withheld));
	values[6] = JsonbPGetDatum(common_stamps(&record, &withheld, base));
	values[7] = field_names_to_array(&withheld);
	values[8] = BoolGetDatum(recovered > 0);
	tuplestore_putvalues(c->out->setResult, c->out->setDesc, values, isnull);
	c->any |= seen > base;
}

/* ---------- what follows ---------- */

/*
 * The spoke's word alone says that we have gone back in time.  One that says so again
 * and again isn't believed: others would have to be told each time.
 */
#define MAX_TOLD_BEHIND		10

static void
check_credit(const char *source)
{
	if (owner_true("SELECT EXISTS (SELECT FROM syncext.spoke WHERE source = %s AND behind >= %d "
				   "AND behind_at > clock_timestamp() - interval '1 day')",
				   quote_literal_cstr(source), MAX_TOLD_BEHIND))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" has told %d times that this hub had gone back in time", source,
						MAX_TOLD_BEHIND),
				 errdetail("It is believed again when a day has passed since the last time."),
				 errhint("If the hub was restored as often, at the hub: UPDATE syncext.spoke SET behind = 0 WHERE source = %s.",
						 quote_literal_cstr(source))));
}

static void
begin_epoch_told_by(const char *source)
{
	check_credit(source);
	incarnation_begin_epoch("behind");
	owner_execute("UPDATE syncext.spoke s SET behind = CASE WHEN s.behind_at > o.began_at - interval '1 day' THEN s.behind ELSE 0 END + 1, "
				  "behind_at = o.began_at FROM syncext.feed_origin o WHERE s.source = %s",
				  quote_literal_cstr(source));
	/* the numbers are still those of before: nothing else has gone over the link */
	hello_meet_epoch(source);
}

/*
 * Something is lost: so files were restored, of which nothing here tells.  Others are
 * to know it, and the spoke gets what there is.
 */
static void
note_loss(const Comparison *c)
{
	const char *since = time_text(c->since);

	if (!owner_true("SELECT EXISTS (SELECT FROM syncext.feed_origin WHERE reason <> 'created' AND began_at > %s)",
					since))
		begin_epoch_told_by(c->source->name);
	if (!owner_true("SELECT EXISTS (SELECT FROM syncext.cursor WHERE target = %s AND backfill_since > %s)",
					quote_literal_cstr(c->source->name), since))
		cursor_start(c->source->name);
}

/* What is read of records at once, in bytes. */
#define READ_BYTES	(32 * 1024 * 1024)

/* Read records, from the first on, as many as may be held; returns how many. */
static int
read_records(const Comparison *c, int first, Record *records)
{
	Canonical  *canonical = canonical_open(false);
	int			n = 0;

	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(canonical, c->entity, field_name_cstring(c->known.field[first + n].name),
					   &records[n]);
		n++;
	} while (first + n < c->known.n &&
			 MemoryContextMemAllocated(CurrentMemoryContext, true) < READ_BYTES);
	canonical_close(canonical);
	return n;
}

/*
 * Read what there is of the records, and then what has become of them: each look sees
 * what others have committed by then.  A record that is written in between has news of
 * which the row version read here knows nothing, and is told of.  The other way round, one
 * that another spoke has just sent us again would pass for one that was never lost.
 * Returns how many were compared.
 */
static int
compare_some(Comparison *c, int first, Record *records)
{
	int			n = read_records(c, first, records);
	RoutedTable *routed;

	find_news(c, first, n);
	routed = mapped_open(&routed_def, false);
	c->served = routed_seek_begin(routed);
	c->conflicts = mapped_open(&conflict_log_def, false);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		compare_record(c, &c->known.field[first + i], records[i]);
	}
	mapped_close(c->conflicts);
	rows_scan_end(c->served);
	mapped_close(routed);
	return n;
}

static void
compare(Comparison *c, bool hub_behind)
{
	OwnerContext as_owner;
	Record	   *records;
	MemoryContext some;
	MemoryContext outer;

	SPI_connect();
	owner_enter(&as_owner, 0);
	records = palloc(sizeof(Record) * Max(c->known.n, 1));
	some = AllocSetContextCreate(CurrentMemoryContext, "syncext compared records",
								 ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(some);
	for (int first = 0; first < c->known.n;)
	{
		first += compare_some(c, first, records);
		MemoryContextReset(some);
	}
	MemoryContextSwitchTo(outer);
	if (c->any && hub_behind)
		note_loss(c);
	owner_leave(&as_owner);
	SPI_finish();
}

/* ---------- what is sent again ---------- */

/* Nobody asks what became of it: the comparison tells. */
static JsonbValue *
no_answer(const Answer *answer, MemoryContext context)
{
	return NULL;
}

/*
 * Have we gone back in time since that epoch, as far as is known here?  A spoke that is
 * the first to tell has this noted by note_loss(), before it sends anything again.
 */
static bool
has_gone_back(int64 epoch)
{
	return owner_true("SELECT EXISTS (SELECT FROM syncext.feed_origin WHERE reason <> 'created' AND epoch > " INT64_FORMAT ")",
					  epoch);
}

/*
 * Take records as the spoke had last seen them here.  Each of its changes counts only
 * if the record is as it was when the spoke compared it (ifMatch).  One that can't be
 * taken is left out: then the spoke sends it as an edit, which tells why.
 */
static void
recover(const char *source, int64 epoch, Jsonb *changes)
{
	JsonbValue **answers;

	if (!JB_ROOT_IS_ARRAY(changes) || JB_ROOT_IS_SCALAR(changes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("what the spoke sends again is not an array"),
				 errhint("Only links call syncext.hub_compare.")));
	if (JB_ROOT_COUNT(changes) == 0 || !has_gone_back(epoch))
		return;
	(void) documents_apply(changes, source, &epoch, no_answer, &answers);
	CommandCounterIncrement();
}

Datum
syncext_hub_compare(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *known = PG_GETARG_JSONB_P(2);
	Comparison	c = {.since = PG_GETARG_TIMESTAMPTZ(3), .epoch = PG_GETARG_INT64(5)};

	c.source = registry_source_required(registry_get(), source);
	source_role_check(c.source);
	link_refuse_source(source);
	hello_require(source);
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
	recover(source, c.epoch, PG_GETARG_JSONB_P(6));
	fields_from_container(&known->root, &c.known);
	compare(&c, PG_GETARG_BOOL(4));
	return (Datum) 0;
}
