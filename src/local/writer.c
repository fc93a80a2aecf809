/*
 * writer.c
 *	  Reading, locking and writing rows of attached relations, as their owner.
 *
 * Called by delivery and load, and by capture where a row has to be read again.
 * Statements go through SPI, so that the relation's own triggers, defaults and
 * constraints hold; plans are kept with the Attached, a plan for each set of
 * columns that was ever written.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "local/constraints.h"
#include "local/writer.h"
#include "storage/rows.h"

typedef enum StatementKind
{
	STATEMENT_READ,
	STATEMENT_LOCK,				/* passes by rows that others hold */
	STATEMENT_LOCK_WAIT,
	STATEMENT_INSERT,
	STATEMENT_UPDATE,
	STATEMENT_UPDATE_AT,		/* where it was locked */
	STATEMENT_DELETE
} StatementKind;

/* A prepared statement of an Attached, gone with its memory. */
typedef struct Statement
{
	StatementKind kind;
	Bitmapset  *columns;		/* that it writes */
	SPIPlanPtr	plan;
	MemoryContextCallback callback;
} Statement;

/* Column sets are few; who sends ever new ones gets plans made anew. */
#define MAX_STATEMENTS	64

/* ---------- acting as the owner ---------- */

static void
set_for_section(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

static void
set_lock_timeout(Writer *writer)
{
	char		timeout[16];

	snprintf(timeout, sizeof(timeout), "%d", Max(writer->patience, 1));
	set_for_section("lock_timeout", timeout);
}

void
writer_enter(Writer *writer, Oid owner, bool deferring)
{
	if (deferring)
		constraints_defer();
	table_code_enter(&writer->code, owner, deferring ? TABLE_CODE_DEFERRING : TABLE_CODE_RESTRICTED);
	set_lock_timeout(writer);
	writer->context = CurrentMemoryContext;
	writer->rows = NULL;
}

static void
close_rows(Writer *writer)
{
	if (writer->rows != NULL)
		rows_close(writer->rows);
	writer->rows = NULL;
}

void
writer_leave(Writer *writer)
{
	set_for_section("syncext.inbound", "");
	close_rows(writer);
	table_code_leave(&writer->code);
}

void
writer_set_inbound(const Attached *attached, const char *external_id)
{
	set_for_section("syncext.inbound",
					psprintf("%u:%s", attached->binding->relation, external_id));
}

/* ---------- statements ---------- */

static void
free_statement(void *arg)
{
	Statement  *statement = arg;

	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;
}

/* The columns that statements return: the key and what delivery looks at. */
static void
append_returned(StringInfo sql, const Attached *attached)
{
	for (int i = 0; i < attached->nread; i++)
		appendStringInfo(sql, "%st.%s", i > 0 ? ", " : "", quote_identifier(attached->read[i]->name));
}

/* "WHERE key = $1 AND …"; operators are named in full, as search_path is short. */
static void
append_where(StringInfo sql, const Attached *attached)
{
	for (int i = 0; i < attached->nkeys; i++)
	{
		TypeCacheEntry *type = lookup_type_cache(attached->keys[i].type, TYPECACHE_EQ_OPR);
		HeapTuple	tuple;
		Form_pg_operator op;

		if (!OidIsValid(type->eq_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("key column \"%s\" of relation %s is of type %s, which has no equality operator",
							attached->keys[i].name, attached->name,
							format_type_be(attached->keys[i].type))));
		tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(type->eq_opr));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for operator %u", type->eq_opr);
		op = (Form_pg_operator) GETSTRUCT(tuple);
		appendStringInfo(sql, " %s t.%s OPERATOR(%s.%s) $%d", i == 0 ? "WHERE" : "AND",
						 quote_identifier(attached->keys[i].name),
						 quote_identifier(get_namespace_name(op->oprnamespace)),
						 NameStr(op->oprname), i + 1);
		ReleaseSysCache(tuple);
	}
}

/* Has the relation rows of its own, that can be locked?  A view or foreign table hasn't. */
static bool
is_lockable(const Attached *attached)
{
	return attached->relkind == RELKIND_RELATION ||
		attached->relkind == RELKIND_PARTITIONED_TABLE;
}

