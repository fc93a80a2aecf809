/*
 * capture_scope.c
 *	  What the capture triggers of one statement share.
 *
 * Opening the hub's tables costs a sixth of a captured edit, so they stay open from row
 * to row, unless code of others runs in between: rows of the log wait there to be
 * inserted together, and such code has to find them.  A statement's triggers fire at its
 * end: a hook knows which statement that is, and closes the tables when the last trigger
 * is through.  After an error the server closes them with the statement's other
 * resources, and the scope's memory goes.
 *
 * A session's first edits load the library, when their statement's end has begun and no
 * hook has seen it.  A script's only statement is often a large one, so its tables stay
 * open, too, until the executor ends it, which a hook sees.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "utils/memutils.h"

#include "hub/release.h"
#include "local/capture_scope.h"
#include "process/utility_hook.h"
#include "storage/rows.h"

/* What a call keeps of its changes must not grow with the statement. */
#define MAX_USES	1000

static CaptureScope *innermost_scope = NULL;

/* The memory of the statement whose triggers fire now, and whose end the hooks see. */
static MemoryContext ending = NULL;

/* No statement's end has been seen from its beginning on. */
static bool just_loaded = true;

static ExecutorFinish_hook_type next_finish_hook = NULL;
static ExecutorEnd_hook_type next_end_hook = NULL;
static ProcessUtility_hook_type next_utility_hook = NULL;

/* ---------- the scope ---------- */

static void
scope_gone(void *arg)
{
	CaptureScope **link = &innermost_scope;
	const CaptureScope *scope = arg;

	while (*link != NULL && *link != scope)
		link = &(*link)->outer;
	if (*link != NULL)
		*link = scope->outer;
	/* what waits to be logged must not go unseen, unless it is rolled back */
	if (scope->tables.call != NULL && IsTransactionState() &&
		SubTransactionIsActive(scope->opened_in))
		elog(ERROR, "a statement has ended, and its captured edits are not written");
}

static CaptureScope *
find_scope(MemoryContext statement)
{
	CaptureScope *scope = innermost_scope;

	while (scope != NULL && scope->statement != statement)
		scope = scope->outer;
	return scope;
}

/* Will a hook see the end of the statement? */
static bool
end_is_seen(MemoryContext statement)
{
	return statement == ending || (just_loaded && strcmp(statement->name, "ExecutorState") == 0);
}

/* Triggers run in a short-lived context right below the statement's own. */
CaptureScope *
capture_scope_get(void)
{
	MemoryContext statement = MemoryContextGetParent(CurrentMemoryContext);
	CaptureScope *scope = find_scope(statement);

	if (scope != NULL)
		return scope;
	scope = MemoryContextAllocZero(statement, sizeof(CaptureScope));
	scope->statement = statement;
	if (end_is_seen(statement))
		scope->context = AllocSetContextCreate(statement, "syncext capture", ALLOCSET_DEFAULT_SIZES);
	scope->callback.func = scope_gone;
	scope->callback.arg = scope;
	MemoryContextRegisterResetCallback(statement, &scope->callback);
	scope->outer = innermost_scope;
	innermost_scope = scope;
	return scope;
}

/* ---------- its tables ---------- */

static CaptureTables
open_tables(const CaptureScope *scope)
{
	CaptureTables tables = {apply_begin(scope->registry), mapped_open(&replica_def, false)};

	return tables;
}

static void
close_tables(CaptureTables tables)
{
	mapped_close(tables.replica);
	apply_end(tables.call);
}

void
capture_scope_flush(CaptureScope *scope)
{
	CaptureTables tables = scope->tables;

	if (tables.call == NULL)
		return;
	scope->tables.call = NULL;
	close_tables(tables);
	MemoryContextReset(scope->context);
}

CaptureTables
capture_scope_open(CaptureScope *scope, bool alone)
{
	MemoryContext old;

	if (alone || scope->context == NULL)
		return open_tables(scope);
	/* what is decided by, and where it is logged, may have changed since the last row */
	if (scope->opened_by != scope->registry || scope->nuses >= MAX_USES)
		capture_scope_flush(scope);
	if (scope->tables.call != NULL)
		return scope->tables;
	scope->brackets = rows_brackets();
	scope->opened_by = scope->registry;
	scope->opened_in = GetCurrentSubTransactionId();
	scope->nuses = 0;
	old = MemoryContextSwitchTo(scope->context);
	scope->tables = open_tables(scope);
	MemoryContextSwitchTo(old);
	return scope->tables;
}

void
capture_scope_close(CaptureScope *scope, CaptureTables tables)
{
	if (scope->tables.call != tables.call)
		close_tables(tables);
	/* triggers that others have put on the hub's tables fire when these are closed */
	else if (!apply_is_quiet(tables.call) || scope->brackets != rows_brackets())
		capture_scope_flush(scope);
	else
		scope->nuses++;
}

/* ---------- a statement's end ---------- */

/* All its triggers have fired. */
static void
end_statement(MemoryContext statement)
{
	CaptureScope *scope = find_scope(statement);

	if (scope != NULL)
		capture_scope_flush(scope);
}

static void
finish_hook(QueryDesc *query)
{
	MemoryContext outer = ending;

	just_loaded = false;
	ending = query->estate->es_query_cxt;
	PG_TRY();
	{
		if (next_finish_hook != NULL)
			next_finish_hook(query);
		else
			standard_ExecutorFinish(query);
		end_statement(ending);
	}
	PG_FINALLY();
	{
		ending = outer;
	}
	PG_END_TRY();
}

static void
end_hook(QueryDesc *query)
{
	end_statement(query->estate->es_query_cxt);
	if (next_end_hook != NULL)
		next_end_hook(query);
	else
		standard_ExecutorEnd(query);
}

/* COPY fires the triggers itself, in the memory that it is called in. */
static void
utility_hook(utility_hook_args)
{
	MemoryContext outer = ending;

	just_loaded = false;
	if (!IsA(pstmt->utilityStmt, CopyStmt))
	{
		utility_hook_next(next_utility_hook, utility_hook_pass);
		return;
	}
	ending = CurrentMemoryContext;
	PG_TRY();
	{
		utility_hook_next(next_utility_hook, utility_hook_pass);
		end_statement(ending);
	}
	PG_FINALLY();
	{
		ending = outer;
	}
	PG_END_TRY();
}

void
capture_scope_init(void)
{
	next_finish_hook = ExecutorFinish_hook;
	ExecutorFinish_hook = finish_hook;
	next_end_hook = ExecutorEnd_hook;
	ExecutorEnd_hook = end_hook;
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
}
