/*
 * owner.c
 *	  Working on syncext's own tables with SQL statements, as their owner.
 *
 * For rare work on whole tables, and for callers who have no rights on them.
 * What runs at every change goes through storage/rows instead.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "model/format.h"
#include "process/for_now.h"
#include "process/owner.h"
#include "storage/registry.h"

/* ---------- the context ---------- */

/*
 * In a restricted operation the server refuses what would outlive owner_leave()
 * and run as the session's role: triggers that wait for the commit, cursors
 * WITH HOLD, another role.
 */
void
owner_enter(OwnerContext *as_owner, int lock_timeout)
{
	as_owner->nest_level = NewGUCNestLevel();
	set_for_now("search_path", "pg_catalog, pg_temp");
	if (lock_timeout > 0)
		bound_waits_for_now(lock_timeout);
	GetUserIdAndSecContext(&as_owner->user, &as_owner->security);
	SetUserIdAndSecContext(registry_owner(), as_owner->security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
}

void
owner_leave(OwnerContext *as_owner)
{
	SetUserIdAndSecContext(as_owner->user, as_owner->security);
	AtEOXact_GUC(true, as_owner->nest_level);
}

/* ---------- statements ---------- */

/*
 * Run a statement; returns the first column of its rows, in the caller's memory
 * context, with NULL for null.
 */
static List *pg_attribute_printf(1, 0)
run(const char *format, va_list args, uint64 *processed)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *statement = format_va(format, args);
	OwnerContext as_owner;
	List	   *column = NIL;
	int			code;

	SPI_connect();
	owner_enter(&as_owner, 0);
	code = SPI_execute(statement, false, 0);
	if (code < 0)
		elog(ERROR, "%s: %s", SPI_result_code_string(code), statement);
	*processed = SPI_processed;
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; SPI_tuptable != NULL && i < SPI_tuptable->numvals; i++)
		column = lappend(column, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	owner_leave(&as_owner);
	SPI_finish();
	pfree(statement);
	return column;
}

uint64
owner_execute(const char *format,...)
{
	va_list		args;
	uint64		processed;

	va_start(args, format);
	(void) run(format, args, &processed);
	va_end(args);
	return processed;
}

List *
owner_texts(const char *format,...)
{
	va_list		args;
	uint64		processed;
	List	   *texts;
	ListCell   *lc;

	va_start(args, format);
	texts = run(format, args, &processed);
	va_end(args);
	/* nobody asks for nulls, which rows that were edited by hand may have */
	foreach(lc, texts)
		if (lfirst(lc) == NULL)
			texts = foreach_delete_current(texts, lc);
	return texts;
}

static char *pg_attribute_printf(1, 0)
first_text(const char *format, va_list args)
{
	uint64		processed;
	List	   *texts = run(format, args, &processed);

	return texts == NIL ? NULL : linitial(texts);
}

char *
owner_text(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	text = first_text(format, args);
	va_end(args);
	return text;
}

int64
owner_number(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	text = first_text(format, args);
	va_end(args);
	return text == NULL ? 0 : strtoi64(text, NULL, 10);
}

/* Its text would depend on the session's settings. */
TimestampTz
owner_time(const char *format,...)
{
	va_list		args;
	char	   *query;

	va_start(args, format);
	query = format_va(format, args);
	va_end(args);
	return owner_number("SELECT (extract(epoch FROM q.t - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::bigint "
						"FROM (%s) AS q(t) WHERE isfinite(q.t)", query);
}

bool
owner_true(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	text = first_text(format, args);
	va_end(args);
	return text != NULL && text[0] == 't';
}
