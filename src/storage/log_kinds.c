/*
 * log_kinds.c
 *	  Kinds of rows of the change log: those that the same targets are told of.
 *
 * View syncext.feed_lag asks it, so that a target that is told of nothing needs no walk
 * of its own.  One walk in C is a sixth of what grouping the rows costs.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

#include "storage/change_log.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(syncext_log_kinds);

typedef struct LogKind
{
	text	   *source;
	text	   *entity;
	char		told;
	uint64		last_xid;		/* of the last transaction that wrote such a row */
} LogKind;

static bool
same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

static bool
same_kind(const LogKind *a, const LogKind *b)
{
	return a->told == b->told && same_text(a->source, b->source) && same_text(a->entity, b->entity);
}

typedef struct Walk
{
	uint64		from;			/* rows of older transactions don't count */
	List	   *kinds;			/* of LogKind * */
	LogKind    *last;			/* that of the row before */
} Walk;

static LogKind *
find_kind(Walk *walk, const LogKind *wanted)
{
	LogKind    *kind;
	ListCell   *lc;

	foreach(lc, walk->kinds)
		if (same_kind(lfirst(lc), wanted))
			return lfirst(lc);
	kind = palloc(sizeof(LogKind));
	*kind = *wanted;
	kind->source = (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(wanted->source));
	kind->entity = (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(wanted->entity));
	walk->kinds = lappend(walk->kinds, kind);
	return kind;
}

static void
note_row(Rows *rows, void *arg)
{
	Walk	   *walk = arg;
	LogKind		kind;
	bool		isnull;

	kind.source = (text *) PG_DETOAST_DATUM_PACKED(rows_value(rows, LOG_SOURCE, &isnull));
	kind.entity = (text *) PG_DETOAST_DATUM_PACKED(rows_value(rows, LOG_ENTITY, &isnull));
	kind.told = DatumGetChar(rows_value(rows, LOG_TOLD, &isnull));
	kind.last_xid = U64FromFullTransactionId(DatumGetFullTransactionId(rows_value(rows, LOG_XID, &isnull)));
	if (kind.last_xid < walk->from)
		return;
	if (walk->last == NULL || !same_kind(walk->last, &kind))
		walk->last = find_kind(walk, &kind);
	walk->last->last_xid = Max(walk->last->last_xid, kind.last_xid);
}

/* A table that is behind the first transaction as a whole is read without its index, which is three times as fast. */
static void
walk_table(int number, Walk *walk)
{
	char		name[NAMEDATALEN];
	char		index[NAMEDATALEN];
	const Datum after[1] = {FullTransactionIdGetDatum(FullTransactionIdFromU64(walk->from - 1))};
	Rows	   *rows;
	RowsScan   *scan;
	bool		isnull;
	bool		whole;

	snprintf(name, sizeof(name), "change_log_%d", number);
	snprintf(index, sizeof(index), "change_log_%d_position", number);
	rows = rows_open_read(registry_relation(name));
	scan = rows_scan_begin(rows, index, 0, NULL, 0, NULL);
	whole = !rows_scan_next(scan) ||
		U64FromFullTransactionId(DatumGetFullTransactionId(rows_value(rows, LOG_XID, &isnull))) >= walk->from;
	rows_scan_end(scan);
	if (whole)
		rows_walk(rows, note_row, walk);
	else
	{
		scan = rows_scan_begin(rows, index, 0, NULL, 1, after);
		while (rows_scan_next(scan))
			note_row(rows, walk);
		rows_scan_end(scan);
	}
	rows_close(rows);
}

static void
put_kind(ReturnSetInfo *rsinfo, const LogKind *kind)
{
	Datum		values[4];
	bool		isnull[4] = {kind == NULL, kind == NULL, kind == NULL, kind == NULL};

	if (kind != NULL)
	{
		values[0] = PointerGetDatum(kind->source);
		values[1] = PointerGetDatum(kind->entity);
		values[2] = CharGetDatum(kind->told);
		values[3] = FullTransactionIdGetDatum(FullTransactionIdFromU64(kind->last_xid));
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/*
 * The kinds of rows that transactions from this one on have written.  Whoever may not read
 * feed_lag himself, as where a view of a user's does for him, is answered a row of
 * nulls: any.
 */
Datum
syncext_log_kinds(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Walk		walk = {.from = Max(U64FromFullTransactionId(PG_GETARG_FULLTRANSACTIONID(0)), 1)};
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (pg_class_aclcheck(registry_relation("feed_lag"), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
	{
		put_kind(rsinfo, NULL);
		return (Datum) 0;
	}
	for (int i = 0; i < LOG_NTABLES; i++)
		walk_table(i, &walk);
	foreach(lc, walk.kinds)
		put_kind(rsinfo, lfirst(lc));
	return (Datum) 0;
}