/*
 * Does a locked row's place tell it?  Not among partitions, and not where a
 * trigger may move the row before it is updated.
 */
static bool
has_places(const Attached *attached)
{
	return attached->relkind == RELKIND_RELATION && !attached->has_triggers;
}

static void
append_select(StringInfo sql, const Attached *attached, StatementKind kind)
{
	appendStringInfoString(sql, "SELECT ");
	append_returned(sql, attached);
	if (kind != STATEMENT_READ && has_places(attached))
		appendStringInfoString(sql, ", t.ctid");
	appendStringInfo(sql, " FROM %s%s AS t", attached_only(attached), attached->name);
	append_where(sql, attached);
	if (kind != STATEMENT_READ)
		appendStringInfo(sql, " FOR NO KEY UPDATE OF t%s",
						 kind == STATEMENT_LOCK ? " SKIP LOCKED" : "");
}

static void
append_insert(StringInfo sql, const Attached *attached, char **names, int n)
{
	appendStringInfo(sql, "INSERT INTO %s AS t (", attached->name);
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", quote_identifier(names[i]));
	/* a key may be an identity column */
	appendStringInfoString(sql, ") OVERRIDING SYSTEM VALUE VALUES (");
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(sql, ") RETURNING ");
	append_returned(sql, attached);
}

static void
append_update(StringInfo sql, const Attached *attached, StatementKind kind, char **names, int n)
{
	const int	nfinders = kind == STATEMENT_UPDATE_AT ? 1 : attached->nkeys;

	appendStringInfo(sql, "UPDATE %s%s AS t SET ", attached_only(attached), attached->name);
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s = $%d", i > 0 ? ", " : "", quote_identifier(names[i]),
						 nfinders + i + 1);
	if (kind == STATEMENT_UPDATE_AT)
		appendStringInfoString(sql, " WHERE t.ctid OPERATOR(pg_catalog.=) $1");
	else
		append_where(sql, attached);
	appendStringInfoString(sql, " RETURNING ");
	append_returned(sql, attached);
}

/* Prepare a statement; its parameters are the key, if it looks for one, then the columns. */
static SPIPlanPtr
prepare_statement(const Attached *attached, StatementKind kind, Bitmapset *columns)
{
	StringInfoData sql;
	int			n = bms_num_members(columns);
	char	  **names = palloc(sizeof(char *) * (n + 1));
	Oid		   *types = palloc(sizeof(Oid) * (attached->nkeys + 1 + n));
	int			ntypes = 0;
	int			attnum = -1;
	SPIPlanPtr	plan;

	if (kind == STATEMENT_UPDATE_AT)
		types[ntypes++] = TIDOID;
	else if (kind != STATEMENT_INSERT)
		for (int i = 0; i < attached->nkeys; i++)
			types[ntypes++] = attached->keys[i].type;
	for (int i = 0; (attnum = bms_next_member(columns, attnum)) >= 0; i++)
	{
		names[i] = get_attname(attached->relid, attnum, false);
		types[ntypes++] = get_atttype(attached->relid, attnum);
	}
	initStringInfo(&sql);
	switch (kind)
	{
		case STATEMENT_READ:
		case STATEMENT_LOCK:
		case STATEMENT_LOCK_WAIT:
			append_select(&sql, attached, kind);
			break;
		case STATEMENT_INSERT:
			append_insert(&sql, attached, names, n);
			break;
		case STATEMENT_UPDATE:
		case STATEMENT_UPDATE_AT:
			append_update(&sql, attached, kind, names, n);
			break;
		case STATEMENT_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s%s AS t", attached_only(attached), attached->name);
			append_where(&sql, attached);
			break;
	}
	plan = SPI_prepare(sql.data, ntypes, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}

static SPIPlanPtr
get_plan(Attached *attached, StatementKind kind, Bitmapset *columns)
{
	Statement  *statement;
	MemoryContext old;
	SPIPlanPtr	plan;
	ListCell   *lc;

	foreach(lc, attached->statements)
	{
		statement = lfirst(lc);
		if (statement->kind == kind && bms_equal(statement->columns, columns))
			return statement->plan;
	}
	plan = prepare_statement(attached, kind, columns);
	if (list_length(attached->statements) >= MAX_STATEMENTS)
		return plan;			/* gone with the SPI connection */
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	old = MemoryContextSwitchTo(attached->context);
	statement = palloc0(sizeof(Statement));
	statement->kind = kind;
	statement->columns = bms_copy(columns);
	statement->plan = plan;
	statement->callback.func = free_statement;
	statement->callback.arg = statement;
	MemoryContextRegisterResetCallback(attached->context, &statement->callback);
	attached->statements = lappend(attached->statements, statement);
	MemoryContextSwitchTo(old);
	return plan;
}

/* ---------- running them ---------- */

/* Copy number i of attached->read. */
static void
copy_returned(const Attached *attached, int i, AttachedRow *row)
{
	const AttachedColumn *column = attached->read[i];
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									  i + 1, &isnull);

	attached_check_type(attached, i, TupleDescAttr(SPI_tuptable->tupdesc, i)->atttypid);
	row->isnull[column->attnum - 1] = isnull;
	if (!isnull)
		row->values[column->attnum - 1] = value_copy(column->value, value);
}

