/*
 * stat_view.c
 *	  What views show of the counters, and sync_stat_reset().
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "process/owner.h"
#include "process/stat.h"
#include "process/stat_shared.h"
#include "process/stat_table.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(syncext_stat_rows);
PG_FUNCTION_INFO_V1(syncext_stat_place);
PG_FUNCTION_INFO_V1(sync_stat_reset);

/* Add up what is in shared memory, in the table and in this session. */
static void
read_all(StatEntries *sums)
{
	const StatEntries *own = stat_unwritten();

	if (stat_attach())
		stat_shared_read(sums);
	for (int i = 0; i < own->room; i++)
		stat_entries_add(sums, &own->entry[i]);
	(void) stat_table_read(sums);
}

static void
put_entry(ReturnSetInfo *rsinfo, const StatEntry *entry)
{
	Datum		values[8];
	bool		isnull[8] = {false};

	values[0] = PointerGetDatum(cstring_to_text_with_len(&entry->key.what, 1));
	values[1] = CStringGetTextDatum(entry->key.name);
	values[2] = CStringGetTextDatum(entry->key.entity);
	for (int k = 0; k < STAT_NCOUNTS; k++)
		values[3 + k] = Int64GetDatum(entry->n[k]);
	values[7] = TimestampTzGetDatum(entry->last_at);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/*
 * The counters of a kind, one row a key; none for who may not watch the hub, and none on a
 * standby, whose sessions count nothing and can't read an unlogged table.
 */
Datum
syncext_stat_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char		kind = PG_GETARG_CHAR(0);
	StatEntries sums = {.context = CurrentMemoryContext};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!role_is_monitor() || RecoveryInProgress())
		return (Datum) 0;
	read_all(&sums);
	for (int i = 0; i < sums.room; i++)
		if (sums.entry[i].key.kind == kind)
			put_entry(rsinfo, &sums.entry[i]);
	return (Datum) 0;
}

static const char *
place(bool attached)
{
	if (RecoveryInProgress())
		return "primary";
	return !attached ? "table" : shared_area_preloaded() ? "shared memory" : "registry";
}

/* Where the counters are, since when, and how many rows the table has where they are there. */
Datum
syncext_stat_place(PG_FUNCTION_ARGS)
{
	bool		attached = stat_attach();
	bool		in_table = !attached && !RecoveryInProgress();
	StatEntries sums = {.context = CurrentMemoryContext};
	TupleDesc	desc;
	Datum		values[3];
	bool		isnull[3] = {false, !attached || RecoveryInProgress(), !in_table};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(place(attached));
	values[1] = isnull[1] ? (Datum) 0 : TimestampTzGetDatum(stat_shared_since());
	values[2] = in_table ? Int64GetDatum(stat_table_read(&sums)) : (Datum) 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}

Datum
sync_stat_reset(PG_FUNCTION_ARGS)
{
	stat_forget();
	(void) owner_execute("DELETE FROM syncext.stat_row");
	(void) owner_execute("UPDATE syncext.stat_reset SET reset_at = clock_timestamp()");
	if (stat_attach())
		stat_shared_reset();
	PG_RETURN_VOID();
}
