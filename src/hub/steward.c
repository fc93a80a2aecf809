/*
 * steward.c
 *	  What stewards do with conflicts beside deciding one: many at once, reopening,
 *	  assigning.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/memutils.h"

#include "hub/resolve.h"
#include "model/clip.h"
#include "model/json.h"
#include "model/json_read.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/canonical.h"
#include "storage/hints.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_resolve_where);
PG_FUNCTION_INFO_V1(sync_reopen);
PG_FUNCTION_INFO_V1(sync_assign);

/* ---------- many at once ---------- */

static const char *
decision_of_many(FunctionCallInfo fcinfo)
{
	char	   *decision = arg_text(fcinfo, 1, "decision");

	if (verdict_by_name(decision) == VERDICT_MERGE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conflicts are merged one by one"),
				 errhint("Decide incoming, canonical, dismiss or ladder here; merge with sync_resolve.")));
	return decision;
}

/* The ids of what is to be decided, in the order of their records; one more than max if there are more. */
static int
find_conflicts(FunctionCallInfo fcinfo, int max, int64 **ids)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, INTERVALOID, JSONPATHOID, INT4OID};
	int			args[] = {0, 2, 3, 4, 5};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[6];
	char		nulls[7] = "      ";
	OwnerContext as_owner;
	int			n;

	for (int i = 0; i < (int) lengthof(args); i++)
	{
		nulls[i] = PG_ARGISNULL(args[i]) ? 'n' : ' ';
		values[i] = PG_GETARG_DATUM(args[i]);
	}
	values[5] = Int32GetDatum(max < PG_INT32_MAX ? max + 1 : max);
	SPI_connect();
	owner_enter(&as_owner, 0);
	if (SPI_execute_with_args("SELECT w FROM syncext.conflicts_where($1, $2, $3, $4, $5, $6) w",
							  6, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "conflicts could not be looked for");
	n = (int) SPI_processed;
	*ids = MemoryContextAlloc(caller, sizeof(int64) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		(*ids)[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	owner_leave(&as_owner);
	SPI_finish();
	return n;
}

/* How many came to which end. */
typedef struct Tally
{
	int			n[RESOLVE_MOVED];
	bool		more;
} Tally;

static void
resolve_many(const char *decision, const char *note, const int64 *ids, int n, Tally *tally)
{
	Resolve    *r = resolve_begin(decision, note);
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "syncext conflict", ALLOCSET_DEFAULT_SIZES);

	MemoryContextSwitchTo(each);
	for (int i = 0; i < n; i++)
	{
		Answer		answer;
		const char *why = NULL;

		tally->n[resolve_pending(r, ids[i], &answer, &why)]++;
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(outer);
	resolve_end(r);
	MemoryContextDelete(each);
}

static Jsonb *
tally_to_jsonb(const Tally *tally)
{
	JsonbParseState *state = json_begin_object();

	json_push_number(&state, "decided", tally->n[RESOLVE_DONE]);
	json_push_number(&state, "skipped", tally->n[RESOLVE_CLOSED]);
	json_push_number(&state, "undecided", tally->n[RESOLVE_UNDECIDED]);
	json_push_number(&state, "refused", tally->n[RESOLVE_REFUSED]);
	json_push_bool(&state, "more", tally->more);
	return json_end_object(&state);
}

Datum
sync_resolve_where(PG_FUNCTION_ARGS)
{
	char	   *entity = arg_text(fcinfo, 0, "entity");
	const char *decision = decision_of_many(fcinfo);
	int			max = arg_int(fcinfo, 6, "max_conflicts");
	Tally		tally = {0};
	int64	   *ids;
	int			n;

	if (max < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_conflicts must be at least 1, not %d", max)));
	resolve_check_steward(fcinfo->flinfo->fn_oid, entity, "decide conflicts");
	n = find_conflicts(fcinfo, max, &ids);
	tally.more = n > max;
	resolve_many(decision, arg_text_or_null(fcinfo, 7), ids, Min(n, max), &tally);
	PG_RETURN_JSONB_P(tally_to_jsonb(&tally));
}

/* ---------- reopening, assigning ---------- */

/* What a merge has left undecided is two records' again when that is undone. */
static void
refuse_undone(const Conflict *conflict)
{
	const Fields detail = fields_of(conflict->incoming_detail);
	int64		merge;
	char	   *drop_id;

	if (!json_read_number(fields_value(&detail, "mergeId"), 1, PG_INT64_MAX, &merge))
		return;
	drop_id = owner_text("SELECT m.drop_id FROM syncext.merge m WHERE m.id = " INT64_FORMAT " AND m.undone_at IS NOT NULL", merge);
	if (drop_id != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conflict " INT64_FORMAT " is of merge " INT64_FORMAT ", which was undone",
						conflict->id, merge),
				 errhint("The other value is that of record \"%s\" again: what this one shall have of it, send as a change of this one.",
						 clip_string(drop_id, CLIP_QUOTE))));
}

static void
check_reopen(ConflictLog *conflicts, Canonical *canonical, const Conflict *conflict)
{
	Record		record;
	int64		same;

	if (strcmp(conflict->status, "pending") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conflict " INT64_FORMAT " is pending", conflict->id),
				 errhint_call("Decide it with SELECT sync_resolve(" INT64_FORMAT ", …).", conflict->id)));
	conflict_log_require(conflicts, conflict);
	/* so that its conflicts stay as they are */
	if (!canonical_hold(canonical, conflict->entity, conflict->external_id, &record))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the record of conflict " INT64_FORMAT " does not exist any more", conflict->id)));
	refuse_undone(conflict);
	same = conflict_log_find_same(conflicts, conflict);
	if (same != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conflict " INT64_FORMAT " says the same as conflict " INT64_FORMAT ", which is pending",
						conflict->id, same),
				 errhint_call("Decide that one with SELECT sync_resolve(" INT64_FORMAT ", …).", same)));
}

Datum
sync_reopen(PG_FUNCTION_ARGS)
{
	ConflictLog *conflicts;
	Canonical  *canonical;
	Conflict	conflict;

	arg_refuse_null(fcinfo, 0, "conflict_id");
	conflicts = mapped_open(&conflict_log_def, true);
	canonical = canonical_open(true);
	resolve_find(conflicts, fcinfo->flinfo->fn_oid, PG_GETARG_INT64(0), &conflict);
	(void) registry_entity_required(registry_get(), conflict.entity);
	check_reopen(conflicts, canonical, &conflict);
	if (!conflict_log_reopen(conflicts, &conflict))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conflict " INT64_FORMAT " was changed by another session just now", conflict.id)));
	canonical_close(canonical);
	mapped_close(conflicts);
	PG_RETURN_VOID();
}

Datum
sync_assign(PG_FUNCTION_ARGS)
{
	ConflictLog *conflicts;
	Conflict	conflict;

	arg_refuse_null(fcinfo, 0, "conflict_id");
	conflicts = mapped_open(&conflict_log_def, true);
	resolve_find(conflicts, fcinfo->flinfo->fn_oid, PG_GETARG_INT64(0), &conflict);
	if (!conflict_log_assign(conflicts, conflict.id, arg_text_or_null(fcinfo, 1)))
		resolve_refuse_closed(conflict.id, strcmp(conflict.status, "pending") != 0 ? conflict.status :
							  "closed by another session just now");
	mapped_close(conflicts);
	PG_RETURN_VOID();
}