/* Take over what append_returned named, and the place if it was asked for. */
static void
take_row(const Attached *attached, AttachedRow *row)
{
	bool		isnull;

	*row = attached_row_make(attached);
	for (int i = 0; i < attached->nread; i++)
		copy_returned(attached, i, row);
	if (SPI_tuptable->tupdesc->natts > attached->nread)
		row->at = *(ItemPointer)
			DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
										  attached->nread + 1, &isnull));
}

/* Run a statement; returns how many rows it met.  The row may be NULL. */
static uint64
run(Attached *attached, StatementKind kind, AttachedRow key, AttachedRow values,
	Bitmapset *columns, AttachedRow *row)
{
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan = get_plan(attached, kind, columns);
	int			n = attached->nkeys + 1 + bms_num_members(columns);
	Datum	   *params = MemoryContextAlloc(context, sizeof(Datum) * n);
	char	   *nulls = MemoryContextAlloc(context, n + 1);
	int			nparams = 0;
	int			attnum = -1;
	int			result;
	uint64		processed;

	/* every call of SPI leaves in its own memory context */
	if (kind == STATEMENT_UPDATE_AT)
	{
		nulls[nparams] = ' ';
		params[nparams++] = PointerGetDatum(&key.at);
	}
	else if (kind != STATEMENT_INSERT)
		for (int i = 0; i < attached->nkeys; i++)
		{
			nulls[nparams] = ' ';
			params[nparams++] = key.values[attached->keys[i].attnum - 1];
		}
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		nulls[nparams] = values.isnull[attnum - 1] ? 'n' : ' ';
		params[nparams++] = values.values[attnum - 1];
	}
	result = SPI_execute_plan(plan, params, nulls, false, 0);
	MemoryContextSwitchTo(context);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	processed = SPI_processed;
	if (processed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("relation %s has several rows with the same key", attached->name)));
	if (processed == 1 && row != NULL && SPI_tuptable != NULL)
		take_row(attached, row);
	SPI_freetuptable(SPI_tuptable);
	return processed;
}

bool
writer_read(Attached *attached, AttachedRow key, AttachedRow *row)
{
	return run(attached, STATEMENT_READ, key, key, NULL, row) > 0;
}

/*
 * Wait for whoever holds the row, no longer than the writer's patience lasts:
 * rows that we locked already make others wait as long.
 */
static WriterLock
wait_for_lock(Writer *writer, Attached *attached, AttachedRow key, AttachedRow *row)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile WriterLock result = WRITER_BUSY;
	instr_time	begin;
	instr_time	waited;

	set_lock_timeout(writer);
	INSTR_TIME_SET_CURRENT(begin);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (run(attached, STATEMENT_LOCK_WAIT, key, key, NULL, row) > 0)
			result = WRITER_LOCKED;
		else
			result = WRITER_ABSENT;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, begin);
	writer->patience -= (int) INSTR_TIME_GET_MILLISEC(waited);
	return result;
}

