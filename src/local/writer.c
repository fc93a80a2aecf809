/*
 * writer.c
 *	  Reading, locking and writing rows of attached relations, as their owner.
 *
 * Statements go through SPI, so that the relation's own triggers, defaults and
 * constraints hold; plans are kept with the Attached, a plan for each set of columns
 * that was ever written.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/typcache.h"

#include "local/constraints.h"
#include "local/writer.h"
#include "process/for_now.h"
#include "storage/rows.h"

typedef enum StatementKind
{
	STATEMENT_READ,
	STATEMENT_LOCK,				/* passes by rows that others hold */
	STATEMENT_LOCK_WAIT,
	STATEMENT_READ_BY_ID,		/* by the column that has the record's id */
	STATEMENT_INSERT,
	STATEMENT_INSERT_BLIND,		/* a foreign server may refuse RETURNING */
	STATEMENT_UPDATE,
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

/* What is waited for while nobody else can write the relation: others wait for us. */
#define ALONE_MS		20

/* ---------- acting as the owner ---------- */

void
writer_enter(Writer *writer, Oid owner, bool deferring)
{
	if (deferring)
		constraints_defer();
	table_code_enter(&writer->code, owner, deferring ? TABLE_CODE_DEFERRING : TABLE_CODE_RESTRICTED);
	bound_waits_for_now(OidIsValid(writer->alone) ? ALONE_MS : writer->patience);
	writer->context = CurrentMemoryContext;
	writer->rows = NULL;
	writer->seek = NULL;
}

static void
end_seek(Writer *writer)
{
	if (writer->seek != NULL)
		rows_scan_end(writer->seek);
	writer->seek = NULL;
}

static void
close_rows(Writer *writer)
{
	end_seek(writer);
	if (writer->rows != NULL)
		rows_close(writer->rows);
	writer->rows = NULL;
}

void
writer_leave(Writer *writer)
{
	set_for_now("syncext.inbound", "");
	close_rows(writer);
	table_code_leave(&writer->code);
}

void
writer_begin_record(Writer *writer, const Attached *attached)
{
	/* to set back what nobody has set, the server walks through all settings */
	writer->nest_level = attached->reads_quietly ? 0 : NewGUCNestLevel();
}

void
writer_begin_write(Writer *writer, const Attached *attached, const char *key_text)
{
	if (writer->nest_level == 0)
		writer->nest_level = NewGUCNestLevel();
	if (key_text != NULL)
		set_for_now("syncext.inbound",
					psprintf("%u:%s", attached->binding->relation, key_text));
}

void
writer_end_record(Writer *writer)
{
	if (writer->nest_level != 0)
		AtEOXact_GUC(false, writer->nest_level);
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

void
writer_append_equal(StringInfo sql, int i, const char *column, Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator op;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	op = (Form_pg_operator) GETSTRUCT(tuple);
	appendStringInfo(sql, " %s t.%s OPERATOR(%s.%s) $%d", i == 0 ? "WHERE" : "AND",
					 quote_identifier(column), quote_identifier(get_namespace_name(op->oprnamespace)),
					 NameStr(op->oprname), i + 1);
	ReleaseSysCache(tuple);
}

/* "WHERE key = $1 AND …" */
static void
append_where(StringInfo sql, const Attached *attached)
{
	for (int i = 0; i < attached->nkeys; i++)
	{
		const AttachedColumn *key = &attached->keys[i];
		TypeCacheEntry *type = lookup_type_cache(key->type, TYPECACHE_EQ_OPR);

		if (!OidIsValid(type->eq_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("key column \"%s\" of relation %s is of type %s, which has no equality operator",
							key->name, attached->name, format_type_be(key->type))));
		writer_append_equal(sql, i, key->name, type->eq_opr);
	}
}

static void
append_select(StringInfo sql, const Attached *attached, StatementKind kind)
{
	appendStringInfoString(sql, "SELECT ");
	append_returned(sql, attached);
	appendStringInfo(sql, " FROM %s%s AS t", attached_only(attached), attached->name);
	append_where(sql, attached);
	if (kind != STATEMENT_READ)
		appendStringInfo(sql, " FOR NO KEY UPDATE OF t%s",
						 kind == STATEMENT_LOCK ? " SKIP LOCKED" : "");
}

static void
append_select_by_id(StringInfo sql, const Attached *attached)
{
	appendStringInfoString(sql, "SELECT ");
	append_returned(sql, attached);
	appendStringInfo(sql, " FROM %s%s AS t WHERE t.%s OPERATOR(pg_catalog.=) $1",
					 attached_only(attached), attached->name,
					 quote_identifier(attached->external_id->name));
}

static void
append_insert(StringInfo sql, const Attached *attached, char **names, int n, bool returning)
{
	appendStringInfo(sql, "INSERT INTO %s AS t (", attached->name);
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", quote_identifier(names[i]));
	/* a key may be an identity column */
	appendStringInfoString(sql, ") OVERRIDING SYSTEM VALUE VALUES (");
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoChar(sql, ')');
	if (!returning)
		return;
	appendStringInfoString(sql, " RETURNING ");
	append_returned(sql, attached);
}

static void
append_update(StringInfo sql, const Attached *attached, char **names, int n)
{
	appendStringInfo(sql, "UPDATE %s%s AS t SET ", attached_only(attached), attached->name);
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s = $%d", i > 0 ? ", " : "", quote_identifier(names[i]),
						 attached->nkeys + i + 1);
	append_where(sql, attached);
	appendStringInfoString(sql, " RETURNING ");
	append_returned(sql, attached);
}

static bool
looks_for_key(StatementKind kind)
{
	return kind != STATEMENT_INSERT && kind != STATEMENT_INSERT_BLIND;
}

/* Prepare a statement; its parameters are the key, if it looks for one, then the columns. */
static SPIPlanPtr
prepare_statement(const Attached *attached, StatementKind kind, Bitmapset *columns)
{
	StringInfoData sql;
	int			n = bms_num_members(columns);
	char	  **names = palloc(sizeof(char *) * (n + 1));
	Oid		   *types = palloc(sizeof(Oid) * (attached->nkeys + n + 1));
	int			ntypes = 0;
	int			attnum = -1;
	SPIPlanPtr	plan;

	if (kind == STATEMENT_READ_BY_ID)
		types[ntypes++] = TEXTOID;
	else if (looks_for_key(kind))
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
		case STATEMENT_READ_BY_ID:
			append_select_by_id(&sql, attached);
			break;
		case STATEMENT_INSERT:
		case STATEMENT_INSERT_BLIND:
			append_insert(&sql, attached, names, n, kind == STATEMENT_INSERT);
			break;
		case STATEMENT_UPDATE:
			append_update(&sql, attached, names, n);
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

/* The caller's memory context stays current: SPI_prepare leaves its own, which goes with it. */
static SPIPlanPtr
get_plan(Attached *attached, StatementKind kind, Bitmapset *columns)
{
	Statement  *statement;
	MemoryContext caller = CurrentMemoryContext;
	SPIPlanPtr	plan;
	ListCell   *lc;

	foreach(lc, attached->statements)
	{
		statement = lfirst(lc);
		if (statement->kind == kind && bms_equal(statement->columns, columns))
			return statement->plan;
	}
	plan = prepare_statement(attached, kind, columns);
	MemoryContextSwitchTo(caller);
	if (list_length(attached->statements) >= MAX_STATEMENTS)
		return plan;			/* gone with the SPI connection */
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	MemoryContextSwitchTo(attached->context);
	statement = palloc0(sizeof(Statement));
	statement->kind = kind;
	statement->columns = bms_copy(columns);
	statement->plan = plan;
	statement->callback.func = free_statement;
	statement->callback.arg = statement;
	MemoryContextRegisterResetCallback(attached->context, &statement->callback);
	attached->statements = lappend(attached->statements, statement);
	MemoryContextSwitchTo(caller);
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

/* Take over what append_returned named. */
static void
take_row(const Attached *attached, AttachedRow *row)
{
	*row = attached_row_make(attached);
	for (int i = 0; i < attached->nread; i++)
		copy_returned(attached, i, row);
}

static uint64
run_plan(Attached *attached, SPIPlanPtr plan, Datum *params, const char *nulls, AttachedRow *row)
{
	MemoryContext context = CurrentMemoryContext;
	int			result = SPI_execute_plan(plan, params, nulls, false, 0);
	uint64		processed;

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

/* Run a statement; returns how many rows it met.  The row may be NULL. */
static uint64
run(Attached *attached, StatementKind kind, AttachedRow key, AttachedRow values,
	Bitmapset *columns, AttachedRow *row)
{
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan = get_plan(attached, kind, columns);
	int			n = attached->nkeys + bms_num_members(columns);
	Datum	   *params = MemoryContextAlloc(context, sizeof(Datum) * n);
	char	   *nulls = MemoryContextAlloc(context, n + 1);
	int			nparams = 0;
	int			attnum = -1;

	/* every call of SPI leaves in its own memory context */
	if (looks_for_key(kind))
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
	return run_plan(attached, plan, params, nulls, row);
}

/*
 * What a foreign server may take for a row when there is no patience left, and for how many
 * rows it may take that in vain.
 */
#define ABROAD_MS		100
#define ABROAD_MAX		10

/*
 * Run a statement that writes.
 *
 * A foreign server waits for its locks by itself.  While it does we hold rows there that a
 * session of its own may wait for; if the two are a deadlock, that session could be the
 * one that is ended.  So we end our own statement before that, as lock_timeout would.
 * That can't be told from a server that is slow: where we hold no row it has all the time
 * it needs, so that deliveries go on in any case.
 */
static uint64
run_writing(Writer *writer, Attached *attached, StatementKind kind, AttachedRow key,
			AttachedRow values, Bitmapset *columns, AttachedRow *row)
{
	volatile uint64 processed = 0;

	if (attached->relkind != RELKIND_FOREIGN_TABLE || !writer->holds_rows)
		return run(attached, kind, key, values, columns, row);
	if (writer->nabroad >= ABROAD_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the server of foreign table %s has kept us waiting for other rows", attached->name)));
	PG_TRY();
	{
		enable_timeout_after(LOCK_TIMEOUT, Max(writer->patience, ABROAD_MS));
		processed = run(attached, kind, key, values, columns, row);
		disable_timeout(LOCK_TIMEOUT, true);
	}
	PG_CATCH();
	{
		disable_timeout(LOCK_TIMEOUT, true);
		if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE)
		{
			writer->patience = 0;
			writer->nabroad++;
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	/* if the time was up just now the error is this row's */
	CHECK_FOR_INTERRUPTS();
	return processed;
}

bool
writer_read(Attached *attached, AttachedRow key, AttachedRow *row)
{
	return run(attached, STATEMENT_READ, key, key, NULL, row) > 0;
}

bool
writer_read_by_id(Attached *attached, const char *external_id, AttachedRow *row)
{
	Datum		id = CStringGetTextDatum(external_id);

	return run_plan(attached, get_plan(attached, STATEMENT_READ_BY_ID, NULL), &id, NULL, row) > 0;
}

/* A row to be locked. */
typedef struct Wanted
{
	Attached   *attached;
	AttachedRow key;
	AttachedRow *row;
	WriterLock	result;
} Wanted;

static void
lock_wanted(void *arg)
{
	Wanted	   *wanted = arg;

	wanted->result = run(wanted->attached, STATEMENT_LOCK_WAIT, wanted->key, wanted->key, NULL,
						 wanted->row) > 0 ? WRITER_LOCKED : WRITER_ABSENT;
}

/*
 * Wait until no other transaction holds the row, no longer than the writer's patience
 * lasts: rows that we locked already make others wait as long.
 */
static WriterLock
wait_for_lock(Writer *writer, Attached *attached, AttachedRow key, AttachedRow *row)
{
	Wanted		wanted = {attached, key, row, WRITER_BUSY};
	instr_time	begin;
	instr_time	waited;

	INSTR_TIME_SET_CURRENT(begin);
	if (!bounded_wait_try(writer->patience, lock_wanted, &wanted))
		wanted.result = WRITER_BUSY;
	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, begin);
	writer->patience -= (int) INSTR_TIME_GET_MILLISEC(waited);
	return wanted.result;
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

/* Copy the found row. */
static void
copy_found(const Writer *writer, const Attached *attached, AttachedRow *row)
{
	*row = attached_row_make(attached);
	for (int i = 0; i < attached->nread; i++)
	{
		const AttachedColumn *column = attached->read[i];
		bool		isnull;
		Datum		value = rows_value(writer->rows, column->attnum, &isnull);

		row->isnull[column->attnum - 1] = isnull;
		if (!isnull)
			row->values[column->attnum - 1] = value_copy(column->value, value);
	}
}

static void
key_datums(const Attached *attached, AttachedRow key, Datum *keys)
{
	for (int i = 0; i < attached->nkeys; i++)
		keys[i] = key.values[attached->keys[i].attnum - 1];
}

bool
writer_lacks(Writer *writer, const Attached *attached, AttachedRow key, uint64 ended)
{
	Datum		keys[ROWS_MAX_KEYS];
	MemoryContext old;
	bool		found;

	open_rows(writer, attached);
	/* what the scan makes lives as long as that */
	old = MemoryContextSwitchTo(writer->context);
	if (writer->seek_ended != ended)
		end_seek(writer);
	if (writer->seek == NULL)
		writer->seek = rows_seek_begin(writer->rows, NULL, attached->nkeys);
	writer->seek_ended = ended;
	key_datums(attached, key, keys);
	found = rows_seek(writer->seek, keys);
	MemoryContextSwitchTo(old);
	if (!found)
		ItemPointerSetInvalid(&writer->at);
	return !found;
}

/* Find the row: where it may be, if that is known, or by the index. */
static bool
find_by_key(Writer *writer, const Attached *attached, AttachedRow key)
{
	Datum		keys[ROWS_MAX_KEYS];
	ItemPointerData at = writer->at;

	key_datums(attached, key, keys);
	ItemPointerSetInvalid(&writer->at);
	return (ItemPointerIsValid(&at) && rows_find_at(writer->rows, &at, attached->nkeys, keys)) ||
		rows_find(writer->rows, attached->nkeys, keys);
}

bool
writer_peek(Writer *writer, const Attached *attached, AttachedRow key, AttachedRow *row)
{
	open_rows(writer, attached);
	if (!find_by_key(writer, attached, key))
		return false;
	copy_found(writer, attached, row);
	return true;
}

/*
 * What STATEMENT_LOCK does, for a table that has its key in an index: no code of
 * the table's runs in it, and the executor need not be started for each row.
 */
static WriterLock
lock_by_index(Writer *writer, const Attached *attached, AttachedRow key, AttachedRow *row)
{
	bool		busy;

	open_rows(writer, attached);
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!find_by_key(writer, attached, key))
			return WRITER_ABSENT;
		busy = false;
	} while (!(writer->alone == attached->relid && rows_is_untouched(writer->rows)) &&
			 rows_lock_free(writer->rows, &busy) != ROWS_DONE && !busy);
	if (busy && OidIsValid(writer->alone))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another transaction holds a row of relation %s", attached->name)));
	if (busy)
		return WRITER_BUSY;
	writer->at = rows_place(writer->rows);
	copy_found(writer, attached, row);
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
	if (!relkind_has_rows(attached->relkind))
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
writer_insert(Writer *writer, Attached *attached, AttachedRow values, Bitmapset *columns,
			  AttachedRow *stored)
{
	check_written(attached, run_writing(writer, attached, STATEMENT_INSERT, values, values, columns, stored));
	if (attached->has_triggers && !writer_read(attached, *stored, stored))
		check_written(attached, 0);
}

void
writer_insert_blind(Writer *writer, Attached *attached, AttachedRow values, Bitmapset *columns)
{
	check_written(attached, run_writing(writer, attached, STATEMENT_INSERT_BLIND, values, values,
										columns, NULL));
}

void
writer_update(Writer *writer, Attached *attached, AttachedRow key, AttachedRow values,
			  Bitmapset *columns, AttachedRow *stored)
{
	check_written(attached, run_writing(writer, attached, STATEMENT_UPDATE, key, values, columns,
										stored));
	/* AFTER triggers may have changed the row once more */
	if (attached->has_triggers && !writer_read(attached, key, stored))
		check_written(attached, 0);
}

void
writer_delete(Writer *writer, Attached *attached, AttachedRow key)
{
	check_written(attached, run_writing(writer, attached, STATEMENT_DELETE, key, key, NULL, NULL));
}