static void
open_rows(Writer *writer, const Attached *attached)
{
	MemoryContext old;

	if (writer->rows != NULL && writer->relid == attached->relid)
		return;
	close_rows(writer);
	old = MemoryContextSwitchTo(writer->context);
	writer->rows = rows_open_lock(attached->relid);
	writer->relid = attached->relid;
	MemoryContextSwitchTo(old);
	/* from here on it is open, and stays as it is */
	attached_check_desc(attached, rows_desc(writer->rows));
}

/*
 * What STATEMENT_LOCK does, for a table that has its key in an index: no code of
 * the table's runs in it, and the executor need not be started for each row.
 */
static WriterLock
lock_by_index(Writer *writer, const Attached *attached, AttachedRow key, AttachedRow *row)
{
	Datum		keys[ROWS_MAX_KEYS];
	bool		busy;

	open_rows(writer, attached);
	for (int i = 0; i < attached->nkeys; i++)
		keys[i] = key.values[attached->keys[i].attnum - 1];
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!rows_find(writer->rows, attached->nkeys, keys))
			return WRITER_ABSENT;
	} while (rows_lock_free(writer->rows, &busy) != ROWS_DONE && !busy);
	if (busy)
		return WRITER_BUSY;
	*row = attached_row_make(attached);
	if (has_places(attached))
		row->at = rows_place(writer->rows);
	for (int i = 0; i < attached->nread; i++)
	{
		const AttachedColumn *column = attached->read[i];
		bool		isnull;
		Datum		value = rows_value(writer->rows, column->attnum, &isnull);

		row->isnull[column->attnum - 1] = isnull;
		if (!isnull)
			row->values[column->attnum - 1] = value_copy(column->value, value);
	}
	return WRITER_LOCKED;
}

WriterLock
writer_lock(Writer *writer, Attached *attached, AttachedRow key, bool likely, AttachedRow *row)
{
	if (attached->has_key_index)
	{
		WriterLock	lock = lock_by_index(writer, attached, key, row);

		return lock != WRITER_BUSY || writer->patience <= 0 ? lock :
			wait_for_lock(writer, attached, key, row);
	}
	if (!is_lockable(attached))
		return writer_read(attached, key, row) ? WRITER_LOCKED : WRITER_ABSENT;
	if (!likely && !writer_read(attached, key, row))
		return WRITER_ABSENT;
	if (run(attached, STATEMENT_LOCK, key, key, NULL, row) > 0)
		return WRITER_LOCKED;
	if (!writer_read(attached, key, row))
		return WRITER_ABSENT;
	if (writer->patience <= 0)
		return WRITER_BUSY;
	return wait_for_lock(writer, attached, key, row);
}

/* A row that was written is there afterwards, unless a trigger or rule kept it out. */
static void
check_written(const Attached *attached, uint64 processed)
{
	if (processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger or rule of relation %s let nothing be written", attached->name)));
}

void
writer_insert(Attached *attached, AttachedRow values, Bitmapset *columns, AttachedRow *stored)
{
	check_written(attached, run(attached, STATEMENT_INSERT, values, values, columns, stored));
	if (attached->has_triggers && !writer_read(attached, *stored, stored))
		check_written(attached, 0);
}

void
writer_update(Attached *attached, AttachedRow key, AttachedRow values, Bitmapset *columns,
			  AttachedRow *stored)
{
	check_written(attached, run(attached, ItemPointerIsValid(&key.at) ? STATEMENT_UPDATE_AT :
								STATEMENT_UPDATE, key, values, columns, stored));
	/* AFTER triggers may have changed the row once more */
	if (attached->has_triggers && !writer_read(attached, key, stored))
		check_written(attached, 0);
}

void
writer_delete(Attached *attached, AttachedRow key)
{
	check_written(attached, run(attached, STATEMENT_DELETE, key, key, NULL, NULL));
}
